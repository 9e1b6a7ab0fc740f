//! The delivery of fixes: commits and pull requests.

#![cfg(test)]

use std::time::Duration;

use async_trait::async_trait;
use omnistack_ai::{
    Ai, CodeBranch, CodeChange, CodeFile, CodeHost, CodeHostError, CodeHostErrorKind, FakeCodeHost, NewPullRequest,
    PullRequest,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{FILE, FIXED, PATCH, ScriptedModel, Setup, act, add_result, get, queue, repository, start, steps};

/// A host to which another run of the job commits first.
#[derive(Debug)]
struct RacedHost(FakeCodeHost);

#[async_trait]
impl CodeHost for RacedHost {
    fn name(&self) -> &'static str {
        "raced"
    }

    async fn read(&self, at: &CodeBranch, path: &str) -> Result<Option<CodeFile>, CodeHostError> {
        self.0.read(at, path).await
    }

    async fn commit(&self, at: &CodeBranch, change: &CodeChange) -> Result<String, CodeHostError> {
        self.0.commit(at, change).await?;
        Err(CodeHostError::new(CodeHostErrorKind::Conflict, "the file has changed"))
    }

    async fn create_branch(&self, from: &CodeBranch, name: &str) -> Result<(), CodeHostError> {
        self.0.create_branch(from, name).await
    }

    async fn open_pull_request(&self, into: &CodeBranch, new: &NewPullRequest) -> Result<PullRequest, CodeHostError> {
        self.0.open_pull_request(into, new).await
    }
}

