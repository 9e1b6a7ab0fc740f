//! [`TestApp`], an app for one test.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use http::request::Parts;
use omnistack_core::{
    ShutdownToken,
    app::{App, AppBuilder, Server, ServerSettings},
    clock::{MockClock, Timestamp},
    db::Db,
    events::Events,
    http::Error,
    id::Id,
    identity::{Authenticate, Authenticator, Identity, Permissions, TenantId, bearer_token},
    jobs::{Job, JobFilter, JobInfo, Jobs},
    tenant_export::TenantExports,
};
use serde_json::Value;

use crate::{SentMails, TestClient, TestDatabase, mailbox::Mailbox, random::random_uuid};

/// An app on a fresh database, migrated and started, for one test.
///
/// Its clock shows 2030-01-01T00:00:00Z until the test advances it. Callers are created on demand, each with its own
/// bearer token. Their authentication replaces that of the app's identity module, unless the app is started by
/// [`start_with_auth`](Self::start_with_auth).
#[derive(Debug)]
pub struct TestApp {
    app: App,
    clock: MockClock,
    callers: TestAuthenticator,
    mailbox: Mailbox,
    /// The time until which schedules were checked.
    crons_checked: Mutex<Timestamp>,
    // Declared last, so that the app's pools are dropped first.
    database: TestDatabase,
}

