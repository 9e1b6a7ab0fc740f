//! Tests of built-in accounts: passwords, mails, cookies, lockout.

use std::time::Duration;

use omnistack_auth::{Auth, password::Passwords};
use omnistack_core::{
    app::AppBuilder,
    email::{Email, Mail, Mailer, Memory},
};
use omnistack_testkit::{Answer, Client, TestApp, TestDatabase};
use serde_json::{Value, json};

mod attacks;
mod browser;
mod changes;
mod deletion;
mod ended;
mod factors_meanwhile;
mod links;
mod lockout;
mod memory;
#[cfg(feature = "passkeys")]
mod passkeys;
mod second_factors;
mod sign_in;
#[cfg(feature = "sms")]
mod sms_codes;
mod spellings;
mod unconfirmed;

const PUBLIC: &str = "/api/v1/public/auth";
const APP: &str = "/api/v1/app/auth";
const ME: &str = "/api/v1/app/users/me";
const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "wrong donkey accumulator";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// An app, and the mails it has sent.
struct Post {
    app: TestApp,
    sent: Memory,
}

async fn start(database: TestDatabase) -> Post {
    start_with(database, |app| app).await
}

fn memory() -> (Memory, Mailer) {
    let sent = Memory::default();
    let mailer = Mailer::new(sent.clone()).from("app@example.com".parse().unwrap());
    (sent, mailer)
}

/// Starts an app with cheap password hashes.
async fn start_with(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> Post {
    let (sent, mailer) = memory();
    let assemble = |app: AppBuilder| {
        let app = app
            .with(Auth::accounts())
            .with(Mail::default())
            .replace(mailer)
            .set("PUBLIC_URL", "https://app.example.com");
        more(app.set("AUTH_ARGON2_MEMORY", "64").set("AUTH_ARGON2_PASSES", "1"))
    };
    Post { app: TestApp::start_with_own_identity(database, assemble).await, sent }
}

impl Post {
    /// Posts to a public route of accounts.
    async fn post(&self, path: &str, body: Value) -> Answer {
        self.app.anonymous().post(format!("{PUBLIC}/{path}"), body).await
    }

    /// Runs the jobs, and removes and returns the mails they have sent.
    async fn mails(&self) -> Vec<Email> {
        self.app.run_jobs().await;
        self.sent.take()
    }

    /// Returns the token in the only mail.
    async fn token(&self) -> String {
        let mails = self.mails().await;
        assert_eq!(mails.len(), 1, "{mails:?}");
        token_of(&mails[0])
    }

    /// Registers a user with a verified address and [`PASSWORD`].
    async fn registered(&self, email: &str) {
        self.post("register", json!({ "email": email, "password": PASSWORD })).await.expect(202);
        let token = self.token().await;
        self.confirm(&token, PASSWORD).await.expect(204);
    }

    /// Verifies an address with the password of the registration.
    async fn confirm(&self, token: &str, password: &str) -> Answer {
        self.post("verify-email", json!({ "token": token, "password": password })).await
    }

    async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("login", json!({ "email": email, "password": password })).await
    }

    /// Signs in with [`PASSWORD`].
    async fn signed_in(&self, email: &str) -> Signed {
        Signed::of(self.login(email, PASSWORD).await)
    }

    fn client(&self, signed: &Signed) -> Client {
        self.app.bearer(&signed.access)
    }

    async fn refresh(&self, signed: &Signed) -> Answer {
        self.post("refresh", json!({ "refresh_token": signed.refresh })).await
    }

    fn hashes(&self) -> u64 {
        self.app.app().ctx().get::<Passwords>().unwrap().operations()
    }

    /// Returns all audit actions, oldest first.
    async fn audited(&self) -> Vec<String> {
        let mut tx = self.app.db().all_tenants().read().await.unwrap();
        let rows: Vec<(String,)> =
            tx.query("select action from audit_entries order by tenant_id, sequence").fetch_all().await.unwrap();
        tx.commit().await.unwrap();
        rows.into_iter().map(|(action,)| action).collect()
    }
}

/// The result of a sign-in.
struct Signed {
    access: String,
    refresh: String,
    session: String,
}

impl Signed {
    #[track_caller]
    fn of(answer: Answer) -> Self {
        let body = answer.expect(200).json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), session: text("session_id") }
    }
}

fn token_of(mail: &Email) -> String {
    let (_, rest) = text(mail).split_once("#token=").unwrap();
    let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "_-".contains(letter)));
    rest[..end.unwrap_or(rest.len())].to_owned()
}

fn text(mail: &Email) -> &str {
    mail.text.as_deref().unwrap()
}

fn to(mail: &Email) -> &str {
    mail.to[0].mailbox()
}

fn template(mail: &Email) -> &str {
    &mail.tags.iter().find(|tag| tag.name == "template").unwrap().value
}

/// Returns the status and body of a response, without the fields that differ each time.
fn told(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("request_id");
        error.remove("timestamp");
    }
    (answer.status.as_u16(), body)
}
