//! Tests of flags with several replicas on one database, and with the database down.

use std::time::Duration;

use omnistack_core::{ShutdownToken, app::App, pubsub::PubSub};
use omnistack_flags::{EvaluationContext, FeatureFlags, FlagDefinition, Flags};
use omnistack_testkit::{TestApp, TestDatabase, TestPostgres, TestRedis, on_each_database};
use tokio::{task::JoinHandle, time::timeout};

use super::{APP, app as start, flags, operator};

/// Starts a second app on the same database.
fn replica(app: &TestApp, settings: &[(&str, &str)], publisher: Option<PubSub>) -> Flags {
    let builder = App::builder(app.database().config()).clock(app.clock().clock()).with(FeatureFlags::default());
    let builder = settings.iter().fold(builder, |app, (name, value)| app.set(*name, *value));
    let builder = builder.with(omnistack_core::app::DevIdentity::default());
    let builder = match publisher {
        Some(publisher) => builder.replace(publisher),
        None => builder,
    };
    let other = builder.build().unwrap();
    other.context().get().unwrap()
}

fn follow(flags: &Flags) -> (ShutdownToken, JoinHandle<()>) {
    let (flags, shutdown) = (flags.clone(), ShutdownToken::new());
    let asked = shutdown.clone();
    (shutdown, tokio::spawn(async move { flags.follow(asked).await.unwrap() }))
}

/// Waits until a revision is in force, at most `within`.
async fn reaches(flags: &Flags, revision: i64, within: Duration) {
    let mut revisions = flags.subscribe_revisions();
    let waited = timeout(within, revisions.wait_for(|known| *known >= revision)).await;
    waited.unwrap_or_else(|_| panic!("revision {revision} is not in force after {within:?}")).unwrap();
}

async fn tells(one: &Flags, other: &Flags) {
    let following = follow(other);
    let mut revision = 0;
    for (key, turn) in [("a", 1), ("b", 2), ("c", 3)] {
        one.create(FlagDefinition::new(key), &operator()).await.unwrap();
        revision = turn;
        reaches(other, revision, Duration::from_secs(if turn == 1 { 5 } else { 1 })).await;
        assert!(other.is_on(key, &other.context()));
    }
    one.set_kill_switch("a", true, &operator()).await.unwrap();
    reaches(other, revision + 1, Duration::from_secs(1)).await;
    assert!(!other.is_on("a", &other.context()));
    following.0.cancel();
    timeout(Duration::from_secs(5), following.1).await.unwrap().unwrap();
}

on_each_database! {
    async fn a_change_reaches_the_other_replica_in_this_process(database: TestDatabase) {
        let publisher = PubSub::default();
        let shared = publisher.clone();
        let app = start(database, |app| app.replace(shared).set("FLAGS_POLL", "1h")).await;
        let other = replica(&app, &[("FLAGS_POLL", "1h")], Some(publisher));
        tells(&flags(&app), &other).await;
    }

    async fn a_change_nobody_told_of_is_found(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let other = replica(&app, &[("FLAGS_POLL", "20ms")], None);
        let following = follow(&other);
        flags(&app).create(FlagDefinition::new("a"), &operator()).await.unwrap();
        reaches(&other, 1, Duration::from_secs(5)).await;
        following.0.cancel();
    }

    async fn what_cannot_be_read_is_off_and_the_rest_stays(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let flags = flags(&app);
        for key in ["a", "b"] {
            flags.create(FlagDefinition::new(key), &operator()).await.unwrap();
        }
        app.db().query("update omni_flags set definition = '{\"key\":\"a\",\"later\":1}' where key = 'a'").execute().await.unwrap();
        app.db().query("update omni_flag_state set revision = 99").execute().await.unwrap();
        flags.refresh().await.unwrap();
        let context = flags.context();
        assert_eq!(flags.evaluate("a", &context).reason, omnistack_flags::FlagReason::Broken);
        assert!(flags.is_on("b", &context));
        flags.create(FlagDefinition::new("c"), &operator()).await.unwrap();
        assert_eq!(flags.snapshot().revision(), 100);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_the_other_replica_over_redis() {
    let server = TestRedis::start().await;
    let url = server.url();
    let settings = [("REDIS_URL", url.as_str()), ("REDIS_PREFIX", "flags"), ("FLAGS_POLL", "1h")];
    let app =
        start(TestDatabase::postgres(), |app| settings.iter().fold(app, |app, (name, value)| app.set(*name, *value)))
            .await;
    let other = replica(&app, &settings, None);
    tells(&flags(&app), &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_the_last_state_stays() {
    let mut server = TestPostgres::start().await;
    let app = start(TestDatabase::sqlite(), |app| {
        app.set("DATABASE_URL", server.url()).set("DATABASE_ACQUIRE_TIMEOUT", "300ms").set("FLAGS_POLL", "50ms")
    })
    .await;
    let flags = flags(&app);
    flags.create(FlagDefinition::new("a"), &operator()).await.unwrap();
    let following = follow(&flags);
    server.kill().await;
    assert!(flags.refresh().await.is_err());
    let context = EvaluationContext::at("2030-01-01T00:00:00Z".parse().unwrap());
    assert!(flags.is_on("a", &context));
    let refused = flags.set_kill_switch("a", true, &operator()).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    assert!(flags.is_on("a", &context), "what is not stored is not in force");
    let caller = app.user();
    assert_eq!(caller.get(format!("{APP}/a")).await.expect(200).json()["enabled"], true);
    server.restart().await;
    // Another replica changes the flags, and this one polls the change.
    let sql = "update omni_flag_state set revision = 2";
    timeout(Duration::from_secs(20), async { while app.db().query(sql).execute().await.is_err() {} }).await.unwrap();
    reaches(&flags, 2, Duration::from_secs(10)).await;
    assert!(flags.is_on("a", &context));
    following.0.cancel();
}
