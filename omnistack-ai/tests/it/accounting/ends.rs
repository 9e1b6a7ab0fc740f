//! Tests of the ends of calls: whatever becomes of a call, nothing stays reserved.

use std::time::Duration;

use futures_util::{FutureExt as _, future::join_all};
use omnistack_testkit::on_each_database;

use super::*;

/// Longer than the time limit of a call, and the minute after which it is lost.
const AFTER_EXPIRY: Duration = Duration::from_secs(12 * 60);

/// The model whose usage can't be stored.
const REFUSED_MODEL: &str = "refused";

/// A recorder that the database refuses the usage of one model.
struct RefusingUsage(RecordedUsage);

#[async_trait]
impl UsageRecorder for RefusingUsage {
    fn count(&self, _: UsageEvent) {}

    async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
        if events.iter().any(|event| event.category.as_deref() == Some(REFUSED_MODEL)) {
            return Err(db::Error::new(db::ErrorKind::InvalidValue, "on purpose".into()));
        }
        self.0.record_in(tx, events).await
    }
}

/// Starts an app whose database refuses the usage of [`REFUSED_MODEL`].
async fn start_refusing(database: TestDatabase, usage: &RecordedUsage) -> TestApp {
    TestApp::start(database, |app| {
        app.with(Ai::from_env())
            .replace(Entitlements::new(FixedPlan(Arc::new(unlimited()))))
            .replace(UsageSink::new(RefusingUsage(usage.clone())))
    })
    .await
}

fn unlimited() -> Plan {
    // The limit is never reached, so that all that is used is counted.
    Plan::new("large").limit(meters::AI_TOKENS, 1_000_000_000).limit(meters::AI_REQUESTS, 1_000_000)
}

