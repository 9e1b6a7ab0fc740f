//! Tests of routes that compare models.

#![cfg(test)]

use std::{collections::BTreeSet, time::Duration};

use omnistack_ai::{Ai, AiCaller, CachePolicy, CallSummary, ChatRequest, LlmErrorKind, Message};
use omnistack_core::{
    flag_variant::{FlagSubject, FlagVariantSource, FlagVariants},
    id::Id,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use uuid::Uuid;

use super::{
    gateway, options, tenant,
    test_llm::{TestLlm, fail, reply},
    toml_file,
};

/// The flag `support-model` gives all callers a variant.
struct OneVariant(&'static str);

impl FlagVariantSource for OneVariant {
    fn variant(&self, flag: &str, _: FlagSubject<'_>) -> Option<String> {
        (flag == "support-model").then(|| self.0.to_owned())
    }
}

/// Starts an app whose route `support` has the variants `old` of `fake` and `new` of `second`.
async fn start(database: TestDatabase, more: &str, flags: FlagVariants, providers: [&TestLlm; 2]) -> TestApp {
    let file = toml_file(&format!(
        "[routes.support]\nstrategy = 'experiment'\n{more}\n\
         targets = [{{ model = 'fake/fake-small', variant = 'old' }}, {{ model = 'second/other', variant = 'new' }}]\n"
    ));
    let ai = providers.into_iter().fold(Ai::from_env(), |ai, provider| ai.provider(provider.clone()));
    TestApp::start(database, |app| app.set("AI_ROUTES_FILE", file).with(ai).replace(flags)).await
}

fn patient(name: &'static str) -> TestLlm {
    TestLlm::new(name, (0..100).map(|_| reply("hi")))
}

async fn ask(app: &TestApp, caller: AiCaller) -> CallSummary {
    let request = ChatRequest::new("support", [Message::user("hello")]);
    gateway(app).complete(caller, request, options()).await.unwrap().call
}

on_each_database! {
    async fn each_tenant_keeps_its_variant_and_calls_are_counted_by_it(database: TestDatabase) {
        let (old, new) = (patient("fake"), patient("second"));
        let app = start(database, "", FlagVariants::default(), [&old, &new]).await;
        let mut seen = BTreeSet::new();
        for _ in 0..24 {
            let caller = tenant();
            let first = ask(&app, caller).await;
            let expected = if first.provider == "fake" { "support@old" } else { "support@new" };
            assert_eq!(first.variant.as_deref(), Some(expected));
            let mut colleague = caller;
            colleague.user = Some(Id::from_uuid(Uuid::new_v4()));
            assert_eq!(ask(&app, colleague).await.variant, first.variant);
            seen.insert(expected.to_owned());
        }
        assert_eq!(seen.len(), 2);
        let mut tx = app.db().all_tenants().begin_read().await.unwrap();
        let sql = "select distinct variant from omni_ai_calls order by variant";
        let stored: Vec<(Option<String>,)> = tx.query(sql).fetch_all().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(stored, [(Some("support@new".to_owned()),), (Some("support@old".to_owned()),)]);
        let spend = app.operator().get("/api/v1/admin/ai/spend?group_by=variant").await.expect(200).json();
        assert_eq!(spend["items"].as_array().unwrap().len(), 2, "{spend}");
    }
}

#[tokio::test]
async fn users_of_a_tenant_can_have_different_variants() {
    let (old, new) = (patient("fake"), patient("second"));
    let app = start(TestDatabase::sqlite(), "sticky_by = 'user'", FlagVariants::default(), [&old, &new]).await;
    let mut caller = tenant();
    let mut seen = BTreeSet::new();
    for _ in 0..24 {
        caller.user = Some(Id::from_uuid(Uuid::new_v4()));
        let variant = ask(&app, caller).await.variant;
        assert_eq!(ask(&app, caller).await.variant, variant);
        seen.insert(variant);
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_flag_decides_and_the_weights_do_if_it_names_no_variant() {
    for (variant, number) in [("new", 1), ("gone", 2)] {
        let (old, new) = (patient("fake"), patient("second"));
        let flags = FlagVariants::new(OneVariant(variant));
        let app = start(TestDatabase::sqlite(), "flag = 'support-model'", flags, [&old, &new]).await;
        let mut seen = BTreeSet::new();
        for _ in 0..24 {
            seen.insert(ask(&app, tenant()).await.variant);
        }
        assert_eq!(seen.len(), number, "{variant}");
    }
}

/// The variant is that of the caller, also if its model fails.
#[tokio::test]
async fn another_variant_answers_if_that_of_the_caller_fails() {
    let new = TestLlm::new("second", [fail(LlmErrorKind::Failed)]);
    let flags = FlagVariants::new(OneVariant("new"));
    let app = start(TestDatabase::sqlite(), "flag = 'support-model'", flags, [&patient("fake"), &new]).await;
    let call = ask(&app, tenant()).await;
    assert_eq!((call.provider.as_str(), call.variant.as_deref()), ("fake", Some("support@new")));
    assert_eq!(call.attempts[0].reason, "support: the variant of the caller");
}

/// An answer of another variant is not kept as one of the caller's variant.
#[tokio::test]
async fn only_answers_of_the_variant_of_the_caller_are_cached() {
    let new = TestLlm::new("second", [fail(LlmErrorKind::Failed), reply("new")]);
    let flags = FlagVariants::new(OneVariant("new"));
    let app = start(TestDatabase::sqlite(), "flag = 'support-model'", flags, [&patient("fake"), &new]).await;
    let caller = tenant();
    for (provider, is_cached) in [("fake", false), ("second", false), ("second", true)] {
        let request = ChatRequest::new("support", [Message::user("hello")]);
        let cached = options().cache(CachePolicy::Exact(Duration::from_secs(3_600)));
        let call = gateway(&app).complete(caller, request, cached).await.unwrap().call;
        assert_eq!((call.provider.as_str(), call.cached), (provider, is_cached));
    }
}
