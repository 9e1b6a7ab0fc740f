//! Tests of service health.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic")]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use omnistack_core::{
    BoxError,
    clock::MockClock,
    jobs::{Job, JobContext, JobError},
    module::{Module, Registry},
};
use omnistack_observability::{
    ServiceState::{Degraded, Down, Healthy},
    ServiceStateChanged,
};
use omnistack_testkit::on_each_database;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

const ADMIN: &str = "/api/v1/admin/health";
const STATUS: &str = "/api/v1/public/status";
const INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Behavior of the scripted check.
#[derive(Clone, Default)]
enum Behavior {
    #[default]
    Succeed,
    /// Succeeds after this time on the clock of the app.
    SucceedAfter(Duration, MockClock),
    Fail,
    Hang,
}

/// A module with the service `probe`, whose check the test scripts.
#[derive(Clone, Default)]
struct Probe {
    behavior: Arc<Mutex<Behavior>>,
    runs: Arc<AtomicUsize>,
    /// Whether the check is required for readiness.
    is_critical: bool,
}

impl Probe {
    fn critical() -> Self {
        Self { is_critical: true, ..Self::default() }
    }

    fn set(&self, behavior: Behavior) {
        *self.behavior.lock().unwrap() = behavior;
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        // Lets the other tasks run.
        tokio::task::yield_now().await;
        let behavior = self.behavior.lock().unwrap().clone();
        match behavior {
            Behavior::Succeed => Ok(()),
            Behavior::SucceedAfter(time, clock) => {
                clock.advance(time);
                Ok(())
            }
            Behavior::Fail => Err("the cause: swordfish".into()),
            Behavior::Hang => pending().await,
        }
    }
}

impl Module for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn register(&self, registry: &mut Registry) {
        let probe = self.clone();
        let check = move || {
            let probe = probe.clone();
            async move { probe.check().await }
        };
        if self.is_critical {
            registry.health("probe", |_| Ok(check));
        } else {
            registry.service_check("probe", |_| Ok(check));
        }
    }
}

/// The job of service health, by its name. The app's own handler runs it.
#[derive(Serialize, Deserialize)]
struct CheckServices {}

