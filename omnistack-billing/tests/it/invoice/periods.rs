//! Invoices of billing periods: the plan, usage, and late usage.

use omnistack_billing::{
    BillingAccounts, BillingInterval, InvoiceLineKind, InvoiceStatus, Money, PlanAssignment, PlanCatalogue,
    PlanDefinition, PlanPrice,
};
use omnistack_core::clock::Timestamp;
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{Customer, INVOICES, SELLER, bill_periods, billing, start_with};
use crate::ledger::report;

const SUMMARY: &str = "/api/v1/app/billing/summary";
const INVOICE: &str = "/api/v1/app/billing/invoice";

async fn start(database: TestDatabase, bills: &str) -> TestApp {
    let bills = bills.to_owned();
    start_with(database, |app| app.set("BILLING_INVOICES", bills)).await
}

/// Starts an app that bills the plans `pro` (29.00 a month) and `team` (99.00 a month).
async fn start_with_plans(database: TestDatabase) -> TestApp {
    let monthly = |key: &str, name: &str, price: &str| {
        let price = PlanPrice::Fixed { price: Money::parse(price, "EUR").unwrap(), interval: BillingInterval::MONTH };
        PlanDefinition::new(key, name).price(price)
    };
    let free = PlanDefinition::new("free", "Free");
    let plans = PlanCatalogue::new([free, monthly("pro", "Pro", "29.00"), monthly("team", "Team", "99.00")]);
    let plans = plans.default_plan("free");
    TestApp::start(database, |app| {
        let app = SELLER.into_iter().fold(app, |app, (name, value)| app.set(name, value));
        app.set("USAGE_COUNT_REQUESTS", "false").set("BILLING_INVOICES", "all").with(billing().plans(plans))
    })
    .await
}

/// Assigns a plan to a tenant, with periods from a time on.
async fn assign(app: &TestApp, customer: &Customer<'_>, plan: &str, since: Option<&str>) {
    let accounts: BillingAccounts = app.app().context().get().unwrap();
    let mut plan = PlanAssignment::new(plan);
    if let Some(since) = since {
        plan = plan.period(since.parse().unwrap(), BillingInterval::MONTH);
    }
    let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
    accounts.assign_plan_in(&mut tx, customer.tenant, &plan).await.unwrap();
    tx.commit().await.unwrap();
}

fn set(app: &TestApp, at: &str) {
    app.clock().set(at.parse().unwrap());
}

fn pages(id: &str, quantity: u32, at: &str) -> Value {
    json!([{ "id": id, "meter": "pages", "quantity": quantity, "at": at }])
}

/// Returns the descriptions and the amounts of the lines of the tenant's invoices, the newest first.
async fn lines(customer: &Customer<'_>) -> Vec<Vec<(String, i64)>> {
    let mut all = Vec::new();
    let listed = customer.client.get(INVOICES).await.expect(200).json();
    for item in listed["items"].as_array().unwrap() {
        let invoice = customer.get(item["id"].as_str().unwrap().parse().unwrap()).await;
        all.push(invoice.lines.iter().map(|line| (line.description.clone(), line.net.minor())).collect());
    }
    all
}

fn line(description: &str, cents: i64) -> (String, i64) {
    (description.to_owned(), cents)
}

