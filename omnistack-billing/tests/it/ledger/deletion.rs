//! Usage of tenants that were deleted.

use omnistack_billing::{RejectReason, UsageOutcome};
use omnistack_core::{
    events::TenantDeleted,
    usage::{UsageEvent, UsageSink},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{ledger, start, sum, tenant_of};

on_each_database! {
    async fn usage_that_is_stored_late_does_not_bring_a_deleted_tenant_back(database: TestDatabase) {
        let app = start(database).await;
        let (gone, other) = (tenant_of(&app.user()), tenant_of(&app.user()));
        let now = app.clock().clock().now();
        let sink: UsageSink = app.app().context().get().unwrap();
        let event = |tenant| UsageEvent::new(tenant, "pages", 1, now).category("pdf");
        let count = || {
            for tenant in [gone, other] {
                sink.count(event(tenant));
            }
        };
        count();
        ledger(&app).flush().await.unwrap();
        assert_eq!(sum(&app, gone, "day", "pages").await, 1);

        // What is in memory is stored after the deletion, and so is a report that has waited.
        count();
        app.events().publish(&TenantDeleted::new(gone)).await.unwrap();
        app.run_events().await;
        app.run_jobs().await;
        ledger(&app).flush().await.unwrap();
        let outcomes = ledger(&app).ingest(vec![event(gone), event(other)]).await.unwrap();
        assert_eq!(outcomes, [
            UsageOutcome::Rejected(RejectReason::TenantDeleted),
            UsageOutcome::Accepted { late: false },
        ]);
        let mut tx = app.db().tenant(gone).begin().await.unwrap();
        sink.record_in(&mut tx, [event(gone)]).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = app.db().app_database().tenant(gone).begin_read().await.unwrap();
        for sql in [
            "select count(*) from omni_usage_events where tenant_id = $1",
            "select count(*) from omni_usage_windows where tenant_id = $1",
            "select count(*) from omni_usage_dimensions where tenant_id = $1",
            "select count(*) from omni_usage_late where tenant_id = $1",
            "select count(*) from omni_usage_uniques where tenant_id = $1",
        ] {
            assert_eq!(tx.query(sql).bind(gone).fetch_one::<(i64,)>().await.unwrap().0, 0, "{sql}");
        }
        tx.commit().await.unwrap();
        assert_eq!(sum(&app, other, "day", "pages").await, 3);
        let accounts = app.operator().get("/api/v1/admin/billing/accounts").await.expect(200).json();
        let tenants: Vec<&Value> = accounts["items"].as_array().unwrap().iter().map(|item| &item["tenant_id"]).collect();
        assert_eq!(tenants, [&json!(other)]);
    }
}