#[async_trait]
impl Job for CheckServices {
    const NAME: &'static str = "observability.check_services";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

async fn started(database: TestDatabase, probe: &Probe) -> TestApp {
    start(database, |app| app.with(probe.clone())).await
}

/// Runs the job of service health, as a tick of its schedule does.
pub(super) async fn run_checks(app: &TestApp) {
    app.jobs().enqueue(CheckServices {}).await.unwrap();
    assert_eq!(app.run_jobs().await, 1);
}

/// Returns the entry of the probe in a list of services.
fn probe_in(list: &Value) -> Value {
    let services = list["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == "probe").cloned().unwrap()
}

async fn report(app: &TestApp) -> Value {
    probe_in(&app.operator().get(ADMIN).await.expect(200).json())
}

async fn health(client: &TestClient) -> Value {
    client.get("/api/v1/app/services/probe/health").await.expect(200).json()
}

on_each_database! {
    async fn a_service_is_in_every_route(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        let none = json!({"last_24h": null, "last_7d": null, "last_30d": null});
        let unchecked = json!({
            "name": "probe", "critical": false, "state": null, "since": null, "checked_at": null, "response_ms": null,
            "error": null, "uptime": none,
        });
        assert_eq!(report(&app).await, unchecked);
        let status = app.anonymous().get(STATUS).await.expect(200).json();
        assert_eq!((&status["state"], probe_in(&status)), (&json!("healthy"), json!({"name": "probe", "state": null})));

        run_checks(&app).await;
        let now = "2030-01-01T00:00:00Z";
        let all = json!({"last_24h": 1.0, "last_7d": 1.0, "last_30d": 1.0});
        let healthy = json!({
            "name": "probe", "critical": false, "state": "healthy", "since": now, "checked_at": now,
            "response_ms": 0.0, "error": null, "uptime": all,
        });
        assert_eq!(report(&app).await, healthy);
        let list = app.operator().get(ADMIN).await.expect(200).json();
        let names: Vec<_> = list["services"].as_array().unwrap().iter().map(|service| &service["name"]).collect();
        assert_eq!(names, ["database", "database-writes", "probe"]);
        assert_eq!(list["state"], "healthy");
        assert!(list["services"][0]["critical"] == true && list["services"][0]["state"] == "healthy", "{list}");

        let mut details = healthy.clone();
        let result = json!({"number": 1, "at": now, "state": "healthy", "response_ms": 0.0, "error": null});
        details["history"] = json!([result]);
        assert_eq!(app.operator().get(format!("{ADMIN}/probe")).await.expect(200).json(), details);
        let shown = json!({"name": "probe", "state": "healthy", "response_ms": 0.0, "checked_at": now});
        assert_eq!(health(&app.user()).await, shown);
        let status = app.anonymous().get(STATUS).await.expect(200).json();
        assert_eq!(probe_in(&status), json!({"name": "probe", "state": "healthy"}));
        assert_eq!(probe.runs(), 1);
    }

    async fn two_failures_are_an_outage_and_two_successes_end_it(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        let mut changes = app.events().subscribe::<ServiceStateChanged>();
        let script = [
            (Behavior::Succeed, "healthy"),
            (Behavior::Fail, "degraded"),
            (Behavior::Fail, "down"),
            (Behavior::Succeed, "down"),
            (Behavior::Succeed, "healthy"),
            (Behavior::Fail, "degraded"),
            (Behavior::Succeed, "healthy"),
        ];
        for (behavior, state) in script {
            probe.set(behavior);
            run_checks(&app).await;
            assert_eq!(report(&app).await["state"], state);
            app.clock().advance(INTERVAL);
        }
        let mut seen = Vec::new();
        while let Ok(change) = changes.try_recv() {
            assert_eq!((change.service.as_str(), change.error.is_some()), ("probe", change.to != Healthy));
            seen.push((change.from, change.to));
        }
        let expected =
            [(Healthy, Degraded), (Degraded, Down), (Down, Healthy), (Healthy, Degraded), (Degraded, Healthy)];
        assert_eq!(seen, expected);

        let uptime = report(&app).await["uptime"].clone();
        assert_eq!(uptime, json!({"last_24h": 0.5714, "last_7d": 0.5714, "last_30d": 0.5714}));
        app.clock().advance(Duration::from_secs(24 * 60 * 60));
        let uptime = report(&app).await["uptime"].clone();
        assert_eq!(uptime, json!({"last_24h": null, "last_7d": 0.5714, "last_30d": 0.5714}));
    }

    async fn a_slow_service_is_degraded(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        probe.set(Behavior::SucceedAfter(Duration::from_millis(2500), app.clock().clone()));
        run_checks(&app).await;
        let slow = report(&app).await;
        assert_eq!((&slow["state"], &slow["response_ms"]), (&json!("degraded"), &json!(2500.0)));
        assert!(slow["error"].is_null(), "{slow}");
        probe.set(Behavior::SucceedAfter(Duration::from_millis(1999), app.clock().clone()));
        run_checks(&app).await;
        assert_eq!(report(&app).await["state"], "healthy");
    }

    async fn a_check_that_hangs_fails_at_its_deadline(database: TestDatabase) {
        let probe = Probe::default();
        let app = start(database, |app| app.with(probe.clone()).set("SERVICES_CHECK_TIMEOUT", "20ms")).await;
        probe.set(Behavior::Hang);
        run_checks(&app).await;
        let hanging = report(&app).await;
        assert_eq!((&hanging["state"], &hanging["error"]), (&json!("degraded"), &json!("no result within 20ms")));
    }

    async fn a_stale_result_is_renewed_once_for_all_callers(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        let client = app.user();
        let ten = || join_all((0..10).map(|_| health(&client)));
        // The service was never checked.
        assert!(ten().await.iter().all(|health| health["state"] == "healthy"));
        assert_eq!(probe.runs(), 1);

        app.clock().advance(2 * INTERVAL);
        probe.set(Behavior::Fail);
        assert!(ten().await.iter().all(|health| health["state"] == "healthy"));
        assert_eq!(probe.runs(), 1, "a result of ten minutes is not stale");

        app.clock().advance(Duration::from_secs(1));
        assert!(ten().await.iter().all(|health| health["state"] == "degraded"));
        assert_eq!(probe.runs(), 2);
        assert_eq!(health(&client).await["checked_at"], "2030-01-01T00:10:01Z");
    }

    async fn callers_are_limited(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        let client = app.user();
        for _ in 0..60 {
            health(&client).await;
        }
        client.get("/api/v1/app/services/probe/health").await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(probe.runs(), 1);
        health(&app.user()).await;
    }

    async fn an_operator_checks_now(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        let (operator, path) = (app.operator(), format!("{ADMIN}/probe/check"));
        assert_eq!(operator.post(&path, json!({})).await.expect(200).json()["state"], "healthy");
        probe.set(Behavior::Fail);
        assert_eq!(operator.post(&path, json!({})).await.expect(200).json()["state"], "healthy");
        assert_eq!(probe.runs(), 1, "requests within five seconds share one check");
        app.clock().advance(Duration::from_secs(6));
        let failed = operator.post(&path, json!({})).await.expect(200).json();
        assert_eq!((&failed["state"], &failed["error"]), (&json!("degraded"), &json!("the cause: swordfish")));
        assert_eq!((probe.runs(), &failed["uptime"]["last_24h"]), (2, &json!(0.5)));

        for path in [format!("{ADMIN}/nothing"), format!("{ADMIN}/nothing/history")] {
            operator.get(path).await.expect_error(404, "NOT_FOUND");
        }
        operator.post(format!("{ADMIN}/nothing/check"), json!({})).await.expect_error(404, "NOT_FOUND");
        app.user().get("/api/v1/app/services/nothing/health").await.expect_error(404, "NOT_FOUND");
        app.user().post(&path, json!({})).await.expect_error(403, "FORBIDDEN");
        app.user().get(ADMIN).await.expect_error(403, "FORBIDDEN");
        app.anonymous().get("/api/v1/app/services/probe/health").await.expect_error(401, "UNAUTHORIZED");
    }

    async fn the_public_status_has_only_states(database: TestDatabase) {
        let probe = Probe::critical();
        let app = started(database, &probe).await;
        probe.set(Behavior::Fail);
        for (checks, state) in [(1, "degraded"), (2, "down")] {
            run_checks(&app).await;
            assert_eq!(probe.runs(), checks);
            let status = app.anonymous().get(STATUS).await.expect(200);
            let body = status.json();
            assert_eq!((&body["state"], probe_in(&body)), (&json!(state), json!({"name": "probe", "state": state})));
            let text = status.text();
            assert!(!text.contains("swordfish") && !text.contains("response_ms"), "{text}");
        }
        assert_eq!(report(&app).await["critical"], true);
    }

    async fn a_service_that_is_not_critical_only_degrades_the_app(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        probe.set(Behavior::Fail);
        run_checks(&app).await;
        run_checks(&app).await;
        let status = app.anonymous().get(STATUS).await.expect(200).json();
        assert_eq!((&status["state"], &probe_in(&status)["state"]), (&json!("degraded"), &json!("down")));
        // Readiness does not run the check.
        let ready = app.anonymous().get("/health/ready").await.expect(200);
        assert!(ready.json()["status"] == "ok" && !ready.text().contains("probe"), "{}", ready.text());
        assert_eq!(probe.runs(), 2);
    }

    async fn the_history_has_pages_and_an_end(database: TestDatabase) {
        let probe = Probe::default();
        let app = start(database, |app| app.with(probe.clone()).set("SERVICES_KEEP", "1d")).await;
        for _ in 0..3 {
            run_checks(&app).await;
            app.clock().advance(INTERVAL);
        }
        let (operator, path) = (app.operator(), format!("{ADMIN}/probe/history"));
        let numbers = |page: &Value| -> Vec<i64> {
            page["items"].as_array().unwrap().iter().map(|result| result["number"].as_i64().unwrap()).collect()
        };
        let first = operator.get(format!("{path}?limit=2")).await.expect(200).json();
        assert_eq!(numbers(&first), [3, 2]);
        let cursor = first["next_cursor"].as_str().unwrap();
        let last = operator.get(format!("{path}?limit=2&cursor={cursor}")).await.expect(200).json();
        assert_eq!((numbers(&last), &last["next_cursor"]), (vec![1], &json!(null)));
        for query in ["cursor=x", "limit=0", "limit=101", "page=1"] {
            operator.get(format!("{path}?{query}")).await.expect_error(422, "VALIDATION_FAILED");
        }

        app.clock().advance(Duration::from_secs(24 * 60 * 60));
        run_checks(&app).await;
        assert_eq!(numbers(&operator.get(&path).await.expect(200).json()), [4]);
    }

    async fn states_and_durations_are_metrics(database: TestDatabase) {
        let probe = Probe::default();
        let app = started(database, &probe).await;
        probe.set(Behavior::Fail);
        let labels = [("service", "probe")];
        for (checks, up) in [(1.0, 0.5), (2.0, 0.0)] {
            run_checks(&app).await;
            let metrics = Metrics::read(&app.anonymous()).await;
            assert_eq!(metrics.value("service_up", &labels), Some(up));
            assert_eq!(metrics.value("service_check_duration_seconds", &labels), Some(checks));
        }
    }

    async fn the_checks_run_every_five_minutes(database: TestDatabase) {
        let app = started(database, &Probe::default()).await;
        let crons = app.app().runner().crons();
        let cron = crons.into_iter().find(|cron| cron.name == CheckServices::NAME).unwrap();
        let next = cron.next.unwrap();
        let now = app.clock().clock().now();
        assert!(next > now && next.duration_since(now) <= INTERVAL, "{next}");
        app.clock().set(next);
        let crons = app.app().runner().crons();
        let cron = crons.into_iter().find(|cron| cron.name == CheckServices::NAME).unwrap();
        assert_eq!(cron.next.unwrap().duration_since(next), INTERVAL);
    }
}
