//! A model of wallets, compared with them for random operations. Each operation is done three times with the same key:
//! in a transaction that is rolled back, as after a crash; in one that commits; and once more.

use std::{collections::BTreeMap, time::Duration};

use omnistack_billing::{Credits, NewGrant, UseCredits, WalletEntryKind};
use omnistack_core::{clock::Timestamp, http::Error};
use omnistack_testkit::{TestDatabase, on_each_database};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy},
    prop_oneof,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use super::{LIVE, TestWallet, credits, start};

const HOUR: Duration = Duration::from_secs(3600);
/// Number of wallets with random operations, on each database.
const WALLETS: usize = 12;

#[derive(Clone, Debug)]
enum WalletOperation {
    Grant { key: u32, amount: u32, priority: i32, hours: Option<u32> },
    Use { key: u32, amount: u32 },
    Return { key: u32, amount: u32 },
    Adjust { key: u32, target: u32 },
    Advance { hours: u32 },
    Expire,
}

fn operation() -> impl Strategy<Value = WalletOperation> {
    prop_oneof![
        4 => (0..8_u32, 1..100_u32, -1..2_i32, option::of(1..6_u32))
            .prop_map(|(key, amount, priority, hours)| WalletOperation::Grant { key, amount, priority, hours }),
        6 => (0..12_u32, 1..80_u32).prop_map(|(key, amount)| WalletOperation::Use { key, amount }),
        3 => (0..12_u32, 1..80_u32).prop_map(|(key, amount)| WalletOperation::Return { key, amount }),
        3 => (0..8_u32, 0..120_u32).prop_map(|(key, target)| WalletOperation::Adjust { key, target }),
        2 => (1..4_u32).prop_map(|hours| WalletOperation::Advance { hours }),
        1 => Just(WalletOperation::Expire),
    ]
}

/// Returns random operations for each wallet.
fn random_operations() -> Vec<Vec<WalletOperation>> {
    let mut runner = TestRunner::default();
    (0..WALLETS).map(|_| vec(operation(), 10..50).new_tree(&mut runner).unwrap().current()).collect()
}

/// The result of an operation, in whole credits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OperationResult {
    Granted(bool),
    Used { balance: u32 },
    Returned { returned: u32, lost: u32, balance: u32 },
    Adjusted(u32),
    Refused(String),
    Done,
}

#[derive(Debug)]
struct ModelGrant {
    key: u32,
    granted: u32,
    amount: u32,
    remaining: u32,
    priority: i32,
    expires_at: Option<Timestamp>,
}

impl ModelGrant {
    fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The wallet as it should be.
#[derive(Debug, Default)]
struct WalletModel {
    /// In the order in which they were granted.
    grants: Vec<ModelGrant>,
    /// The uses by key: the amount, the index and the amount of each grant, and the balance afterwards.
    uses: BTreeMap<u32, (u32, Vec<(usize, u32)>, u32)>,
    /// The refunds by the key of the use: the amount and the result.
    returns: BTreeMap<u32, (u32, OperationResult)>,
}

fn refused(code: &str) -> OperationResult {
    OperationResult::Refused(code.to_owned())
}

impl WalletModel {
    fn balance(&self) -> u32 {
        self.grants.iter().map(|grant| grant.remaining).sum()
    }

    /// Expires grants, and applies an operation.
    fn apply(&mut self, operation: &WalletOperation, now: Timestamp) -> OperationResult {
        for grant in self.grants.iter_mut().filter(|grant| grant.has_expired(now)) {
            grant.remaining = 0;
        }
        match *operation {
            WalletOperation::Grant { key, amount, priority, hours } => self.grant(key, amount, priority, hours, now),
            WalletOperation::Use { key, amount } => self.spend(key, amount),
            WalletOperation::Return { key, amount } => self.give_back(key, amount, now),
            WalletOperation::Adjust { key, target } => self.adjust(key, target, now),
            WalletOperation::Advance { .. } | WalletOperation::Expire => OperationResult::Done,
        }
    }

    fn grant(&mut self, key: u32, amount: u32, priority: i32, hours: Option<u32>, now: Timestamp) -> OperationResult {
        if let Some(known) = self.grants.iter().find(|grant| grant.key == key) {
            return if known.granted == amount { OperationResult::Granted(false) } else { refused("GRANT_CONFLICT") };
        }
        let expires_at = hours.map(|hours| now + HOUR * hours);
        self.grants.push(ModelGrant { key, granted: amount, amount, remaining: amount, priority, expires_at });
        OperationResult::Granted(true)
    }

    fn spend(&mut self, key: u32, amount: u32) -> OperationResult {
        if let Some((used, _, balance)) = self.uses.get(&key) {
            return if *used == amount {
                OperationResult::Used { balance: *balance }
            } else {
                refused("CREDIT_USE_CONFLICT")
            };
        }
        if self.balance() < amount {
            return refused("CREDITS_EXHAUSTED");
        }
        let mut order: Vec<usize> = (0..self.grants.len()).collect();
        order.sort_by_key(|index| {
            let grant = &self.grants[*index];
            (grant.priority, grant.expires_at.is_none(), grant.expires_at, *index)
        });
        let (mut missing, mut parts) = (amount, Vec::new());
        for index in order {
            let taken = self.grants[index].remaining.min(missing);
            if taken > 0 {
                self.grants[index].remaining -= taken;
                missing -= taken;
                parts.push((index, taken));
            }
        }
        let balance = self.balance();
        self.uses.insert(key, (amount, parts, balance));
        OperationResult::Used { balance }
    }

