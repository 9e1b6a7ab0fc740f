//! The generation of fixes by models.

#![cfg(test)]

use omnistack_ai::LlmErrorKind;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{PATCH, Setup, act, add_result, get, queue, start, steps};

on_each_database! {
    async fn a_patch_that_can_not_be_used_is_asked_for_once_more(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[]).await;
        let user = app.user();
        let result = add_result(&user, json!({})).await;
        let fix = queue(&user, &result).await;
        model.answer(&PATCH.replace("y.unwrap()", "z.unwrap()"), 95);
        model.answer(PATCH, 80);
        app.run_jobs().await;
        assert_eq!(get(&user, &fix).await["status"], "proposed");
        assert_eq!(steps(&user, &fix).await, ["queued", "started", "candidate_rejected", "proposed"]);
        let asked = model.asked();
        assert!(asked[1].messages.last().unwrap().to_text().contains("does not apply"));

        let fix = queue(&user, &result).await;
        model.answer("", 10);
        model.answer("--- a/src/lib.rs\n+++ b/src/lib.rs\n@@ -1 +1 @@\n-a\n+b\n", 90);
        app.run_jobs().await;
        let failed = get(&user, &fix).await;
        assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("FIX_REJECTED")), "{failed}");
        act(&user, &fix, "approve").await.expect_error(409, "FIX_STATE_CONFLICT");
    }

    async fn the_provider_of_the_request_is_asked(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[]).await;
        let user = app.user();
        let result = add_result(&user, json!({})).await;
        for (provider, status) in [("fake", "proposed"), ("absent", "failed")] {
            let path = format!("/api/v1/app/fixes/generate/{result}?provider={provider}");
            let queued = user.post(path, json!({})).await.expect(202).json();
            model.answer(PATCH, 80);
            app.run_jobs().await;
            assert_eq!(get(&user, queued["fix_id"].as_str().unwrap()).await["status"], status, "{provider}");
        }
        assert_eq!(model.asked().len(), 1, "no other provider is asked");
    }

    async fn a_model_that_fails_for_good_ends_the_fix(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[]).await;
        let user = app.user();
        let fix = queue(&user, &add_result(&user, json!({})).await).await;
        model.fail(LlmErrorKind::InvalidRequest);
        app.run_jobs().await;
        let failed = get(&user, &fix).await;
        assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("MODEL_FAILED")), "{failed}");
        assert_eq!(steps(&user, &fix).await, ["queued", "started", "failed"]);
    }
}
