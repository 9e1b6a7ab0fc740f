//! Tests of what calls cost: nothing is counted twice, and nothing is given away.

#![cfg(test)]

use std::time::Duration;

use futures_util::StreamExt as _;
use omnistack_ai::{ChatRequest, LlmErrorKind as K, Message, OutputFormat, Part, StopKind};
use omnistack_core::http::Error;
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{
    AiCaller, amounts, ask, gateway, ledger, options, read, refusal, settle_dropped, start, start_plain, tenant,
    test_llm::{Piece, Step, TestLlm, end, error, reply, reply_of, started, text},
};
use crate::accounting::BUDGETS;

/// The price of a token of `fake-small`, in pico-USD.
const INPUT: i64 = 100_000;
const OUTPUT: i64 = 500_000;

/// Returns the reply of a text whose tokens the provider does not count.
fn uncounted(text: &str) -> Step {
    let mut response = reply_of(vec![Part::text(text)], StopKind::Stop);
    response.usage = None;
    Step::Reply(Box::new(response))
}

fn total(usage: omnistack_ai::TokenUsage) -> (i64, i64, Option<i64>) {
    let (input, output) = (i64::try_from(usage.input).unwrap(), i64::try_from(usage.output).unwrap());
    (input, output, Some(input * INPUT + output * OUTPUT))
}

/// Creates a hard budget of a new tenant, and returns the caller.
pub(super) async fn with_budget(app: &TestApp, limits: Value) -> AiCaller {
    let client = app.user();
    client.post(BUDGETS, json!({ "scope": "tenant", "period": "month", "limits": limits })).await.expect(201);
    AiCaller::of_tenant(client.identity().unwrap().tenant.unwrap())
}

async fn expect_nothing_reserved(app: &TestApp) {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let reserved: Vec<(i64,)> = tx.query("select reserved_tokens from omni_ai_budget_uses").fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    assert!(!reserved.is_empty() && reserved.iter().all(|(tokens,)| *tokens == 0), "{reserved:?}");
}

on_each_database! {
    /// The budget has room for each call only if the call before it has given back what it did not use.
    async fn a_caller_that_has_an_answer_can_use_what_its_call_gives_back(database: TestDatabase) {
        const CALLS: i64 = 20;
        // The tokens that a call uses, and those that it reserves.
        const USED: i64 = 15;
        const RESERVED: i64 = 106;
        let first = TestLlm::new("fake", (0..CALLS).map(|_| reply("hi")).collect::<Vec<_>>());
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| (app, ai)).await;
        let caller = with_budget(&app, json!({ "limit_tokens": (CALLS - 1) * USED + RESERVED })).await;
        let gateway = gateway(&app);
        let call = || gateway.complete(caller, ask("hello").max_output_tokens(100), options());
        for _ in 0..CALLS {
            call().await.unwrap();
        }
        expect_over_budget(&refusal(call().await.unwrap_err()));
        expect_nothing_reserved(&app).await;
    }
}

fn expect_over_budget(refused: &Error) {
    assert_eq!((refused.status().as_u16(), refused.code()), (402, "AI_BUDGET_EXCEEDED"));
}

