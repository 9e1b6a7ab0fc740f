//! Tests of notifications in exports of tenants.

use omnistack_core::notification::NewNotification;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{start, tenant, user};

on_each_database! {
    async fn an_export_has_the_notifications_about_its_tenant(database: TestDatabase) {
        let notified = start(database, |app| app).await;
        let (alice, bob) = (notified.app.user(), notified.app.user());
        let new = |of, title: &str| NewNotification::new(user(of), "comment.live", title).key(format!("key/{title}"));
        notified.notify(new(&alice, "sent").tenant(tenant(&alice))).await;
        notified.notify(new(&bob, "paid").tenant(tenant(&alice))).await;
        notified.notify(new(&bob, "of another tenant").tenant(tenant(&bob))).await;
        notified.notify(new(&alice, "of no tenant")).await;

        let exported = notified.app.exported_rows(tenant(&alice)).await;
        let rows = &exported["notifications"];
        let shown: Vec<_> = rows.iter().map(|row| (&row["title"], &row["user_id"])).collect();
        assert_eq!(shown, [(&json!("sent"), &json!(user(&alice))), (&json!("paid"), &json!(user(&bob)))]);
        assert!(rows.iter().all(|row| row.get("key").is_none() && row["data"].is_object()), "{rows:?}");
    }
}
