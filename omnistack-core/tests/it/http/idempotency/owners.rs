//! Tests of the process that owns a request, and of its failures.

use std::time::Duration;

use axum::body::Body;
use omnistack_core::{ShutdownToken, app::App, db::Dialect, idempotency::IdempotencyLayer, identity::Authenticator};
use omnistack_testkit::{TestApp, TestDatabase, TestPostgres, on_each_database};
use tower::ServiceExt as _;

use super::{
    super::support::soon,
    till::{LEASE, TILL, Till, WAIT, answer, count, keyed, open, replayed, send},
};

const MICROSECOND: Duration = Duration::from_micros(1);

on_each_database! {
    async fn of_two_at_once_one_is_carried_out(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        for (round, act) in ["hold", "freeze", "stored"].into_iter().enumerate() {
            let path = format!("{TILL}/{act}");
            let first = send(keyed(&client, &path, "k"));
            till.arrived().await;
            till.forget_looks();
            let others: Vec<_> = (0..4).map(|_| send(keyed(&client, &path, "k"))).collect();
            for _ in &others {
                till.looked().await;
            }
            till.open();
            let first = answer(first).await.expect(201);
            assert!(!replayed(&first), "{act}");
            for other in others {
                let other = answer(other).await.expect(201);
                assert!(replayed(&other), "{act}");
                assert_eq!(other.body, first.body);
            }
            assert_eq!((till.calls(), count(&app, "sales").await), (round + 1, i64::try_from(round + 1).unwrap()));
        }
    }

    async fn many_that_come_together_are_one(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let all: Vec<_> = (0..20).map(|_| send(keyed(&client, format!("{TILL}/sell"), "k"))).collect();
        let mut first = 0;
        for one in all {
            first += usize::from(!replayed(&answer(one).await.expect(201)));
        }
        assert_eq!((first, till.calls(), count(&app, "sales").await), (1, 1, 1));
    }

    async fn who_waits_too_long_is_told_so(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let path = format!("{TILL}/freeze");
        let first = send(keyed(&client, &path, "k"));
        till.arrived().await;
        till.forget_looks();
        let second = send(keyed(&client, &path, "k"));
        till.looked().await;
        app.clock().advance(WAIT);
        let refused = answer(second).await.expect_error(409, "IDEMPOTENCY_IN_PROGRESS");
        // The time is rounded up: by then the request has ended or its lease has expired.
        let left = LEASE.saturating_sub(WAIT).as_secs().to_string();
        assert_eq!((refused.header("retry-after"), replayed(&refused)), (Some(left.as_str()), false));
        // A request with another body fails at once.
        keyed(&client, &path, "k").body("2").await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
        till.open();
        answer(first).await.expect(201);
        assert!(replayed(&keyed(&client, &path, "k").await.expect(201)));
        assert_eq!(till.calls(), 1);
    }

    async fn who_waits_for_one_that_fails_is_carried_out(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let path = format!("{TILL}/freeze");
        app.db().query("alter table sales rename to gone").execute().await.unwrap();
        let first = send(keyed(&client, &path, "k"));
        till.arrived().await;
        till.forget_looks();
        let second = send(keyed(&client, &path, "k"));
        till.looked().await;
        till.open();
        answer(first).await.expect_error(500, "INTERNAL_ERROR");
        till.arrived().await;
        app.db().query("alter table gone rename to sales").execute().await.unwrap();
        till.open();
        assert!(!replayed(&answer(second).await.expect(201)));
        assert_eq!((till.calls(), count(&app, "sales").await), (2, 1));
    }

    async fn a_lease_that_has_ended_is_taken_over_and_its_owner_can_do_no_more(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let postgres = app.db().dialect() == Dialect::Postgres;
        for (act, status, code, both) in [
            ("freeze", 409, "IDEMPOTENCY_IN_PROGRESS", true),
            ("stubborn", 503, "CONCURRENT_UPDATE", true),
            // The effect is in an open transaction. On SQLite no other transaction can write then.
            ("hold", 409, "IDEMPOTENCY_IN_PROGRESS", false),
        ] {
            if !both && !postgres {
                continue;
            }
            let path = format!("{TILL}/{act}");
            let (calls, sales) = (till.calls(), count(&app, "sales").await);
            let frozen = send(keyed(&client, &path, "k"));
            till.arrived().await;
            app.clock().advance(LEASE.saturating_sub(MICROSECOND));
            till.forget_looks();
            let other = send(keyed(&client, &path, "k"));
            till.looked().await;
            assert_eq!(till.calls() - calls, 1, "the lease has not ended");
            app.clock().advance(MICROSECOND);
            till.arrived().await;
            assert_eq!(till.calls() - calls, 2);
            // A request with another fingerprint does not take over the key.
            keyed(&client, &path, "k").body("2").await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
            // The held handlers continue in the order of their arrival.
            till.open();
            answer(frozen).await.expect_error(status, code);
            assert_eq!(count(&app, "sales").await, sales, "what the old owner did is undone");
            till.open();
            assert!(!replayed(&answer(other).await.expect(201)));
            assert!(replayed(&keyed(&client, &path, "k").await));
            assert_eq!((till.calls() - calls, count(&app, "sales").await), (2, sales + 1));
        }
    }

    async fn an_owner_about_to_commit_is_waited_for_even_after_its_lease(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let path = format!("{TILL}/stored");
        let first = send(keyed(&client, &path, "k"));
        till.arrived().await;
        till.forget_looks();
        app.clock().advance(LEASE);
        let second = send(keyed(&client, &path, "k"));
        till.looked().await;
        till.open();
        assert!(!replayed(&answer(first).await.expect(201)));
        assert!(replayed(&answer(second).await.expect(201)));
        assert_eq!((till.calls(), count(&app, "sales").await), (1, 1));
    }

    async fn effect_and_answer_are_one(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        // After the response was stored but before the commit: neither effect nor response is stored, and a retry
        // runs the handler.
        for (act, status) in [("panic", 500), ("forget", 201)] {
            let path = format!("{TILL}/{act}");
            for time in 1..=2 {
                let before = till.calls();
                assert!(!replayed(&keyed(&client, &path, "k").await.expect(status)), "{act}");
                assert_eq!(till.calls() - before, 1, "{act} {time}");
                assert_eq!((count(&app, "sales").await, count(&app, "keys").await), (0, 0), "{act} {time}");
            }
        }
        // After the commit: both are stored, whatever response the first client got.
        let path = format!("{TILL}/panic-after");
        keyed(&client, &path, "k").await.expect_error(500, "INTERNAL_ERROR");
        assert_eq!((count(&app, "sales").await, count(&app, "keys").await), (1, 1));
        assert!(replayed(&keyed(&client, &path, "k").await.expect(201)));
        assert_eq!(count(&app, "sales").await, 1);
    }

    async fn a_client_that_goes_away_finds_its_answer(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        for act in ["hold", "freeze", "stored"] {
            let path = format!("{TILL}/{act}");
            let before = till.calls();
            let gone = send(keyed(&client, &path, "k"));
            till.arrived().await;
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
            till.open();
            assert!(replayed(&keyed(&client, &path, "k").await.expect(201)), "{act}");
            assert_eq!(till.calls() - before, 1, "{act}");
        }
    }

    async fn a_handler_ends_with_its_lease(database: TestDatabase) {
        let (app, till) = open(database, |app| app.set("IDEMPOTENCY_LEASE", "100ms")).await;
        let client = app.user();
        let path = "/api/v1/app/patient/forever";
        for time in 1..=2 {
            keyed(&client, path, "k").await.expect_error(504, "TIMEOUT");
            assert_eq!((till.calls(), count(&app, "keys").await), (time, 0));
        }
    }

    async fn a_lease_is_no_shorter_than_the_time_a_route_has(database: TestDatabase) {
        let (app, till) = open(database, |app| app.set("IDEMPOTENCY_LEASE", "100ms")).await;
        let client = app.user();
        let path = format!("{TILL}/freeze");
        let first = send(keyed(&client, &path, "k"));
        till.arrived().await;
        till.forget_looks();
        app.clock().advance(Duration::from_secs(29));
        let second = send(keyed(&client, &path, "k"));
        till.looked().await;
        // Less than the waiting time, wherever the request is after that lookup.
        app.clock().advance(Duration::from_secs(3));
        // The next lookup is after the 30 s have passed.
        till.arrived().await;
        assert_eq!(till.calls(), 2);
        till.open();
        answer(first).await.expect_error(409, "IDEMPOTENCY_IN_PROGRESS");
        till.open();
        answer(second).await.expect(201);
    }

    async fn replicas_share_their_keys(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let other = replica(&app, &till);
        other.db().observe(till.clone());
        let request = || public("freeze");
        let first = tokio::spawn(app.app().service().oneshot(request()));
        till.arrived().await;
        till.forget_looks();
        let second = tokio::spawn(other.service().oneshot(request()));
        till.looked().await;
        till.open();
        for (answered, replayed) in [(first, false), (second, true)] {
            let answered = soon(answered).await.unwrap().unwrap();
            assert_eq!((answered.status().as_u16(), answered.headers().contains_key("idempotent-replayed")), (201, replayed));
        }
        assert_eq!((till.calls(), count(&app, "sales").await), (1, 1));
    }

    async fn what_a_dead_process_was_at_is_carried_out_when_its_lease_ends(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        // The first round leaves only a claim, the second also an open transaction with an effect.
        for (round, act) in (1..).zip(["freeze", "hold"]) {
            let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let request = public(act);
            let service = {
                let _within = process.enter();
                replica(&app, &till).service()
            };
            drop(process.spawn(service.oneshot(request)));
            till.arrived().await;
            process.shutdown_background();
            let path = format!("{TILL}/sell");
            // Other requests are not affected.
            keyed(&client, &path, act).await.expect(201);
            till.forget_looks();
            let retry = tokio::spawn(app.app().service().oneshot(public(act)));
            till.looked().await;
            app.clock().advance(WAIT);
            assert_eq!(soon(retry).await.unwrap().unwrap().status(), 409);
            app.clock().advance(LEASE);
            let retry = tokio::spawn(app.app().service().oneshot(public(act)));
            till.arrived().await;
            till.open();
            assert_eq!(soon(retry).await.unwrap().unwrap().status(), 201);
            assert_eq!(count(&app, "sales").await, 2 * round);
        }
    }

    async fn what_a_process_known_to_be_dead_was_at_is_carried_out_at_once(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let path = format!("{TILL}/freeze");
        let first = send(keyed(&client, &path, "k"));
        till.arrived().await;
        // As if another process of this machine had claimed the key and been killed.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let (own,): (String,) = app.db().query("select process from omni_idempotency_keys").fetch_one().await.unwrap();
        let parts: Vec<_> = own.rsplitn(3, '/').collect();
        let dead = format!("{}/{}/{}", parts[2], child.id(), parts[0]);
        let another_boot = format!("another/{}/{}", child.id(), parts[0]);
        for (process, is_dead) in [(another_boot, false), (own, false), (dead, true)] {
            let update = app.db().query("update omni_idempotency_keys set process = $1").bind(process.as_str());
            update.execute().await.unwrap();
            till.forget_looks();
            let retry = send(keyed(&client, &path, "k"));
            if is_dead {
                till.arrived().await;
                // The old owner's response is discarded.
                till.open();
                answer(first).await.expect_error(409, "IDEMPOTENCY_IN_PROGRESS");
                till.open();
                answer(retry).await.expect(201);
                break;
            }
            till.looked().await;
            app.clock().advance(WAIT);
            answer(retry).await.expect_error(409, "IDEMPOTENCY_IN_PROGRESS");
        }
        assert_eq!((till.calls(), count(&app, "sales").await), (2, 1));
    }

    async fn the_end_of_the_app_waits_for_requests_without_a_client(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let gone = send(keyed(&client, format!("{TILL}/hold"), "k"));
        till.arrived().await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        let layer: IdempotencyLayer = app.app().context().get().unwrap();
        let shutdown = ShutdownToken::new();
        shutdown.cancel();
        let mut kept = std::pin::pin!(layer.run_sweeper(shutdown));
        assert!(futures_util::FutureExt::now_or_never(kept.as_mut()).is_none());
        till.open();
        soon(kept).await.unwrap();
        assert_eq!((count(&app, "sales").await, count(&app, "keys").await), (1, 1));
    }
}