/// Six pieces of eight bytes are twelve tokens, however many pieces there are.
#[tokio::test]
async fn a_stream_that_is_dropped_pays_for_what_was_produced_once() {
    let pieces = [started()].into_iter().chain((0..8).map(|_| text("12345678")));
    let first = TestLlm::new("fake", [Step::Stream(pieces.collect())]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let mut stream = gateway(&app).stream(tenant(), ask("hello"), options()).await.unwrap();
    for _ in 0..7 {
        stream.events.next().await.unwrap().unwrap();
    }
    drop(stream);
    settle_dropped(&app).await;
    assert_eq!(ledger(&app).await, ["cancelled"]);
    let calls = amounts(&app).await;
    let [(input, output, cost)] = calls[..] else { panic!("{calls:?}") };
    assert!(input > 0);
    assert_eq!((output, cost), (12, Some(input * INPUT + 12 * OUTPUT)));
}

#[tokio::test]
async fn an_answer_whose_tokens_the_provider_does_not_count_is_estimated() {
    let first = TestLlm::new("fake", [uncounted("12345678")]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let answer = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
    assert!(answer.call.usage_is_estimated && answer.call.usage.input > 0);
    assert_eq!(answer.call.usage.output, 2);
    assert_eq!(amounts(&app).await, [total(answer.call.usage)]);
}

/// A provider can answer by another model, whose price counts. A name that differs by a date is another model, whose
/// price is not guessed.
#[tokio::test]
async fn the_model_that_answers_is_priced() {
    for (model, cost) in [("fake-large", Some(10 * 2_000_000 + 5 * 10_000_000)), ("fake-small-2030-01-31", None)] {
        let mut response = reply_of(vec![Part::text("hi")], StopKind::Stop);
        response.model = model.into();
        let first = TestLlm::new("fake", [Step::Reply(Box::new(response))]);
        let app = start_plain(&first, &TestLlm::new("second", [])).await;
        let call = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap().call;
        assert_eq!((call.asked_model.as_str(), call.model.as_str()), (super::ROUTE, model));
        assert_eq!(call.attempts[0].model, super::MODEL);
        assert_eq!(call.cost.map(|cost| cost.pico()), cost, "{model}");
        assert_eq!(amounts(&app).await, [(10, 5, cost)], "{model}");
    }
}

/// An estimate stays within what was reserved.
#[tokio::test]
async fn an_estimate_is_never_more_than_the_reservation() {
    let long = "x".repeat(4_000);
    let pieces = vec![started(), text(&long), end()];
    let first = TestLlm::new("fake", [uncounted(&long), Step::Stream(pieces)]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let limited = || ask("hello").max_output_tokens(10);
    let whole = gateway(&app).complete(tenant(), limited(), options()).await.unwrap();
    assert_eq!((whole.call.usage.output, whole.call.usage_is_estimated), (10, true));
    let seen = read(gateway(&app).stream(tenant(), limited(), options()).await.unwrap()).await;
    assert_eq!((seen.call.usage.output, seen.call.usage_is_estimated), (10, true));
}

#[tokio::test]
async fn both_turns_of_a_repair_count_although_one_is_estimated() {
    let valid = || uncounted(r#"{"n":1} "#);
    let first = TestLlm::new("fake", [valid(), reply("no"), valid(), uncounted(&"no ".repeat(40)), valid()]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let mut request = ChatRequest::new(super::ROUTE, [Message::user("a number")]);
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    request.output = OutputFormat::JsonSchema { name: "number".into(), schema, strict: false };
    let gateway = gateway(&app);
    let call = || gateway.complete(tenant(), request.clone(), options());
    let of_one_turn = call().await.unwrap().call.usage;
    let answer = call().await.unwrap();
    assert!(answer.call.usage_is_estimated);
    assert!(answer.call.usage.input > 10 + of_one_turn.input, "{:?}", answer.call.usage);
    assert_eq!(answer.call.usage.output, 5 + 2);
    // The input of the second turn has the first answer, of 30 tokens, and the problems.
    let of_both = call().await.unwrap().call.usage;
    assert!(of_both.input > 2 * of_one_turn.input + 30, "{of_both:?}");
    assert_eq!(of_both.output, 30 + 2);
}

/// A call that may be repaired reserves both turns; a stream is not repaired.
#[tokio::test]
async fn the_repair_turn_is_reserved() {
    let answer = r#"{"n":1}"#;
    let pieces = vec![started(), text(answer), end()];
    let first = TestLlm::new("fake", [reply("no"), reply(answer), Step::Stream(pieces), reply("hi")]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let mut request = ask("a number").max_output_tokens(300);
    let plain = request.clone();
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    request.output = OutputFormat::JsonSchema { name: "number".into(), schema, strict: false };

    let enough = with_budget(&app, json!({ "limit_tokens": 3_000 })).await;
    let repaired = gateway(&app).complete(enough, request.clone(), options()).await.unwrap();
    assert_eq!((repaired.response.text().as_str(), repaired.call.attempts.len()), (answer, 2));
    let tight = with_budget(&app, json!({ "limit_tokens": 1_000 })).await;
    expect_over_budget(&refusal(gateway(&app).complete(tight, request.clone(), options()).await.unwrap_err()));
    assert_eq!(read(gateway(&app).stream(tight, request, options()).await.unwrap()).await.text(), answer);
    gateway(&app).complete(tight, plain, options()).await.unwrap();
    expect_nothing_reserved(&app).await;
}

/// Without a maximum, that of the model is reserved, or the setting if it is smaller. The provider gets no maximum.
#[tokio::test]
async fn a_call_without_a_maximum_is_reserved_and_not_changed() {
    for (most_of_model, reserved) in [(100, 100), (100_000, 200)] {
        let first = TestLlm::new("fake", [reply("hi")]);
        let models = super::toml_file(&format!(
            "[[models]]\nprovider = 'fake'\nid = 'fake-small'\nmax_output = {most_of_model}\n\
             prices = [{{ input = 100000, output = 500000 }}]\n"
        ));
        let app = start(TestDatabase::sqlite(), (&first, &TestLlm::new("second", [])), |app, ai| {
            (app.set("AI_MODELS_FILE", models).set("AI_RESERVED_OUTPUT_TOKENS", "200"), ai)
        })
        .await;
        let call = async |caller| gateway(&app).complete(caller, ask("hello"), options().provider("fake")).await;
        let tight = with_budget(&app, json!({ "limit_tokens": reserved })).await;
        expect_over_budget(&refusal(call(tight).await.unwrap_err()));
        let enough = with_budget(&app, json!({ "limit_tokens": reserved + 50 })).await;
        call(enough).await.unwrap();
        assert_eq!(first.requests()[0].max_output_tokens, None);
    }
}

/// A panic of a provider is an error of the app, and its call is settled.
#[tokio::test]
async fn a_provider_that_panics_leaves_nothing_reserved() {
    // It is asked more often than its script says.
    let app = start_plain(&TestLlm::new("fake", []), &TestLlm::new("second", [])).await;
    let caller = with_budget(&app, json!({ "limit_tokens": 10_000 })).await;
    let failed = refusal(gateway(&app).complete(caller, ask("hello"), options()).await.unwrap_err());
    assert_eq!(failed.status().as_u16(), 500);
    settle_dropped(&app).await;
    assert_eq!(ledger(&app).await, ["cancelled"]);
    expect_nothing_reserved(&app).await;
}

/// The price of an unknown tier is that of the most expensive one, so that its name is no way around a budget.
#[tokio::test]
async fn a_made_up_service_tier_does_not_evade_a_budget() {
    let first = TestLlm::new("fake", []);
    let models = super::toml_file(
        "[[models]]\nprovider = 'fake'\nid = 'fake-small'\nprices = [{ input = 100000, output = 500000 }, \
         { tier = 'flex', input = 50000, output = 250000 }]\n",
    );
    let app = start(TestDatabase::sqlite(), (&first, &TestLlm::new("second", [])), |app, ai| {
        (app.set("AI_MODELS_FILE", models), ai)
    })
    .await;
    let caller = with_budget(&app, json!({ "limit_cost": "0.000001" })).await;
    for tier in [None, Some("made-up")] {
        let mut request = ask("hello").max_output_tokens(1_000);
        request.service_tier = tier.map(str::to_owned);
        let refused = refusal(gateway(&app).complete(caller, request, options()).await.unwrap_err());
        expect_over_budget(&refused);
    }
    assert!(first.requests().is_empty());
}

/// A call that waits for a rate limit reserves its cost like any other.
#[tokio::test]
async fn a_call_that_waits_for_a_rate_limit_stays_within_the_budget() {
    let mut limited = error(K::RateLimited);
    limited.retry_after = Some(Duration::from_secs(20));
    let first = TestLlm::with_account("fake", "shared", [Step::Fail(limited)]);
    let second = TestLlm::with_account("second", "shared", []);
    let app = start_plain(&first, &second).await;
    gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err();
    let caller = with_budget(&app, json!({ "limit_cost": "0.000001" })).await;
    let request = ask("hello").max_output_tokens(1_000);
    expect_over_budget(&refusal(gateway(&app).complete(caller, request, options()).await.unwrap_err()));
}

/// A stream that always breaks off after its first token is a failure, although it began.
#[tokio::test]
async fn a_provider_whose_streams_break_off_is_avoided() {
    let broken = || Step::Stream(vec![started(), text("a"), Piece::Fail(error(K::Interrupted))]);
    let first = TestLlm::new("fake", (0..5).map(|_| broken()));
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    for _ in 0..5 {
        let seen = read(gateway(&app).stream(tenant(), ask("hello"), options()).await.unwrap()).await;
        assert_eq!(seen.error.map(|error| error.kind), Some(K::Interrupted));
    }
    let providers = app.operator().get("/api/v1/admin/ai/providers").await.expect(200).json();
    let health = &providers["items"][0]["models"][0];
    assert_eq!((&health["model"], &health["calls"]), (&json!(super::MODEL), &json!(5)));
    assert_eq!((&health["consecutive_failures"], &health["avoided"]), (&json!(5), &json!(true)));
}