on_each_database! {
    async fn a_fix_becomes_a_pull_request(database: TestDatabase) {
        let Setup { app, model, host, published } = start(database, &[]).await;
        host.set_file("acme/shop", "main", "src/main.rs", FILE);
        let user = app.user();
        let result = add_result(&user, repository()).await;
        let fix = queue(&user, &result).await;
        assert_eq!(get(&user, &fix).await["status"], "queued");

        model.answer(PATCH, 95);
        app.run_jobs().await;
        let proposed = get(&user, &fix).await;
        assert_eq!((&proposed["status"], &proposed["fixed_code"]), (&json!("proposed"), &json!(FIXED)), "{proposed}");
        assert_eq!((&proposed["confidence"], &proposed["changed_lines"]), (&json!(95), &json!(2)));
        assert_eq!((&proposed["provider"], &proposed["explanation"]), (&json!("fake"), &json!("It returns the error.")));
        assert!(proposed["cost"].is_string(), "{proposed}");
        assert!(model.asked()[0].messages[1].to_text().contains("y.unwrap()"));

        // Nothing is delivered without an approval.
        act(&user, &fix, "create-pr").await.expect_error(409, "FIX_NOT_APPROVED");
        act(&user, &fix, "apply").await.expect_error(409, "FIX_NOT_APPROVED");
        let approved = act(&user, &fix, "approve").await.expect(200).json();
        assert_eq!((&approved["status"], &approved["approved_by"]), (&json!("approved"), &json!("person")));
        assert_eq!(approved["approver"], json!(user.identity().unwrap().user));
        act(&user, &fix, "approve").await.expect_error(409, "FIX_STATE_CONFLICT");

        assert_eq!(act(&user, &fix, "create-pr").await.expect(202).json()["status"], "opening_pull_request");
        app.run_jobs().await;
        let open = get(&user, &fix).await;
        assert_eq!(open["status"], "pull_request_open", "{open}");
        assert_eq!(open["pull_request_url"], "https://code.example/acme/shop/pull/1");
        let requests = host.pull_requests();
        assert_eq!((requests.len(), requests[0].into.as_str()), (1, "main"));
        let branch = &requests[0].request.head;
        assert_eq!(host.file("acme/shop", branch, "src/main.rs").as_deref(), Some(FIXED));
        assert_eq!(host.file("acme/shop", "main", "src/main.rs").as_deref(), Some(FILE));

        let expected =
            ["queued", "started", "proposed", "approved", "delivery_requested", "pull_request_opened"].map(str::to_owned);
        assert_eq!(steps(&user, &fix).await, expected);
        let channel = format!("fix:{fix}");
        let messages = published.0.lock().unwrap().clone();
        let seen = messages.iter().filter(|message| message.channel.name() == channel);
        let seen: Vec<_> = seen.map(|message| message.data["step"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(seen, expected);

        let all = user.get(format!("/api/v1/app/fixes/result/{result}/all")).await.expect(200).json();
        assert_eq!((&all["result"]["id"], &all["fixes"][0]["id"]), (&json!(result), &json!(fix)));
        // Another tenant sees nothing of it.
        let other = app.user();
        other.get(format!("/api/v1/app/fixes/{fix}")).await.expect_error(404, "NOT_FOUND");
        act(&other, &fix, "approve").await.expect_error(404, "NOT_FOUND");
        other.get(format!("/api/v1/app/fixes/result/{result}/all")).await.expect_error(404, "NOT_FOUND");
    }

    async fn an_applied_fix_is_committed_once(database: TestDatabase) {
        let Setup { app, model, host, .. } = start(database, &[]).await;
        host.set_file("acme/shop", "main", "src/main.rs", FILE);
        let user = app.user();
        let fix = queue(&user, &add_result(&user, repository()).await).await;
        model.answer(PATCH, 95);
        app.run_jobs().await;
        act(&user, &fix, "approve").await.expect(200);
        // The host fails once, and the job tries again.
        host.fail_next(CodeHostError::new(CodeHostErrorKind::Unavailable, "down"));
        assert_eq!(act(&user, &fix, "apply").await.expect(202).json()["status"], "applying");
        app.run_jobs().await;
        assert_eq!(get(&user, &fix).await["status"], "applying");
        app.clock().advance(Duration::from_secs(60));
        app.run_jobs().await;
        let applied = get(&user, &fix).await;
        assert_eq!((&applied["status"], &applied["commit"]), (&json!("applied"), &json!("fake-commit-1")), "{applied}");
        assert_eq!(host.file("acme/shop", "main", "src/main.rs").as_deref(), Some(FIXED));
        act(&user, &fix, "apply").await.expect_error(409, "FIX_STATE_CONFLICT");
        assert_eq!(host.commits(), 1);
    }

    async fn a_host_that_limits_its_requests_is_waited_for(database: TestDatabase) {
        let Setup { app, model, host, .. } = start(database, &[]).await;
        host.set_file("acme/shop", "main", "src/main.rs", FILE);
        let user = app.user();
        let fix = queue(&user, &add_result(&user, repository()).await).await;
        model.answer(PATCH, 95);
        app.run_jobs().await;
        act(&user, &fix, "approve").await.expect(200);
        let mut limited = CodeHostError::new(CodeHostErrorKind::RateLimited, "slow down");
        limited.retry_after = Some(Duration::from_secs(90));
        act(&user, &fix, "apply").await.expect(202);
        // More often than the job has attempts.
        for _ in 0..8 {
            host.fail_next(limited.clone());
            app.run_jobs().await;
            assert_eq!(get(&user, &fix).await["status"], "applying");
            app.clock().advance(Duration::from_secs(91));
        }
        app.run_jobs().await;
        assert_eq!(get(&user, &fix).await["status"], "applied");
    }

    async fn a_file_that_another_run_has_fixed_is_no_conflict(database: TestDatabase) {
        let (model, host) = (ScriptedModel::default(), FakeCodeHost::new());
        host.set_file("acme/shop", "main", "src/main.rs", FILE);
        let ai = Ai::from_env().provider(model.clone()).code_host(RacedHost(host.clone()));
        let app = TestApp::start(database, |app| app.set("AI_FIX_MODEL", "fake-small").with(ai)).await;
        let user = app.user();
        let fix = queue(&user, &add_result(&user, repository()).await).await;
        model.answer(PATCH, 95);
        app.run_jobs().await;
        act(&user, &fix, "approve").await.expect(200);
        act(&user, &fix, "apply").await.expect(202);
        app.run_jobs().await;
        let applied = get(&user, &fix).await;
        assert_eq!((&applied["status"], host.commits()), (&json!("applied"), 1), "{applied}");
    }

    async fn a_file_that_has_changed_is_not_overwritten(database: TestDatabase) {
        let Setup { app, model, host, .. } = start(database, &[]).await;
        host.set_file("acme/shop", "main", "src/main.rs", FILE);
        let user = app.user();
        let fix = queue(&user, &add_result(&user, repository()).await).await;
        model.answer(PATCH, 95);
        app.run_jobs().await;
        act(&user, &fix, "approve").await.expect(200);
        host.set_file("acme/shop", "main", "src/main.rs", "fn main() {}\n");
        act(&user, &fix, "apply").await.expect(202);
        app.run_jobs().await;
        let failed = get(&user, &fix).await;
        assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("CODE_CHANGED")), "{failed}");
        assert_eq!(host.commits(), 0);
    }
}
