//! Copies of the invoices of a provider.

use omnistack_core::payment::{ProviderEventObject, ProviderInvoiceStatus};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{BILLING, send, start, subscribe};

on_each_database! {
    async fn an_invoice_of_the_provider_is_copied(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let (client, other) = (app.user(), app.user());
        let subscription = subscribe(&app, &provider, &client, "pro").await;
        let id = provider.world().subscriptions[&subscription].latest_invoice.clone().unwrap();
        let path = format!("{BILLING}/provider-invoices");
        for (status, shown) in [(ProviderInvoiceStatus::Open, "open"), (ProviderInvoiceStatus::Paid, "paid")] {
            provider.edit_invoice(&subscription, |invoice| invoice.status = status);
            let object = ProviderEventObject::Invoice { id: id.clone(), subscription: Some(subscription.clone()) };
            send(&app, object).await;
            let list = client.get(&path).await.expect(200).json();
            assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
            let item = &list["items"][0];
            assert_eq!((&item["id"], &item["status"]), (&json!(id), &json!(shown)));
            assert_eq!(item["total"], json!({ "amount": "29.00", "currency": "USD" }));
        }
        assert_eq!(other.get(&path).await.expect(200).json()["items"], json!([]));
    }
}
