//! A model of budgets, compared with them for random calls: the sums of the ledger, of the budgets and of the usage
//! events are those of the model after each of them.

use std::{collections::BTreeMap, time::Duration};

use omnistack_testkit::on_each_database;
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy},
    prop_oneof,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use super::*;

/// Number of tenants with random calls, on each database.
const TENANTS: usize = 12;
/// The limits of the tenant's budget: tokens, and pico-USD.
const LIMITS: (i64, i64) = (2_000, 5_000);

#[derive(Clone, Debug)]
enum CallOperation {
    Open {
        input: u64,
        output: u64,
        pico: Option<i64>,
    },
    /// Settles one of the open calls.
    Settle {
        which: usize,
        status: CallStatus,
        input: u64,
        output: u64,
        pico: i64,
    },
    /// Drops one of the open calls, after so many bytes.
    Drop {
        which: usize,
        is_asked: bool,
        bytes: usize,
    },
    /// Lets all open calls expire, as if their process had ended.
    Expire,
}

fn operation() -> impl Strategy<Value = CallOperation> {
    let status = prop_oneof![
        4 => Just(CallStatus::Succeeded),
        1 => Just(CallStatus::Failed),
        1 => Just(CallStatus::Interrupted),
        1 => Just(CallStatus::Cancelled),
    ];
    prop_oneof![
        10 => (0..200_u64, 0..400_u64, option::weighted(0.9, 0..900_i64))
            .prop_map(|(input, output, pico)| CallOperation::Open { input, output, pico }),
        7 => (0..100_usize, status, 0..200_u64, 0..600_u64, 0..1_200_i64)
            .prop_map(|(which, status, input, output, pico)| CallOperation::Settle { which, status, input, output, pico }),
        3 => (0..100_usize, 0..2_u8, 0..2_000_usize)
            .prop_map(|(which, asked, bytes)| CallOperation::Drop { which, is_asked: asked == 1, bytes }),
        1 => Just(CallOperation::Expire),
    ]
}

/// The budget as it should be.
#[derive(Debug, Default)]
struct ModelBudget {
    tokens: i64,
    requests: i64,
    pico: i64,
    /// The reservations of open calls: tokens of the input and of the output, and pico-USD.
    reserved: BTreeMap<usize, (u64, u64, Option<i64>)>,
}

impl ModelBudget {
    fn fits(&self, input: u64, output: u64, pico: Option<i64>) -> bool {
        let tokens: u64 = self.reserved.values().map(|(input, output, _)| input + output).sum();
        let tokens = i64::try_from(tokens + input + output).unwrap() + self.tokens;
        let reserved: i64 = self.reserved.values().filter_map(|(_, _, pico)| *pico).sum();
        tokens <= LIMITS.0 && self.pico + reserved + pico.unwrap_or(1) <= LIMITS.1
    }

    fn count(&mut self, is_request: bool, input: u64, output: u64, pico: i64) {
        self.tokens += i64::try_from(input + output).unwrap();
        self.requests += i64::from(is_request);
        self.pico += pico;
    }
}

/// Runs operations on the budget and on the model.
async fn run(app: &TestApp, usage: &RecordedUsage, operations: Vec<CallOperation>, lost: &mut Vec<OpenCall>) {
    let account = Account::new(app);
    let limits = json!({ "limit_tokens": LIMITS.0, "limit_cost": Cost::from_pico(LIMITS.1) });
    account.create_budget(json!({ "scope": "tenant", "period": "total", "limits": limits })).await;
    let (mut model, mut open, mut count) = (ModelBudget::default(), BTreeMap::<usize, OpenCall>::new(), 0);
    for operation in operations {
        match operation.clone() {
            CallOperation::Open { input, output, pico } => {
                let mut start = account.start(input, output, 0);
                start.reserved_cost = pico.map(Cost::from_pico);
                let opened = account.accounting.open(start).await;
                assert_eq!(opened.is_ok(), model.fits(input, output, pico), "{operation:?} {model:?}");
                if let Ok(call) = opened {
                    model.reserved.insert(count, (input, output, pico));
                    open.insert(count, call);
                    count += 1;
                }
            }
            CallOperation::Settle { which, status, input, output, pico } => {
                let Some(key) = open.keys().nth(which % open.len().max(1)).copied() else { continue };
                let call = open.remove(&key).unwrap();
                model.reserved.remove(&key);
                let outcome = CallOutcome::new(status, "mine", "without-price").usage(tokens(input, output));
                call.settle(outcome.cost(Cost::from_pico(pico))).await.unwrap();
                let is_used = input + output > 0;
                let has_no_answer = matches!(status, CallStatus::Failed | CallStatus::Cancelled);
                model.count(is_used || !has_no_answer, input, output, pico);
            }
            CallOperation::Drop { which, is_asked, bytes } => {
                let Some(key) = open.keys().nth(which % open.len().max(1)).copied() else { continue };
                let mut call = open.remove(&key).unwrap();
                let (input, reserved, _) = model.reserved.remove(&key).unwrap();
                if is_asked {
                    // Its price is not known, so its tokens count, and nothing else.
                    call.note_target("mine", "without-price");
                    call.note_progress(None, bytes);
                    let output = u64::try_from(bytes).unwrap().div_ceil(4).min(reserved);
                    model.count(input + output > 0, input, output, 0);
                }
                drop(call);
                account.accounting.settle_dropped().await.unwrap();
            }
            CallOperation::Expire => {
                // The process has ended: nothing of it settles the calls.
                lost.extend(std::mem::take(&mut open).into_values());
                app.clock().advance(Duration::from_secs(12 * 60));
                account.accounting.settle_expired().await.unwrap();
                for (input, output, pico) in std::mem::take(&mut model.reserved).into_values() {
                    let pico = pico.unwrap_or(0) * i64::try_from(input).unwrap();
                    model.count(true, input, 0, pico / i64::try_from((input + output).max(1)).unwrap());
                }
            }
        }
        let uses = account.uses().await;
        let [used] = uses.as_slice() else { panic!("{uses:?}") };
        assert_eq!((used.scope.as_str(), used.period.as_str()), ("tenant", "total"));
        let spent = (used.spent_tokens, used.spent_requests, used.spent_pico);
        assert_eq!(spent, (model.tokens, model.requests, model.pico), "{operation:?}");
        let tokens: u64 = model.reserved.values().map(|(input, output, _)| input + output).sum();
        let pico: i64 = model.reserved.values().filter_map(|(_, _, pico)| *pico).sum();
        let reserved = (used.reserved_tokens, used.reserved_requests, used.reserved_pico);
        let calls = i64::try_from(model.reserved.len()).unwrap();
        assert_eq!(reserved, (i64::try_from(tokens).unwrap(), calls, pico), "{operation:?}");
    }
    drop(open);
    account.accounting.settle_dropped().await.unwrap();
    account.expect_settled(usage).await;
}

on_each_database! {
    async fn sums_are_those_of_the_model(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let (mut runner, mut lost) = (TestRunner::default(), Vec::new());
        for _ in 0..TENANTS {
            let operations = vec(operation(), 10..50).new_tree(&mut runner).unwrap().current();
            run(&app, &usage, operations, &mut lost).await;
        }
    }
}
