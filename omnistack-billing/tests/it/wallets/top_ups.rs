//! Tests of automatic top-ups: paid, declined, pending, failing, and repeated.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use omnistack_billing::{
    Billing, TopUp, TopUpOutcome, TopUpRequest, UseCredits, WalletEntryKind, WalletLow, WalletTopUpDeclined,
};
use omnistack_core::{
    BoxError, async_trait,
    jobs::{Job, JobContext, JobError, JobFilter},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{SETTINGS, TestWallet, credits, put};

const HOUR: Duration = Duration::from_secs(3600);

/// A payment provider that answers as it is told, and then that the payment has succeeded.
#[derive(Clone, Default)]
struct ScriptedTopUp(Arc<Mutex<TopUpScript>>);

#[derive(Default)]
struct TopUpScript {
    answers: VecDeque<Result<TopUpOutcome, &'static str>>,
    requests: Vec<TopUpRequest>,
}

impl ScriptedTopUp {
    fn answer(&self, answers: impl IntoIterator<Item = Result<TopUpOutcome, &'static str>>) {
        self.0.lock().unwrap().answers.extend(answers);
    }

    /// Returns the requests since the last call.
    fn requests(&self) -> Vec<TopUpRequest> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }
}

#[async_trait]
impl TopUp for ScriptedTopUp {
    async fn top_up(&self, request: &TopUpRequest) -> Result<TopUpOutcome, BoxError> {
        let mut script = self.0.lock().unwrap();
        script.requests.push(request.clone());
        Ok(script.answers.pop_front().unwrap_or(Ok(TopUpOutcome::Paid))?)
    }
}

/// The module's own job, with the payload of an earlier one.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct TopUpAgain(Value);

#[async_trait]
impl Job for TopUpAgain {
    const NAME: &'static str = "wallets.top_up";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

async fn start(database: TestDatabase) -> (TestApp, ScriptedTopUp) {
    let provider = ScriptedTopUp::default();
    let hook = provider.clone();
    let app = TestApp::start(database, |app| app.with(Billing::from_env().auto_top_up(hook))).await;
    (app, provider)
}

/// Returns a wallet with 12 credits that buys 50 more below 10.
async fn wallet(app: &TestApp) -> TestWallet<'_> {
    let wallet = TestWallet::new(app);
    wallet.grant(wallet.new_grant("paid", 12)).await.unwrap();
    wallet.settings(json!({ "low_below": 10, "top_up_amount": 50 })).await;
    wallet
}

async fn granted(wallet: &TestWallet<'_>) -> Vec<String> {
    let lines = wallet.lines().await.into_iter();
    lines.filter(|(kind, ..)| *kind == WalletEntryKind::Granted).map(|(.., key)| key).collect()
}

/// Returns the payloads of all top-ups so far, the newest first.
async fn payloads(app: &TestApp) -> Vec<Value> {
    let filter = JobFilter { name: Some(TopUpAgain::NAME.into()), ..JobFilter::default() };
    app.jobs().list(&filter, None, 100).await.unwrap().into_iter().map(|job| job.payload).collect()
}