    fn give_back(&mut self, key: u32, amount: u32, now: Timestamp) -> OperationResult {
        if let Some((known, result)) = self.returns.get(&key) {
            return if *known == amount { result.clone() } else { refused("CREDIT_RETURN_CONFLICT") };
        }
        let Some((used, parts, _)) = self.uses.get(&key).cloned() else { return refused("NOT_FOUND") };
        if used < amount {
            return refused("CREDIT_RETURN_TOO_LARGE");
        }
        let (mut missing, mut returned, mut lost) = (amount, 0, 0);
        for (index, part) in parts.into_iter().rev() {
            let part = part.min(missing);
            missing -= part;
            if self.grants[index].has_expired(now) {
                lost += part;
            } else {
                returned += part;
                self.grants[index].remaining += part;
            }
        }
        let result = OperationResult::Returned { returned, lost, balance: self.balance() };
        self.returns.insert(key, (amount, result.clone()));
        result
    }

    fn adjust(&mut self, key: u32, target: u32, now: Timestamp) -> OperationResult {
        let Some(grant) = self.grants.iter_mut().find(|grant| grant.key == key) else { return refused("NOT_FOUND") };
        let used = grant.amount - grant.remaining;
        let adjusted = target.max(used);
        if grant.has_expired(now) && adjusted > grant.amount {
            return refused("GRANT_EXPIRED");
        }
        (grant.amount, grant.remaining) = (adjusted, adjusted - used);
        if target < used && !grant.has_expired(now) {
            grant.expires_at = Some(now);
        }
        OperationResult::Adjusted(adjusted)
    }
}

fn whole(amount: Credits) -> u32 {
    u32::try_from(amount.millionths() / 1_000_000).unwrap()
}

impl TestWallet<'_> {
    /// Carries out an operation in a transaction, which is committed or rolled back.
    async fn carry_out(&self, operation: &WalletOperation, now: Timestamp, commits: bool) -> OperationResult {
        let mut tx = self.begin().await;
        let result: Result<OperationResult, Error> = match *operation {
            WalletOperation::Grant { key, amount, priority, hours } => {
                let grant = NewGrant::new(self.tenant, format!("grant/{key}"), credits(amount)).priority(priority);
                let grant = grant.expires_at(hours.map(|hours| now + HOUR * hours));
                let outcome = self.wallets.grant_in(&mut tx, grant).await;
                outcome.map(|outcome| OperationResult::Granted(outcome.granted))
            }
            WalletOperation::Use { key, amount } => {
                let request = UseCredits::new(self.tenant, format!("use/{key}"), credits(amount));
                let used = self.wallets.use_in(&mut tx, request).await;
                used.map(|used| OperationResult::Used { balance: whole(used.balance) })
            }
            WalletOperation::Return { key, amount } => {
                let (key, amount) = (format!("use/{key}"), credits(amount));
                let result = self.wallets.return_in(&mut tx, self.tenant, LIVE, &key, amount).await;
                result.map(|result| OperationResult::Returned {
                    returned: whole(result.returned),
                    lost: whole(result.lost),
                    balance: whole(result.balance),
                })
            }
            WalletOperation::Adjust { key, target } => {
                let (key, target) = (format!("grant/{key}"), credits(target));
                let adjusted = self.wallets.adjust_grant_in(&mut tx, self.tenant, LIVE, &key, target).await;
                adjusted.map(|amount| OperationResult::Adjusted(whole(amount)))
            }
            WalletOperation::Advance { .. } | WalletOperation::Expire => Ok(OperationResult::Done),
        };
        match result {
            Ok(result) if commits => {
                tx.commit().await.unwrap();
                result
            }
            Ok(result) => {
                tx.rollback().await.unwrap();
                result
            }
            Err(error) => {
                tx.rollback().await.unwrap();
                refused(error.code())
            }
        }
    }
}

/// Returns the result of an operation that is repeated.
fn repeated(result: &OperationResult) -> OperationResult {
    match result {
        OperationResult::Granted(_) => OperationResult::Granted(false),
        other => other.clone(),
    }
}

on_each_database! {
    async fn wallets_do_what_the_model_says(database: TestDatabase) {
        let app = start(database).await;
        for operations in random_operations() {
            let (wallet, mut model) = (TestWallet::new(&app), WalletModel::default());
            for (index, operation) in operations.iter().enumerate() {
                let done = &operations[..=index];
                match operation {
                    WalletOperation::Advance { hours } => app.clock().advance(HOUR * *hours),
                    WalletOperation::Expire => wallet.expire().await,
                    _ => {}
                }
                let now = app.clock().clock().now();
                let expected = model.apply(operation, now);
                assert_eq!(wallet.carry_out(operation, now, false).await, expected, "rolled back: {done:?}");
                assert_eq!(wallet.carry_out(operation, now, true).await, expected, "{done:?}");
                assert_eq!(wallet.carry_out(operation, now, true).await, repeated(&expected), "again: {done:?}");
                assert_eq!(whole(wallet.balance().await), model.balance(), "{done:?}");
            }
            wallet.check().await;
            wallet.expire().await;
            wallet.check().await;
            let lines = wallet.lines().await;
            let count = |wanted| lines.iter().filter(|(kind, ..)| *kind == wanted).count();
            assert_eq!(count(WalletEntryKind::Granted), model.grants.len(), "{operations:?}");
            assert_eq!(count(WalletEntryKind::Used), model.uses.len(), "{operations:?}");
            assert_eq!(count(WalletEntryKind::Returned), model.returns.len(), "{operations:?}");
        }
    }
}
