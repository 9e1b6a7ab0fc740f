//! Tests of callers that leave before their answer.

#![cfg(test)]

use std::sync::Arc;

use futures_util::FutureExt as _;
use omnistack_ai::{AiGateway, Part, StopKind};
use omnistack_testkit::TestDatabase;
use tokio::sync::Notify;

use super::{
    amounts, ask, gateway, ledger, options, settle_dropped, start, tenant,
    test_llm::{Step, TestLlm, reply_of},
};

/// Begins a call, and drops it when the provider is asked.
async fn leave(gateway: &AiGateway, arrived: &Notify) {
    let mut call = gateway.complete(tenant(), ask("hello"), options()).boxed();
    tokio::select! {
        _ = &mut call => panic!("the provider has not answered"),
        () = arrived.notified() => {}
    }
}

#[tokio::test]
async fn a_call_whose_caller_has_left_is_completed_to_learn_its_usage() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let response = Box::new(reply_of(vec![Part::text("hi")], StopKind::Stop));
    let first = TestLlm::new("fake", [Step::ReplyAfter(arrived.clone(), go.clone(), response)]);
    let second = TestLlm::new("second", []);
    let app = start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app, ai)).await;
    let gateway = gateway(&app);
    leave(&gateway, &arrived).await;
    assert_eq!(ledger(&app).await, ["open"]);
    go.notify_one();
    // The end of the process waits for the answer and for its settlement.
    app.app().stop().await;
    assert_eq!(ledger(&app).await, ["succeeded"]);
    // The whole answer is paid.
    assert_eq!(amounts(&app).await, [(10, 5, Some(10 * 100_000 + 5 * 500_000))]);
}

#[tokio::test]
async fn an_answer_is_given_although_its_end_can_not_be_stored_yet() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let response = Box::new(reply_of(vec![Part::text("hi")], StopKind::Stop));
    let first = TestLlm::new("fake", [Step::ReplyAfter(arrived.clone(), go.clone(), response)]);
    let app = start(TestDatabase::sqlite(), (&first, &TestLlm::new("second", [])), |app, ai| (app, ai)).await;
    let gateway = gateway(&app);
    let during = async {
        arrived.notified().await;
        app.db().query("alter table omni_ai_calls rename to moved").execute().await.unwrap();
        go.notify_one();
    };
    let (answer, ()) = tokio::join!(gateway.complete(tenant(), ask("hello"), options()), during);
    let answer = answer.unwrap();
    assert_eq!((answer.response.text().as_str(), answer.call.usage.output), ("hi", 5));
    app.db().query("alter table moved rename to omni_ai_calls").execute().await.unwrap();
    assert_eq!(ledger(&app).await, ["open"]);
    settle_dropped(&app).await;
    assert_eq!(ledger(&app).await, ["succeeded"]);
    assert_eq!(amounts(&app).await, [(10, 5, Some(10 * 100_000 + 5 * 500_000))]);
}

#[tokio::test]
async fn without_drains_a_call_ends_with_its_caller() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let response = Box::new(reply_of(vec![Part::text("hi")], StopKind::Stop));
    let first = TestLlm::new("fake", [Step::ReplyAfter(arrived.clone(), go.clone(), response)]);
    let second = TestLlm::new("second", []);
    let app = start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app.set("AI_MAX_DRAINS", "0"), ai)).await;
    let gateway = gateway(&app);
    leave(&gateway, &arrived).await;
    go.notify_one();
    for _ in 0..10_000 {
        settle_dropped(&app).await;
        if ledger(&app).await == ["cancelled"] {
            // Its input counts, because the model was asked.
            assert!(amounts(&app).await[0].0 > 0);
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the call is {:?}", ledger(&app).await);
}
