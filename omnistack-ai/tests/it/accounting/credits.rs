//! Tests of calls that are paid with credits.

use std::collections::BTreeMap;

use omnistack_core::{
    credits::{CreditAccounts, CreditCharge, CreditSource},
    http::StatusCode,
};
use omnistack_testkit::on_each_database;

use super::*;

/// A wallet in memory, with the balance of all tenants in millionths. It changes when the transaction commits.
#[derive(Clone, Debug)]
struct TestWallet(Arc<Mutex<WalletState>>);

#[derive(Debug)]
struct WalletState {
    balance: i64,
    charges: BTreeMap<String, i64>,
}

impl TestWallet {
    fn new(balance: i64) -> Self {
        Self(Arc::new(Mutex::new(WalletState { balance, charges: BTreeMap::new() })))
    }

    fn balance(&self) -> i64 {
        self.0.lock().unwrap().balance
    }

    fn change(&self, tx: &mut Tx, key: String, millionths: i64) {
        let state = Arc::clone(&self.0);
        tx.on_commit(move || {
            let mut state = state.lock().unwrap();
            state.balance -= millionths;
            *state.charges.entry(key).or_default() += millionths;
        });
    }
}

#[async_trait]
impl CreditSource for TestWallet {
    async fn charge_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error> {
        if self.balance() < charge.millionths {
            let message = "the balance is too small; buy more credits";
            return Err(Error::new(StatusCode::PAYMENT_REQUIRED, "CREDITS_EXHAUSTED", message));
        }
        self.change(tx, charge.key, charge.millionths);
        Ok(())
    }

    async fn return_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error> {
        self.change(tx, charge.key, -charge.millionths);
        Ok(())
    }
}

/// Starts an app whose tenants pay one credit for a cent.
async fn start_with(database: TestDatabase, wallet: &TestWallet, usage: &RecordedUsage) -> TestApp {
    TestApp::start(database, |app| {
        let app = with_ai(app, &Plan::new("prepaid"), usage).replace(CreditAccounts::new(wallet.clone()));
        app.set("AI_CHARGE_CREDITS", "true").set("AI_CREDITS_PER_USD", "100")
    })
    .await
}

/// A cent in pico-USD.
const CENT: i64 = 10_000_000_000;

on_each_database! {
    async fn a_call_charges_its_largest_cost_and_returns_the_rest(database: TestDatabase) {
        let (usage, wallet) = (RecordedUsage::default(), TestWallet::new(10_000_000));
        let app = start_with(database, &wallet, &usage).await;
        let account = Account::new(&app);
        let call = account.open(10, 10, 8 * CENT).await.unwrap();
        assert_eq!(wallet.balance(), 2_000_000);
        let error = account.open(10, 10, 3 * CENT).await.map(drop).unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (402, "CREDITS_EXHAUSTED"));
        // A part of a millionth is rounded up.
        call.settle(answered(10, 10, CENT + 1)).await.unwrap();
        assert_eq!(wallet.balance(), 10_000_000 - 1_000_001);
        assert_eq!(account.ledger().await.len(), 1, "a call that is refused is not in the ledger");

        drop(account.open(10, 10, 8 * CENT).await.unwrap());
        account.accounting.settle_dropped().await.unwrap();
        assert_eq!(wallet.balance(), 10_000_000 - 1_000_001);
        account.expect_settled(&usage).await;
    }

    async fn a_call_is_settled_also_if_the_wallet_is_empty(database: TestDatabase) {
        let (usage, wallet) = (RecordedUsage::default(), TestWallet::new(1_000_000));
        let app = start_with(database, &wallet, &usage).await;
        let account = Account::new(&app);
        // The provider bills more than was reserved.
        account.open(10, 10, CENT).await.unwrap().settle(answered(10, 500, 5 * CENT)).await.unwrap();
        assert_eq!(wallet.balance(), 0);
        assert_eq!(account.ledger().await[0].cost_pico, Some(5 * CENT));
        account.expect_settled(&usage).await;
    }

    async fn a_call_without_a_price_is_not_free(database: TestDatabase) {
        let (usage, wallet) = (RecordedUsage::default(), TestWallet::new(1_000_000));
        let app = start_with(database, &wallet, &usage).await;
        let account = Account::new(&app);
        let unpriced = CallStart::new(account.caller(), "my-deploy").reserve(10, 10, None);
        let error = account.accounting.open(unpriced).await.map(drop).unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (422, "MODEL_PRICE_UNKNOWN"));
        assert!(account.ledger().await.is_empty());
        // Another model has answered than the one that was reserved for: what was charged is kept.
        let outcome = CallOutcome::new(CallStatus::Succeeded, "mine", "without-price").usage(tokens(10, 10));
        let summary = account.open(10, 10, CENT).await.unwrap().settle(outcome).await.unwrap();
        assert_eq!((summary.cost, wallet.balance()), (None, 0));
        account.expect_settled(&usage).await;
    }
}

#[tokio::test]
async fn an_app_without_wallets_can_not_charge_credits() {
    let config = omnistack_core::config::Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", "sqlite::memory:"),
        ("AI_CHARGE_CREDITS", "true"),
    ]);
    let error = omnistack_core::app::App::builder(config).with(Ai::from_env()).build().unwrap_err();
    assert!(error.to_string().contains("AI_CHARGE_CREDITS is set"), "{error}");
}