on_each_database! {
    // Case 35.
    async fn late_usage_is_billed_in_the_next_invoice(database: TestDatabase) {
        let app = start(database, "usage").await;
        set(&app, "2030-06-15T12:00:00Z");
        let customer = Customer::new(&app);
        let june = "2030-06-14T00:00:00Z";
        assert_eq!(report(&customer.client, pages("1", 500, june)).await, ["accepted"]);
        // Within the grace, June is not billed.
        set(&app, "2030-07-01T00:30:00Z");
        bill_periods(&app).await;
        assert!(lines(&customer).await.is_empty());
        set(&app, "2030-07-01T02:00:00Z");
        bill_periods(&app).await;
        assert_eq!(lines(&customer).await, [vec![line("Usage: pages", 500)]]);

        set(&app, "2030-07-03T00:00:00Z");
        assert_eq!(report(&customer.client, pages("2", 70, june)).await, ["late"]);
        assert_eq!(report(&customer.client, pages("3", 30, "2030-07-02T00:00:00Z")).await, ["accepted"]);
        set(&app, "2030-08-01T02:00:00Z");
        bill_periods(&app).await;
        bill_periods(&app).await;
        let july = vec![line("Usage: pages", 30), line("Late usage June 2030: pages", 70)];
        assert_eq!(lines(&customer).await, [july, vec![line("Usage: pages", 500)]]);
        set(&app, "2030-08-05T12:00:01Z");
        assert_eq!(report(&customer.client, pages("4", 1, "2030-06-30T12:00:00Z")).await, ["rejected"]);

        let listed = customer.client.get(INVOICES).await.expect(200).json();
        let numbers: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| &item["number"]).collect();
        assert_eq!(numbers, ["INV-000002", "INV-000001"]);
        let late = customer.get(listed["items"][0]["id"].as_str().unwrap().parse().unwrap()).await.lines[1].clone();
        assert_eq!((late.kind, late.meter.as_deref()), (InvoiceLineKind::LateUsage, Some("pages")));
        assert_eq!(late.period.unwrap().start, "2030-06-01T00:00:00Z".parse::<Timestamp>().unwrap());
    }

    async fn a_plan_is_billed_with_its_usage(database: TestDatabase) {
        let app = start_with_plans(database).await;
        set(&app, "2030-06-10T00:00:00Z");
        let customer = Customer::new(&app);
        assign(&app, &customer, "pro", Some("2030-06-10T00:00:00Z")).await;
        report(&customer.client, pages("1", 250, "2030-06-10T00:00:00Z")).await;

        let summary = customer.client.get(SUMMARY).await.expect(200).json();
        assert_eq!((&summary["plan"], &summary["net"]["amount"]), (&json!("pro"), &json!("31.50")));
        assert_eq!(summary["lines"].as_array().unwrap().len(), 2);
        let current = customer.client.get(format!("{INVOICE}?period=current")).await.expect(200).json();
        assert_eq!((&current["status"], &current["number"]), (&json!("draft"), &Value::Null));
        assert_eq!(current["total"], json!({ "amount": "31.50", "currency": "EUR" }));
        // It is not stored.
        customer.client.get(format!("{INVOICES}/{}", current["id"].as_str().unwrap())).await.expect(404);

        set(&app, "2030-07-10T02:00:00Z");
        bill_periods(&app).await;
        assert_eq!(lines(&customer).await, [vec![line("Pro", 2900), line("Usage: pages", 250)]]);
        let last = customer.client.get(format!("{INVOICE}?period=monthly")).await.expect(200).json();
        assert_eq!((&last["number"], &last["tax"]["amount"]), (&json!("INV-000001"), &json!("5.99")));
        let summary = customer.client.get(SUMMARY).await.expect(200).json();
        assert_eq!((&summary["net"]["amount"], &summary["due"]["amount"]), (&json!("29.00"), &json!("37.49")));
    }

    async fn a_period_is_billed_with_the_plan_that_it_had(database: TestDatabase) {
        let app = start_with_plans(database).await;
        set(&app, "2030-06-10T00:00:00Z");
        let customer = Customer::new(&app);
        assign(&app, &customer, "pro", Some("2030-06-10T00:00:00Z")).await;
        // The plan ends with the period, and the period is billed an hour later.
        set(&app, "2030-07-10T00:00:30Z");
        assign(&app, &customer, "free", None).await;
        set(&app, "2030-07-10T02:00:00Z");
        let last = customer.client.get(format!("{INVOICE}?period=monthly")).await.expect(200).json();
        assert_eq!(last["total"]["amount"], "29.00");
        bill_periods(&app).await;
        assert_eq!(lines(&customer).await, [vec![line("Pro", 2900)]]);
        set(&app, "2030-08-10T02:00:00Z");
        bill_periods(&app).await;
        assert_eq!(lines(&customer).await.len(), 1, "the plan that is free costs nothing");
    }

    async fn a_period_that_a_change_cuts_short_costs_its_share(database: TestDatabase) {
        let app = start_with_plans(database).await;
        set(&app, "2030-06-10T00:00:00Z");
        let customer = Customer::new(&app);
        assign(&app, &customer, "pro", Some("2030-06-10T00:00:00Z")).await;
        set(&app, "2030-06-25T00:00:00Z");
        assign(&app, &customer, "team", Some("2030-06-25T00:00:00Z")).await;
        set(&app, "2030-07-25T02:00:00Z");
        bill_periods(&app).await;
        let mut billed = lines(&customer).await;
        billed.sort();
        assert_eq!(billed, [vec![line("Pro", 1450)], vec![line("Team", 9900)]]);
    }

    async fn a_draft_that_was_left_behind_is_finalised(database: TestDatabase) {
        let app = start(database, "usage").await;
        let customer = Customer::new(&app);
        let draft = customer.draft(customer.new_invoice("period/2029-12-01T00:00:00Z", &[100])).await.unwrap();
        let manual = customer.draft(customer.new_invoice("manual", &[100])).await.unwrap();
        bill_periods(&app).await;
        assert_eq!(customer.get(draft).await.status, InvoiceStatus::Open);
        assert_eq!(customer.get(manual).await.status, InvoiceStatus::Draft);
    }

    async fn without_the_setting_nothing_is_billed(database: TestDatabase) {
        let app = start(database, "off").await;
        let customer = Customer::new(&app);
        report(&customer.client, pages("1", 500, "2030-01-01T00:00:00Z")).await;
        set(&app, "2030-03-01T12:00:00Z");
        bill_periods(&app).await;
        assert!(lines(&customer).await.is_empty());
        customer.client.get(INVOICE).await.expect(404);
        let summary = customer.client.get(SUMMARY).await.expect(200).json();
        assert_eq!((&summary["net"]["amount"], &summary["lines"]), (&json!("0.00"), &json!([])));
    }

    async fn a_final_invoice_is_announced_once(database: TestDatabase) {
        let app = start(database, "off").await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[100])).await.unwrap();
        customer.finalize(id).await;
        customer.finalize(id).await;
        app.run_jobs().await;
        let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
        let sql = "select count(*) from omni_invoices where id = $1 and announced_at is not null";
        let (announced,): (i64,) = tx.query(sql).bind(id).fetch_one().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(announced, 1);
    }
}
