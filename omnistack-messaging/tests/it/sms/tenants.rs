//! Tests of the messages of tenants: in databases of their own, and after the tenant was deleted.

use omnistack_core::{
    clock::Timestamp, db::ErrorKind, email::Email, events::TenantDeleted, id::Id, identity::TenantId,
};
use omnistack_messaging::{
    email::{Mail, Outbox},
    sms::{MessageState, SmsOutboxError},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{message, scripted};

async fn messages_of(app: &TestApp, tenant: TenantId) -> Vec<(String,)> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select channel from omni_messages where tenant_id = $1 order by channel";
    tx.query(sql).bind(tenant).fetch_all().await.unwrap()
}

/// Deletes one of two tenants with a mail and a text message each.
async fn delete_a_tenant(database: TestDatabase) {
    let (app, sms, _) = scripted(database, |app| app.with(Mail::default()).set("EMAIL_FROM", "shop@example.com")).await;
    let mail: Outbox = app.app().context().get().unwrap();
    let tenants = [(); 2].map(|()| app.user().identity().unwrap().tenant.unwrap());
    for tenant in tenants {
        sms.send(&message("Hello").for_tenant(tenant)).await.unwrap();
        let hello = Email::to("ada@example.com").subject("Hello").text("Hello.");
        let id = mail.send(&hello.for_tenant(tenant)).await.unwrap();
        assert!(sms.get(id).await.unwrap().is_none(), "a mail is no text message");
    }
    app.run_jobs().await;
    let [gone, kept] = tenants;
    app.events().publish(&TenantDeleted::new(gone)).await.unwrap();
    app.run_events().await;
    app.run_jobs().await;
    assert!(messages_of(&app, gone).await.is_empty());
    assert_eq!(messages_of(&app, kept).await, [("email".to_owned(),), ("sms".to_owned(),)]);
}

on_each_database! {
    async fn a_tenant_database_leaves_its_messages_to_the_app(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database.with_tenant_databases(), |app| app).await;
        let tenant = app.user().identity().unwrap().tenant.unwrap();
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let id = outbox.send_in(&mut tx, &message("Hello").for_tenant(tenant)).await.unwrap();
        let other = message("Hello").for_tenant(Id::new(Timestamp::default()));
        let refused = outbox.send_in(&mut tx, &other).await.unwrap_err();
        assert!(matches!(refused, SmsOutboxError::Database(error) if error.kind() == ErrorKind::InvalidValue));
        assert!(outbox.get(id).await.unwrap().is_none(), "it is not committed");
        tx.commit().await.unwrap();
        app.run_jobs().await;
        let info = outbox.get(id).await.unwrap().unwrap();
        assert_eq!((info.state, info.tenant, provider.offered().len()), (MessageState::Sent, Some(tenant), 1));
    }

    async fn messages_of_a_deleted_tenant_are_deleted(database: TestDatabase) {
        delete_a_tenant(database).await;
    }

    async fn messages_of_a_deleted_tenant_with_its_own_database_are_deleted(database: TestDatabase) {
        delete_a_tenant(database.with_tenant_databases()).await;
    }
}
