//! The approval of fixes, and the ledger that proves it.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{id::Id, identity::Identity};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PATCH, Setup, act, add_result, get, queue, start, steps};

on_each_database! {
    async fn the_rule_of_the_app_approves_small_and_certain_patches(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[("AI_FIX_AUTO_APPROVE_CONFIDENCE", "90")]).await;
        let user = app.user();
        let result = add_result(&user, json!({})).await;
        for (confidence, status) in [(90, "approved"), (89, "proposed")] {
            let fix = queue(&user, &result).await;
            model.answer(PATCH, confidence);
            app.run_jobs().await;
            assert_eq!(get(&user, &fix).await["status"], status);
            app.clock().advance(Duration::from_secs(1));
        }
        let all = user.get(format!("/api/v1/app/fixes/result/{result}/all")).await.expect(200).json();
        let approved = &all["fixes"][1];
        assert_eq!((&approved["approved_by"], &approved["approver"]), (&json!("rule"), &Value::Null));
        // Without a repository, the caller has the file and applies the fix itself.
        let fix = approved["id"].as_str().unwrap();
        act(&user, fix, "create-pr").await.expect_error(422, "REPOSITORY_REQUIRED");
        assert_eq!(act(&user, fix, "apply").await.expect(202).json()["status"], "applied");
        assert_eq!(steps(&user, fix).await, ["queued", "started", "proposed", "approved", "delivery_requested", "applied"]);
    }

    async fn only_a_person_with_the_permission_approves(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[]).await;
        let user = app.user();
        let fix = queue(&user, &add_result(&user, json!({})).await).await;
        model.answer(PATCH, 100);
        app.run_jobs().await;
        let identity = user.identity().unwrap().clone();
        let key = app.client_as(identity.clone().into_service_account());
        act(&key, &fix, "approve").await.expect_error(403, "API_KEY_REFUSED");
        let operator = app.client_as(identity.clone().with_impersonator(Id::from_uuid(Uuid::new_v4())));
        act(&operator, &fix, "approve").await.expect_error(403, "IMPERSONATION_REFUSED");
        act(&operator, &fix, "apply").await.expect_error(403, "IMPERSONATION_REFUSED");
        let with = |permissions: &str| -> Identity {
            identity.clone().with_permissions(permissions.parse().unwrap())
        };
        let writer = app.client_as(with("fixes:read fixes:write"));
        act(&writer, &fix, "approve").await.expect_error(403, "PERMISSION_DENIED");
        act(&writer, &fix, "apply").await.expect_error(403, "PERMISSION_DENIED");
        let reader = app.client_as(with("fixes:read"));
        act(&reader, &fix, "approve").await.expect_error(403, "PERMISSION_DENIED");
        assert_eq!(get(&reader, &fix).await["status"], "proposed");
    }

    async fn a_ledger_that_was_changed_stops_the_delivery(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[]).await;
        let user = app.user();
        let fix = queue(&user, &add_result(&user, json!({})).await).await;
        model.answer(PATCH, 100);
        app.run_jobs().await;
        act(&user, &fix, "approve").await.expect(200);
        // An attacker with access to the database changes the approved code.
        let id: Id<()> = fix.parse().unwrap();
        let mut tx = app.db().all_tenants().begin().await.unwrap();
        let sql = "update omni_ai_fixes set state = replace(state, 'y?', 'evil()') where id = $1";
        assert_eq!(tx.query(sql).bind(id).execute().await.unwrap(), 1);
        tx.commit().await.unwrap();
        act(&user, &fix, "apply").await.expect_error(409, "FIX_LEDGER_BROKEN");
        let ledger = user.get(format!("/api/v1/app/fixes/{fix}/ledger")).await.expect(200).json();
        assert_eq!(ledger["verified"], json!(false));

        // The attacker changes the ledger too, but not its hashes.
        let mut tx = app.db().all_tenants().begin().await.unwrap();
        let sql = "update omni_ai_fix_events set data = replace(data, 'y?', 'evil()') where fix_id = $1";
        tx.query(sql).bind(id).execute().await.unwrap();
        tx.commit().await.unwrap();
        act(&user, &fix, "apply").await.expect_error(409, "FIX_LEDGER_BROKEN");
    }
}
