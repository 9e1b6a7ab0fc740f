//! Tests of built-in accounts: passwords, mails, cookies, lockout.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use omnistack_auth::Auth;
use omnistack_core::{
    app::AppBuilder,
    email::{Email, Mailer, MemoryProvider},
};
use omnistack_messaging::email::Mail;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{Layer, layer::SubscriberExt as _};

mod attacks;
mod browser;
mod changes;
mod deletion;
mod ended;
mod factors_meanwhile;
#[cfg(feature = "password-import")]
mod imported_hashes;
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

/// The number of password hashes that requests of this thread cause, by the log.
struct HashCounter {
    hashes: Arc<AtomicU64>,
    _capture: DefaultGuard,
}

/// Counts the log lines of computed hashes.
struct HashLines(Arc<AtomicU64>);

impl<S: tracing::Subscriber> Layer<S> for HashLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() == "omnistack::auth::password" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl HashCounter {
    /// Counts until it is dropped.
    fn start() -> Self {
        let hashes = Arc::<AtomicU64>::default();
        let lines = tracing_subscriber::registry().with(HashLines(Arc::clone(&hashes)));
        Self { hashes, _capture: tracing::subscriber::set_default(lines) }
    }

    /// Returns the number of hashes since the last call.
    fn take(&self) -> u64 {
        self.hashes.swap(0, Ordering::Relaxed)
    }
}

/// An app, and the mails it has sent.
struct AccountsApp {
    app: TestApp,
    sent: MemoryProvider,
}

async fn start(database: TestDatabase) -> AccountsApp {
    start_with(database, |app| app).await
}

fn memory() -> (MemoryProvider, Mailer) {
    let sent = MemoryProvider::default();
    let mailer = Mailer::new(sent.clone()).default_sender("app@example.com".parse().unwrap());
    (sent, mailer)
}

/// Starts an app with cheap password hashes.
async fn start_with(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> AccountsApp {
    let (sent, mailer) = memory();
    let assemble = |app: AppBuilder| {
        let app = app
            .with(Auth::built_in())
            .with(Mail::default())
            .replace(mailer)
            .set("PUBLIC_URL", "https://app.example.com");
        more(app.set("AUTH_ARGON2_MEMORY", "64").set("AUTH_ARGON2_PASSES", "1"))
    };
    AccountsApp { app: TestApp::start_with_auth(database, assemble).await, sent }
}

impl AccountsApp {
    /// Posts to a public route of accounts.
    async fn post(&self, path: &str, body: Value) -> TestResponse {
        self.app.anonymous().post(format!("{PUBLIC}/{path}"), body).await
    }

    /// Runs the jobs, and removes and returns the mails they have sent.
    async fn take_mails(&self) -> Vec<Email> {
        self.app.run_jobs().await;
        self.sent.take()
    }

    /// Returns the token in the only mail.
    async fn token(&self) -> String {
        let mails = self.take_mails().await;
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
    async fn confirm(&self, token: &str, password: &str) -> TestResponse {
        self.post("verify-email", json!({ "token": token, "password": password })).await
    }

    async fn login(&self, email: &str, password: &str) -> TestResponse {
        self.post("login", json!({ "email": email, "password": password })).await
    }

    /// Signs in with [`PASSWORD`].
    async fn signed_in(&self, email: &str) -> SignedInUser {
        SignedInUser::of(self.login(email, PASSWORD).await)
    }

    fn client(&self, signed: &SignedInUser) -> TestClient {
        self.app.client_with_token(&signed.access)
    }

    async fn refresh(&self, signed: &SignedInUser) -> TestResponse {
        self.post("refresh", json!({ "refresh_token": signed.refresh })).await
    }

    /// Returns all audit actions, oldest first.
    async fn audit_actions(&self) -> Vec<String> {
        let mut tx = self.app.db().all_tenants().begin_read().await.unwrap();
        let rows: Vec<(String,)> =
            tx.query("select action from omni_audit_entries order by tenant_id, sequence").fetch_all().await.unwrap();
        tx.commit().await.unwrap();
        rows.into_iter().map(|(action,)| action).collect()
    }
}

/// The result of a sign-in.
struct SignedInUser {
    access: String,
    refresh: String,
    session: String,
}

impl SignedInUser {
    #[track_caller]
    fn of(answer: TestResponse) -> Self {
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
fn comparable(answer: &TestResponse) -> (u16, Value) {
    let mut body = answer.json();
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("request_id");
        error.remove("timestamp");
    }
    (answer.status.as_u16(), body)
}
