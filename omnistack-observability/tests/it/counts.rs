//! Tests of the numbers that are counted in the database.

#![cfg(test)]

use std::sync::{Arc, Mutex};

use omnistack_core::{
    dashboard::{Count, DayCount},
    metrics::{ACTIVE_SUBSCRIPTIONS, BACKGROUND_JOB_QUEUE_SIZE, TENANTS, USERS},
    module::{Module, Registry},
};
use omnistack_observability::CountNumbers;
use omnistack_testkit::on_each_database;
use serde_json::{Value, json};

use super::*;

/// The numbers that the module counts.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<Vec<Count>>>);

impl Numbers {
    fn set(&self, numbers: Vec<Count>) {
        *self.0.lock().unwrap() = numbers;
    }
}

impl Module for Numbers {
    fn name(&self) -> &'static str {
        "numbers"
    }

    fn register(&self, registry: &mut Registry) {
        let numbers = self.0.clone();
        registry.count(|_| {
            Ok(move || {
                let counted = numbers.lock().unwrap().clone();
                async move { Ok(counted) }
            })
        });
        registry.count(|_| Ok(|| async { Err("this source fails".into()) }));
        registry.count_by_day("users", |_| {
            Ok(|_| async { Ok(vec![DayCount::new("2029-12-30".into(), 3), DayCount::new("2030-01-01".into(), 2)]) })
        });
        registry.count_by_day("subscriptions", |_| Ok(|_| async { Ok(vec![DayCount::new("2029-12-31".into(), 5)]) }));
    }
}

/// Runs the job that counts.
pub(super) async fn count(app: &TestApp) {
    app.jobs().enqueue(CountNumbers {}).await.unwrap();
    app.run_jobs().await;
}

on_each_database! {
    async fn numbers_are_stored_shown_and_exposed(database: TestDatabase) {
        let numbers = Numbers::default();
        let app = start(database, |app| app.with(numbers.clone())).await;
        let operator = app.operator();
        let stats = operator.get("/api/v1/admin/dashboard/stats").await.expect(200).json();
        assert_eq!((&stats["counted_at"], &stats["users"]), (&Value::Null, &json!(0.0)));
        app.user().get("/api/v1/admin/dashboard/stats").await.expect(403);

        let queue = |queue| Count::new(&BACKGROUND_JOB_QUEUE_SIZE, [queue, "ready"], 4);
        numbers.set(vec![Count::new(&USERS, [], 12), Count::new(&TENANTS, [], 3), queue("mail")]);
        count(&app).await;
        let stats = operator.get("/api/v1/admin/dashboard/stats").await.expect(200).json();
        assert_eq!(stats["users"], json!(12.0));
        let shown = Metrics::read(&app.anonymous()).await;
        assert_eq!(shown.value("users", &[]), Some(12.0));
        assert_eq!(shown.value("background_job_queue_size", &[("queue", "mail")]), Some(4.0));

        let jobs = operator.get("/api/v1/admin/dashboard/jobs").await.expect(200).json();
        let mail = jobs["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == "mail").unwrap();
        assert_eq!(mail["jobs"]["ready"], json!(4.0));

        numbers.set(vec![Count::new(&USERS, [], 13)]);
        count(&app).await;
        let shown = Metrics::read(&app.anonymous()).await;
        assert_eq!(shown.value("users", &[]), Some(13.0));
        assert_eq!(shown.value("background_job_queue_size", &[("queue", "mail")]), Some(0.0));
    }

    async fn subscriptions_are_shown_by_plan_and_day(database: TestDatabase) {
        let numbers = Numbers::default();
        let app = start(database, |app| app.with(numbers.clone())).await;
        let (operator, path) = (app.operator(), "/api/v1/admin/dashboard/subscriptions");
        let shown = operator.get(path).await.expect(200).json();
        assert_eq!((&shown["counted_at"], &shown["active"], &shown["plans"]), (&Value::Null, &json!(0.0), &json!({})));
        let plan = |key, active| Count::new(&ACTIVE_SUBSCRIPTIONS, [key], active);
        numbers.set(vec![Count::new(&USERS, [], 12), plan("starter", 4), plan("team", 2)]);
        count(&app).await;
        let shown = operator.get(format!("{path}?period=7d")).await.expect(200).json();
        assert_eq!(shown["counted_at"], "2030-01-01T00:00:00Z");
        assert_eq!((&shown["active"], &shown["plans"]), (&json!(6.0), &json!({ "starter": 4.0, "team": 2.0 })));
        assert_eq!(shown["days"].as_array().unwrap().len(), 7);
        assert_eq!(shown["days"][5], json!({ "day": "2029-12-31", "new": 5 }));
        app.user().get(path).await.expect(403);
    }

    async fn growth_has_every_day_of_the_period(database: TestDatabase) {
        let numbers = Numbers::default();
        let app = start(database, |app| app.with(numbers.clone())).await;
        numbers.set(vec![Count::new(&USERS, [], 12)]);
        count(&app).await;
        let growth = app.operator().get("/api/v1/admin/dashboard/users/growth?period=7d").await.expect(200).json();
        let days = growth["days"].as_array().unwrap();
        assert_eq!(days.len(), 7);
        assert_eq!(days[6], json!({ "day": "2030-01-01", "new": 2, "total": 12 }));
        assert_eq!(days[5], json!({ "day": "2029-12-31", "new": 0, "total": 10 }));
        assert_eq!(days[4], json!({ "day": "2029-12-30", "new": 3, "total": 10 }));
        assert_eq!(days[3]["total"], 7);
        app.operator().get("/api/v1/admin/dashboard/users/growth?period=8d").await.expect(422);
    }
}
