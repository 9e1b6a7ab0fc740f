//! Tests of reports of usage to a payment provider.

#![cfg(test)]

mod crash;
mod provider;

use std::time::Duration;

use omnistack_billing::{Billing, Ledger, Meter};
use omnistack_core::{
    async_trait,
    clock::Timestamp,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    payment::MeterReport,
    usage::{Decimal, UsageEvent},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use provider::{MeterAnswer, MeteredProvider, TestProvider};

const REPORTS: &str = "/api/v1/admin/billing/meter-reports";
const HOUR: Duration = Duration::from_secs(3600);

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct SendMeterReports {}

#[async_trait]
impl Job for SendMeterReports {
    const NAME: &'static str = "meter_reports.send";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

fn billing() -> Billing {
    Billing::from_env().meter(Meter::sum("pages", "pages")).meter(Meter::sum("hours", "hours").decimals(4))
}

async fn start(database: TestDatabase, reports: &str) -> (TestApp, MeteredProvider) {
    let provider = MeteredProvider::default();
    let module = TestProvider(provider.clone());
    let app = TestApp::start(database, |app| {
        app.with(billing()).with(module).set("BILLING_METER_REPORTS", reports).set("USAGE_COUNT_REQUESTS", "false")
    });
    (app.await, provider)
}

/// Returns a client of a tenant that is a customer of the provider.
async fn customer(app: &TestApp) -> TestClient {
    let client = app.user();
    let tenant = tenant_of(&client);
    let now = app.clock().clock().now();
    let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
    let sql = "insert into omni_billing_customers (tenant_id, provider, environment, external_id, created_at,
        updated_at) values ($1, 'metered', 'live', $2, $3, $3)";
    tx.query(sql).bind(tenant).bind(format!("cus_{tenant}")).bind(now).execute().await.unwrap();
    tx.commit().await.unwrap();
    client
}

fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

async fn record(app: &TestApp, client: &TestClient, meter: &'static str, quantity: &str, at: Timestamp) {
    let ledger: Ledger = app.app().context().get().unwrap();
    let quantity: Decimal = quantity.parse().unwrap();
    ledger.ingest(vec![UsageEvent::new(tenant_of(client), meter, quantity, at)]).await.unwrap();
}

/// Records usage of now.
async fn used(app: &TestApp, client: &TestClient, meter: &'static str, quantity: &str) {
    record(app, client, meter, quantity, app.clock().clock().now()).await;
}

async fn send(app: &TestApp) {
    app.jobs().enqueue(SendMeterReports {}).await.unwrap();
    app.run_jobs().await;
}

/// Returns the reports, the newest first: id, value and state.
async fn reports(app: &TestApp) -> Vec<(String, String, String)> {
    let list = app.operator().get(REPORTS).await.expect(200).json();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (text(item, "id"), text(item, "value"), text(item, "state"))).collect()
}

async fn states(app: &TestApp) -> Vec<String> {
    reports(app).await.into_iter().map(|(_, _, state)| state).collect()
}

async fn resolve(app: &TestApp, id: &str, resolution: &str) -> TestResponse {
    app.operator().post(format!("{REPORTS}/{id}/resolve"), json!({ "resolution": resolution })).await
}

