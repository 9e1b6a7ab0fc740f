//! Tests of error analytics.

#![cfg(test)]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use omnistack_core::{
    audit::{AuditChain, AuditStore},
    clock::Timestamp,
    error_event::{ErrorEvent, ErrorObserver as _, ErrorOrigin},
    identity::{Identity, TenantId, UserId},
    jobs::{Job, JobContext, JobError, JobFilter},
    module::{Api, Module, Mount, Registry},
};
use omnistack_observability::{ErrorGroupEscalating, ErrorGroupNew, ErrorGroupRegressed, ErrorRecorder};
use omnistack_testkit::{
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::TryRecvError;
use utoipa_axum::routes;
use uuid::Uuid;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

/// The recorder of an app, and shorthands for errors.
struct Errors<'a> {
    app: &'a TestApp,
    recorder: ErrorRecorder,
}

impl<'a> Errors<'a> {
    fn of(app: &'a TestApp) -> Self {
        Self { app, recorder: app.app().context().get().unwrap() }
    }

    fn event<'e>(&self, origin: ErrorOrigin<'e>, code: &'e str, message: &'e str) -> ErrorEvent<'e> {
        ErrorEvent::new(self.app.clock().clock().now(), origin, code, message)
    }

    /// Records a failed request.
    fn request(&self, route: &str, code: &str, tenant: Option<TenantId>) {
        let origin = ErrorOrigin::Request { method: "GET", route: Some(route), status: 500 };
        let mut event = self.event(origin, code, "an internal error occurred");
        event.tenant = tenant;
        event.user = tenant.map(|tenant| UserId::from_uuid(tenant.uuid()));
        event.request_id = Some("0190a7c8-0000-7000-8000-000000000009");
        self.recorder.observe(&event);
    }

    /// Records a failed attempt of a job.
    fn job(&self, name: &str, message: &str) {
        self.recorder.observe(&self.event(ErrorOrigin::Job { name, last: false }, "JOB_FAILED", message));
    }

    async fn flush(&self) {
        self.recorder.flush().await.unwrap();
    }

    async fn read(&self, path: &str) -> Value {
        self.app.operator().get(format!("/api/v1/admin/errors{path}")).await.expect(200).json()
    }

    /// Returns the only group.
    async fn group(&self) -> Value {
        let groups = self.read("/groups").await;
        assert_eq!(groups["items"].as_array().unwrap().len(), 1, "{groups}");
        groups["items"][0].clone()
    }

    async fn change(&self, group: &Value, change: Value) -> Value {
        let path = format!("/api/v1/admin/errors/groups/{}", group["id"].as_str().unwrap());
        self.app.operator().patch(path, change).await.expect(200).json()
    }
}

fn tenant(number: u128) -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(number))
}

/// Records a failed request to one of seven routes.
fn record_outage(recorder: &ErrorRecorder, at: Timestamp, attempt: usize, tenant: TenantId) {
    let route = format!("/{}", attempt % 7);
    let origin = ErrorOrigin::Request { method: "GET", route: Some(&route), status: 503 };
    let mut event = ErrorEvent::new(at, origin, "CARD_SERVICE_DOWN", "the card service is down");
    event.tenant = Some(tenant);
    recorder.observe(&event);
}

/// A module with routes that fail.
struct Failing;

impl Module for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn register(&self, registry: &mut Registry) {
        registry.routes(Mount::public("/failing"), Api::new().routes(routes!(panics)), |_| Ok(()));
    }
}

#[utoipa::path(get, path = "/panics/{id}", operation_id = "panics", params(("id" = String, Path)),
    responses((status = 204)))]
async fn panics(axum::extract::Path(id): axum::extract::Path<String>) {
    panic!("the moon {id} is full");
}

/// The jobs of the crate, which tests enqueue by their names.
macro_rules! job_of_the_crate {
    ($type:ident, $name:literal) => {
        #[derive(Serialize, Deserialize)]
        struct $type {}

        #[async_trait]
        impl Job for $type {
            const NAME: &'static str = $name;
            type State = ();

            async fn run(self, _: &(), _: &JobContext) -> Result<(), JobError> {
                Ok(())
            }
        }
    };
}

