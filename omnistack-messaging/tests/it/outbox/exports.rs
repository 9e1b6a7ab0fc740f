//! Messages and templates in exports of tenants.

use omnistack_core::email::Email;
use omnistack_messaging::email::template::TemplateOverrides;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::scripted;

on_each_database! {
    async fn an_export_has_messages_without_their_contents(database: TestDatabase) {
        let (app, outbox, _) = scripted(database, |app| app).await;
        let tenant = || app.user().identity().unwrap().tenant.unwrap();
        let (ours, other) = (tenant(), tenant());
        let mail = |to: &str| Email::to(to).subject("Your code is 4711").text("The code is 4711.");
        outbox.send(&mail("ada@example.com").for_tenant(ours)).await.unwrap();
        outbox.send(&mail("bob@example.com").for_tenant(other)).await.unwrap();
        outbox.send(&mail("eve@example.com")).await.unwrap();
        let overrides: TemplateOverrides = app.app().context().get().unwrap();
        overrides.save(ours, "footer", "en", "Our footer").await.unwrap();
        overrides.save(other, "footer", "en", "Another footer").await.unwrap();

        let exported = app.exported_rows(ours).await;
        let messages = &exported["messages"];
        assert_eq!((messages.len(), &messages[0]["recipients"]), (1, &json!("ada@example.com")), "{messages:?}");
        assert!(!format!("{messages:?}").contains("4711"), "{messages:?}");
        let templates = &exported["mail-templates"];
        assert_eq!((templates.len(), &templates[0]["source"]), (1, &json!("Our footer")), "{templates:?}");
    }
}
