//! Tests of the accounts of tenants at payment services.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{
    async_trait,
    audit::{AuditFilter, AuditStore},
    crypto::{KeyRing, SealContext},
    data_environment::DataEnvironment::{Live, Test},
    jobs::{Job, JobContext, JobError},
};
use omnistack_payments::PaymentAccounts;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::test_service::{SERVICES, put, start, store_key, tenant};

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct Reseal {}

#[async_trait]
impl Job for Reseal {
    const NAME: &'static str = "payments.reseal_credentials";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

fn accounts(app: &TestApp) -> PaymentAccounts {
    app.app().context().get().unwrap()
}

async fn environments(client: &TestClient, service: &str) -> Value {
    client.get(format!("{SERVICES}/{service}/environments")).await.expect(200).json()
}

/// Returns the sealed credentials of the client's tenant.
async fn sealed(app: &TestApp, client: &TestClient) -> String {
    let mut tx = app.db().tenant(tenant(client)).begin().await.unwrap();
    let (sealed,): (String,) = tx.query("select credentials from omni_payment_credentials").fetch_one().await.unwrap();
    tx.commit().await.unwrap();
    sealed
}

/// Returns the actions about payments in the audit log of the client's tenant, the oldest first.
async fn audited(app: &TestApp, client: &TestClient) -> Vec<String> {
    let store: AuditStore = app.app().context().get().unwrap();
    let filter = AuditFilter::for_chain(tenant(client)).action("payment_");
    let entries = store.list(&filter, 100, None).await.unwrap().items;
    entries.into_iter().rev().map(|entry| entry.action).collect()
}

on_each_database! {
    async fn credentials_are_sealed_shown_without_their_values_and_deleted(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let path = format!("{SERVICES}/acme/credentials/live");
        let stored = put(&owner, &path, json!({ "fields": { "api_key": "acme_live_sesame" } })).await.expect(200);
        assert!(!stored.text().contains("sesame"), "{}", stored.text());
        assert_eq!(stored.json()["live"]["configured"], true);
        assert_eq!((&stored.json()["test"]["configured"], &stored.json()["active"]), (&json!(false), &json!("live")));

        let list = owner.get(SERVICES).await.expect(200);
        assert!(!list.text().contains("sesame"), "{}", list.text());
        let list = list.json();
        let acme = list.as_array().unwrap().iter().find(|service| service["name"] == "acme").unwrap().clone();
        let field = json!({ "name": "api_key", "label": "Secret key", "secret": true, "required": true });
        assert_eq!(acme["fields"], json!([field]));
        assert_eq!(acme["environments"]["live"]["configured"], true);

        let text = sealed(&app, &owner).await;
        assert!(text.starts_with("v1.") && !text.contains("sesame"), "{text}");

        owner.delete(&path).await.expect(204);
        owner.delete(&path).await.expect_error(404, "NOT_FOUND");
        assert_eq!(environments(&owner, "acme").await["live"]["configured"], false);
        assert_eq!(audited(&app, &owner).await, ["payment_credentials.updated", "payment_credentials.deleted"]);
    }

    async fn credentials_that_the_service_does_not_accept_are_named(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let path = format!("{SERVICES}/acme/credentials/live");
        for (fields, named) in [
            (json!({}), "fields.api_key"),
            (json!({ "api_key": "acme_test_1" }), "fields.api_key"),
            (json!({ "api_key": "acme_live_1", "pin": "1234" }), "fields.pin"),
        ] {
            let refused = put(&owner, &path, json!({ "fields": fields })).await;
            let refused = refused.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], named, "{refused}");
        }
        for path in ["nope/credentials/live", "acme/credentials/staging"] {
            let body = json!({ "fields": { "api_key": "acme_live_1" } });
            let status = put(&owner, format!("{SERVICES}/{path}"), body).await.status.as_u16();
            assert!(matches!(status, 404 | 422), "{path}: {status}");
        }
        owner.get(format!("{SERVICES}/nope/environments")).await.expect_error(404, "NOT_FOUND");
        assert_eq!(audited(&app, &owner).await, [""; 0]);
    }

    async fn programs_and_impersonators_store_no_credentials(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let program = app.client_as(owner.identity().unwrap().clone().into_service_account());
        let operator = app.user().identity().unwrap().user;
        let impersonated = app.client_as(owner.identity().unwrap().clone().with_impersonator(operator));
        let path = format!("{SERVICES}/acme/credentials/live");
        let body = json!({ "fields": { "api_key": "acme_live_1" } });
        put(&program, &path, &body).await.expect_error(403, "API_KEY_REFUSED");
        put(&impersonated, &path, &body).await.expect_error(403, "IMPERSONATION_REFUSED");
        store_key(&owner, "acme", "test").await;
        let switch = format!("{SERVICES}/acme/switch-environment");
        let body = json!({ "environment": "test" });
        impersonated.post(&switch, &body).await.expect_error(403, "IMPERSONATION_REFUSED");
        program.post(&switch, &body).await.expect(200);
    }

    async fn a_test_of_credentials_is_shown(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let path = format!("{SERVICES}/acme/credentials/test");
        owner.post(format!("{path}/test"), json!({})).await.expect_error(404, "NOT_FOUND");
        put(&owner, &path, json!({ "fields": { "api_key": "acme_test_bad" } })).await.expect(200);
        let check = owner.post(format!("{path}/test"), json!({})).await.expect(200).json();
        assert_eq!(check["ok"], false);
        assert!(check["error"].as_str().unwrap().contains("no such key"), "{check}");
        let shown = environments(&owner, "acme").await;
        assert_eq!(shown["test"]["check_error"], check["error"]);

        // New credentials are not tested yet.
        put(&owner, &path, json!({ "fields": { "api_key": "acme_test_good" } })).await.expect(200);
        assert_eq!(environments(&owner, "acme").await["test"]["checked_at"], json!(null));
        let check = owner.post(format!("{path}/test"), json!({})).await.expect(200).json();
        assert_eq!((&check["ok"], &check["error"]), (&json!(true), &json!(null)));
        assert_eq!(environments(&owner, "acme").await["test"]["checked_at"], check["checked_at"]);
    }

    async fn a_service_is_switched_between_environments_with_an_account(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let (owner, other) = (app.user(), app.user());
        let (accounts, id) = (accounts(&app), tenant(&owner));
        let switch = format!("{SERVICES}/acme/switch-environment");
        let to = |environment: &str| json!({ "environment": environment });
        owner.post(&switch, to("live")).await.expect_error(409, "PAYMENT_ACCOUNT_MISSING");
        store_key(&owner, "acme", "test").await;
        assert_eq!(accounts.default_environment(id).await.unwrap(), Test);
        store_key(&owner, "acme", "live").await;
        assert_eq!(accounts.default_environment(id).await.unwrap(), Live);

        let switched = owner.post(&switch, to("test")).await.expect(200).json();
        assert_eq!(switched["active"], "test");
        assert_eq!(accounts.active_environment(id, "acme").await.unwrap(), Test);
        assert_eq!(accounts.default_environment(id).await.unwrap(), Test);
        assert!(accounts.configured(id, Live).await.unwrap().is_empty(), "no live payments while it is switched");
        owner.post(&switch, to("live")).await.expect(200);
        assert_eq!(accounts.configured(id, Live).await.unwrap(), ["acme"]);
        assert_eq!(environments(&other, "acme").await["live"]["configured"], false);
        let (stored, switched) = ("payment_credentials.updated", "payment_environment.switched");
        assert_eq!(audited(&app, &owner).await, [stored, stored, switched, switched]);
    }

    async fn a_tenant_without_an_account_has_the_fake_for_tests_only(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let (accounts, id) = (accounts(&app), tenant(&owner));
        assert_eq!(accounts.configured(id, Test).await.unwrap(), ["fake"]);
        assert!(accounts.configured(id, Live).await.unwrap().is_empty());
        assert!(accounts.provider(id, "fake", Live).await.unwrap().is_none());
        store_key(&owner, "bolt", "test").await;
        assert_eq!(accounts.configured(id, Test).await.unwrap(), ["bolt"]);
        // Payments that were made by the fake can still be asked for.
        assert!(accounts.provider(id, "fake", Test).await.unwrap().is_some());
    }

    async fn a_change_is_in_effect_at_once_and_a_use_is_shown(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let (accounts, id) = (accounts(&app), tenant(&owner));
        assert!(accounts.provider(id, "acme", Live).await.unwrap().is_none());
        store_key(&owner, "acme", "live").await;
        assert_eq!(environments(&owner, "acme").await["live"]["last_used"], json!(null));
        app.clock().advance(Duration::from_secs(90));
        let provider = accounts.provider(id, "acme", Live).await.unwrap().unwrap();
        assert_eq!((provider.name(), provider.environment()), ("acme", Live));
        assert_eq!(environments(&owner, "acme").await["live"]["last_used"], json!("2030-01-01T00:01:30Z"));
        owner.delete(format!("{SERVICES}/acme/credentials/live")).await.expect(204);
        assert!(accounts.provider(id, "acme", Live).await.unwrap().is_none());
    }

    async fn credentials_are_sealed_again_after_a_change_of_keys(database: TestDatabase) {
        let (old, new) = (KeyRing::new_key("old"), KeyRing::new_key("new"));
        let app = start(database, |app| app.set("SECRET_KEYS", format!("{new},{old}"))).await;
        let owner = app.user();
        let id = tenant(&owner);
        store_key(&owner, "acme", "live").await;
        let place = SealContext::row("omni_payment_credentials", "credentials", id);
        let place = place.with("service", "acme").with("environment", "live");
        let by_old = old.parse::<KeyRing>().unwrap().seal(r#"{"api_key":"acme_live_2"}"#, &place).unwrap();
        let mut tx = app.db().tenant(id).begin().await.unwrap();
        tx.query("update omni_payment_credentials set credentials = $1").bind(by_old).execute().await.unwrap();
        tx.commit().await.unwrap();
        app.jobs().enqueue(Reseal {}).await.unwrap();
        app.run_jobs().await;
        let resealed = sealed(&app, &owner).await;
        assert!(resealed.starts_with("v1.new."), "{resealed}");
        assert!(accounts(&app).provider(id, "acme", Live).await.unwrap().is_some());
    }

    async fn payments_of_a_live_account_that_cannot_be_used_are_not_made_as_tests(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let (accounts, id) = (accounts(&app), tenant(&owner));
        store_key(&owner, "acme", "live").await;
        let mut tx = app.db().tenant(id).begin().await.unwrap();
        tx.query("update omni_payment_credentials set credentials = $1").bind("v1.lost").execute().await.unwrap();
        tx.commit().await.unwrap();
        app.clock().advance(Duration::from_secs(61));
        assert_eq!(accounts.default_environment(id).await.unwrap(), Live);
        let order = json!({ "amount": 1000, "currency": "USD", "token": "tok_ok" });
        let request = owner.post("/api/v1/app/payments", order).header("idempotency-key", "k");
        request.await.expect_error(422, "PAYMENT_NOT_ROUTABLE");
    }
}
