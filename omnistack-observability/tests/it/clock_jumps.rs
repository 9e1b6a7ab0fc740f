//! Tests of a wall clock that jumps: an hour back, and days forward.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{
    clock::MockClock,
    error_event::{ErrorEvent, ErrorObserver as _, ErrorOrigin},
    http::{Rate, RateLimiter},
};
use omnistack_observability::ErrorRecorder;
use omnistack_testkit::on_each_database;
use serde_json::{Value, json};

use super::{counts::count, services::run_checks, *};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const REPORTS: [&str; 9] = [
    "/api/v1/admin/errors/stats",
    "/api/v1/admin/errors/groups",
    "/api/v1/admin/errors/trends",
    "/api/v1/admin/errors/analysis",
    "/api/v1/admin/health",
    "/api/v1/admin/dashboard/stats",
    "/api/v1/admin/dashboard/users/growth?period=7d",
    "/api/v1/admin/dashboard/jobs",
    "/api/v1/admin/dashboard/subscriptions",
];

/// Returns whether a number in a JSON value is negative.
fn has_negative(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number < 0.0),
        Value::Array(items) => items.iter().any(has_negative),
        Value::Object(fields) => fields.values().any(has_negative),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

on_each_database! {
    async fn counts_and_states_survive_a_clock_that_jumps(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let recorder: ErrorRecorder = app.app().context().get().unwrap();
        let began = app.clock().clock().now();
        let mut recorded = 0;
        for now in [began, began - HOUR, began + DAY, began + DAY - HOUR, began + 2 * DAY] {
            app.clock().set(now);
            for _ in 0..60 {
                let origin = ErrorOrigin::Job { name: "ship", last: false };
                recorder.observe(&ErrorEvent::new(now, origin, "JOB_FAILED", "the parcel is lost"));
                recorded += 1;
            }
            recorder.flush().await.unwrap();
            run_checks(&app).await;
            count(&app).await;
            for report in REPORTS {
                let body = app.operator().get(report).await.expect(200).json();
                assert!(!has_negative(&body), "{report} at {now}: {body}");
            }
            let health = app.operator().get("/api/v1/admin/health").await.expect(200).json();
            assert_eq!(health["state"], "healthy", "{health}");
            let metrics = Metrics::read(&app.anonymous()).await;
            let samples = metrics.0.lines().filter(|line| !line.starts_with('#'));
            let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            let negative: Vec<_> = samples.filter(|line| value(line).is_some_and(|value| value < 0.0)).collect();
            assert!(negative.is_empty(), "{now}: {negative:#?}");
        }
        let stats = app.operator().get("/api/v1/admin/errors/stats").await.expect(200).json();
        assert_eq!((&stats["errors"], &stats["groups"]), (&json!(recorded), &json!(1)), "{stats}");
        let groups = app.operator().get("/api/v1/admin/errors/groups").await.expect(200).json();
        let group = &groups["items"][0];
        assert_eq!(group["errors"], recorded, "{group}");
        assert!(group["first_seen"].as_str() < group["last_seen"].as_str(), "{group}");
        let history = app.operator().get("/api/v1/admin/health/database/history").await.expect(200).json();
        assert_eq!(history["items"].as_array().unwrap().len(), 5, "{history}");
    }
}

#[tokio::test]
async fn rate_limits_survive_a_clock_that_jumps() {
    let mock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let began = mock.clock().now() + DAY;
    for rate in [Rate::per_minute(5), Rate::per_minute(5).sliding(), Rate::new(5, DAY).sliding()] {
        mock.set(began);
        let limiter = RateLimiter::new(rate, mock.clock());
        for now in [began, began - HOUR, began + DAY, began + DAY - HOUR] {
            mock.set(now);
            let allowed = (0..20).filter(|_| {
                let decision = limiter.check(&"ada", 1);
                let most = 2 * rate.window;
                assert!(decision.remaining <= 5 && decision.reset <= most, "{rate} at {now}: {decision:?}");
                assert!(decision.retry_after <= most, "{rate} at {now}: {decision:?}");
                decision.allowed
            });
            assert!(allowed.count() <= 5, "{rate} at {now}");
        }
        // Once the clock has caught up, the limit has recovered.
        mock.set(began + 4 * DAY);
        assert!(limiter.check(&"ada", 1).allowed, "{rate}");
    }
}
