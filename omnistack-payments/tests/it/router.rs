//! Tests of the choice between accounts.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{
    data_environment::DataEnvironment::{Live, Test},
    money::{Currency, Money},
    payment::{PaymentError, PaymentMethodKind},
};
use omnistack_payments::{PaymentRouter, RouteQuestion};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::test_service::{SERVICES, put, start, store_key, tenant};

const QUOTE: &str = "/api/v1/app/payments/quote";
const ROUTES: &str = "/api/v1/app/payments/routes";

fn router(app: &TestApp) -> PaymentRouter {
    app.app().context().get().unwrap()
}

async fn quote(client: &TestClient, query: &str) -> Value {
    client.get(format!("{QUOTE}?{query}")).await.expect(200).json()
}

/// Returns the names of the accounts of a quote, in order.
fn order(quote: &Value) -> Vec<&str> {
    quote["candidates"].as_array().unwrap().iter().map(|one| one["service"].as_str().unwrap()).collect()
}

/// Returns the accounts for a live payment of 10 dollars, in order.
async fn candidates(app: &TestApp, client: &TestClient) -> Vec<String> {
    let amount = Money::new(1_000, Currency::USD);
    let question = RouteQuestion { amount, method: PaymentMethodKind::Card, country: None, provider: None };
    let found = router(app).candidates(tenant(client), Live, &question).await.unwrap();
    found.into_iter().map(|candidate| candidate.service).collect()
}

/// Starts an app and a client whose tenant has live accounts at both services.
async fn started(database: TestDatabase) -> (TestApp, TestClient) {
    let app = start(database, |app| app).await;
    let owner = app.user();
    store_key(&owner, "acme", "live").await;
    store_key(&owner, "bolt", "live").await;
    (app, owner)
}

