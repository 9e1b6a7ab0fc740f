//! Fixes of code: from the finding to the pull request.

#![cfg(test)]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_ai::{
    Ai, Call, ChatRequest, ChatResponse, ChatStream, CodeBranch, CodeChange, CodeFile, CodeHost, CodeHostError,
    CodeHostErrorKind, FakeCodeHost, LlmError, LlmErrorKind, LlmProvider, NewPullRequest, Part, ProviderModel,
    PullRequest, StopKind, StopReason, TokenUsage,
};
use omnistack_core::{
    id::Id,
    identity::Identity,
    jobs::{Job, JobContext, JobError, JobFilter},
    realtime::{PublishRealtime, RealtimeMessage, RealtimePublisher},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const FILE: &str = "fn main() {\n    let x = y.unwrap();\n}\n";
const FIXED: &str = "fn main() {\n    let x = y?;\n}\n";
const PATCH: &str = "@@ -1,3 +1,3 @@\n fn main() {\n-    let x = y.unwrap();\n+    let x = y?;\n }\n";

/// A provider that answers what the test says, in order, and remembers what it was asked.
#[derive(Clone, Debug, Default)]
struct ScriptedModel {
    answers: Arc<Mutex<VecDeque<Result<String, LlmError>>>>,
    asked: Arc<Mutex<Vec<ChatRequest>>>,
}

impl ScriptedModel {
    fn answer(&self, patch: &str, confidence: u32) {
        let answer = json!({ "patch": patch, "explanation": "It returns the error.", "confidence": confidence });
        self.answers.lock().unwrap().push_back(Ok(answer.to_string()));
    }

    fn fail(&self, kind: LlmErrorKind) {
        self.answers.lock().unwrap().push_back(Err(LlmError::new(kind, "fake", "no")));
    }

    fn asked(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl LlmProvider for ScriptedModel {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn complete(&self, request: &ChatRequest, _: &Call) -> Result<ChatResponse, LlmError> {
        self.asked.lock().unwrap().push(request.clone());
        let answer = self.answers.lock().unwrap().pop_front();
        let text =
            answer.unwrap_or_else(|| Err(LlmError::new(LlmErrorKind::InvalidRequest, "fake", "no answer left")))?;
        let stop = StopReason::new(StopKind::Stop, None);
        let mut response = ChatResponse::new("1", request.model.clone(), vec![Part::text(text)], stop);
        response.usage = Some(TokenUsage { input: 100, output: 50, ..TokenUsage::default() });
        Ok(response)
    }

    async fn stream(&self, _: &ChatRequest, _: &Call) -> Result<ChatStream, LlmError> {
        Err(LlmError::new(LlmErrorKind::NotSupported, "fake", "no streams"))
    }

    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError> {
        Ok(Vec::new())
    }
}

/// The room's own jobs, as their crons enqueue them.
#[derive(Serialize, Deserialize)]
struct Purge {}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "ai.purge_fixes";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct EndSilent {}

#[async_trait]
impl Job for EndSilent {
    const NAME: &'static str = "ai.end_silent_fixes";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

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

/// Keeps the messages to connected clients.
#[derive(Clone, Default)]
struct Published(Arc<Mutex<Vec<RealtimeMessage>>>);

#[async_trait]
impl PublishRealtime for Published {
    async fn publish(&self, message: RealtimeMessage) -> Result<(), omnistack_core::http::Error> {
        self.0.lock().unwrap().push(message);
        Ok(())
    }

    async fn publish_in(
        &self,
        tx: &mut omnistack_core::db::Tx,
        message: RealtimeMessage,
    ) -> Result<(), omnistack_core::db::Error> {
        let messages = Arc::clone(&self.0);
        tx.on_commit(move || messages.lock().unwrap().push(message));
        Ok(())
    }
}

struct Setup {
    app: TestApp,
    model: ScriptedModel,
    host: FakeCodeHost,
    published: Published,
}

async fn start(database: TestDatabase, settings: &[(&str, &str)]) -> Setup {
    let (model, host, published) = (ScriptedModel::default(), FakeCodeHost::new(), Published::default());
    let ai = Ai::from_env().provider(model.clone()).code_host(host.clone());
    let realtime = RealtimePublisher::new(published.clone());
    let app = TestApp::start(database, |app| {
        let app = app.set("AI_FIX_MODEL", "fake-small");
        let app = settings.iter().fold(app, |app, (name, value)| app.set(*name, *value));
        app.with(ai).replace(realtime)
    })
    .await;
    Setup { app, model, host, published }
}

/// Adds a finding with its code, and returns its id.
async fn add_result(user: &TestClient, more: Value) -> String {
    let mut body = json!({
        "path": "src/main.rs", "start_line": 2, "end_line": 2, "rule": "rust/unwrap", "severity": "high",
        "message": "This may panic.", "code": FILE,
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let added = user.post("/api/v1/app/fixes/results", body).await.expect(201).json();
    added["id"].as_str().unwrap().to_owned()
}

async fn queue(user: &TestClient, result: &str) -> String {
    let queued = user.post(format!("/api/v1/app/fixes/generate/{result}"), json!({})).await.expect(202).json();
    assert_eq!(queued["status"], "queued");
    queued["fix_id"].as_str().unwrap().to_owned()
}

async fn get(user: &TestClient, fix: &str) -> Value {
    user.get(format!("/api/v1/app/fixes/{fix}")).await.expect(200).json()
}

async fn act(user: &TestClient, fix: &str, action: &str) -> omnistack_testkit::TestResponse {
    user.post(format!("/api/v1/app/fixes/{fix}/{action}"), json!({})).await
}

/// Returns the kinds of the events of a verified ledger.
async fn steps(user: &TestClient, fix: &str) -> Vec<String> {
    let ledger = user.get(format!("/api/v1/app/fixes/{fix}/ledger")).await.expect(200).json();
    assert_eq!((&ledger["verified"], &ledger["problem"]), (&json!(true), &Value::Null), "{ledger}");
    let entries = ledger["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["event"]["kind"].as_str().unwrap().to_owned()).collect()
}

fn repository() -> Value {
    json!({ "repository": "acme/shop", "branch": "main", "code": null })
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

    async fn invalid_results_and_protected_files_are_refused(database: TestDatabase) {
        let Setup { app, .. } = start(database, &[("AI_FIX_MAX_WAITING", "1")]).await;
        let user = app.user();
        let valid = json!({ "path": "a.rs", "start_line": 2, "end_line": 3, "rule": "r", "severity": "low",
            "message": "m", "code": "a" });
        for (name, value) in [
            ("path", json!("../a")),
            ("path", json!("/etc/passwd")),
            ("end_line", json!(1)),
            ("start_line", json!(0)),
            ("code", json!(null)),
            ("repository", json!("acme/shop")),
            ("severity", json!("huge")),
            ("unknown", json!(1)),
        ] {
            let mut body = valid.clone();
            body[name] = value;
            let refused = user.post("/api/v1/app/fixes/results", body).await;
            refused.expect_error(422, "VALIDATION_FAILED");
        }
        for (branch, expected) in [("main", None), ("../../../../evil/bank/git/ref/heads/main", Some("branch"))] {
            let mut body = valid.clone();
            (body["repository"], body["branch"]) = (json!("acme/shop"), json!(branch));
            let answer = user.post("/api/v1/app/fixes/results", body).await.json();
            assert_eq!(answer["error"]["details"]["fields"][0]["field"].as_str(), expected, "{answer}");
        }
        let protected = add_result(&user, json!({ "path": ".github/workflows/ci.yml" })).await;
        let generate = |result: &str| format!("/api/v1/app/fixes/generate/{result}");
        user.post(generate(&protected), json!({})).await.expect_error(422, "FIX_FORBIDDEN");
        let result = add_result(&user, json!({})).await;
        queue(&user, &result).await;
        user.post(generate(&result), json!({})).await.expect_error(429, "TOO_MANY_FIXES");
        // The limit is that of the tenant.
        let other = app.user();
        queue(&other, &add_result(&other, json!({})).await).await;
        user.post(generate(&Uuid::new_v4().to_string()), json!({})).await.expect_error(404, "NOT_FOUND");
    }

    async fn old_findings_are_deleted_and_silent_fixes_end(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[("AI_FIX_KEEP", "2d")]).await;
        let user = app.user();
        let result = add_result(&user, json!({})).await;
        let fix = queue(&user, &result).await;
        // The job is lost: a worker has died with it as often as it may.
        let lost = JobFilter { name: Some("ai.generate_fix".into()), ..JobFilter::default() };
        assert_eq!(app.jobs().cancel(&lost).await.unwrap(), 1);
        app.jobs().enqueue(EndSilent {}).await.unwrap();
        app.run_jobs().await;
        assert_eq!(get(&user, &fix).await["status"], "queued");
        app.clock().advance(Duration::from_secs(8 * 60 * 60));
        app.jobs().enqueue(EndSilent {}).await.unwrap();
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        let ended = get(&user, &fix).await;
        assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("FIX_TIMED_OUT")), "{ended}");
        assert!(model.asked().is_empty());
        app.clock().advance(Duration::from_secs(3 * 24 * 60 * 60));
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        user.get(format!("/api/v1/app/fixes/{fix}")).await.expect_error(404, "NOT_FOUND");
        user.get(format!("/api/v1/app/fixes/result/{result}/all")).await.expect_error(404, "NOT_FOUND");
    }
}
