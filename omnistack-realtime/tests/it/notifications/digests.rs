//! Tests of the mails about unread notifications.

use omnistack_core::notification::NewNotification;
use omnistack_testkit::{TestClient, TestDatabase, on_each_database};
use serde_json::json;

use super::{DAY, MINUTE, PATH, address, new_tenant, set_preferences, start, tenant, titles, user};

on_each_database! {
    async fn unread_notifications_are_sent_as_one_mail_after_a_while(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let (ada, bo) = (it.app.user(), it.app.user());
        it.directory.germans.lock().unwrap().insert(user(&bo));
        let elsewhere = new_tenant();
        let new = |client: &TestClient, title: &str| NewNotification::new(user(client), "comment.live", title);
        it.notify(new(&ada, "first").tenant(tenant(&ada)).link("/projects/1")).await;
        it.notify(new(&ada, "second").tenant(elsewhere)).await;
        it.notify(new(&ada, "seen")).await;
        it.notify(NewNotification::new(user(&ada), "comment.both", "mailed")).await;
        it.notify(new(&bo, "Hallo")).await;
        it.app.run_jobs().await;
        assert_eq!((it.mails(&ada), it.mails(&bo)), (1, 0));
        let page = ada.get(PATH).await.expect(200).json();
        let seen = page["items"].as_array().unwrap().iter().find(|item| item["title"] == "seen").unwrap();
        ada.post(format!("{PATH}/{}/read", seen["id"].as_str().unwrap()), json!({})).await.expect(200);

        it.app.clock().advance(MINUTE * 29);
        it.send_digests().await;
        assert_eq!((it.mails(&ada), it.mails(&bo)), (1, 0));
        it.app.clock().advance(MINUTE);
        it.notify(new(&ada, "third")).await;
        it.send_digests().await;
        it.send_digests().await;
        assert_eq!((it.mails(&ada), it.mails(&bo)), (2, 1));
        let mails = it.app.sent_mails();
        let digest = mails.clone().to(&address(user(&ada))).last().clone();
        assert_eq!(digest.subject, "3 unread notifications at Shop");
        let text = digest.text.unwrap();
        let lines: Vec<&str> = text.lines().skip(2).take(4).collect();
        assert_eq!(lines[..3], ["- third", "- second", "- first"]);
        assert!(lines[3].trim().starts_with("http") && lines[3].ends_with("/projects/1"), "{text}");
        assert_eq!(mails.to(&address(user(&bo))).last().subject, "1 ungelesene Benachrichtigung bei Shop");

        it.app.clock().advance(DAY);
        it.send_digests().await;
        assert_eq!((it.mails(&ada), it.mails(&bo)), (2, 1), "each is mailed once");
    }

    async fn a_digest_lists_the_newest_and_counts_the_others(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        for number in 1..=25 {
            it.notify(NewNotification::new(user(&ada), "comment.live", format!("number {number}"))).await;
        }
        it.app.clock().advance(MINUTE * 31);
        it.send_digests().await;
        let mails = it.app.sent_mails().to(&address(user(&ada)));
        let text = mails.last().text.clone().unwrap();
        assert_eq!((mails.len(), mails.last().subject.as_str()), (1, "25 unread notifications at Shop"));
        assert_eq!(text.matches("- number").count(), 20, "{text}");
        assert!(text.contains("and 5 more"), "{text}");
    }

    async fn digests_can_be_turned_off(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        it.notify(NewNotification::new(user(&ada), "comment.live", "before").tenant(tenant(&ada))).await;
        set_preferences(&ada, false, json!([])).await.expect(200);
        it.notify(NewNotification::new(user(&ada), "comment.live", "after").tenant(tenant(&ada))).await;
        it.app.clock().advance(DAY);
        it.send_digests().await;
        assert_eq!(it.mails(&ada), 0);
    }

    async fn an_app_without_digests_sends_none(database: TestDatabase) {
        let it = start(database, |app| app.set("NOTIFICATIONS_DIGEST_AFTER", "0s")).await;
        let ada = it.app.user();
        it.notify(NewNotification::new(user(&ada), "comment.live", "Hello")).await;
        it.app.clock().advance(DAY);
        it.send_digests().await;
        assert_eq!((it.mails(&ada), titles(&ada, "").await.len()), (0, 1));
    }

    async fn a_former_member_gets_no_mail_about_the_tenant(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        let new = |kind: &str, title: &str| NewNotification::new(user(&ada), kind, title);
        it.notify(new("comment.both", "mailed").tenant(tenant(&ada))).await;
        it.notify(new("comment.live", "secret").tenant(tenant(&ada))).await;
        it.notify(new("comment.live", "own")).await;
        it.directory.former.lock().unwrap().insert((user(&ada), tenant(&ada)));
        it.app.clock().advance(MINUTE * 31);
        it.send_digests().await;
        let mails = it.app.sent_mails().to(&address(user(&ada)));
        assert_eq!((mails.len(), mails.last().subject.as_str()), (1, "1 unread notification at Shop"));
        assert!(!mails.last().text.as_deref().unwrap().contains("secret"));
    }
}
