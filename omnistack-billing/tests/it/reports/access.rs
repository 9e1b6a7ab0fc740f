//! Who sees which reports.

use omnistack_core::{
    id::Id,
    identity::{Identity, Permissions},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADMIN, BILLING_USAGE, USAGE, event_of, get, meters_of, report, start, tenant_of, with};

const REPORTS: [&str; 6] =
    ["summary", "current-period", "trends", "daily", "breakdown?meter=pages&by=user", "stats?meter=pages"];

on_each_database! {
    async fn another_tenant_sees_nothing(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let (owner, stranger) = (app.user(), app.user());
        let user = owner.identity().unwrap().user;
        // The same user in another tenant.
        let elsewhere = app.client_as(
            Identity::user(user).for_tenant(Id::from_uuid(Uuid::new_v4())).with_permissions(Permissions::all()),
        );
        let secret = with(event_of("pages", "2030-01-10T11:30:00Z", 4_711, "secret"), "user", user);
        report(&owner, &[secret]).await;
        for report in REPORTS {
            let own = get(&owner, format!("{USAGE}/{report}")).await.to_string();
            assert!(own.contains("4711"), "{report}: {own}");
            for other in [&stranger, &elsewhere] {
                let shown = get(other, format!("{USAGE}/{report}")).await.to_string();
                let leaks = ["4711", "secret", &user.to_string(), &tenant_of(&owner).to_string()];
                assert!(!leaks.iter().any(|leak| shown.contains(leak)), "{report}: {shown}");
            }
        }
        assert_eq!(get(&stranger, format!("{USAGE}/summary")).await["meters"], json!([]));
        assert_eq!(get(&stranger, BILLING_USAGE).await["pages"]["used"], 0);
        assert_eq!(get(&owner, BILLING_USAGE).await["pages"]["used"], 4_711);
    }

    async fn reports_need_their_permission(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let identity = owner.identity().unwrap().clone();
        let with_permissions = |permissions: &str| {
            app.client_as(identity.clone().with_permissions(permissions.parse().unwrap()))
        };
        let (usage, billing) = (with_permissions("usage:read"), with_permissions("billing:read"));
        let reports: Vec<String> =
            REPORTS.into_iter().chain(["metrics"]).map(|report| format!("{USAGE}/{report}")).collect();
        for path in &reports {
            usage.get(path).await.expect(200);
            billing.get(path).await.expect_error(403, "PERMISSION_DENIED");
            app.anonymous().get(path).await.expect(401);
        }
        billing.get(BILLING_USAGE).await.expect(200);
        usage.get(BILLING_USAGE).await.expect_error(403, "PERMISSION_DENIED");
        app.anonymous().get(BILLING_USAGE).await.expect(401);

        let user = identity.user;
        let of_user = ["summary", "trends", "daily", "breakdown"].map(|report| format!("{ADMIN}/{report}/{user}"));
        let of_all = ["metrics", "top-users"].map(|report| format!("{ADMIN}/{report}"));
        for path in of_user.iter().chain(&of_all) {
            app.operator().get(path).await.expect(200);
            owner.get(path).await.expect(403);
            app.anonymous().get(path).await.expect(401);
        }
    }

    async fn wrong_queries_are_refused(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let long = "x".repeat(51);
        for query in ["period=2d", "period=", "environment=production", "periods=7d", "period=7d&period=7d"] {
            for report in ["summary", "trends", "daily", "breakdown", "stats"] {
                owner.get(format!("{USAGE}/{report}?{query}")).await.expect_error(422, "VALIDATION_FAILED");
            }
        }
        for query in ["by=day".to_owned(), format!("meter={long}")] {
            owner.get(format!("{USAGE}/breakdown?{query}")).await.expect_error(422, "VALIDATION_FAILED");
        }
        owner.get(format!("{USAGE}/trends?meter=a%00b")).await.expect(400);
        owner.get(format!("{USAGE}/current-period?period=7d")).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn meters_are_listed(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let list = get(&app.user(), format!("{USAGE}/metrics")).await;
        let names = meters_of(&list);
        assert!(names.is_sorted() && names.contains(&"api_requests") && names.contains(&"models"), "{names:?}");
        let meter = |name: &str| crate::reports::of_meter(&list, name).clone();
        let expected = |name: &str, unit: &str, aggregation: &str, decimals: u32, lifetime: bool| -> Value {
            json!({
                "meter": name, "unit": unit, "aggregation": aggregation, "decimals": decimals, "lifetime": lifetime,
                "reported_by_tenants": true, "description": "",
            })
        };
        assert_eq!(meter("hours"), expected("hours", "hours", "sum", 2, false));
        assert_eq!(meter("active_users"), expected("active_users", "users", "unique_users", 0, false));
        assert_eq!(meter("pages")["description"], "Pages that were analysed.");
        assert_eq!(meter("storage_bytes")["lifetime"], true);
        assert_eq!(meter("api_requests")["reported_by_tenants"], false);
    }
}