job_of_the_crate!(PurgeErrors, "errors.purge");
job_of_the_crate!(ReviewErrorGroups, "errors.review_groups");

on_each_database! {
    async fn ten_thousand_errors_are_counted_exactly(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Arc::new(Errors::of(&app).recorder);
        let at = app.clock().clock().now();
        let tasks = (0..10_u128).map(|number| {
            let recorder = Arc::clone(&errors);
            tokio::spawn(async move {
                for attempt in 0..1_000 {
                    record_outage(&recorder, at, attempt, tenant(number + 1));
                    if attempt % 250 == 0 {
                        recorder.flush().await.unwrap();
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let errors = Errors::of(&app);
        errors.flush().await;
        let stats = errors.read("/stats").await;
        assert_eq!((stats["errors"].as_i64(), stats["groups"].as_i64()), (Some(10_000), Some(1)), "{stats}");
        assert_eq!(stats["by_code"], json!([{ "value": "CARD_SERVICE_DOWN", "errors": 10_000 }]));
        assert_eq!(stats["by_tenant"].as_array().unwrap().len(), 10);
        assert_eq!(stats["by_operation"].as_array().unwrap().len(), 7);
        let group = errors.group().await;
        assert_eq!((group["errors"].as_i64(), group["affected_tenants"].as_i64()), (Some(10_000), Some(10)));
        let details = errors.read(&format!("/groups/{}", group["id"].as_str().unwrap())).await;
        assert!((1..=10).contains(&details["samples"].as_array().unwrap().len()), "{details}");
        let days = details["days"].as_array().unwrap().iter().map(|day| day["errors"].as_i64().unwrap());
        assert_eq!(days.sum::<i64>(), 10_000);
    }

    async fn errors_are_grouped_by_code_or_message(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        errors.request("/a", "CARD_SERVICE_DOWN", Some(tenant(1)));
        errors.request("/b", "CARD_SERVICE_DOWN", Some(tenant(2)));
        errors.job("ship", "user 7 has no address: postgres://app:hunter2@db/shop");
        errors.job("ship", "user 8 has no address: postgres://app:hunter2@db/shop");
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        let groups = errors.read("/groups").await;
        let mut titles: Vec<_> = groups["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| (group["title"].as_str().unwrap().to_owned(), group["errors"].as_i64().unwrap()))
            .collect();
        titles.sort();
        let expected =
            [("an internal error occurred", 2), ("the parcel is lost", 1), ("user <number> has no address: <url>", 2)];
        assert_eq!(titles, expected.map(|(title, errors)| (title.to_owned(), errors)));
        let jobs = errors.read("/groups?origin=job&status=new&severity=error&period=30d").await;
        assert_eq!(jobs["items"].as_array().unwrap().len(), 2);
        for group in groups["items"].as_array().unwrap() {
            let details = errors.read(&format!("/groups/{}", group["id"].as_str().unwrap())).await.to_string();
            assert!(!details.contains("hunter2"), "{details}");
        }
    }

    async fn a_panicking_handler_is_grouped_by_its_function(database: TestDatabase) {
        let app = start(database, |app| app.with(Failing)).await;
        for id in ["7", "blue"] {
            let path = format!("/api/v1/public/failing/panics/{id}");
            app.anonymous().get(path).await.expect_error(500, "INTERNAL_ERROR");
        }
        let errors = Errors::of(&app);
        errors.flush().await;
        let group = errors.group().await;
        assert_eq!(group["errors"], 2, "{group}");
        assert!(group["fingerprint"].as_str().unwrap().starts_with("1:request:panic:"), "{group}");
        assert!(group["title"].as_str().unwrap().contains("the moon"), "{group}");
        let details = errors.read(&format!("/groups/{}", group["id"].as_str().unwrap())).await;
        assert_eq!(details["operations"][0]["value"], "GET /api/v1/public/failing/panics/{id}");
    }

    async fn a_resolved_group_that_is_seen_again_is_regressed(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        let mut regressed = app.events().subscribe::<ErrorGroupRegressed>();
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        let group = errors.group().await;
        assert_eq!(group["status"], "new");
        let operator = Uuid::new_v4();
        let changed = errors.change(&group, json!({ "status": "resolved", "assignee": operator })).await;
        assert_eq!((&changed["status"], &changed["assignee"]), (&json!("resolved"), &json!(operator)));
        // Errors from before the resolution do not count.
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        assert_eq!(errors.group().await["status"], "resolved");
        app.clock().advance(Duration::from_secs(1));
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        let group = errors.group().await;
        assert_eq!((&group["status"], &group["errors"]), (&json!("regressed"), &json!(3)));
        assert_eq!(group["resolved_at"], Value::Null);
        assert_eq!(regressed.try_recv().unwrap().0.title, "the parcel is lost");
        assert_eq!(regressed.try_recv().unwrap_err(), TryRecvError::Empty);
        errors.change(&group, json!({ "assignee": null })).await;
        let audit: AuditStore = app.app().context().get().unwrap();
        let mut actions = Vec::new();
        for number in 1..=3 {
            actions.push(audit.get(AuditChain::App, number).await.unwrap().unwrap().action);
        }
        assert_eq!(actions, ["error_group.resolved", "error_group.assigned", "error_group.assigned"]);
    }

    async fn an_ignored_group_stays_ignored(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        errors.change(&errors.group().await, json!({ "status": "ignored" })).await;
        app.clock().advance(HOUR);
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        assert_eq!(errors.group().await["status"], "ignored");
        let missing = format!("/api/v1/admin/errors/groups/{}", Uuid::new_v4());
        app.operator().patch(&missing, json!({ "status": "open" })).await.expect_error(404, "NOT_FOUND");
        app.operator().get(&missing).await.expect_error(404, "NOT_FOUND");
        app.operator().patch(&missing, json!({ "status": "new" })).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn a_group_escalates_and_calms_down(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        let mut escalating = app.events().subscribe::<ErrorGroupEscalating>();
        for _ in 0..5 {
            errors.job("ship", "the parcel is lost");
            errors.flush().await;
            app.clock().advance(HOUR);
        }
        for _ in 0..60 {
            errors.job("ship", "the parcel is lost");
        }
        errors.flush().await;
        assert_eq!(errors.group().await["status"], "escalating");
        assert!(escalating.try_recv().is_ok());
        app.clock().advance(2 * HOUR);
        app.jobs().enqueue(ReviewErrorGroups {}).await.unwrap();
        app.run_jobs().await;
        assert_eq!(errors.group().await["status"], "open");
    }

    async fn a_tenant_sees_only_its_own_errors(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        let (ada, bob) = (app.user(), app.user());
        let of = |client: &TestClient| client.identity().unwrap().tenant;
        for _ in 0..30 {
            errors.request("/a", "CARD_SERVICE_DOWN", of(&ada));
        }
        for _ in 0..2 {
            errors.request("/b", "SHOP_CLOSED", of(&bob));
        }
        errors.flush().await;
        let stats = ada.get("/api/v1/app/errors/stats?period=30d").await.expect(200).json();
        assert_eq!(stats["errors"], 30, "{stats}");
        assert_eq!(stats["by_operation"], json!([{ "value": "GET /a", "errors": 30 }]));
        assert_eq!(stats["by_code"], json!([{ "value": "CARD_SERVICE_DOWN", "errors": 30 }]));
        assert!(stats.get("by_tenant").is_none(), "{stats}");
        let stats = bob.get("/api/v1/app/errors/stats").await.expect(200).json();
        assert_eq!((&stats["errors"], &stats["groups"]), (&json!(2), &json!(1)), "{stats}");
        let analysis = bob.get("/api/v1/app/errors/analysis").await.expect(200);
        assert!(!analysis.text().contains("CARD_SERVICE_DOWN"), "{}", analysis.text());
        assert_eq!(errors.read("/stats").await["errors"], 32);

        let reader = Identity::user(UserId::from_uuid(Uuid::new_v4()));
        let without = app.client_as(reader.clone().for_tenant(tenant(1)));
        without.get("/api/v1/app/errors/stats").await.expect_error(403, "PERMISSION_DENIED");
        let with = app.client_as(reader.for_tenant(tenant(1)).with_permissions("errors:read".parse().unwrap()));
        with.get("/api/v1/app/errors/stats").await.expect(200);
        app.user().get("/api/v1/admin/errors/stats").await.expect_error(403, "FORBIDDEN");
        app.anonymous().get("/api/v1/app/errors/stats").await.expect_error(401, "UNAUTHORIZED");
    }

    async fn patterns_and_recommendations_have_their_evidence(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        for _ in 0..30 {
            errors.request("/a", "CARD_SERVICE_DOWN", None);
            errors.job("ship", "pool timed out while waiting for an open connection");
        }
        for _ in 0..100 {
            errors.request("/b", "SHOP_CLOSED", None);
        }
        errors.flush().await;
        let analysis = errors.read("/analysis?period=90d").await;
        let patterns = analysis["patterns"].as_array().unwrap();
        let card = patterns.iter().find(|pattern| pattern["code"] == "CARD_SERVICE_DOWN").unwrap();
        assert_eq!((&card["dimension"], &card["value"]), (&json!("operation"), &json!("GET /a")));
        assert_eq!(card["errors"], 30);
        assert!((card["lift"].as_f64().unwrap() - 160.0 / 30.0).abs() < 1e-6, "{card}");
        let recommendations = analysis["recommendations"].as_array().unwrap();
        assert_eq!(recommendations.len(), 1, "{analysis}");
        let found = &recommendations[0];
        assert_eq!(
            (&found["signal"], &found["errors"], &found["confidence"]),
            (&json!("pool_timeout"), &json!(30), &json!("medium"))
        );
        assert!(found["runbook"].as_str().unwrap().ends_with("#pool-timeout"), "{found}");
    }

    async fn a_new_group_is_one_event_one_mail_and_one_call_of_the_webhook(database: TestDatabase) {
        let receiver = MockServer::start().await;
        receiver.expect("POST", "/alerts").reply(MockResponse::json(200, "{}"));
        let webhook = format!("{}/alerts?key=secret", receiver.url());
        let app = start(database, |app| {
            app.set("ERRORS_ALERT_EMAIL", "ops@test.example").set("ERRORS_ALERT_WEBHOOK", webhook)
        })
        .await;
        let errors = Errors::of(&app);
        let mut new = app.events().subscribe::<ErrorGroupNew>();
        for _ in 0..3 {
            errors.job("ship", "the parcel is lost");
            errors.flush().await;
        }
        app.run_jobs().await;
        assert_eq!(new.try_recv().unwrap().0.title, "the parcel is lost");
        assert_eq!(new.try_recv().unwrap_err(), TryRecvError::Empty);
        let mails = app.sent_mails().to("ops@test.example");
        assert_eq!(mails.len(), 1);
        assert!(mails.last().text.as_deref().unwrap().contains("the parcel is lost"));
        let requests = receiver.requests();
        assert_eq!(requests.len(), 1);

        // At most one alert in an hour.
        errors.change(&errors.group().await, json!({ "status": "resolved" })).await;
        app.clock().advance(Duration::from_secs(1));
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        assert_eq!(errors.group().await["status"], "regressed");
        app.run_jobs().await;
        assert_eq!(app.sent_mails().to("ops@test.example").len(), 1);
    }

    async fn in_production_no_alert_is_posted_to_a_private_address(database: TestDatabase) {
        // Nothing is expected, so a request fails the test.
        let receiver = MockServer::start().await;
        let webhook = format!("{}/alerts?key=secret", receiver.url());
        let app = start(database, |app| app.set("APP_ENV", "production").set("ERRORS_ALERT_WEBHOOK", webhook)).await;
        let errors = Errors::of(&app);
        errors.job("ship", "the parcel is lost");
        errors.flush().await;
        app.run_jobs().await;
        let jobs = app.jobs().list(&JobFilter::default(), None, 10).await.unwrap();
        let job = jobs.iter().find(|job| job.name == "errors.send_alert_webhook").unwrap();
        let error = job.error.as_deref().unwrap();
        assert!(error.starts_with("`ERRORS_ALERT_WEBHOOK` leads to no public address"), "{error}");
        assert!(error.contains("HTTP_CLIENT_ALLOWED_NETWORKS") && !error.contains("secret"), "{error}");
        receiver.verify();
    }

    async fn rejected_requests_cause_no_alert(database: TestDatabase) {
        let app = start(database, |app| app.set("ERRORS_ALERT_EMAIL", "ops@test.example")).await;
        let errors = Errors::of(&app);
        let origin = ErrorOrigin::Request { method: "POST", route: Some("/a"), status: 422 };
        for _ in 0..5 {
            errors.recorder.observe(&errors.event(origin, "VALIDATION_FAILED", "`name` is required"));
        }
        errors.flush().await;
        app.run_jobs().await;
        assert_eq!(app.sent_mails().to("ops@test.example").len(), 0);
        let group = errors.group().await;
        assert_eq!((&group["severity"], &group["signal"]), (&json!("warning"), &json!("invalid_request")));
    }

    async fn groups_are_listed_by_pages(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        for code in ["FIRST", "SECOND", "THIRD"] {
            errors.request("/a", code, None);
            app.clock().advance(Duration::from_secs(1));
        }
        errors.flush().await;
        let page = errors.read("/groups?limit=2").await;
        let codes = |page: &Value| -> Vec<String> {
            page["items"].as_array().unwrap().iter().map(|group| group["code"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(codes(&page), ["THIRD", "SECOND"]);
        let next = errors.read(&format!("/groups?limit=2&cursor={}", page["next_cursor"].as_str().unwrap())).await;
        assert_eq!(codes(&next), ["FIRST"]);
        assert!(next.get("next_cursor").is_none(), "{next}");
        let invalid =
            ["/groups?cursor=moon", "/groups?limit=0", "/groups?status=moon", "/stats?period=2d", "/stats?moon=1"];
        for query in invalid {
            let path = format!("/api/v1/admin/errors{query}");
            app.operator().get(path).await.expect_error(422, "VALIDATION_FAILED");
        }
    }

    async fn trends_include_intervals_without_errors(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let errors = Errors::of(&app);
        errors.request("/a", "SHOP_CLOSED", None);
        app.clock().advance(2 * HOUR);
        errors.request("/a", "SHOP_CLOSED", None);
        errors.flush().await;
        let by_hour = errors.read("/trends").await;
        let points = by_hour["points"].as_array().unwrap();
        let last: Vec<_> = points[points.len() - 3..].iter().map(|point| point["errors"].as_i64().unwrap()).collect();
        assert_eq!((points.len(), last), (168, vec![1, 0, 1]));
        let by_day = errors.read("/trends?period=30d&by=day").await;
        assert_eq!(by_day["points"].as_array().unwrap().last().unwrap()["errors"], 2);
    }

    async fn old_errors_are_deleted(database: TestDatabase) {
        let app = start(database, |app| app.set("ERRORS_KEEP", "7d")).await;
        let errors = Errors::of(&app);
        errors.request("/a", "SHOP_CLOSED", Some(tenant(1)));
        errors.flush().await;
        app.clock().advance(7 * 24 * HOUR);
        errors.request("/b", "CARD_SERVICE_DOWN", Some(tenant(1)));
        errors.flush().await;
        app.clock().advance(2 * HOUR);
        app.jobs().enqueue(PurgeErrors {}).await.unwrap();
        app.run_jobs().await;
        let stats = errors.read("/stats?period=1y").await;
        assert_eq!(stats["by_code"], json!([{ "value": "CARD_SERVICE_DOWN", "errors": 1 }]));
        for table in ["omni_error_groups", "omni_error_counts", "omni_error_samples"] {
            let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
            let (rows,): (i64,) = app.db().query(count).fetch_one().await.unwrap();
            assert_eq!(rows, 1, "{table}");
        }
    }

    async fn errors_can_be_off(database: TestDatabase) {
        let app = start(database, |app| app.set("ERRORS_ENABLED", "false")).await;
        app.operator().get("/api/v1/admin/errors/stats").await.expect(404);
    }
}