/// The app's clock does not advance, so no lease expires.
#[tokio::test]
async fn a_key_is_free_as_soon_as_a_database_is_back_that_crashed_under_its_request() {
    let mut server = TestPostgres::start().await;
    let (app, till) =
        open(TestDatabase::sqlite(), |app| app.set("DATABASE_URL", server.url()).set("DATABASE_ACQUIRE_TIMEOUT", "1s"))
            .await;
    let client = app.user();
    let path = format!("{TILL}/hold");
    let first = send(keyed(&client, &path, "k"));
    till.arrived().await;
    server.kill().await;
    till.open();
    answer(first).await.expect_error(503, "DATABASE_UNAVAILABLE");
    server.restart().await;
    let mut retry = send(keyed(&client, &path, "k"));
    tokio::select! { answered = &mut retry => panic!("{:?}", answered.unwrap().json()), () = till.arrived() => {} };
    till.open();
    assert!(!replayed(&answer(retry).await.expect(201)));
    assert_eq!((till.calls(), count(&app, "sales").await), (2, 1));
}

/// Starts another process of the app on the same database.
fn replica(app: &TestApp, till: &Till) -> App {
    let authenticator: Authenticator = app.app().context().get().unwrap();
    let builder = App::builder(app.database().config()).clock(app.clock().clock()).with(till.clone());
    builder.replace(authenticator).build().unwrap()
}

/// Returns a request without credentials.
fn public(act: &str) -> http::Request<Body> {
    let path = format!("{TILL}/{act}").replace("/app/", "/public/");
    http::Request::post(path).header("idempotency-key", "k").body(Body::empty()).unwrap()
}
