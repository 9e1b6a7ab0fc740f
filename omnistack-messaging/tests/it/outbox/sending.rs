//! Tests of sending a mail, with working and failing providers.

use std::{collections::BTreeSet, time::Duration};

use omnistack_core::{
    db::Dialect,
    email::{Attachment, EmailErrorKind},
    jobs::{JobFilter, JobState},
};
use omnistack_messaging::email::{MessageState, OutboxError, SendMail};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{SendResult, mail, scripted};

const MINUTE: Duration = Duration::from_secs(60);

on_each_database! {
    async fn an_hour_without_a_provider_loses_nothing_and_sends_nothing_twice(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.down(true);
        let mut ids = Vec::new();
        for minute in 0..60 {
            if minute < 20 {
                ids.push(outbox.send(&mail(&format!("reader{minute}@example.com"))).await.unwrap());
            }
            app.run_jobs().await;
            app.clock().advance(MINUTE);
        }
        assert!(provider.taken().is_empty());
        assert!(provider.offered().len() > 20, "it is tried again all the while");
        provider.down(false);
        for _ in 0..13 {
            app.run_jobs().await;
            app.clock().advance(MINUTE);
        }
        let taken = provider.taken();
        let to: BTreeSet<_> = taken.iter().map(|mail| mail.to[0].mailbox().to_owned()).collect();
        assert_eq!((taken.len(), to.len()), (20, 20), "each once");
        for id in ids {
            let info = outbox.get(id).await.unwrap().unwrap();
            assert_eq!((info.state, info.provider.as_deref()), (MessageState::Sent, Some("scripted")));
            let keys: BTreeSet<_> = provider.offered().iter().filter(|mail| mail.to[0].mailbox() == info.recipients)
                .map(|mail| mail.idempotency_key.clone().unwrap()).collect();
            assert_eq!(keys, [format!("mail-{id}")].into(), "every attempt has the same key");
        }
        let mut tx = app.db().all_tenants().begin_read().await.unwrap();
        let (kept,): (i64,) = tx.query("select count(*) from omni_messages where content is not null")
            .fetch_one().await.unwrap();
        assert_eq!(kept, 0, "what is sent is not kept");
    }

    async fn a_mail_exists_exactly_when_its_transaction_commits(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        let mut tx = app.db().begin().await.unwrap();
        let id = outbox.send_in(&mut tx, &mail("ada@example.com")).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!((app.run_jobs().await, outbox.get(id).await.unwrap()), (0, None));
        let tenant = app.user().identity().unwrap().tenant.unwrap();
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let id = outbox.send_in(&mut tx, &mail("ada@example.com").for_tenant(tenant)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Queued);
        assert_eq!(app.jobs().list(&JobFilter::default(), None, 9).await.unwrap()[0].tenant, Some(tenant));
        assert_eq!(app.run_jobs().await, 1);
        assert_eq!(provider.taken().len(), 1);
        assert_eq!(outbox.get(id).await.unwrap().unwrap().tenant, Some(tenant));
    }

    async fn a_tenant_sees_its_own_mails_alone(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        let [ours, theirs] = [(); 2].map(|()| app.user().identity().unwrap().tenant.unwrap());
        outbox.send(&mail("app@example.com")).await.unwrap();
        for tenant in [ours, theirs] {
            // In a transaction of the tenant, and in one without a tenant.
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            outbox.send_in(&mut tx, &mail("own@example.com").for_tenant(tenant)).await.unwrap();
            outbox.send_in(&mut tx, &mail("app@example.com")).await.unwrap();
            tx.commit().await.unwrap();
            outbox.send(&mail("any@example.com").for_tenant(tenant)).await.unwrap();
        }
        if app.db().dialect() == Dialect::Postgres {
            let count = "select count(*) from omni_messages";
            let (unset,): (i64,) = app.db().query(count).fetch_one().await.unwrap();
            let mut tx = app.db().tenant(ours).begin().await.unwrap();
            let (seen,): (i64,) = tx.query(count).fetch_one().await.unwrap();
            assert_eq!((unset, seen), (0, 2), "a query without its `where`");
            assert_eq!(tx.query("delete from omni_messages").execute().await.unwrap(), 2);
            tx.rollback().await.unwrap();
            // A transaction of one tenant can't send a mail for another tenant.
            let mut tx = app.db().tenant(ours).begin().await.unwrap();
            outbox.send_in(&mut tx, &mail("any@example.com").for_tenant(theirs)).await.unwrap_err();
        }
        app.run_jobs().await;
        assert_eq!(provider.taken().len(), 7, "the worker sends them all");
    }

    async fn an_answer_that_did_not_come_is_asked_for_again_with_the_same_key(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.then([SendResult::AcceptedWithoutResponse]);
        let id = outbox.send(&mail("ada@example.com")).await.unwrap();
        app.run_jobs().await;
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Queued);
        app.clock().advance(MINUTE);
        app.run_jobs().await;
        let keys: BTreeSet<_> = provider.taken().into_iter().map(|mail| mail.idempotency_key).collect();
        assert_eq!((provider.taken().len(), keys.len()), (2, 1), "a provider that knows keys would deliver one");
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Sent);
    }

    async fn a_refusal_is_final_until_somebody_retries(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.then([SendResult::Fail(EmailErrorKind::Refused)]);
        let id = outbox.send(&mail("ada@example.com")).await.unwrap();
        app.run_jobs().await;
        let info = outbox.get(id).await.unwrap().unwrap();
        assert_eq!(info.state, MessageState::Failed);
        assert!(info.reason.unwrap().contains("was refused"));
        app.clock().advance(Duration::from_secs(3600));
        assert_eq!(app.run_jobs().await, 0);
        assert_eq!(app.jobs().retry(&JobFilter::default().state(JobState::Dead)).await.unwrap(), 1);
        app.run_jobs().await;
        assert_eq!((provider.taken().len(), outbox.get(id).await.unwrap().unwrap().state), (1, MessageState::Sent));
        // Run again, as after a crash between sending and committing: the mail is not sent again.
        app.jobs().enqueue(SendMail::new(id)).await.unwrap();
        app.run_jobs().await;
        assert_eq!(provider.taken().len(), 1);
    }

    async fn a_wait_the_provider_names_is_kept(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.then([SendResult::RateLimited(90)]);
        outbox.send(&mail("ada@example.com")).await.unwrap();
        app.run_jobs().await;
        app.clock().advance(Duration::from_secs(89));
        assert_eq!(app.run_jobs().await, 0);
        app.clock().advance(Duration::from_secs(1));
        app.run_jobs().await;
        assert_eq!(provider.taken().len(), 1);
    }

    async fn a_mail_nobody_takes_is_given_up_in_the_end(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app.set("EMAIL_GIVE_UP_AFTER", "2h")).await;
        provider.down(true);
        let id = outbox.send(&mail("ada@example.com")).await.unwrap();
        for _ in 0..13 {
            app.run_jobs().await;
            app.clock().advance(MINUTE * 11);
        }
        let info = outbox.get(id).await.unwrap().unwrap();
        assert_eq!(info.state, MessageState::Failed);
        assert!(info.reason.unwrap().contains("not available"));
        let dead = app.jobs().list(&JobFilter::default().state(JobState::Dead), None, 9).await.unwrap();
        assert_eq!(dead.len(), 1, "and is among the dead letters");
    }

    async fn what_can_not_be_sent_is_said_at_once(database: TestDatabase) {
        let (app, outbox, _) = scripted(database, |app| app).await;
        for wrong in [mail("nobody"), mail("ada@example.com").subject(""), mail("ada@example.com").header("Bcc", "x")] {
            let error = outbox.send(&wrong).await.unwrap_err();
            assert!(matches!(error, OutboxError::Invalid(_)) && !error.is_retryable(), "{error}");
        }
        assert_eq!(app.run_jobs().await, 0);
    }

    async fn a_large_mail_does_not_have_to_fit_in_a_job(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        let file = Attachment::new("report.pdf", "application/pdf", vec![7; 3 << 20]);
        let mail = mail("ada@example.com").text("a NUL: \0").attach(file);
        outbox.send(&mail).await.unwrap();
        app.run_jobs().await;
        let taken = provider.taken().pop().unwrap();
        assert_eq!((taken.attachments, taken.text), (mail.attachments, mail.text));
    }

    async fn what_became_of_old_mails_is_forgotten(database: TestDatabase) {
        let (app, outbox, _) = scripted(database, |app| app.set("EMAIL_KEEP", "24h")).await;
        let id = outbox.send(&mail("ada@example.com")).await.unwrap();
        app.run_jobs().await;
        for (passed, there) in [(Duration::from_secs(23 * 3600), true), (Duration::from_secs(3601), false)] {
            app.clock().advance(passed);
            app.jobs().enqueue(omnistack_messaging::email::PurgeMail::default()).await.unwrap();
            app.run_jobs().await;
            assert_eq!(outbox.get(id).await.unwrap().is_some(), there);
        }
    }
}
