//! Tests of the way of money through the app: from a checkout to the invoice of what was used.

#![cfg(test)]

use omnistack::{
    auth::users::CreatedUser,
    clock::MockClock,
    config::Config,
    http::Method,
    jobs::{Job, JobContext, JobError},
    prelude::async_trait,
};
use omnistack_testkit::{
    TestApp, TestClient, TestDatabase, TestRequest, on_each_database, payments::stripe::StripeServer,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::disabled_webhook::{sign_in, user};

const BILLING: &str = "/api/v1/app/billing";
const TEAMS: &str = "/api/v1/app/teams";
const USAGE: &str = "/api/v1/app/usage/events";

/// The job of billing periods, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct BillPeriods {}

#[async_trait]
impl Job for BillPeriods {
    const NAME: &'static str = "invoices.bill_periods";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// Starts the app with the defaults of its program, and further settings.
async fn start(database: TestDatabase, settings: &[(&str, &str)]) -> TestApp {
    let defaults = saas::with_defaults(Config::default());
    let default = |name: &str| defaults.get(name).unwrap().0.to_owned();
    let seller = default("BILLING_SELLER_NAME");
    let invoices = default("BILLING_INVOICES");
    TestApp::start_with_auth(database, |app| {
        let app = saas::app(app).set("BILLING_SELLER_NAME", seller).set("BILLING_INVOICES", invoices);
        settings.iter().fold(app, |app, (name, value)| app.set(*name, *value))
    })
    .await
}

/// Runs what is due: jobs and events, until none is left.
async fn settle(app: &TestApp) {
    while app.run_jobs().await + app.run_events().await > 0 {}
}

/// An owner of a team, who is signed in.
struct TeamOwner<'a> {
    app: &'a TestApp,
    user: CreatedUser,
    client: TestClient,
    team: String,
}

impl<'a> TeamOwner<'a> {
    async fn new(app: &'a TestApp) -> Self {
        let user = user(app, "ada@example.com").await;
        let client = sign_in(app, user).await;
        let made = client.post(TEAMS, json!({ "name": "Moon" })).await.expect(201).json();
        Self { app, user, client, team: made["id"].as_str().unwrap().to_owned() }
    }

    /// Signs in again, since the token has expired.
    async fn sign_in(&mut self) {
        self.client = sign_in(self.app, self.user).await;
    }

    fn get(&self, path: impl AsRef<str>) -> TestRequest {
        self.client.get(path).header("x-tenant-id", &self.team)
    }

    fn post(&self, path: impl AsRef<str>, body: Value) -> TestRequest {
        self.client.post(path, body).header("x-tenant-id", &self.team)
    }

    fn invite(&self, name: &str) -> TestRequest {
        let invitation = json!({ "email": format!("{name}@example.com"), "role": "viewer" });
        self.post(format!("{TEAMS}/{}/invitations", self.team), invitation)
    }

    async fn status(&self) -> Value {
        self.get(format!("{BILLING}/status")).await.expect(200).json()
    }
}

/// Sends a form to a page of the fake.
fn submit(app: &TestApp, url: &str, form: &'static str) -> TestRequest {
    let rest = url.split_once("://").unwrap().1;
    let path = &rest[rest.find('/').unwrap()..];
    let request = app.anonymous().request(Method::POST, path);
    request.header("content-type", "application/x-www-form-urlencoded").body(form)
}

#[test]
fn a_setting_that_is_set_has_no_default() {
    let config = saas::with_defaults(Config::from_pairs([("BILLING_INVOICES", "off")]));
    assert_eq!(config.get("BILLING_INVOICES").unwrap().0, "off");
    assert_eq!(config.get("BILLING_SELLER_NAME").unwrap().0, "Acme");
}

on_each_database! {
    async fn a_team_buys_a_plan_uses_it_and_gets_an_invoice(database: TestDatabase) {
        let app = start(database, &[]).await;
        let mut ada = TeamOwner::new(&app).await;
        ada.invite("grace").await.expect(201);
        ada.invite("linus").await.expect(201);
        let refused = ada.invite("mary").await.expect_error(402, "PLAN_LIMIT_REACHED").json();
        assert_eq!(refused["error"]["details"]["plan"], "free");

        // A checkout. A second click leads to the same page.
        let order = json!({ "plan": "professional", "success_path": "/live" });
        let checkout = ada.post(format!("{BILLING}/checkout"), order.clone()).await.expect(200).json();
        assert_eq!((&checkout["provider"], &checkout["trial_end"]), (&json!("fake"), &Value::Null));
        let again = ada.post(format!("{BILLING}/checkout"), order).await.expect(200).json();
        assert_eq!(again["url"], checkout["url"]);
        let page = checkout["url"].as_str().unwrap();
        submit(&app, page, "action=pay&card=tok_declined").await.expect(402);
        settle(&app).await;
        assert_eq!(ada.status().await["plan"], "free", "nothing is paid");

        // The page is paid. The webhook of the provider brings the plan.
        let paid = submit(&app, page, "action=pay&card=tok_ok").await.expect(303);
        assert!(paid.header("location").is_some_and(|location| location.ends_with("/live")), "{paid:?}");
        assert_eq!(ada.status().await["plan"], "free", "the webhook has not arrived");
        settle(&app).await;
        let status = ada.status().await;
        assert_eq!((&status["plan"], &status["payment_due"]), (&json!("professional"), &json!(false)));
        let subscription = &status["subscription"];
        assert_eq!((&subscription["status"], &subscription["entitled"]), (&json!("active"), &json!(true)));

        // The plan has a larger limit, and runs have a price.
        ada.invite("mary").await.expect(201);
        let runs = json!({ "events": [{ "id": "run-7", "meter": "runs", "quantity": 250 }] });
        for status in ["accepted", "duplicate"] {
            let reported = ada.post(USAGE, runs.clone()).await.expect_ok().json();
            assert_eq!(reported["events"][0]["status"], status, "{reported}");
        }

        // The end of the period: the provider renews the plan, and the app invoices the runs.
        app.clock().set("2030-02-01T02:00:00Z".parse().unwrap());
        settle(&app).await;
        app.jobs().enqueue(BillPeriods {}).await.unwrap();
        settle(&app).await;
        ada.sign_in().await;
        let subscription = ada.status().await["subscription"].clone();
        assert_eq!(subscription["status"], "active");
        assert_eq!(subscription["period_start"], "2030-02-01T00:00:00Z");

        let listed = ada.get(format!("{BILLING}/invoices")).await.expect(200).json();
        let [item] = listed["items"].as_array().unwrap().as_slice() else { panic!("{listed}") };
        assert_eq!((&item["number"], &item["status"]), (&json!("INV-000001"), &json!("open")));
        assert_eq!(item["total"], json!({ "amount": "2.50", "currency": "USD" }));
        let path = format!("{BILLING}/invoices/{}", item["id"].as_str().unwrap());
        let invoice = ada.get(&path).await.expect(200).json();
        assert_eq!((&invoice["lines"][0]["meter"], &invoice["seller"]["name"]), (&json!("runs"), &json!("Acme")));
        let html = ada.get(format!("{path}/html")).await.expect(200).text();
        assert!(html.contains("Invoice INV-000001") && html.contains("2.50 USD"), "{html}");
        let pdf = ada.get(format!("{path}/pdf")).await.expect(200);
        assert_eq!(pdf.header("content-type"), Some("application/pdf"));
        assert!(pdf.body.starts_with(b"%PDF-"));
    }

    async fn the_same_app_sells_through_stripe(database: TestDatabase) {
        const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let stripe = StripeServer::start(MockClock::at("2030-01-01T00:00:00Z".parse().unwrap()).clock()).await;
        stripe.add_price("professional-monthly", 9_900, "usd", "month");
        let url = stripe.url();
        let settings = [
            ("STRIPE_API_KEY", "sk_test_1234567890abcdef"),
            ("STRIPE_API_URL", url.as_str()),
            ("STRIPE_WEBHOOK_SECRET", SECRET),
        ];
        let app = start(database, &settings).await;
        let ada = TeamOwner::new(&app).await;
        let health = ada.get("/api/v1/app/services/stripe/health").await.expect(200).json();
        assert_eq!(health["state"], "healthy", "{health}");
        let checkout = ada.post(format!("{BILLING}/checkout"), json!({ "plan": "professional" })).await;
        let checkout = checkout.expect(200).json();
        assert_eq!(checkout["provider"], "stripe");
        let (_, session) = checkout["url"].as_str().unwrap().rsplit_once('/').unwrap();
        assert!(stripe.complete_checkout(session, "pm_card_visa"));
        settle(&app).await;
        assert_eq!(ada.status().await["plan"], "free", "the webhook has not arrived");

        // Webhooks that Stripe has not signed are refused.
        let events: Vec<_> = stripe.events().iter().map(Value::to_string).collect();
        let send = |body: &str, secret: &str| {
            let request = app.anonymous().request(Method::POST, "/api/v1/public/webhooks/stripe");
            let request = request.header("content-type", "application/json");
            request.header("stripe-signature", stripe.signature(secret, body)).body(body.to_owned())
        };
        for body in &events {
            send(body, "whsec_other").await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        }
        settle(&app).await;
        assert_eq!(ada.status().await["plan"], "free");
        for body in &events {
            send(body, SECRET).await.expect(200);
        }
        settle(&app).await;
        let status = ada.status().await;
        assert_eq!((&status["plan"], &status["subscription"]["status"]), (&json!("professional"), &json!("active")));
        assert_eq!(status["subscription"]["provider"], "stripe");
    }
}
