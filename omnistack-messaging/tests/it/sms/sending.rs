//! Tests of messages sent by jobs, at most once.

use std::time::Duration;

use omnistack_core::id::Id;
use omnistack_messaging::sms::{
    MessageState, PurgeSms, SmsErrorKind, SmsOutboxError, SmsSuppressions, SuppressionReason,
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{SmsSendResult, TO, message, scripted};

on_each_database! {
    async fn a_message_is_sent_when_its_transaction_commits(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        let mut tx = app.db().begin().await.unwrap();
        let undone = outbox.send_in(&mut tx, &message("never")).await.unwrap();
        tx.rollback().await.unwrap();
        let mut tx = app.db().begin().await.unwrap();
        let id = outbox.send_in(&mut tx, &message("Hello")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Queued);
        assert_eq!(app.run_jobs().await, 1);
        let offered = provider.offered();
        assert_eq!((offered.len(), offered[0].text.as_str(), offered[0].to.as_str()), (1, "Hello", TO));
        let info = outbox.get(id).await.unwrap().unwrap();
        assert_eq!((info.state, info.provider_id.as_deref(), info.segments), (MessageState::Sent, Some("1"), Some(1)));
        assert_eq!((info.recipients.as_str(), info.reason), (TO, None));
        assert!(outbox.get(undone).await.unwrap().is_none());
        let (kept,): (Option<String>,) = app.db().all_tenants().begin().await.unwrap()
            .query("select content from omni_messages where id = $1").bind(id).fetch_one().await.unwrap();
        assert_eq!(kept, None, "the text is not kept");
    }

    async fn what_was_certainly_not_taken_is_tried_again(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.then([SmsSendResult::Fail(SmsErrorKind::Unavailable), SmsSendResult::Fail(SmsErrorKind::Configuration), SmsSendResult::RateLimited(60)]);
        let id = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        for (wait, offered) in [(7, 2), (13, 3), (59, 3), (2, 4), (3600, 4)] {
            app.clock().advance(Duration::from_secs(wait));
            app.run_jobs().await;
            assert_eq!(provider.offered().len(), offered, "after {wait} s more");
        }
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Sent);
    }

    async fn what_nobody_takes_is_given_up(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app.set("SMS_GIVE_UP_AFTER", "1h")).await;
        provider.then([SmsSendResult::Fail(SmsErrorKind::Unavailable); 100]);
        let id = outbox.send(&message("Hello")).await.unwrap();
        for _ in 0..10 {
            app.run_jobs().await;
            app.clock().advance(Duration::from_secs(720));
        }
        let info = outbox.get(id).await.unwrap().unwrap();
        assert_eq!(info.state, MessageState::Failed);
        assert!(info.reason.unwrap().contains("not available"));
        assert!(provider.offered().len() < 10);
    }

    async fn what_may_have_been_taken_is_not_sent_again(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.then([SmsSendResult::Fail(SmsErrorKind::Unknown)]);
        let id = outbox.send(&message("Hello")).await.unwrap();
        for _ in 0..5 {
            app.run_jobs().await;
            app.clock().advance(Duration::from_secs(3600));
        }
        assert_eq!(provider.offered().len(), 1);
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Unknown);
    }

    async fn an_attempt_that_ended_without_a_word_is_not_made_again(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.then([SmsSendResult::Hang]);
        let id = outbox.send(&message("Hello")).await.unwrap();
        // The attempt ends during the call, as if its process died.
        let runner = app.app().runner();
        let asked = async {
            while provider.offered().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = runner.run_until_idle() => panic!("it ended: {ended:?}"),
            () = asked => {}
        }
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Sending);
        app.jobs().enqueue(omnistack_messaging::sms::SendSms::new(id)).await.unwrap();
        app.run_jobs().await;
        assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Unknown);
        assert_eq!(provider.offered().len(), 1);
    }

    async fn refusals_are_final_and_owners_are_heeded(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        provider.then([SmsSendResult::Fail(SmsErrorKind::Refused), SmsSendResult::Fail(SmsErrorKind::OptedOut)]);
        let mut states = Vec::new();
        for _ in 0..3 {
            let id = outbox.send(&message("Hello")).await.unwrap();
            app.run_jobs().await;
            states.push(outbox.get(id).await.unwrap().unwrap().state);
        }
        assert_eq!(states, [MessageState::Failed, MessageState::Skipped, MessageState::Skipped]);
        assert_eq!(provider.offered().len(), 2, "the third was not offered");
        let suppressions: SmsSuppressions = app.app().context().get().unwrap();
        let number = TO.parse().unwrap();
        assert_eq!(suppressions.get(&number).await.unwrap().unwrap().reason, SuppressionReason::OptOut);
        assert!(suppressions.remove(&number).await.unwrap());
        outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        assert_eq!(provider.offered().len(), 3);
    }

    async fn what_nobody_can_send_is_refused_at_once(database: TestDatabase) {
        let (app, outbox, _) = scripted(database, |app| app).await;
        for text in ["", "\0", &"a".repeat(613)] {
            let refused = outbox.send(&message(text)).await.unwrap_err();
            assert!(matches!(refused, SmsOutboxError::Invalid(_)) && !refused.is_retryable());
        }
        assert_eq!(app.run_jobs().await, 0);
    }

    async fn a_tenant_sees_the_messages_of_its_own(database: TestDatabase) {
        let (app, outbox, _) = scripted(database, |app| app).await;
        let (ours, theirs) = (Id::new("2030-01-01T00:00:00Z".parse().unwrap()), Id::new("2030-01-01T00:00:00Z".parse().unwrap()));
        for tenant in [ours, theirs] {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            outbox.send_in(&mut tx, &message("Hello").for_tenant(tenant)).await.unwrap();
            tx.commit().await.unwrap();
        }
        outbox.send(&message("Hello")).await.unwrap();
        assert_eq!(app.run_jobs().await, 3);
        if app.db().dialect() == omnistack_core::db::Dialect::Postgres {
            let mut tx = app.db().tenant(ours).begin().await.unwrap();
            let (count,): (i64,) = tx.query("select count(*) from omni_messages").fetch_one().await.unwrap();
            assert_eq!(count, 1);
        }
    }

    async fn old_messages_are_forgotten(database: TestDatabase) {
        let (app, outbox, _) = scripted(database, |app| app.set("SMS_KEEP", "10h")).await;
        let id = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        for (hours, left) in [(9, true), (2, false)] {
            app.clock().advance(Duration::from_secs(hours * 3600));
            app.jobs().enqueue(PurgeSms::default()).await.unwrap();
            app.run_jobs().await;
            assert_eq!(outbox.get(id).await.unwrap().is_some(), left);
        }
    }
}