on_each_database! {
    async fn failures_cancellations_and_streams_leave_nothing_reserved(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, unlimited(), &usage).await;
        let account = Account::new(&app);
        account.limit(json!({ "limit_tokens": 1_000_000_000, "limit_cost": "1000" })).await;
        let calls = (0..1_000_u64).map(|index| {
            let (accounting, start) = (account.accounting.clone(), account.start(10, 100, 1_000_000));
            tokio::spawn(async move {
                let mut call = accounting.open(start).await.unwrap();
                call.note_target("fake", "fake-small");
                match index % 3 {
                    0 => {
                        let outcome = CallOutcome::new(CallStatus::Failed, "fake", "fake-small");
                        call.settle(outcome).await.unwrap();
                    }
                    1 => {
                        call.note_progress(None, 24);
                        drop(call);
                    }
                    _ => {
                        call.note_progress(Some(tokens(10, index)), 24);
                        call.settle(answered(10, index, 7)).await.unwrap();
                    }
                }
            })
        });
        join_all(calls).await.into_iter().for_each(|call| call.unwrap());
        account.accounting.settle_dropped().await.unwrap();
        account.expect_settled(&usage).await;
        assert_eq!(account.ledger().await.len(), 1_000);
    }

    async fn a_call_that_is_dropped_pays_for_what_was_produced(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, unlimited(), &usage).await;
        let account = Account::new(&app);
        // Dropped before a model is asked, before the first byte, after six pieces, and after the provider has said more.
        drop(account.open(10, 100, 1_000_000_000).await.unwrap());
        let mut call = account.open(10, 100, 1_000_000_000).await.unwrap();
        call.note_target("fake", "fake-small");
        drop(call);
        let mut call = account.open(10, 100, 1_000_000_000).await.unwrap();
        call.note_target("fake", "fake-small");
        for _ in 0..6 {
            call.note_progress(None, 8);
        }
        drop(call);
        let mut call = account.open(10, 100, 1_000_000_000).await.unwrap();
        call.note_target("fake", "fake-small");
        call.note_progress(Some(tokens(11, 200)), 8);
        drop(call);
        account.accounting.settle_dropped().await.unwrap();
        let ledger = account.ledger().await;
        assert!(ledger.iter().all(|call| call.status == "cancelled"), "{ledger:?}");
        let numbers = |call: &LedgerRow| {
            let is_free = call.cost_pico == Some(0);
            (call.input_tokens, call.output_tokens, call.is_estimated, is_free)
        };
        let mut found: Vec<_> = ledger.iter().map(numbers).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, 0, false, true), (10, 0, true, false), (10, 12, true, false), (11, 200, false, false)]);
        account.expect_settled(&usage).await;
    }

    async fn a_start_or_an_end_whose_future_is_dropped_is_completed(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, unlimited(), &usage).await;
        let account = Account::new(&app);
        // Each future is polled once, and dropped, most often before the ledger has answered.
        drop(account.open(10, 100, 5).now_or_never());
        let call = account.open(10, 100, 5).await.unwrap();
        drop(call.settle(answered(3, 4, 5)).now_or_never());
        let call = account.open(10, 100, 5).await.unwrap();
        // Never polled.
        drop(call.settle(answered(3, 4, 5)));
        let settled = async {
            loop {
                account.accounting.settle_dropped().await.unwrap();
                let ledger = account.ledger().await;
                if ledger.len() == 3 && ledger.iter().all(|call| call.status != "open") {
                    return ledger;
                }
                tokio::task::yield_now().await;
            }
        };
        let ledger = tokio::time::timeout(Duration::from_secs(20), settled).await.unwrap();
        let mut statuses: Vec<_> = ledger.into_iter().map(|call| call.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, ["cancelled", "cancelled", "succeeded"]);
        account.expect_settled(&usage).await;
    }

    async fn a_call_that_is_settled_after_it_was_lost_counts_once(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, unlimited(), &usage).await;
        let account = Account::new(&app);
        account.limit(json!({ "limit_cost": "1000" })).await;
        let call = account.open(100, 300, 4_000).await.unwrap();
        app.clock().advance(Duration::from_secs(600));
        assert_eq!(account.accounting.settle_expired().await.unwrap(), 0, "it may still run");
        app.clock().advance(AFTER_EXPIRY);
        assert_eq!(account.accounting.settle_expired().await.unwrap(), 1);
        let lost = account.ledger().await;
        assert_eq!((lost[0].status.as_str(), lost[0].input_tokens, lost[0].cost_pico), ("lost", 100, Some(1_000)));
        account.expect_settled(&usage).await;
        // The process was only slow.
        call.settle(answered(90, 250, 3_500)).await.unwrap();
        let settled = account.ledger().await;
        assert_eq!((settled.len(), settled[0].status.as_str(), settled[0].cost_pico), (1, "succeeded", Some(3_500)));
        account.expect_settled(&usage).await;
        let ids: Vec<_> = usage.events().into_iter().filter_map(|event| event.id).collect();
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }

    async fn a_call_ends_whatever_its_outcome_says(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, unlimited(), &usage).await;
        let account = Account::new(&app);
        let outcome = CallOutcome::new(CallStatus::Open, "fake", "fake-small").usage(tokens(3, 4));
        let call = account.open(10, 100, 1_000).await.unwrap();
        call.settle(outcome.cost(Cost::from_pico(-7))).await.unwrap();
        // A reservation below zero would raise the limit of the others.
        drop(account.open(10, 100, -1_000).await.unwrap());
        account.accounting.settle_dropped().await.unwrap();
        let ledger = account.ledger().await;
        let ends: Vec<_> = ledger.iter().map(|call| (call.status.as_str(), call.cost_pico)).collect();
        assert_eq!(ends, [("cancelled", Some(0)), ("cancelled", Some(0))]);
        account.expect_settled(&usage).await;
    }

    async fn each_use_has_a_category_that_the_ledger_of_usage_accepts(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, unlimited(), &usage).await;
        let account = Account::new(&app);
        let long = "模".repeat(300);
        for (asked, model, expected) in [
            ("smart", "fake-small", Some("fake-small".to_owned())),
            ("smart", "", Some("smart".to_owned())),
            ("smart", "\0", Some("smart".to_owned())),
            // At most 200 bytes, in whole characters.
            ("smart", long.as_str(), Some("模".repeat(66))),
            ("\0", "", None),
        ] {
            let start = CallStart::new(account.caller(), asked).reserve(10, 10, Some(Cost::from_pico(5)));
            let outcome = CallOutcome::new(CallStatus::Succeeded, "fake", model).usage(tokens(1, 2));
            let call = account.accounting.open(start).await.unwrap();
            call.settle(outcome.cost(Cost::from_pico(5))).await.unwrap();
            let last = usage.events().pop().unwrap();
            assert_eq!(last.category.as_deref(), expected.as_deref(), "{asked:?} {model:?}");
        }
        account.expect_settled(&usage).await;
    }

    async fn an_end_that_the_database_refuses_delays_no_other(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start_refusing(database, &usage).await;
        let account = Account::new(&app);
        for model in [REFUSED_MODEL].into_iter().chain(std::iter::repeat_n("fake-small", 300)) {
            let mut call = account.open(10, 100, 1_000).await.unwrap();
            call.note_target("fake", model);
        }
        // More than are stored at once, and the first of them fails.
        account.accounting.settle_dropped().await.unwrap_err();
        let ledger = account.ledger().await;
        assert_eq!(ledger.iter().filter(|call| call.status == "cancelled").count(), 300);
    }

    async fn an_end_that_the_database_refuses_is_not_tried_for_ever(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start_refusing(database, &usage).await;
        let account = Account::new(&app);
        let outcome = CallOutcome::new(CallStatus::Succeeded, "fake", REFUSED_MODEL).usage(tokens(90, 250));
        account.open(100, 300, 4_000).await.unwrap().settle(outcome).await.unwrap_err();
        account.accounting.settle_dropped().await.unwrap();
        app.clock().advance(AFTER_EXPIRY);
        assert_eq!(account.accounting.settle_expired().await.unwrap(), 1);
        let ledger = account.ledger().await;
        assert_eq!((ledger[0].status.as_str(), ledger[0].input_tokens), ("lost", 100));
        account.expect_settled(&usage).await;
    }

    async fn the_ledger_has_the_story_of_a_call(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, unlimited(), &usage).await;
        let account = Account::new(&app);
        let call = account.open(10, 100, 1_000).await.unwrap();
        let id = call.id;
        let summary = call.settle(answered(9, 8, 77)).await.unwrap();
        assert_eq!((summary.id, summary.asked_model.as_str(), summary.model.as_str()), (id, "smart", "fake-small"));
        assert_eq!((summary.usage, summary.cost), (tokens(9, 8), Some(Cost::from_pico(77))));
        let events = usage.events();
        assert!(events.iter().all(|event| event.category.as_deref() == Some("fake-small")), "{events:?}");
        assert!(events.iter().all(|event| event.user == account.caller().user), "{events:?}");

        // An answer of the cache costs nothing.
        let mut cached = answered(9, 8, 77);
        cached.cached = true;
        let summary = account.open(10, 100, 1_000).await.unwrap().settle(cached).await.unwrap();
        assert_eq!((summary.cached, summary.usage.total(), summary.cost), (true, 0, Some(Cost::from_pico(0))));
        let ledger = account.ledger().await;
        let row = ledger.iter().find(|call| call.is_cached).unwrap();
        assert!(!row.price_unknown && row.attempts == "[]", "{row:?}");
        assert_eq!((row.provider.as_deref(), row.model.as_deref()), (Some("fake"), Some("fake-small")));
        account.expect_settled(&usage).await;
    }
}
