//! Tests of mails about notifications in the outbox of the module `Mail`: with suppressed recipients, and with
//! processes that are killed by SIGKILL after each of their statements in turn.

#![cfg(test)]

use std::collections::BTreeSet;

use omnistack_core::{
    async_trait,
    email::{Email, EmailError, EmailProvider, SentMail},
    notification::NewNotification,
};
use omnistack_messaging::email::{Mail, SuppressionReason, Suppressions};
use omnistack_realtime::Realtime;
use omnistack_testkit::{
    TestApp, TestDatabase,
    crash::{CrashChild, CrashCommand},
    on_each_database,
};

use super::{Comments, Directory, MINUTE, address, start, tenant, user};
use crate::replicas::process::TokenCallers;

/// The word that a child prints before the idempotency key of a mail that its provider has accepted.
const ACCEPTED: &str = "accepted ";

/// A provider that prints the keys of the mails that it accepts.
#[derive(Debug)]
struct PrintingProvider;

#[async_trait]
impl EmailProvider for PrintingProvider {
    fn name(&self) -> &'static str {
        "printing"
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        println!("{ACCEPTED}{}", email.idempotency_key.as_deref().unwrap());
        Ok(SentMail::new("printing"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child process of other tests"]
async fn child_that_mails() {
    let Some(child) = CrashChild::from_env() else { return };
    let app = child
        .builder()
        .set("EMAIL_FROM", "shop@example.com")
        .with(TokenCallers::default())
        .with(Mail::default().provider(PrintingProvider))
        .with(Realtime::from_env())
        .with(Comments(Directory::default()))
        .build()
        .unwrap();
    child.kill_after_statement(app.db(), |_| true);
    app.runner().run_until_idle().await.unwrap();
}

/// Returns the states of the mails to an address in the outbox.
async fn outbox(app: &TestApp, address: String) -> Vec<String> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select state from omni_messages where recipients = $1";
    let states: Vec<(String,)> = tx.query(sql).bind(address).fetch_all().await.unwrap();
    states.into_iter().map(|(state,)| state).collect()
}

on_each_database! {
    async fn a_killed_process_loses_and_doubles_no_mail(database: TestDatabase) {
        let it = start(database, |app| app.with(Mail::default())).await;
        let mut deaths = 0;
        loop {
            let ada = it.app.user();
            it.notify(NewNotification::new(user(&ada), "comment.mail", "Hello").tenant(tenant(&ada))).await;
            let child = CrashCommand::new(&it.app, "notifications::outbox::child_that_mails", deaths + 1);
            let end = child.run().await;
            let mut accepted: Vec<_> = end.printed_after(ACCEPTED).map(str::to_owned).collect();
            // Another process goes on, after the lease and the pause of each job that was running.
            for _ in 0..3 {
                it.app.clock().advance(MINUTE);
                it.app.run_jobs().await;
            }
            assert_eq!(outbox(&it.app, address(user(&ada))).await, ["sent"], "after {deaths} statements");
            let here = it.app.sent_mails().to(&address(user(&ada)));
            accepted.extend(here.iter().filter_map(|mail| mail.idempotency_key.clone()));
            // A mail whose process was killed before it stored the provider's response is sent again with its key.
            assert!((1..=2).contains(&accepted.len()), "after {deaths} statements: {accepted:?}");
            assert_eq!(accepted.iter().collect::<BTreeSet<_>>().len(), 1, "{accepted:?}");
            if !end.was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
    }

    async fn a_suppressed_address_gets_no_mail(database: TestDatabase) {
        let it = start(database, |app| app.with(Mail::default())).await;
        let (ada, bo) = (it.app.user(), it.app.user());
        let suppressions: Suppressions = it.app.app().context().get().unwrap();
        let bounced = address(user(&ada)).parse().unwrap();
        suppressions.add(&bounced, SuppressionReason::Bounce, Some("550 no such user")).await.unwrap();
        for client in [&ada, &bo] {
            let new = |kind: &str| NewNotification::new(user(client), kind, "Hello").tenant(tenant(client));
            it.notify(new("comment.mail")).await;
            it.notify(new("comment.live")).await;
        }
        it.app.clock().advance(MINUTE * 31);
        it.send_digests().await;
        assert_eq!((it.mails(&ada), it.mails(&bo)), (0, 2));
        assert_eq!(outbox(&it.app, address(user(&ada))).await, ["skipped", "skipped"]);
        assert_eq!(outbox(&it.app, address(user(&bo))).await, ["sent", "sent"]);
    }
}
