//! Tests of what a notification becomes: a row, a message to connected clients, a mail.

use omnistack_core::{
    db::ErrorKind,
    id::Id,
    notification::{NewNotification, Notifier},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;
use uuid::Uuid;

use super::{Comments, Directory, MINUTE, PATH, address, new_tenant, start, tenant, titles, unread, user};

on_each_database! {
    async fn a_notification_commits_and_rolls_back_with_the_caller(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        let new = |title: &str| NewNotification::new(user(&ada), "comment.both", title).tenant(tenant(&ada));
        let db = it.app.db();
        let mut tx = db.tenant(tenant(&ada)).begin().await.unwrap();
        it.notifier().notify_in(&mut tx, new("rolled back")).await.unwrap();
        tx.rollback().await.unwrap();
        it.app.run_jobs().await;
        assert_eq!((it.rows().await, it.messages().len(), it.mails(&ada)), (0, 0, 0));

        let mut tx = db.tenant(tenant(&ada)).begin().await.unwrap();
        it.notifier().notify_in(&mut tx, new("tenant")).await.unwrap();
        tx.commit().await.unwrap();
        it.app.clock().advance(MINUTE);
        let mut tx = db.all_tenants().begin().await.unwrap();
        it.notifier().notify_in(&mut tx, new("all")).await.unwrap();
        tx.commit().await.unwrap();
        it.notify(new("none")).await;
        it.app.run_jobs().await;
        assert_eq!(titles(&ada, "").await, ["none", "all", "tenant"]);
        assert_eq!((it.messages().len(), it.mails(&ada)), (3, 3));
    }

    async fn a_live_message_has_the_notification_as_the_list_has_it(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        let new = NewNotification::new(user(&ada), "comment.live", "Bo commented")
            .tenant(tenant(&ada))
            .body("Looks good")
            .link("/projects/42")
            .data(json!({ "project": 42 }));
        it.notify(new).await;
        let page = ada.get(PATH).await.expect(200).json();
        let item = page["items"][0].clone();
        let channel = format!("user:{}", user(&ada));
        let message = json!({ "type": "notification.created", "notification": item });
        assert_eq!(it.messages(), [(channel.clone(), message)]);
        let id = item["id"].as_str().unwrap().to_owned();
        assert_eq!(
            item,
            json!({
                "id": id, "tenant_id": tenant(&ada), "kind": "comment.live", "title": "Bo commented",
                "body": "Looks good", "link": "/projects/42", "data": { "project": 42 },
                "created_at": "2030-01-01T00:00:01Z", "read_at": null,
            })
        );

        let read = ada.post(format!("{PATH}/{id}/read"), json!({})).await.expect(200).json();
        assert_eq!(read["read_at"], "2030-01-01T00:00:01Z");
        it.app.clock().advance(MINUTE);
        let again = ada.post(format!("{PATH}/{id}/read"), json!({})).await.expect(200).json();
        assert_eq!(again, read);
        ada.post(format!("{PATH}/read-all"), json!({})).await.expect(200);
        assert_eq!(it.messages(), [(channel, json!({ "type": "notification.read", "id": id }))]);
    }

    async fn of_notifications_with_one_key_one_is_stored(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let (ada, bo) = (it.app.user(), it.app.user());
        for client in [&ada, &ada, &bo] {
            it.notify(NewNotification::new(user(client), "comment.both", "Hello").key("export-7")).await;
        }
        it.app.run_jobs().await;
        for client in [&ada, &bo] {
            assert_eq!((titles(client, "").await.len(), it.mails(client)), (1, 1));
        }
        assert_eq!(it.messages().len(), 2);
        let other = new_tenant();
        for tenant in [tenant(&ada), tenant(&ada), other, other] {
            let new = NewNotification::new(user(&ada), "comment.live", "Hello").tenant(tenant);
            it.notify(new.key("export-7")).await;
        }
        assert_eq!((it.messages().len(), it.rows().await), (2, 4), "each tenant has its own keys");
    }

    async fn what_is_not_valid_is_refused(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        let new = || NewNotification::new(user(&ada), "comment.live", "Hello").tenant(tenant(&ada));
        for (name, refused) in [
            ("an unknown kind", NewNotification::new(user(&ada), "comment.unknown", "Hello")),
            ("an empty title", NewNotification::new(user(&ada), "comment.live", " ")),
            ("another tenant", new().tenant(new_tenant())),
            ("a script", new().link("javascript:alert(1)")),
            ("a list", new().data(json!([1]))),
        ] {
            let mut tx = it.app.db().tenant(tenant(&ada)).begin().await.unwrap();
            let error = it.notifier().notify_in(&mut tx, refused).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue, "{name}");
        }
        assert_eq!(it.rows().await, 0);
    }

    async fn a_mail_has_the_text_and_the_link(database: TestDatabase) {
        let it = start(database, |app| app.set("PUBLIC_URL", "https://shop.example.com")).await;
        let ada = it.app.user();
        let new = NewNotification::new(user(&ada), "comment.mail", "Bo mentioned\r\nyou").tenant(tenant(&ada));
        it.notify(new.body("@Ada: see this").link("/projects/42")).await;
        it.app.run_jobs().await;
        let mails = it.app.sent_mails().to(&address(user(&ada)));
        let mail = mails.last();
        assert_eq!((mail.subject.as_str(), mail.tenant), ("Bo mentioned  you", Some(tenant(&ada))));
        assert_eq!(mails.link(), "https://shop.example.com/projects/42");
        let text = mail.text.as_deref().unwrap();
        assert!(text.starts_with("@Ada: see this\n\n") && text.contains("“Mentions”"), "{text}");
        assert!(mail.idempotency_key.is_some());
    }

    async fn tenant_databases_leave_their_notifications_to_the_app(database: TestDatabase) {
        let it = start(database.with_tenant_databases(), |app| app).await;
        let ada = it.app.user();
        let new = |title: &str| NewNotification::new(user(&ada), "comment.both", title).tenant(tenant(&ada));
        let mut tx = it.app.db().tenant(tenant(&ada)).begin().await.unwrap();
        it.notifier().notify_in(&mut tx, new("rolled back")).await.unwrap();
        tx.rollback().await.unwrap();
        let mut tx = it.app.db().tenant(tenant(&ada)).begin().await.unwrap();
        it.notifier().notify_in(&mut tx, new("relayed")).await.unwrap();
        tx.commit().await.unwrap();
        it.app.run_jobs().await;
        assert_eq!(titles(&ada, "").await, ["relayed"]);
        assert_eq!((it.messages().len(), it.mails(&ada), it.rows().await), (1, 1, 1));
        let page = ada.get(PATH).await.expect(200).json();
        let id = page["items"][0]["id"].as_str().unwrap();
        ada.post(format!("{PATH}/{id}/read"), json!({})).await.expect(200);
        assert_eq!(unread(&ada).await, 0);
    }

    async fn an_app_without_the_module_stores_none(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Comments(Directory::default()))).await;
        let notifier: Notifier = app.app().context().get().unwrap();
        let mut tx = app.db().begin().await.unwrap();
        let new = NewNotification::new(Id::from_uuid(Uuid::new_v4()), "comment.live", "Hello");
        notifier.notify_in(&mut tx, new).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!notifier.is_enabled());
    }
}
