//! Helpers: an app with accounts, and signed-in users.

use std::sync::{Arc, Mutex};

use omnistack_auth::{
    Auth,
    model::Device,
    session::{NewSession, Sessions, TokenPair},
    users::{CreatedUser, NewUser, Users},
};
use omnistack_core::{
    ExposeSecret as _,
    app::AppBuilder,
    db::{QueryEvent, QueryObserver},
    email::{Mailer, MemoryProvider},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};

/// Starts an app with built-in accounts.
pub(crate) async fn start(database: TestDatabase) -> TestApp {
    TestApp::start_with_auth(database, |app| app.with(Auth::built_in())).await
}

pub(crate) fn sessions(app: &TestApp) -> Sessions {
    app.app().context().get().unwrap()
}

/// Creates a user with this address.
pub(crate) async fn user(app: &TestApp, email: &str) -> CreatedUser {
    let users: Users = app.app().context().get().unwrap();
    users.create(NewUser::with_email(email)).await.unwrap()
}

/// Signs a user in, in their own tenant.
pub(crate) async fn sign_in(app: &TestApp, made: CreatedUser) -> TokenPair {
    let mut tx = app.db().begin().await.unwrap();
    let sign_in = NewSession::new(made.user, Device::default()).for_tenant(made.tenant);
    let tokens = sessions(app).create_in(&mut tx, sign_in).await.unwrap();
    tx.commit().await.unwrap();
    tokens
}

/// Returns a client with an access token.
pub(crate) fn client(app: &TestApp, tokens: &TokenPair) -> TestClient {
    app.client_with_token(tokens.access.expose_secret())
}

/// Starts an app like [`start`], with further settings. Returns it with the mails it sends.
pub(crate) async fn start_with(database: TestDatabase, settings: &[(&str, &str)]) -> (TestApp, MemoryProvider) {
    let config = settings.to_vec();
    start_app(database, |app| {
        config.into_iter().fold(app, |app, (name, value)| app.set(name, value)).with(Auth::built_in())
    })
    .await
}

/// Starts an app with these modules. Returns it with the mails it sends.
pub(crate) async fn start_app(
    database: TestDatabase,
    assemble: impl FnOnce(AppBuilder) -> AppBuilder,
) -> (TestApp, MemoryProvider) {
    let outbox = MemoryProvider::default();
    let mailer = Mailer::new(outbox.clone()).default_sender("Shop <shop@example.com>".parse().unwrap());
    let app = TestApp::start_with_auth(database, |app| assemble(app).replace(mailer));
    (app.await, outbox)
}

/// A query observer that records the statements of an app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    pub(crate) fn of(app: &TestApp) -> Self {
        let statements = Self::default();
        app.db().observe(statements.clone());
        statements
    }

    /// Returns the statements since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl QueryObserver for Statements {
    fn observe(&self, event: QueryEvent<'_>) {
        self.0.lock().unwrap().push(event.sql.to_owned());
    }
}

/// Creates a signed-in user with a verified address.
pub(crate) async fn verified(app: &TestApp, email: &str) -> (CreatedUser, TestClient) {
    let users: Users = app.app().context().get().unwrap();
    let mut new = NewUser::with_email(email);
    new.email_verified = true;
    let made = users.create(new).await.unwrap();
    let tokens = sign_in(app, made).await;
    (made, client(app, &tokens))
}