on_each_database! {
    async fn a_quote_names_the_cheapest_account_and_why(database: TestDatabase) {
        let (_app, owner) = started(database).await;
        let dollars = quote(&owner, "amount=1000&currency=USD").await;
        assert_eq!(order(&dollars), ["bolt", "acme"]);
        assert_eq!((&dollars["cheapest"], &dollars["chosen"]), (&json!("bolt"), &json!("bolt")));
        assert_eq!((&dollars["environment"], &dollars["amount"]), (&json!("live"), &json!(1000)));
        assert_eq!(dollars["candidates"][0]["fee"], json!({ "amount": 10, "currency": "USD" }));
        assert_eq!(dollars["candidates"][1]["fee"], json!({ "amount": 30, "currency": "USD" }));
        let reason = dollars["candidates"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("0.10 USD is the lowest"), "{reason}");

        let euros = quote(&owner, "amount=1000&currency=EUR&method=card&country=DE").await;
        assert_eq!(order(&euros), ["acme"]);
        assert_eq!(euros["unsuitable"], json!([{ "service": "bolt", "reason": "it does not support EUR" }]));
        let upi = quote(&owner, "amount=1000&currency=USD&method=upi").await;
        assert_eq!((order(&upi).len(), &upi["cheapest"], &upi["chosen"]), (0, &json!(null), &json!(null)));
    }

    async fn questions_that_are_not_accepted_are_named(database: TestDatabase) {
        let (_app, owner) = started(database).await;
        for (query, field) in [
            ("amount=0&currency=USD", "amount"),
            ("amount=1.5&currency=USD", "amount"),
            ("amount=10&currency=usd", "currency"),
            ("amount=10&currency=USDT", "currency"),
            ("amount=10&currency=USD&country=de", "country"),
            ("amount=10&currency=USD&method=gold", "method"),
            ("amount=10&currency=USD&environment=prod", "environment"),
            ("amount=10&currency=USD&page=1", "page"),
        ] {
            let refused = owner.get(format!("{QUOTE}?{query}")).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], field, "{query}: {refused}");
        }
    }

    async fn rules_decide_for_their_tenant_and_environment(database: TestDatabase) {
        let (app, owner) = started(database).await;
        let other = app.user();
        let rules = json!({ "rules": [
            { "currency": "USD", "min_amount": 5000, "services": [{ "name": "bolt" }] },
            { "country": "DE", "strategy": "ordered", "services": [{ "name": "acme" }, { "name": "bolt" }] },
        ] });
        let stored = put(&owner, ROUTES, &rules).await.expect(200).json();
        assert_eq!(owner.get(ROUTES).await.expect(200).json(), stored);
        assert_eq!(stored["rules"][1]["strategy"], "ordered");
        for (query, expected) in [
            ("amount=5000&currency=USD&country=DE", vec!["bolt"]),
            ("amount=4999&currency=USD&country=DE", vec!["acme", "bolt"]),
            ("amount=4999&currency=USD&country=AT", vec!["bolt", "acme"]),
            // The rule lists an account that can't take euros.
            ("amount=5000&currency=EUR&country=DE", vec!["acme"]),
        ] {
            assert_eq!(order(&quote(&owner, query).await), expected, "{query}");
        }
        assert_eq!(owner.get(format!("{ROUTES}?environment=test")).await.expect(200).json(), json!({ "rules": [] }));
        assert_eq!(other.get(ROUTES).await.expect(200).json(), json!({ "rules": [] }));
        put(&owner, ROUTES, json!({ "rules": [] })).await.expect(200);
        assert_eq!(order(&quote(&owner, "amount=4999&currency=USD&country=DE").await), ["bolt", "acme"]);
    }

    async fn rules_that_are_not_accepted_are_named(database: TestDatabase) {
        let (_app, owner) = started(database).await;
        for (rule, field) in [
            (json!({ "currency": "XYX" }), "rules[0].currency"),
            (json!({ "country": "de" }), "rules[0].country"),
            (json!({ "min_amount": 1 }), "rules[0].currency"),
            (json!({ "currency": "USD", "min_amount": -1 }), "rules[0].min_amount"),
            (json!({ "currency": "USD", "min_amount": 2, "max_amount": 1 }), "rules[0].min_amount"),
            (json!({ "strategy": "ordered" }), "rules[0].services"),
            (json!({ "services": [{ "name": "nope" }] }), "rules[0].services[0].name"),
            (json!({ "services": [{ "name": "acme" }, { "name": "acme" }] }), "rules[0].services[1].name"),
            (json!({ "services": [{ "name": "acme", "weight": 1001 }] }), "rules[0].services[0].weight"),
            (json!({ "strategy": "weighted", "services": [{ "name": "acme", "weight": 0 }] }), "rules[0].services"),
        ] {
            let refused = put(&owner, ROUTES, json!({ "rules": [rule] })).await;
            let refused = refused.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], field, "{rule}: {refused}");
        }
        let many = json!({ "rules": vec![json!({}); 51] });
        put(&owner, ROUTES, many).await.expect_error(422, "VALIDATION_FAILED");
        assert_eq!(owner.get(ROUTES).await.expect(200).json(), json!({ "rules": [] }));
    }

    async fn an_account_whose_calls_fail_comes_last_until_it_answers(database: TestDatabase) {
        let (app, owner) = started(database).await;
        let (router, id) = (router(&app), tenant(&owner));
        let timeout = PaymentError::Unknown { message: "timed out".into() };
        let took = Duration::from_millis(200);
        for _ in 0..4 {
            router.record(id, Live, "bolt", Some(&timeout), took);
        }
        assert_eq!(candidates(&app, &owner).await, ["bolt", "acme"]);
        router.record(id, Live, "bolt", Some(&timeout), took);
        assert_eq!(candidates(&app, &owner).await, ["acme", "bolt"]);
        let shown = quote(&owner, "amount=1000&currency=USD").await;
        let bolt = &shown["candidates"][1];
        assert_eq!((&bolt["health"]["calls"], &bolt["health"]["success_rate"]), (&json!(5), &json!(0.0)));
        assert_eq!(bolt["health"]["avoided_until"], "2030-01-01T00:00:30Z");
        assert!(bolt["reason"].as_str().unwrap().ends_with("it comes last because its last calls failed"), "{bolt}");
        // The health of other tenants' accounts and of the account for tests is not affected.
        assert_eq!(shown["candidates"][0]["health"]["calls"], 0);

        app.clock().advance(Duration::from_secs(30));
        assert_eq!(candidates(&app, &owner).await, ["bolt", "acme"]);
        router.record(id, Live, "bolt", Some(&timeout), took);
        assert_eq!(candidates(&app, &owner).await, ["acme", "bolt"], "a single failure is enough after the pause");
        router.record(id, Live, "bolt", None, took);
        assert_eq!(candidates(&app, &owner).await, ["bolt", "acme"]);
    }

    async fn test_data_and_live_data_are_not_mixed(database: TestDatabase) {
        let (app, owner) = started(database).await;
        store_key(&owner, "acme", "test").await;
        let test = quote(&owner, "amount=1000&currency=USD&environment=test").await;
        assert_eq!(order(&test), ["acme"]);
        let amount = Money::new(1_000, Currency::USD);
        let mut question = RouteQuestion { amount, method: PaymentMethodKind::Card, country: None, provider: None };
        question.provider = Some("bolt".into());
        let router = router(&app);
        assert!(router.candidates(tenant(&owner), Test, &question).await.unwrap().is_empty());
        let named = router.candidates(tenant(&owner), Live, &question).await.unwrap();
        assert_eq!(named.iter().map(|one| one.service.as_str()).collect::<Vec<_>>(), ["bolt"]);
        assert!(named.iter().all(|one| one.provider.environment() == Live));

        let switch = json!({ "environment": "test" });
        owner.post(format!("{SERVICES}/acme/switch-environment"), switch).await.expect(200);
        assert_eq!(candidates(&app, &owner).await, ["bolt"], "a service in test mode takes no live payments");
    }
}
