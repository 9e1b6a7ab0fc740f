//! The rows of billing in exports of tenants.

use omnistack_billing::{Credits, Invoices, Ledger, NewGrant, NewInvoice, NewInvoiceLine, UseCredits, Wallets};
use omnistack_core::{
    http::Method,
    money::Currency,
    usage::{Decimal, UsageEvent, meters},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::json;

use super::{provider::ScriptedProvider, start_with, subscribe, tenant_of};
use crate::invoice::{DETAILS, SELLER};

/// Adds a row of each kind to the tenant of a client. `mark` is in all texts.
async fn add_rows(app: &TestApp, provider: &ScriptedProvider, client: &TestClient, mark: &str) {
    let (tenant, context) = (tenant_of(client), app.app().context());
    subscribe(app, provider, client, "pro").await;
    let details = json!({ "name": mark, "city": "Berlin", "country": "DE" });
    client.request(Method::PUT, DETAILS).json(details).await.expect(200);

    let ledger: Ledger = context.get().unwrap();
    let event = UsageEvent::new(tenant, meters::RUNS, 3, app.clock().clock().now());
    ledger.ingest(vec![event]).await.unwrap();

    let (wallets, invoices): (Wallets, Invoices) = (context.get().unwrap(), context.get().unwrap());
    let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
    wallets.grant_in(&mut tx, NewGrant::new(tenant, "granted/1", Credits::from(5))).await.unwrap();
    wallets.use_in(&mut tx, UseCredits::new(tenant, "used/1", Credits::from(2))).await.unwrap();
    let line = || NewInvoiceLine::item(mark, 2, Decimal::new(1_000, 2));
    let invoice = NewInvoice::new(tenant, "a", Currency::EUR).line(line()).line(line());
    let invoice = invoices.draft_in(&mut tx, invoice).await.unwrap();
    invoices.draft_in(&mut tx, NewInvoice::new(tenant, "b", Currency::EUR).line(line())).await.unwrap();
    tx.commit().await.unwrap();
    invoices.finalize(tenant, invoice).await.unwrap();
}

on_each_database! {
    async fn an_export_has_subscriptions_invoices_usage_and_credits(database: TestDatabase) {
        let (app, provider) = start_with(database, |app| {
            let app = SELLER.into_iter().fold(app, |app, (name, value)| app.set(name, value));
            app.set("USAGE_COUNT_REQUESTS", "false")
        })
        .await;
        let (alice, bob) = (app.user(), app.user());
        add_rows(&app, &provider, &alice, "Alice Ltd").await;
        add_rows(&app, &provider, &bob, "Bob Ltd").await;

        let mut exported = app.exported_rows(tenant_of(&alice)).await;
        exported.retain(|name, _| name.starts_with("billing-"));
        let text = serde_json::to_string(&exported).unwrap();
        assert!(text.contains("Alice Ltd") && !text.contains("Bob Ltd"), "{text}");
        // The keys of requests are the app's own, and the pages of a provider open without a sign-in.
        assert!(!text.contains("granted/1") && !text.contains("used/1") && !text.contains("_url"), "{text}");
        let rows = |name: &str| exported[name].as_slice();

        assert_eq!((rows("billing-account").len(), &rows("billing-account")[0]["plan"]), (1, &json!("pro")));
        let subscriptions = rows("billing-subscriptions");
        assert_eq!(subscriptions.len(), 1, "{text}");
        assert_eq!((&subscriptions[0]["plan"], &subscriptions[0]["mrr_minor"]), (&json!("pro"), &json!(2_900)));
        assert_eq!(rows("billing-details")[0]["details"]["name"], "Alice Ltd");

        // The draft is not the tenant's yet.
        let (invoices, lines) = (rows("billing-invoices"), rows("billing-invoice-lines"));
        assert_eq!((invoices.len(), lines.len()), (1, 2), "{text}");
        assert_eq!((&invoices[0]["net_minor"], &invoices[0]["currency"]), (&json!(4_000), &json!("EUR")));
        assert!(invoices[0]["snapshot"].is_object() && invoices[0]["number"].is_i64(), "{text}");
        assert_eq!((&lines[0]["invoice_id"], &lines[1]["position"]), (&invoices[0]["id"], &json!(2)));
        let [price, decimals] = ["price", "price_decimals"].map(|name| lines[0][name].as_i64().unwrap());
        assert_eq!(price, 10 * 10_i64.pow(u32::try_from(decimals).unwrap()), "{text}");

        let usage: Vec<_> = rows("billing-usage").iter().filter(|row| row["meter"] == "runs").collect();
        assert_eq!(usage.len(), 1, "{text}");
        assert_eq!((&usage[0]["grain"], &usage[0]["sum"]), (&json!("period"), &json!(3)));
        assert_eq!((&usage[0]["aggregation"], &usage[0]["decimals"]), (&json!("sum"), &json!(0)));

        assert_eq!(rows("billing-credit-grants").len(), 1, "{text}");
        let entries = rows("billing-credit-entries");
        let mut amounts: Vec<_> = entries.iter().map(|entry| entry["amount_millionths"].as_i64().unwrap()).collect();
        amounts.sort_unstable();
        assert_eq!(amounts, [-2_000_000, 5_000_000], "{text}");
    }
}