impl TestApp {
    /// Starts the app that `assemble` builds from a builder with test settings. Callers are created by
    /// [`user`](Self::user), [`operator`](Self::operator) and [`client_as`](Self::client_as).
    ///
    /// # Panics
    /// Panics if the app can't be built, migrated or started, and on PostgreSQL if a table with a `tenant_id` has no
    /// row-level security. The message lists every problem, with what to do.
    pub async fn start(database: TestDatabase, assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> Self {
        let callers = TestAuthenticator::default();
        let made = callers.clone();
        Self::run(database, callers, |builder| assemble(builder).replace(Authenticator::new(made))).await
    }

    /// Starts the app like [`start`](Self::start), but keeps the authentication of the app's own identity module, to
    /// test sign-in. The app rejects the tokens of callers created by [`user`](Self::user), [`operator`](Self::operator)
    /// and [`client_as`](Self::client_as).
    ///
    /// # Panics
    /// Panics as [`start`](Self::start) does.
    pub async fn start_with_auth(database: TestDatabase, assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> Self {
        Self::run(database, TestAuthenticator::default(), assemble).await
    }

    async fn run(
        database: TestDatabase,
        callers: TestAuthenticator,
        assemble: impl FnOnce(AppBuilder) -> AppBuilder,
    ) -> Self {
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap_or_else(|_| Timestamp::default()));
        let mailbox = Mailbox::new(clock.clock());
        let builder = App::builder(database.config_before_creation()).clock(clock.clock());
        let builder = mailbox.receive_from(builder);
        let app = match assemble(builder).build() {
            Ok(app) => app,
            Err(error) => panic!("{error}"),
        };
        // The tables of a template are in `public`, and those of an app with `DATABASE_SCHEMA` are not.
        let of_template: &[_] = if app.db().schema().is_none() { app.migrations() } else { &[] };
        database.create_migrated(of_template).await;
        if let Err(error) = app.migrate().await {
            panic!("the migrations failed: {error}");
        }
        expect_protected_tables(&app).await;
        if let Err(error) = app.start().await {
            panic!("{error}");
        }
        let crons_checked = Mutex::new(clock.clock().now());
        Self { app, clock, callers, mailbox, crons_checked, database }
    }

    /// Returns the app's clock, which the test advances.
    pub fn clock(&self) -> &MockClock {
        &self.clock
    }

    /// Returns the app.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Returns the app's database handle.
    pub fn db(&self) -> &Db {
        self.app.db()
    }

    /// Returns the test database that the app runs on.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Returns the app's job queue. Jobs run only when the test calls [`run_jobs`](Self::run_jobs).
    ///
    /// # Panics
    /// Never panics, because every app has a job queue.
    pub fn jobs(&self) -> Jobs {
        match self.app.context().get() {
            Ok(jobs) => jobs,
            Err(missing) => panic!("{missing}"),
        }
    }

    /// Runs the jobs that are due, including those enqueued meanwhile, until no job is due. Returns the number of
    /// attempts. Advance the clock to run jobs that are scheduled for later.
    ///
    /// # Panics
    /// Panics if the database fails.
    pub async fn run_jobs(&self) -> usize {
        match self.app.runner().run_until_idle().await {
            Ok(attempts) => attempts,
            Err(error) => panic!("{error}"),
        }
    }

    /// Enqueues the job of each schedule ([`Cron`](omnistack_core::jobs::Cron)) that was due since the start of the app, or
    /// since the last call, and runs the jobs like [`run_jobs`](Self::run_jobs). A schedule that was due several times
    /// enqueues one job, so advance the clock and call this function once for each time. Returns the number of attempts,
    /// among them those of core and of other modules.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use omnistack_testkit::{TestApp, TestDatabase};
    /// # #[tokio::main]
    /// # async fn main() {
    /// # let app = TestApp::start(TestDatabase::sqlite(), |app| app).await;
    /// app.clock().advance(Duration::from_secs(24 * 60 * 60));
    /// app.run_crons().await; // every nightly job has run once
    /// # }
    /// ```
    ///
    /// # Panics
    /// Panics if the database fails.
    pub async fn run_crons(&self) -> usize {
        let now = self.clock.clock().now();
        let checked = {
            let mut checked = self.crons_checked.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *checked, now)
        };
        match self.app.runner().run_crons_since(checked).await {
            Ok(attempts) => attempts,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the app's events. Events are delivered only when the test calls [`run_events`](Self::run_events).
    ///
    /// # Panics
    /// Never panics, because every app has events.
    pub fn events(&self) -> Events {
        match self.app.context().get() {
            Ok(events) => events,
            Err(missing) => panic!("{missing}"),
        }
    }

    /// Delivers the events that are due, including those published meanwhile, until no delivery is due. Returns the
    /// number of attempts. Advance the clock to make deliveries that wait for a retry.
    ///
    /// # Panics
    /// Panics if the database fails.
    pub async fn run_events(&self) -> usize {
        match self.app.dispatcher().run_until_idle().await {
            Ok(attempts) => attempts,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the mails sent so far. Mails in the outbox are sent by [`run_jobs`](Self::run_jobs).
    pub fn sent_mails(&self) -> SentMails {
        SentMails::new(self.mailbox.mails())
    }

    /// Returns the unfinished jobs of type `J` among the newest 100, oldest first.
    ///
    /// # Panics
    /// Panics if the database fails or a payload can't be read as `J`.
    pub async fn unfinished_jobs<J: Job>(&self) -> Vec<J> {
        let filter = JobFilter { name: Some(J::NAME.into()), ..JobFilter::default() };
        let jobs = match self.jobs().list(&filter, None, 100).await {
            Ok(jobs) => jobs,
            Err(error) => panic!("{error}"),
        };
        let waiting = jobs.into_iter().rev().filter(|job| job.finished_at.is_none());
        let read = |job: JobInfo| match serde_json::from_value(job.payload) {
            Ok(job) => job,
            Err(error) => panic!("the payload of a `{}` job can't be read: {error}", J::NAME),
        };
        waiting.map(read).collect()
    }

    /// Returns the rows that the modules hand out in an export of a tenant, by the name of their file.
    ///
    /// # Panics
    /// Panics if rows can't be read.
    pub async fn exported_rows(&self, tenant: TenantId) -> BTreeMap<&'static str, Vec<Value>> {
        let exports: TenantExports = match self.app.context().get() {
            Ok(exports) => exports,
            Err(missing) => panic!("{missing}"),
        };
        let mut exported = BTreeMap::new();
        for name in exports.names() {
            let Some(rows) = exports.rows(name, tenant) else { continue };
            match rows.try_collect().await {
                Ok(rows) => _ = exported.insert(name, rows),
                Err(error) => panic!("{name}: {error}"),
            }
        }
        exported
    }

    /// Returns a client that sends no credentials.
    pub fn anonymous(&self) -> TestClient {
        TestClient::new(self.app.service(), None, None)
    }

    /// Returns a client for a new user with all permissions in a new tenant.
    pub fn user(&self) -> TestClient {
        let user = Identity::user(Id::from_uuid(random_uuid())).with_permissions(Permissions::all());
        self.client_as(user.for_tenant(Id::from_uuid(random_uuid())))
    }

    /// Returns a client for a new operator.
    pub fn operator(&self) -> TestClient {
        self.client_as(Identity::user(Id::from_uuid(random_uuid())).into_operator())
    }

    /// Returns a client that sends `token` as its bearer token.
    pub fn client_with_token(&self, token: impl Into<String>) -> TestClient {
        TestClient::new(self.app.service(), Some(token.into()), None)
    }

    /// Returns a client for `identity`.
    pub fn client_as(&self, identity: Identity) -> TestClient {
        let token = random_uuid().simple().to_string();
        self.callers.identities().insert(token.clone(), identity.clone());
        TestClient::new(self.app.service(), Some(token), Some(identity))
    }

    /// Serves the app on a free TCP port of 127.0.0.1, to test what is visible only on the connection.
    pub async fn listen(&self, settings: ServerSettings) -> RunningServer {
        let server = match Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), settings).await {
            Ok(server) => server,
            Err(error) => panic!("can't listen: {error}"),
        };
        let Ok(address) = server.local_addr() else { panic!("a bound listener has an address") };
        let shutdown = ShutdownToken::new();
        let ended = tokio::spawn(server.run(self.app.service(), shutdown.clone()));
        RunningServer { address, shutdown, ended }
    }

    /// Serves the app like [`listen`](Self::listen), with the default settings: a header timeout of 75 s and 30 s for
    /// running requests at shutdown.
    pub async fn listen_with_defaults(&self) -> RunningServer {
        self.listen(ServerSettings { header_timeout: Duration::from_secs(75), grace: Duration::from_secs(30) }).await
    }
}

/// Panics if row-level security does not protect a table with a `tenant_id`: the second wall between tenants is missing,
/// and no other test notices it.
async fn expect_protected_tables(app: &App) {
    let tables = match app.unprotected_tables().await {
        Ok(tables) => tables,
        Err(error) => panic!("{error}"),
    };
    if tables.is_empty() {
        return;
    }
    let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
    let fixes: Vec<_> = tables.iter().map(|table| format!("    {}", table.fix)).collect();
    panic!(
        "tables with a `tenant_id`, but no enabled and forced row-level security: {}\n  fix: add to a migration for \
         PostgreSQL:\n{}\n  or declare those that need none: `registry.unprotected_tables(…)`",
        names.join(", "),
        fixes.join("\n")
    );
}

/// A test app that listens on a TCP port. Dropping it stops it from accepting connections.
#[derive(Debug)]
pub struct RunningServer {
    /// The address the app listens on.
    pub address: SocketAddr,
    shutdown: ShutdownToken,
    ended: tokio::task::JoinHandle<usize>,
}

impl RunningServer {
    /// Shuts the server down gracefully and returns the number of connections that were closed with a request running.
    pub async fn shut_down(mut self) -> usize {
        self.shutdown.cancel();
        match (&mut self.ended).await {
            Ok(cut) => cut,
            Err(error) => panic!("the server's task failed: {error}"),
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The callers created by the test, by bearer token.
#[derive(Clone, Debug, Default)]
struct TestAuthenticator(Arc<Mutex<HashMap<String, Identity>>>);

impl TestAuthenticator {
    fn identities(&self) -> std::sync::MutexGuard<'_, HashMap<String, Identity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authenticate for TestAuthenticator {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let Some(token) = bearer_token(request) else {
            return Ok(None);
        };
        let identity = self.identities().get(token).cloned();
        identity.map(Some).ok_or_else(|| Error::unauthorized("the test has created no caller with this token"))
    }
}
