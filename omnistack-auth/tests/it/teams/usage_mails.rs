//! Tests of the mails to owners about usage.

use omnistack_auth::Auth;
use omnistack_core::{
    usage::{DataEnvironment, UsageSink},
    usage_threshold::UsageThresholdReached,
    webhook::WebhookEvent as _,
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::Team;
use crate::support::start_app;

on_each_database! {
    async fn owners_get_a_mail_when_usage_reaches_a_threshold(database: TestDatabase) {
        let (app, outbox) = start_app(database, |app| app.with(Auth::built_in()).replace(UsageSink::default())).await;
        let team = Team::in_app(app, outbox).await;
        let mut event = UsageThresholdReached::example();
        event.tenant = team.id;
        for (environment, threshold, mails) in
            [(DataEnvironment::Live, 80, 1), (DataEnvironment::Live, 100, 1), (DataEnvironment::Test, 80, 0)]
        {
            (event.environment, event.threshold) = (environment, threshold);
            team.app.events().publish(&event).await.unwrap();
            team.app.run_events().await;
            team.app.run_jobs().await;
            let sent = team.outbox.take();
            assert_eq!(sent.len(), mails, "{environment} {threshold}");
            for mail in sent {
                let subject = format!("{threshold} % of {} are used", event.meter);
                assert_eq!((mail.to[0].mailbox(), mail.subject), ("owner@example.com", subject));
                let text = mail.text.unwrap();
                for part in ["Acme", &event.used.to_string(), &event.limit.to_string(), "http://127.0.0.1:8080"] {
                    assert!(text.contains(part), "{part} is not in {text}");
                }
            }
        }
    }
}