on_each_database! {
    async fn a_low_wallet_is_topped_up_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut low = app.events().subscribe::<WalletLow>();
        let wallet = wallet(&app).await;
        wallet.spend("use/1", 3).await.unwrap();
        wallet.spend("use/2", 1).await.unwrap();
        app.run_jobs().await;
        let [request] = provider.requests().try_into().unwrap();
        assert_eq!((request.tenant, request.amount), (wallet.tenant, credits(50)));
        assert!(request.key.len() <= 80, "{}", request.key);
        assert_eq!(wallet.balance().await, credits(58));
        assert_eq!(granted(&wallet).await, ["paid".to_owned(), format!("top-up/{}", request.key)]);
        assert_eq!((low.try_recv().unwrap().balance, low.try_recv().is_err()), (credits(9), true));
        let entry = wallet.statement().await.pop().unwrap();
        assert_eq!(entry.description, "Automatic top-up");

        // A process that has died before its job was acknowledged.
        for payload in payloads(&app).await {
            app.jobs().enqueue(TopUpAgain(payload)).await.unwrap();
        }
        app.run_jobs().await;
        assert_eq!((provider.requests(), wallet.balance().await), (vec![], credits(58)));

        // The next time is another top-up.
        wallet.spend("use/3", 50).await.unwrap();
        app.run_jobs().await;
        let [next] = provider.requests().try_into().unwrap();
        assert_ne!(next.key, request.key);
        assert_eq!(wallet.balance().await, credits(58));
        wallet.check().await;
    }

    async fn a_top_up_that_is_too_small_is_followed_by_another(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("paid", 12)).await.unwrap();
        wallet.settings(json!({ "low_below": 10, "top_up_amount": 2 })).await;
        for (number, balance) in [(1, 4), (2, 5), (3, 6)] {
            wallet.spend(&format!("use/{number}"), if number == 1 { 10 } else { 1 }).await.unwrap();
            app.run_jobs().await;
            assert_eq!((provider.requests().len(), wallet.balance().await), (1, credits(balance)), "{number}");
        }
        wallet.check().await;
    }

    async fn a_declined_top_up_is_not_repeated_while_the_balance_is_low(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut declined = app.events().subscribe::<WalletTopUpDeclined>();
        let wallet = wallet(&app).await;
        provider.answer([Ok(TopUpOutcome::Declined("the card has expired".to_owned()))]);
        wallet.spend("use/1", 5).await.unwrap();
        app.run_jobs().await;
        let [first] = provider.requests().try_into().unwrap();
        let event = declined.try_recv().unwrap();
        assert_eq!((event.tenant, event.amount), (wallet.tenant, credits(50)));
        assert_eq!(event.reason, "the card has expired");
        for number in 2..5 {
            wallet.spend(&format!("use/{number}"), 1).await.unwrap();
            app.clock().advance(HOUR * 24);
            app.run_jobs().await;
        }
        assert_eq!((provider.requests(), wallet.balance().await), (vec![], credits(4)));
        assert!(declined.try_recv().is_err());

        wallet.grant(wallet.new_grant("by hand", 10)).await.unwrap();
        wallet.spend("use/5", 5).await.unwrap();
        app.run_jobs().await;
        let [second] = provider.requests().try_into().unwrap();
        assert_ne!(second.key, first.key);
        assert_eq!(wallet.balance().await, credits(59));
        wallet.check().await;
    }

    async fn a_pending_top_up_is_asked_for_again_with_the_same_key(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        let pending = || Ok(TopUpOutcome::Pending);
        provider.answer([pending(), pending(), Err("a timeout"), Ok(TopUpOutcome::Paid)]);
        wallet.spend("use/1", 5).await.unwrap();
        app.run_jobs().await;
        let [first] = provider.requests().try_into().unwrap();
        app.run_jobs().await;
        assert!(provider.requests().is_empty(), "it is not asked for at once");
        // The tenant buys credits meanwhile, but may have been charged already.
        wallet.grant(wallet.new_grant("by hand", 100)).await.unwrap();
        let mut keys = Vec::new();
        for _ in 0..5 {
            app.clock().advance(HOUR);
            app.run_jobs().await;
            keys.extend(provider.requests().into_iter().map(|request| request.key));
        }
        assert_eq!(keys, [first.key.as_str(); 3]);
        let expected = ["paid".to_owned(), "by hand".to_owned(), format!("top-up/{}", first.key)];
        assert_eq!(granted(&wallet).await, expected);
        assert_eq!(wallet.balance().await, credits(157));
        wallet.check().await;
    }

    async fn a_payment_that_stays_pending_counts_as_declined(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut declined = app.events().subscribe::<WalletTopUpDeclined>();
        let wallet = wallet(&app).await;
        provider.answer((0..50).map(|_| Ok(TopUpOutcome::Pending)));
        wallet.spend("use/1", 5).await.unwrap();
        let mut days = Vec::new();
        for _ in 0..10 {
            app.run_jobs().await;
            days.push(provider.requests().len());
            app.clock().advance(HOUR * 24);
        }
        // A little more than seven days after the use.
        assert_eq!(days, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
        assert!(declined.try_recv().unwrap().reason.contains("pending"));
        assert!(declined.try_recv().is_err());
        assert_eq!(wallet.balance().await, credits(7));
    }

    async fn a_top_up_that_the_app_has_granted_is_not_asked_for_again(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        provider.answer([Ok(TopUpOutcome::Pending)]);
        wallet.spend("use/1", 5).await.unwrap();
        app.run_jobs().await;
        let [request] = provider.requests().try_into().unwrap();
        // The provider's webhook arrives.
        wallet.grant(wallet.new_grant(&format!("top-up/{}", request.key), 50)).await.unwrap();
        app.clock().advance(HOUR);
        app.run_jobs().await;
        assert_eq!((provider.requests(), wallet.balance().await), (vec![], credits(57)));
    }

    async fn a_top_up_that_fails_is_tried_again_and_granted_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        provider.answer([Err("a timeout"), Err("a timeout"), Ok(TopUpOutcome::Paid)]);
        wallet.spend("use/1", 5).await.unwrap();
        for _ in 0..5 {
            app.run_jobs().await;
            app.clock().advance(HOUR);
        }
        let [first, second, third] = provider.requests().try_into().unwrap();
        assert_eq!((&second, &third), (&first, &first));
        assert_eq!(granted(&wallet).await.len(), 2);
        assert_eq!(wallet.balance().await, credits(57));
        wallet.check().await;
    }

    async fn a_tenant_that_has_bought_credits_meanwhile_is_not_charged(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        wallet.spend("use/1", 5).await.unwrap();
        wallet.grant(wallet.new_grant("by hand", 100)).await.unwrap();
        app.run_jobs().await;
        assert_eq!((provider.requests(), wallet.balance().await), (vec![], credits(107)));
    }

    async fn a_tenant_that_has_switched_top_ups_off_is_not_charged(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        wallet.spend("use/1", 5).await.unwrap();
        wallet.settings(json!({ "low_below": 10, "top_up_amount": null })).await;
        app.run_jobs().await;
        assert!(provider.requests().is_empty());
        // And on again, while the wallet is still low.
        wallet.settings(json!({ "low_below": 10, "top_up_amount": 50 })).await;
        app.run_jobs().await;
        assert_eq!((provider.requests().len(), wallet.balance().await), (1, credits(57)));
    }

    async fn a_payment_grants_the_amount_that_was_charged(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        provider.answer([Ok(TopUpOutcome::Pending)]);
        wallet.spend("use/1", 5).await.unwrap();
        app.run_jobs().await;
        let [first] = provider.requests().try_into().unwrap();
        // While the payment is pending, the tenant sets another amount.
        for amount in [json!(null), json!(500)] {
            wallet.settings(json!({ "low_below": 10, "top_up_amount": amount })).await;
        }
        app.run_jobs().await;
        let [second] = provider.requests().try_into().unwrap();
        assert_eq!((first.amount, second.amount), (credits(50), credits(500)));
        assert_ne!(first.key, second.key);
        app.clock().advance(HOUR);
        app.run_jobs().await;
        let [again] = provider.requests().try_into().unwrap();
        assert_eq!((again.amount, again.key), (first.amount, first.key));
        assert_eq!(wallet.balance().await, credits(557));
        wallet.check().await;
    }

    async fn a_top_up_that_is_not_asked_for_yet_has_the_amount_that_the_tenant_has_set(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        wallet.spend("use/1", 5).await.unwrap();
        for amount in [20, 30] {
            wallet.settings(json!({ "low_below": 10, "top_up_amount": amount })).await;
        }
        app.run_jobs().await;
        app.run_jobs().await;
        let [request] = provider.requests().try_into().unwrap();
        assert_eq!((request.amount, wallet.balance().await), (credits(30), credits(37)));
        put(&wallet.client, SETTINGS, json!({ "low_below": 900_000_000, "top_up_amount": 900_000_000 }))
            .await
            .expect_error(422, "VALIDATION_FAILED");
    }

    async fn a_use_that_is_rolled_back_tops_up_nothing(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = wallet(&app).await;
        let mut tx = wallet.begin().await;
        let request = UseCredits::new(wallet.tenant, "use/1", credits(5));
        wallet.wallets.use_in(&mut tx, request).await.unwrap();
        tx.rollback().await.unwrap();
        app.run_jobs().await;
        assert!(provider.requests().is_empty());
    }

    async fn a_top_up_that_is_switched_on_while_the_wallet_is_low_happens_at_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("paid", 12)).await.unwrap();
        wallet.settings(json!({ "low_below": 10, "top_up_amount": null })).await;
        wallet.spend("use/1", 5).await.unwrap();
        app.run_jobs().await;
        assert!(provider.requests().is_empty());
        for _ in 0..2 {
            wallet.settings(json!({ "low_below": 10, "top_up_amount": 25.5 })).await;
        }
        app.run_jobs().await;
        assert_eq!(provider.requests().len(), 1);
        assert_eq!(wallet.balance().await.to_string(), "32.5");
        put(&wallet.client, SETTINGS, json!({ "low_below": null, "top_up_amount": 5 })).await.expect(422);
    }
}
