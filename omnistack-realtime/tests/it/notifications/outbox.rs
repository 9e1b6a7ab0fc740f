//! Tests of mails about notifications in the outbox of the module `Mail`: with suppressed recipients, and with
//! processes that are killed by SIGKILL after each of their statements in turn.

#![cfg(test)]

use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use omnistack_core::{
    app::App,
    async_trait,
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
    email::{Email, EmailError, EmailProvider, SentMail},
    notification::NewNotification,
};
use omnistack_messaging::email::{Mail, SuppressionReason, Suppressions};
use omnistack_realtime::Realtime;
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{Comments, Directory, MINUTE, address, start, tenant, user};
use crate::replicas::process::TokenCallers;

/// The variables by which a child gets the URL of the database, the time of its clock, and the statement after which it
/// is killed.
const URL: &str = "NOTIFICATION_CRASH_URL";
const CLOCK: &str = "NOTIFICATION_CRASH_CLOCK";
const STATEMENT: &str = "NOTIFICATION_CRASH_STATEMENT";
/// The word that a child prints before the idempotency key of a mail that its provider has accepted.
const ACCEPTED: &str = "accepted ";

/// A query observer that kills its process at the end of the n-th statement.
struct KillAfter(AtomicUsize);

impl QueryObserver for KillAfter {
    fn observe(&self, _: QueryEvent<'_>) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
            loop {
                std::thread::park();
            }
        }
    }
}

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

fn variable(name: &str) -> Option<String> {
    Config::from_env().get(name).map(|(value, _)| value.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of other tests here"]
async fn child_that_mails() {
    let Some(url) = variable(URL) else { return };
    let config = Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_SYNCHRONOUS", "off"),
        ("EMAIL_FROM", "shop@example.com"),
    ]);
    let clock = MockClock::at(Timestamp::from_micros(variable(CLOCK).unwrap().parse().unwrap())).clock();
    let app = App::builder(config)
        .clock(clock)
        .with(TokenCallers::default())
        .with(Mail::default().provider(PrintingProvider))
        .with(Realtime::from_env())
        .with(Comments(Directory::default()))
        .build()
        .unwrap();
    app.db().observe(KillAfter(AtomicUsize::new(variable(STATEMENT).unwrap().parse().unwrap())));
    app.runner().run_until_idle().await.unwrap();
}

/// The end of a child process.
struct ChildEnd {
    was_killed: bool,
    /// The idempotency keys of the mails that its provider has accepted.
    accepted: Vec<String>,
}

/// Runs a child to its end.
async fn run(app: &TestApp, statement: usize) -> ChildEnd {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "notifications::outbox::child_that_mails", "--ignored", "--nocapture"]);
    command.env(URL, app.database().url()).env(STATEMENT, statement.to_string());
    command.env(CLOCK, app.clock().clock().now().as_micros().to_string());
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = tokio::time::timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = ended.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{status}\n{stdout}\n{stderr}");
    // The test harness may have begun the line.
    let accepted = stdout.lines().filter_map(|line| Some(line.split_once(ACCEPTED)?.1.to_owned())).collect();
    ChildEnd { was_killed: !status.success(), accepted }
}

/// Waits until PostgreSQL has ended the transactions of the killed process.
async fn wait_for_closed_sessions(app: &TestApp) {
    if app.db().dialect() == Dialect::Sqlite {
        return;
    }
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null";
    let look = async {
        while app.db().query(open).fetch_one::<(i64,)>().await.unwrap().0 > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), look).await.expect("the transactions end");
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
            let ChildEnd { was_killed, mut accepted } = run(&it.app, deaths + 1).await;
            wait_for_closed_sessions(&it.app).await;
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
            if !was_killed {
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
