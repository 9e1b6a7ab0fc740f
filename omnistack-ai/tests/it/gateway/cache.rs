//! Tests of the cache of answers.

#![cfg(test)]

use std::time::Duration;

use async_trait::async_trait;
use omnistack_ai::{CachePolicy, CallOptions, ChatRequest, Message};
use omnistack_core::jobs::{Job, JobContext, JobError};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ROUTE, ask, gateway,
    money::with_budget,
    options, read, refusal, start, tenant,
    test_llm::{Step, TestLlm, counted, end, reply, started, text, usage},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// The job as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct Purge {}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "ai.purge_answers";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

fn exact() -> CallOptions {
    options().cache(CachePolicy::Exact(HOUR))
}

fn semantic() -> CallOptions {
    options().cache(CachePolicy::Semantic(HOUR))
}

async fn answers(app: &TestApp) -> i64 {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let (count,): (i64,) = tx.query("select count(*) from omni_ai_answers").fetch_one().await.unwrap();
    tx.commit().await.unwrap();
    count
}

on_each_database! {
    async fn an_equal_request_of_the_tenant_gets_the_stored_answer(database: TestDatabase) {
        let first = TestLlm::new("fake", (1..=6).map(|number| reply(&format!("answer {number}"))).collect::<Vec<_>>());
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| (app, ai)).await;
        let (gateway, caller) = (gateway(&app), tenant());
        let asked = async |caller, text: &str, options| {
            let answer = gateway.complete(caller, ask(text), options).await.unwrap();
            (answer.response.text(), answer.call.cached, answer.call.usage.total())
        };
        assert_eq!(asked(caller, "a", exact()).await, ("answer 1".into(), false, 15));
        assert_eq!(asked(caller, "a", exact()).await, ("answer 1".into(), true, 0));
        assert_eq!(asked(caller, "b", exact()).await, ("answer 2".into(), false, 15));
        assert_eq!(asked(caller, "a", options()).await, ("answer 3".into(), false, 15), "it is opt-in");
        assert_eq!(asked(tenant(), "a", exact()).await, ("answer 4".into(), false, 15), "each tenant has its own");
        let cached = gateway.complete(caller, ask("a"), exact()).await.unwrap();
        assert_eq!(cached.response.usage, Some(usage(10, 5)), "the answer says what it used then");
        assert_eq!(cached.call.cost.map(|cost| cost.pico()), Some(0));

        app.clock().advance(HOUR);
        assert_eq!(asked(caller, "a", exact()).await, ("answer 5".into(), false, 15), "its time is over");
        app.clock().advance(HOUR);
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        assert_eq!(answers(&app).await, 0);
    }

    /// The budget is asked before the cache: a caller whose budget is used up gets no stored answer either.
    async fn an_answer_of_the_cache_is_within_the_budget(database: TestDatabase) {
        let first = TestLlm::new("fake", [reply("answer 1"), reply("answer 2")]);
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| (app, ai)).await;
        let gateway = gateway(&app);
        // A call uses 15 tokens and reserves 106, and one of the cache uses none.
        let caller = with_budget(&app, json!({ "limit_tokens": 121 })).await;
        let call = |text: &str| gateway.complete(caller, ask(text).max_output_tokens(100), exact());
        for (text, is_cached) in [("hello", false), ("hello", true), ("other", false)] {
            assert_eq!(call(text).await.unwrap().call.cached, is_cached, "{text}");
        }
        let refused = refusal(call("hello").await.unwrap_err());
        assert_eq!((refused.status().as_u16(), refused.code()), (402, "AI_BUDGET_EXCEEDED"));
    }

    async fn a_stream_is_stored_and_replayed(database: TestDatabase) {
        let pieces = vec![started(), text("a"), text("b"), counted(10, 5), end()];
        let first = TestLlm::new("fake", [Step::Stream(pieces)]);
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| (app, ai)).await;
        let (gateway, caller) = (gateway(&app), tenant());
        let live = read(gateway.stream(caller, ask("a"), exact()).await.unwrap()).await;
        let replayed = read(gateway.stream(caller, ask("a"), exact()).await.unwrap()).await;
        assert_eq!((live.text(), live.call.cached), ("ab".into(), false));
        assert_eq!((replayed.text(), replayed.call.cached, replayed.error.is_none()), ("ab".into(), true, true));
        assert_eq!(replayed.events.last(), live.events.last());
        let whole = gateway.complete(caller, ask("a"), exact()).await.unwrap();
        assert_eq!((whole.response.text(), whole.call.cached), ("ab".into(), true));
    }

    async fn a_message_that_means_the_same_shares_the_answer_within_the_tenant_and_the_instructions(
        database: TestDatabase
    ) {
        let first = TestLlm::new("fake", (1..=5).map(|number| reply(&format!("answer {number}"))).collect::<Vec<_>>());
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| {
            (app.set("AI_CACHE_EMBEDDING_MODEL", ROUTE), ai)
        })
        .await;
        let (gateway, caller) = (gateway(&app), tenant());
        let asked = async |caller, system: &str, text: &str| {
            let request = ChatRequest::new(ROUTE, [Message::system(system), Message::user(text)]);
            let answer = gateway.complete(caller, request, semantic()).await.unwrap();
            (answer.response.text(), answer.call.cached)
        };
        assert_eq!(asked(caller, "brief", "the weather today?").await, ("answer 1".into(), false));
        assert_eq!(asked(caller, "brief", "what is the weather?").await, ("answer 1".into(), true));
        assert_eq!(asked(caller, "brief", "the time?").await, ("answer 2".into(), false));
        assert_eq!(asked(caller, "verbose", "what is the weather?").await, ("answer 3".into(), false));
        assert_eq!(asked(tenant(), "brief", "what is the weather?").await, ("answer 4".into(), false));
    }

    async fn a_tenant_keeps_only_its_newest_answers(database: TestDatabase) {
        let first = TestLlm::new("fake", (1..=4).map(|number| reply(&format!("answer {number}"))).collect::<Vec<_>>());
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| {
            (app.set("AI_CACHE_MAX_ANSWERS", "2"), ai)
        })
        .await;
        let (gateway, caller) = (gateway(&app), tenant());
        let day = options().cache(CachePolicy::Exact(HOUR * 24));
        for text in ["a", "b", "c", "d"] {
            gateway.complete(caller, ask(text), day.clone()).await.unwrap();
            app.clock().advance(Duration::from_secs(1));
        }
        app.clock().advance(HOUR);
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        assert_eq!(answers(&app).await, 2);
        assert!(gateway.complete(caller, ask("d"), day).await.unwrap().call.cached);
    }
}