on_each_database! {
    async fn usage_is_reported_once(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages").await;
        let (client, stranger) = (customer(&app).await, app.user());
        used(&app, &client, "pages", "3").await;
        used(&app, &stranger, "pages", "100").await;
        send(&app).await;
        send(&app).await;
        assert_eq!(provider.counted(), ["3"], "a tenant that is no customer of the provider is not reported");
        used(&app, &client, "pages", "2").await;
        app.clock().advance(HOUR * 24);
        used(&app, &client, "pages", "4").await;
        send(&app).await;
        assert_eq!(provider.counted(), ["3", "2", "4"]);
        assert_eq!(states(&app).await, ["sent", "sent", "sent"]);
        let state = provider.state();
        let all: Vec<&MeterReport> = state.counted.values().collect();
        assert!(all.iter().all(|report| report.meter == "acme_pages" && report.customer.starts_with("cus_")));
        assert_eq!(all[1].at.to_string(), "2030-01-01T23:59:59Z", "the end of the day that is over");
        assert_eq!(all[2].at.to_string(), "2030-01-02T00:00:00Z");
    }

    async fn a_report_whose_answer_was_lost_is_delivered(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages").await;
        let client = customer(&app).await;
        provider.answer([MeterAnswer::Lost]);
        used(&app, &client, "pages", "3").await;
        send(&app).await;
        assert_eq!(states(&app).await, ["unknown"]);
        app.clock().advance(HOUR);
        used(&app, &client, "pages", "5").await;
        // The provider has it already, and the next one goes.
        send(&app).await;
        assert_eq!(states(&app).await, ["sent", "sent"]);
        assert_eq!((provider.counted(), provider.calls()), (vec!["3".to_owned(), "5".to_owned()], 3));
    }

    async fn a_report_that_is_rejected_stops_no_other(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages").await;
        let client = customer(&app).await;
        provider.answer([MeterAnswer::Rejected]);
        record(&app, &client, "pages", "3", app.clock().clock().now() - HOUR * 24).await;
        used(&app, &client, "pages", "4").await;
        send(&app).await;
        assert_eq!(provider.counted(), ["4"]);
        let status = app.operator().get(format!("{REPORTS}/status")).await.expect(200).json();
        assert_eq!((&status["states"][0]["state"], &status["states"][0]["reports"]), (&json!("failed"), &json!(1)));
        let failed = app.operator().get(format!("{REPORTS}?state=failed")).await.expect(200).json();
        assert!(failed["items"][0]["error"].as_str().unwrap().contains("scripted"));
        let id = failed["items"][0]["id"].as_str().unwrap();
        app.clock().advance(HOUR);
        send(&app).await;
        assert_eq!(provider.calls(), 2, "it is not sent again by itself");
        resolve(&app, id, "not_counted").await.expect(200);
        send(&app).await;
        assert_eq!(provider.counted().len(), 2);
        resolve(&app, id, "not_counted").await.expect_error(409, "METER_REPORT_NOT_OPEN");
    }

    async fn a_report_that_stays_unknown_is_not_sent_after_twenty_hours(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages").await;
        let client = customer(&app).await;
        provider.answer([MeterAnswer::NoAnswer; 100]);
        used(&app, &client, "pages", "3").await;
        for _ in 0..20 {
            send(&app).await;
            app.clock().advance(HOUR);
        }
        assert_eq!(states(&app).await, ["unknown"]);
        let calls = provider.calls();
        for _ in 0..5 {
            app.clock().advance(HOUR);
            send(&app).await;
        }
        assert_eq!((states(&app).await, provider.calls()), (vec!["unresolved".to_owned()], calls));
        // The operator finds it in the provider's summary.
        let id = reports(&app).await.remove(0).0;
        resolve(&app, &id, "counted").await.expect(200);
        assert_eq!((states(&app).await, provider.calls()), (vec!["sent".to_owned()], calls));
    }

    async fn a_report_that_was_sent_before_the_process_ended_is_unknown(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages").await;
        let client = customer(&app).await;
        provider.answer([MeterAnswer::Killed]);
        used(&app, &client, "pages", "3").await;
        send(&app).await;
        assert_eq!(states(&app).await, ["unknown"]);
        // The provider may have forgotten the identifier by now, and would count it again.
        app.clock().advance(HOUR * 25);
        send(&app).await;
        assert_eq!((states(&app).await, provider.calls()), (vec!["unresolved".to_owned()], 1));
    }

    async fn reports_wait_while_the_provider_is_unavailable(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages,hours=acme_hours").await;
        let client = customer(&app).await;
        provider.answer([MeterAnswer::Unavailable]);
        used(&app, &client, "pages", "3").await;
        used(&app, &client, "hours", "1").await;
        send(&app).await;
        assert_eq!((states(&app).await, provider.calls()), (vec!["pending".to_owned(); 2], 1));
        app.clock().advance(HOUR);
        send(&app).await;
        assert_eq!(provider.counted().len(), 2);
    }

    async fn decimals_are_exact(database: TestDatabase) {
        let (app, provider) = start(database, "hours=acme_hours").await;
        let client = customer(&app).await;
        used(&app, &client, "hours", "0.1").await;
        used(&app, &client, "hours", "0.2").await;
        send(&app).await;
        assert_eq!(provider.counted(), ["0.3"]);
    }

    async fn what_a_report_can_not_say_is_in_the_next(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_books/3").await;
        let client = customer(&app).await;
        for _ in 0..3 {
            used(&app, &client, "pages", "1").await;
            app.clock().advance(HOUR);
            send(&app).await;
        }
        assert_eq!(provider.counted(), ["0.333333333333", "0.333333333333", "0.333333333334"]);
    }

    async fn late_usage_of_the_last_weeks_is_reported(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages").await;
        let client = customer(&app).await;
        let now = app.clock().clock().now();
        record(&app, &client, "pages", "7", now - HOUR * 24 * 20).await;
        send(&app).await;
        assert_eq!(provider.counted(), ["7"]);
        assert!(now.duration_since(provider.state().counted.values().next().unwrap().at) > HOUR * 24 * 18);
    }
}
