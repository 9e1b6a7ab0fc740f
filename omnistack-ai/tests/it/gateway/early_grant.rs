//! Tests of calls that go on before their start is stored, and of answers that are given before their end is.

#![cfg(test)]

use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{
    ask, gateway, ledger,
    money::{expect_nothing_reserved, with_budget},
    options, refusal, start, start_plain,
    test_llm::{Step, TestLlm, end, reply, started, text},
};

/// The calls one after the other.
const CALLS: i64 = 20;
/// The tokens that a call uses, and those that it reserves.
const USED: i64 = 15;
const RESERVED: i64 = 106;

#[tokio::test]
async fn a_call_whose_start_can_not_be_stored_gives_no_answer() {
    let stream = Step::Stream(vec![started(), text("a"), end()]);
    let first = TestLlm::new("fake", [reply("hi"), stream, reply("hi")]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let caller = with_budget(&app, json!({ "limit_tokens": 10_000 })).await;
    let refuse = "create trigger refuse_calls before insert on omni_ai_calls
        begin select raise(abort, 'on purpose'); end";
    app.db().query(refuse).execute().await.unwrap();
    refusal(gateway(&app).complete(caller, ask("hello"), options()).await.unwrap_err());
    refusal(gateway(&app).stream(caller, ask("hello"), options()).await.unwrap_err());
    assert_eq!(first.requests().len(), 2, "the budget had granted both");
    assert!(ledger(&app).await.is_empty());
    expect_nothing_reserved(&app).await;

    app.db().query("drop trigger refuse_calls").execute().await.unwrap();
    gateway(&app).complete(caller, ask("hello"), options()).await.unwrap();
    assert_eq!(ledger(&app).await, ["succeeded"]);
    expect_nothing_reserved(&app).await;
}

on_each_database! {
    /// The budget has room for each call only if the call before it has given back what it did not use.
    async fn a_caller_that_has_an_answer_can_use_what_its_call_gives_back(database: TestDatabase) {
        let first = TestLlm::new("fake", (0..CALLS).map(|_| reply("hi")).collect::<Vec<_>>());
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| (app, ai)).await;
        let caller = with_budget(&app, json!({ "limit_tokens": (CALLS - 1) * USED + RESERVED })).await;
        let gateway = gateway(&app);
        let call = || gateway.complete(caller, ask("hello").max_output_tokens(100), options());
        for _ in 0..CALLS {
            call().await.unwrap();
        }
        let refused = refusal(call().await.unwrap_err());
        assert_eq!((refused.status().as_u16(), refused.code()), (402, "AI_BUDGET_EXCEEDED"));
        expect_nothing_reserved(&app).await;
    }
}
