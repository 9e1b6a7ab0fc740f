//! Tests of quotas whose plan or billing period changes, and of their route.

use omnistack_core::identity::{Identity, Permissions};
use omnistack_testkit::on_each_database;

use super::{allowances::consume_all, *};

const QUOTAS: &str = "/api/v1/app/usage/quotas";

on_each_database! {
    async fn a_new_billing_period_begins_with_the_whole_limit(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        app.clock().set("2030-01-31T23:59:50Z".parse().unwrap());
        for _ in 0..21 {
            assert!(process.consume(tenant, RUNS, 1).await);
        }
        let held = process.reserve(tenant, 30).await.unwrap();
        assert!(process.consume(tenant, meters::STORAGE_BYTES, 400).await);

        // The allowance of January has units left, and has not expired. It is not used in February.
        app.clock().advance(Duration::from_secs(15));
        assert_eq!(consume_all(&process, tenant, RUNS).await, RUNS_OF_FREE);
        expect_use(&process, tenant, RUNS, "0", "100").await;
        process.flush().await;
        expect_use(&process, tenant, RUNS, "100", "0").await;
        // Work that began in January and is settled with an event of February counts in February.
        settle(&app, held, process.event(tenant, RUNS, 7)).await;
        expect_use(&process, tenant, RUNS, "107", "0").await;
        // What is kept has no period.
        assert!(!process.consume(tenant, meters::STORAGE_BYTES, 101).await);
        assert!(process.consume(tenant, meters::STORAGE_BYTES, 100).await);
        process.flush().await;
        expect_use(&process, tenant, meters::STORAGE_BYTES, "500", "0").await;

        let windows = stored_windows(&app, tenant).await;
        let runs = windows.iter().filter(|window| window.meter == RUNS);
        assert_eq!(runs.map(|window| (window.sum, window.reserved)).collect::<Vec<_>>(), [(21, 0), (107, 0)]);
    }

    async fn usage_of_the_period_before_counts_there(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        app.clock().set("2030-01-31T23:59:59Z".parse().unwrap());
        let before = app.clock().clock().now();
        let late = |quantity: i64| UsageEvent::new(tenant, RUNS, quantity, before);
        app.clock().advance(Duration::from_secs(2));
        assert!(process.consume(tenant, RUNS, 60).await);
        process.quotas.consume(late(70)).await.unwrap();
        assert!(process.consume(tenant, RUNS, 30).await);
        assert_eq!(process.quotas.consume(late(31)).await.unwrap_err().code(), "PLAN_LIMIT_REACHED");
        process.quotas.consume(late(30)).await.unwrap();
        assert!(!process.consume(tenant, RUNS, 11).await);
        process.flush().await;
        let windows = stored_windows(&app, tenant).await;
        assert_eq!(windows.iter().map(|one| (one.sum, one.reserved)).collect::<Vec<_>>(), [(100, 0), (90, 0)]);
    }

    async fn a_plan_with_a_lower_limit_applies_at_once(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        // More is used than the new limit.
        let tenant = new_tenant(&app);
        assert!(process.consume(tenant, RUNS, 60).await);
        process.flush().await;
        let held = process.reserve(tenant, 10).await.unwrap();
        assign(&app, tenant, "small").await;
        assert!(!process.consume(tenant, RUNS, 1).await);
        assert!(process.reserve(tenant, 1).await.is_none());
        // Work that has begun is still settled.
        settle(&app, held, process.event(tenant, RUNS, 10)).await;
        let status = process.status(tenant, RUNS).await;
        assert_eq!(status.used.to_string(), "70");
        assert_eq!([status.limit, status.remaining].map(|one| one.unwrap().to_string()), ["40", "0"]);

        // Less is used, and the allowance has more left than the new limit.
        let tenant = new_tenant(&app);
        for _ in 0..39 {
            assert!(process.consume(tenant, RUNS, 1).await);
        }
        assert!(use_of(&process, tenant, RUNS).await.1.parse::<i64>().unwrap() > 40);
        assign(&app, tenant, "small").await;
        assert_eq!(consume_all(&process, tenant, RUNS).await, 1);
        process.flush().await;
        expect_use(&process, tenant, RUNS, "40", "0").await;
    }

    async fn a_plan_with_a_higher_limit_applies_at_once(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        assert_eq!(consume_all(&process, tenant, RUNS).await, RUNS_OF_FREE);
        for _ in 0..20 {
            assert!(!process.consume(tenant, RUNS, 1).await);
        }
        assign(&app, tenant, "pro").await;
        assert!(process.consume(tenant, RUNS, 1_000).await);
        process.flush().await;
        app.clock().advance(Duration::from_secs(1));
        process.maintain().await;
        expect_use(&process, tenant, RUNS, "1100", "0").await;
        // The plan has no limit of tokens.
        assert!(process.consume(tenant, meters::AI_TOKENS, TOKENS_OF_FREE + 1).await);
    }

    async fn tenants_see_their_quotas(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let client = app.user();
        let tenant = client.identity().unwrap().tenant.unwrap();
        for (meter, quantity) in [(RUNS, 25), (meters::AI_FIXES, 12), (meters::STORAGE_BYTES, 125)] {
            assert!(process.consume(tenant, meter, quantity).await);
        }
        process.flush().await;
        let held = process.reserve(tenant, 5).await.unwrap();
        let shown = client.get(QUOTAS).await.expect(200).json();
        assert_eq!((shown["plan"].as_str(), shown["environment"].as_str()), (Some("free"), Some("live")));
        assert_eq!(shown["period"], json!({ "start": "2030-01-01T00:00:00Z", "end": "2030-02-01T00:00:00Z" }));
        let quotas = shown["quotas"].as_array().unwrap();
        let meters: Vec<_> = quotas.iter().map(|quota| quota["meter"].as_str().unwrap()).collect();
        assert_eq!(meters, ["ai_fixes", "ai_tokens", "hours", "logins", "runs", "storage_bytes"]);
        assert_eq!(
            quotas[4],
            json!({
                "meter": "runs", "unit": "runs", "used": 25, "reserved": 5, "limit": 100, "remaining": 70,
                "percent": 25, "enforced": true,
            })
        );
        assert_eq!(
            quotas[0],
            json!({
                "meter": "ai_fixes", "unit": "fixes", "used": 12, "reserved": 0, "limit": 10, "remaining": 0,
                "percent": 120, "enforced": false,
            })
        );
        assert_eq!((&quotas[5]["used"], &quotas[5]["percent"]), (&json!(125), &json!(25)));
        held.release().await.unwrap();

        let test = client.get(format!("{QUOTAS}?environment=test")).await.expect(200).json();
        assert_eq!((&test["environment"], &test["quotas"][4]["used"]), (&json!("test"), &json!(0)));
        let other = app.user().get(QUOTAS).await.expect(200).json();
        assert_eq!(other["quotas"][4]["used"], json!(0));
        client.get(format!("{QUOTAS}?environment=other")).await.expect_error(422, "VALIDATION_FAILED");
        client.get(format!("{QUOTAS}?meter=runs")).await.expect_error(422, "VALIDATION_FAILED");
        app.anonymous().get(QUOTAS).await.expect_error(401, "UNAUTHORIZED");
        let user = client.identity().unwrap().clone();
        let restricted: Identity = user.with_permissions("usage:write".parse::<Permissions>().unwrap());
        assert_eq!(app.client_as(restricted).get(QUOTAS).await.status.as_u16(), 403);
    }
}
