//! Tests of the access to the metrics.

use omnistack_testkit::on_each_database;

use super::*;

const TOKEN: &str = "a-token-for-the-metrics-of-this-test";

on_each_database! {
    async fn in_development_every_caller_reads_them(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let read = app.anonymous().get("/metrics").await.expect(200);
        assert_eq!(read.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    }

    async fn with_a_token_only_its_bearer_reads_them(database: TestDatabase) {
        let app = start(database, |app| app.set("METRICS_TOKEN", TOKEN)).await;
        app.anonymous().get("/metrics").await.expect_error(401, "UNAUTHORIZED");
        for wrong in ["Bearer", "Bearer a-token", "Basic a-token-for-the-metrics-of-this-test"] {
            app.anonymous().get("/metrics").header("authorization", wrong).await.expect_error(401, "UNAUTHORIZED");
        }
        app.operator().get("/metrics").await.expect_error(401, "UNAUTHORIZED");
        app.anonymous().get("/metrics").header("authorization", format!("Bearer {TOKEN}")).await.expect(200);
    }

    async fn in_production_only_operators_read_them(database: TestDatabase) {
        let app = start(database, |app| app.set("APP_ENV", "production")).await;
        app.anonymous().get("/metrics").await.expect_error(401, "UNAUTHORIZED");
        app.user().get("/metrics").await.expect_error(403, "FORBIDDEN");
        app.operator().get("/metrics").await.expect(200);
    }

    async fn they_can_be_off(database: TestDatabase) {
        let app = start(database, |app| app.set("METRICS_ENABLED", "false")).await;
        app.operator().get("/metrics").await.expect(404);
    }
}
