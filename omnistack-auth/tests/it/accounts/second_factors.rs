//! Tests of TOTP codes and recovery codes.

use omnistack_auth::account::{Accounts, ClientInfo, SecondFactorSource, SecondFactors};
use omnistack_core::{
    ExposeSecret as _, async_trait,
    http::StatusCode,
    identity::{Require, UserId},
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::on_each_database;
use totp_rs::{Builder, Secret};
use utoipa_axum::routes;

use super::*;

const STEP: Duration = Duration::from_secs(30);
const ADA: &str = "ada@example.com";

/// A module with a route that requires a second factor.
struct Vault;

impl Module for Vault {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn register(&self, registry: &mut Registry) {
        let api = Api::new().require(Require::default().second_factor(), routes!(open));
        registry.routes(Mount::app("/vault"), api, |_| Ok(()));
    }
}

#[utoipa::path(get, path = "/", responses((status = 204)))]
async fn open() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// A second factor source of the app, with a card for every user.
struct Card;

#[async_trait]
impl SecondFactorSource for Card {
    async fn of(&self, _: UserId) -> Result<Vec<String>, omnistack_auth::Error> {
        Ok(vec!["card".into()])
    }
}

const VAULT: &str = "/api/v1/app/vault";

/// A user's authenticator app.
pub(super) struct AuthenticatorApp(totp_rs::Totp);

impl AuthenticatorApp {
    pub(super) fn new(body: &Value) -> Self {
        let secret = Secret::try_from_base32(body["secret"].as_str().unwrap()).unwrap();
        Self(Builder::new().with_secret(secret).build().unwrap())
    }

    /// Returns the current code.
    pub(super) fn code(&self, post: &AccountsApp) -> String {
        self.code_in(post, 0)
    }

    /// Returns the code of a time step relative to now.
    fn code_in(&self, post: &AccountsApp, steps: i64) -> String {
        let seconds = post.app.clock().clock().now().as_seconds() + 30 * steps;
        self.0.generate(seconds.unsigned_abs()).to_string()
    }
}

impl AccountsApp {
    async fn with_vault(database: TestDatabase) -> Self {
        start_with(database, |app| app.with(Vault)).await
    }

    pub(super) fn mfa(&self, signed: &SignedInUser, path: &str, body: Value) -> omnistack_testkit::TestRequest {
        self.client(signed).post(format!("{APP}/mfa{path}"), body)
    }

    /// Creates a signed-in user with an authenticator app, which was confirmed two minutes ago.
    pub(super) async fn enrolled(&self, email: &str) -> (SignedInUser, AuthenticatorApp) {
        self.registered(email).await;
        let signed = self.signed_in(email).await;
        let phone = AuthenticatorApp::new(&self.mfa(&signed, "/totp", json!({})).await.expect(200).json());
        let code = json!({ "code": phone.code(self) });
        self.mfa(&signed, "/totp/confirm", code).await.expect(204);
        self.app.clock().advance(2 * MINUTE);
        _ = self.take_mails().await;
        (signed, phone)
    }

    pub(super) async fn challenge(&self, email: &str) -> String {
        let body = self.login(email, PASSWORD).await.expect(202).json();
        body["challenge"].as_str().unwrap().to_owned()
    }

    pub(super) async fn finish(&self, challenge: &str, code: &str) -> TestResponse {
        self.post("mfa", json!({ "challenge": challenge, "code": code })).await
    }

    pub(super) async fn verify(&self, signed: &SignedInUser, code: &str) -> u16 {
        self.mfa(signed, "/verify", json!({ "code": code })).await.status.as_u16()
    }

    async fn recovery_codes(&self, signed: &SignedInUser) -> Vec<String> {
        let body = self.mfa(signed, "/recovery-codes", json!({})).await.expect(200).json();
        body["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    }

    pub(super) async fn state(&self, signed: &SignedInUser) -> Value {
        self.client(signed).get(format!("{APP}/mfa")).await.expect(200).json()
    }
}

/// Returns a wrong code.
pub(super) fn wrong(code: &str) -> String {
    let last = if code.ends_with('0') { "1" } else { "0" };
    format!("{}{last}", &code[..5])
}

on_each_database! {
    async fn an_app_for_codes_is_a_second_factor_once_it_has_shown_one(database: TestDatabase) {
        let post = AccountsApp::with_vault(database).await;
        post.registered(ADA).await;
        let (laptop, tablet) = (post.signed_in(ADA).await, post.signed_in(ADA).await);
        post.client(&tablet).get(ME).await.expect(200);
        post.client(&laptop).get(VAULT).await.expect_error(401, "SECOND_FACTOR_REQUIRED");
        post.mfa(&laptop, "/totp/confirm", json!({ "code": "123456" })).await.expect_error(409, "NOTHING_TO_CONFIRM");
        let first = AuthenticatorApp::new(&post.mfa(&laptop, "/totp", json!({})).await.expect(200).json());
        let body = post.mfa(&laptop, "/totp", json!({})).await.expect(200).json();
        let phone = AuthenticatorApp::new(&body);
        let url = body["url"].as_str().unwrap();
        assert!(url.starts_with("otpauth://totp/") && url.contains("ada%40example%2Ecom?secret="), "{url}");
        let sealed = post.app.db().query("select secret from omni_totp_secrets").fetch_one::<(String,)>().await.unwrap();
        assert!(!sealed.0.contains(body["secret"].as_str().unwrap()));

        // No code is required yet.
        post.login(ADA, PASSWORD).await.expect(200);
        post.mfa(&laptop, "/totp/confirm", json!({ "code": wrong(&phone.code(&post)) })).await.expect(422);
        post.mfa(&laptop, "/totp/confirm", json!({ "code": first.code(&post) })).await.expect(422);
        let code = phone.code(&post);
        let typed = format!(" {} {} ", &code[..3], &code[3..]);
        post.mfa(&laptop, "/totp/confirm", json!({ "code": typed })).await.expect(204);
        post.mfa(&laptop, "/totp/confirm", json!({ "code": code })).await.expect_error(409, "NOTHING_TO_CONFIRM");
        post.mfa(&laptop, "/totp", json!({})).await.expect_error(409, "TOTP_EXISTS");

        // From now on the factor is required: this session counts as verified, other sessions must verify.
        post.client(&laptop).get(VAULT).await.expect(204);
        post.client(&tablet).get(ME).await.expect(401);
        assert_eq!(post.state(&laptop).await["recovery_codes"], 0);
        let body = post.login(ADA, PASSWORD).await.expect(202).json();
        assert_eq!(body["methods"], json!(["totp"]));
        let challenge = body["challenge"].as_str().unwrap();
        post.finish(challenge, &code).await.expect_error(401, "SECOND_FACTOR_INVALID");
        post.finish(challenge, &phone.code_in(&post, 1)).await.expect_error(400, "TOKEN_INVALID");
        let challenge = post.challenge(ADA).await;
        let tablet = SignedInUser::of(post.finish(&challenge, &phone.code_in(&post, 1)).await);
        post.client(&tablet).get(VAULT).await.expect(204);
        let again = SignedInUser::of(post.refresh(&tablet).await);
        post.client(&again).get(VAULT).await.expect(204);

        let audited = post.audit_actions().await;
        for action in ["account.totp_added", "account.code_refused", "account.sign_in_failed"] {
            assert!(audited.contains(&action.to_owned()), "{audited:?}");
        }
        let mails = post.take_mails().await;
        assert!(mails.iter().any(|mail| text(mail).contains("app for codes was added")), "{mails:?}");
    }

    async fn a_code_is_good_around_its_time_and_once(database: TestDatabase) {
        let post = AccountsApp::with_vault(database).await;
        let (ada, phone) = post.enrolled(ADA).await;
        for (step, status) in
            [(-2, 422), (-1, 204), (-1, 422), (0, 204), (-1, 422), (2, 422), (1, 204), (0, 422), (1, 422)]
        {
            assert_eq!(post.verify(&ada, &phone.code_in(&post, step)).await, status, "{step}");
        }
        post.app.clock().advance(2 * STEP);
        let code = phone.code(&post);
        let (one, two) = tokio::join!(post.verify(&ada, &code), post.verify(&ada, &code));
        assert_eq!(one.min(two), 204, "{one} {two}");
        assert_eq!(one.max(two), 422, "of two at once, one");
        // The same holds for sessions and sign-ins.
        let challenge = post.challenge(ADA).await;
        post.finish(&challenge, &code).await.expect_error(401, "SECOND_FACTOR_INVALID");
        post.app.clock().advance(STEP);
        let (challenge, code) = (post.challenge(ADA).await, phone.code(&post));
        let (finished, status) = tokio::join!(post.finish(&challenge, &code), post.verify(&ada, &code));
        let finished = finished.status.as_u16();
        assert!(matches!((finished, status), (200, 422) | (401, 204)), "{finished} {status}");
    }

    async fn wrong_codes_are_few_though_the_password_is_right(database: TestDatabase) {
        let post = AccountsApp::with_vault(database).await;
        let (ada, phone) = post.enrolled(ADA).await;
        let wrong = wrong(&phone.code_in(&post, 5));
        // Failures in sessions and at sign-in count together.
        for number in 0..5 {
            let challenge = post.challenge(ADA).await;
            match number % 2 {
                0 => _ = post.finish(&challenge, &wrong).await.expect_error(401, "SECOND_FACTOR_INVALID"),
                _ => assert_eq!(post.verify(&ada, &wrong).await, 422),
            }
        }
        for wait in [30, 60, 120] {
            let challenge = post.challenge(ADA).await;
            // The fifth failure was the first to start a delay.
            let refused = post.finish(&challenge, &phone.code(&post)).await.expect_error(429, "TOO_MANY_ATTEMPTS");
            assert_eq!(refused.header("retry-after"), Some(wait.to_string().as_str()));
            assert_eq!(post.verify(&ada, &phone.code(&post)).await, 429);
            post.app.clock().advance(Duration::from_secs(wait));
            assert_eq!(post.verify(&ada, &wrong).await, 422);
        }
        post.app.clock().advance(4 * MINUTE);
        let challenge = post.challenge(ADA).await;
        post.finish(&challenge, &phone.code(&post)).await.expect(200);
        for _ in 0..5 {
            assert_eq!(post.verify(&ada, &wrong).await, 422, "the count began anew");
        }
    }

    async fn many_wrong_codes_at_once_are_counted_one_by_one(database: TestDatabase) {
        let post = AccountsApp::with_vault(database).await;
        let (ada, phone) = post.enrolled(ADA).await;
        let wrong = wrong(&phone.code_in(&post, 5));
        let guesses: Vec<_> = (0..20)
            .map(|_| {
                let request = post.mfa(&ada, "/verify", json!({ "code": wrong }));
                tokio::spawn(async move { request.await.status.as_u16() })
            })
            .collect();
        let mut looked_at = 0;
        for guess in guesses {
            match guess.await.unwrap() {
                422 => looked_at += 1,
                status => assert_eq!(status, 429),
            }
        }
        assert_eq!(looked_at, 5);
    }

    async fn a_recovery_code_stands_in_once(database: TestDatabase) {
        let post = AccountsApp::with_vault(database).await;
        let (ada, phone) = post.enrolled(ADA).await;
        let old = post.recovery_codes(&ada).await;
        let codes = post.recovery_codes(&ada).await;
        assert_eq!((codes.len(), codes[0].len()), (10, 29));
        assert_eq!(post.state(&ada).await["recovery_codes"], 10);
        let told = post.take_mails().await;
        assert!(told.iter().any(|mail| mail.subject.contains("new recovery codes")), "{told:?}");

        let body = post.login(ADA, PASSWORD).await.expect(202).json();
        assert_eq!(body["methods"], json!(["totp", "recovery_code"]));
        let typed = codes[0].to_lowercase().replace('-', " ");
        let found = SignedInUser::of(post.finish(body["challenge"].as_str().unwrap(), &typed).await);
        post.client(&found).get(VAULT).await.expect(204);
        for code in [&codes[0], &old[1]] {
            let challenge = post.challenge(ADA).await;
            post.finish(&challenge, code).await.expect_error(401, "SECOND_FACTOR_INVALID");
        }
        let (one, two) = tokio::join!(post.verify(&ada, &codes[1]), post.verify(&ada, &codes[1]));
        assert_eq!((one.min(two), one.max(two)), (204, 422), "of two at once, one");
        assert_eq!(post.state(&ada).await["recovery_codes"], 8);
        let told = post.take_mails().await;
        assert!(told.iter().any(|mail| text(mail).contains("You have 9 left")), "{told:?}");

        // Recovery codes belong to one user and are deleted with the authenticator app.
        let (eve, _) = post.enrolled("eve@example.com").await;
        assert_eq!(post.verify(&eve, &codes[2]).await, 422);
        assert_eq!(post.verify(&ada, &phone.code(&post)).await, 204);
        post.client(&ada).delete(format!("{APP}/mfa/totp")).await.expect(204);
        assert_eq!(post.verify(&ada, &codes[2]).await, 422);
        assert_eq!(post.state(&ada).await, json!({ "totp_since": null, "recovery_codes": 0 }));
        let sql = "select count(*) from omni_recovery_codes";
        assert_eq!(post.app.db().query(sql).fetch_one::<(i64,)>().await.unwrap(), (0,));
        post.login(ADA, PASSWORD).await.expect(200);
        post.mfa(&ada, "/recovery-codes", json!({})).await.expect_error(409, "NO_SECOND_FACTOR");
    }

    async fn factors_change_for_who_has_shown_who_they_are_a_short_while_ago(database: TestDatabase) {
        let post = AccountsApp::with_vault(database).await;
        post.registered(ADA).await;
        let ada = post.signed_in(ADA).await;
        for (path, method) in [("/totp", "DELETE"), ("/recovery-codes", "POST")] {
            let path = format!("{APP}/mfa{path}");
            let request = post.client(&ada).request(method.parse().unwrap(), path);
            request.await.expect_error(401, "SECOND_FACTOR_REQUIRED");
        }
        post.app.clock().advance(11 * MINUTE);
        let ada = SignedInUser::of(post.refresh(&ada).await);
        post.mfa(&ada, "/totp", json!({})).await.expect_error(401, "REAUTHENTICATION_REQUIRED");

        let (eve, phone) = post.enrolled("eve@example.com").await;
        let other = SignedInUser::of(post.finish(&post.challenge("eve@example.com").await, &phone.code(&post)).await);
        post.app.clock().advance(11 * MINUTE);
        let eve = SignedInUser::of(post.refresh(&eve).await);
        let other = SignedInUser::of(post.refresh(&other).await);
        let remove = || post.client(&eve).delete(format!("{APP}/mfa/totp"));
        remove().await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        post.mfa(&eve, "/recovery-codes", json!({})).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        assert_eq!(post.verify(&eve, &phone.code(&post)).await, 204);
        post.client(&other).get(ME).await.expect(200);
        remove().await.expect(204);
        post.client(&other).get(ME).await.expect(401);
        assert!(post.audit_actions().await.contains(&"account.totp_removed".to_owned()));
        assert!(post.take_mails().await.iter().any(|mail| text(mail).contains("were removed")));
        // A new secret must be confirmed within 15 minutes.
        let phone = AuthenticatorApp::new(&post.mfa(&eve, "/totp", json!({})).await.expect(200).json());
        post.app.clock().advance(16 * MINUTE);
        let eve = SignedInUser::of(post.refresh(&eve).await);
        let code = json!({ "code": phone.code(&post) });
        post.mfa(&eve, "/totp/confirm", code).await.expect_error(409, "NOTHING_TO_CONFIRM");
    }

    async fn who_has_not_confirmed_an_address_keeps_nobody_out_of_it(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_VERIFIED_EMAIL", "false")).await;
        post.post("register", json!({ "email": ADA, "password": PASSWORD })).await.expect(202);
        let stranger = post.signed_in(ADA).await;
        post.mfa(&stranger, "/totp", json!({})).await.expect_error(403, "EMAIL_NOT_VERIFIED");
    }

    async fn with_a_second_factor_a_shorter_password_is_enough(database: TestDatabase) {
        let post = start(database).await;
        post.registered("eve@example.com").await;
        let eve = post.signed_in("eve@example.com").await;
        let (ada, phone) = post.enrolled(ADA).await;
        let change = |new: &str| json!({ "current_password": PASSWORD, "new_password": new });
        post.client(&eve).post(format!("{APP}/password"), change("kestrel9")).await.expect(422);
        post.client(&ada).post(format!("{APP}/password"), change("kestre9")).await.expect(422);
        post.client(&ada).post(format!("{APP}/password"), change("kestrel9")).await.expect(200);
        let body = post.login(ADA, "kestrel9").await.expect(202).json();
        let challenge = body["challenge"].as_str().unwrap().to_owned();
        // A password reset does not bypass the factor.
        post.post("forgot-password", json!({ "email": ADA })).await.expect(202);
        let mails = post.take_mails().await;
        let reset = mails.iter().find(|mail| template(mail) == "reset").unwrap();
        let body = json!({ "token": token_of(reset), "password": OTHER });
        post.post("reset-password", body).await.expect(200);
        post.finish(&challenge, &phone.code(&post)).await.expect_error(400, "TOKEN_INVALID");
        post.login(ADA, OTHER).await.expect(202);
    }

    async fn a_browser_has_its_cookies_after_the_code(database: TestDatabase) {
        let post = start(database).await;
        let (_, phone) = post.enrolled(ADA).await;
        let body = |challenge: String, code: String| json!({ "challenge": challenge, "code": code, "mode": "cookie" });
        let request = |body: Value| post.app.anonymous().post(format!("{PUBLIC}/mfa"), body);
        let challenge = post.challenge(ADA).await;
        // A request from another site does not use up the challenge.
        let forged = body(challenge.clone(), phone.code(&post));
        request(forged).header("sec-fetch-site", "cross-site").await.expect_error(403, "CROSS_SITE_REQUEST");
        let own = body(challenge, phone.code(&post));
        let answer = request(own).header("sec-fetch-site", "same-origin").await.expect(200);
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 3);
        assert!(answer.json().get("access_token").is_none());
    }
    async fn an_app_may_have_factors_of_its_own_besides(database: TestDatabase) {
        let post = start_with(database, |app| app.replace(SecondFactors::new(Card))).await;
        post.registered("eve@example.com").await;
        assert_eq!(post.login("eve@example.com", PASSWORD).await.expect(202).json()["methods"], json!(["card"]));
        post.registered(ADA).await;
        let accounts: Accounts = post.app.app().context().get().unwrap();
        let challenge = post.challenge(ADA).await;
        let card = accounts.complete_mfa(&challenge, &ClientInfo::default(), |_| async { Ok(true) }).await.unwrap();
        let client = post.app.client_with_token(card.access.expose_secret());
        let body = client.post(format!("{APP}/mfa/totp"), json!({})).await.expect(200).json();
        let phone = AuthenticatorApp::new(&body);
        client.post(format!("{APP}/mfa/totp/confirm"), json!({ "code": phone.code(&post) })).await.expect(204);
        let body = post.login(ADA, PASSWORD).await.expect(202).json();
        assert_eq!(body["methods"], json!(["card", "totp"]));
        post.finish(body["challenge"].as_str().unwrap(), &phone.code_in(&post, 1)).await.expect(200);
    }
}

/// `cargo xtask test --peers` runs it: it needs `TEST_PEERS_PYTHON`, a Python with pyotp.
#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
async fn pyotp_reads_the_address_and_shows_our_codes() {
    let post = start(TestDatabase::sqlite()).await;
    post.registered(ADA).await;
    let ada = post.signed_in(ADA).await;
    let body = post.mfa(&ada, "/totp", json!({})).await.expect(200).json();
    let python = std::env::var("TEST_PEERS_PYTHON").unwrap();
    let now = post.app.clock().clock().now().as_seconds().to_string();
    let script = "import pyotp, sys; totp = pyotp.parse_uri(sys.argv[1]); print(totp.name, totp.at(int(sys.argv[2])))";
    let shown = std::process::Command::new(python).args(["-c", script, body["url"].as_str().unwrap(), &now]).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let (name, code) = shown.trim().split_once(' ').unwrap();
    assert_eq!(name, ADA);
    post.mfa(&ada, "/totp/confirm", json!({ "code": code })).await.expect(204);
}
