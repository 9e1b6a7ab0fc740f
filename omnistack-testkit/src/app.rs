//! An app for one test.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http::request::Parts;
use omnistack_core::{
    app::{App, AppBuilder, Server, ServerSettings, Shutdown},
    clock::{MockClock, Timestamp},
    db::Db,
    email::{Mailbox, Mailer, Memory},
    events::Events,
    http::Error,
    id::Id,
    identity::{Authenticate, Authenticator, Identity, Permissions, bearer_token},
    jobs::{Job, JobFilter, JobInfo, Jobs},
};
use uuid::Uuid;

use crate::{Client, Mails, TestDatabase};

/// Modules on a fresh database, migrated and started.
///
/// Its clock stands still at 2030-01-01 until it is moved. Callers are made on demand and recognised by a token of their
/// own, in place of whatever identity module the app has.
#[derive(Debug)]
pub struct TestApp {
    app: App,
    clock: MockClock,
    callers: Callers,
    mailbox: Mailbox,
    // Dropped after the app's pools.
    database: TestDatabase,
}

impl TestApp {
    /// Starts the app that `assemble` makes of a builder with test settings.
    ///
    /// # Panics
    /// When it can't be built, migrated or started, with every reason.
    pub async fn start(database: TestDatabase, assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> Self {
        let callers = Callers::default();
        let made = callers.clone();
        Self::run(database, callers, |builder| assemble(builder).replace(Authenticator::new(made))).await
    }

    /// As [`start`](Self::start), with the identity module the app has: for tests of signing in. Callers made on demand are
    /// unknown to it.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with_own_identity(
        database: TestDatabase,
        assemble: impl FnOnce(AppBuilder) -> AppBuilder,
    ) -> Self {
        Self::run(database, Callers::default(), assemble).await
    }

    async fn run(database: TestDatabase, callers: Callers, assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> Self {
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap_or_else(|_| Timestamp::default()));
        let mailbox = Mailbox::new(Memory::default(), clock.clock());
        let mailer = match "Test App <app@test.example>".parse() {
            Ok(from) => Mailer::new(mailbox.clone()).from(from),
            Err(error) => panic!("{error}"),
        };
        let builder = App::builder(database.config()).clock(clock.clock()).replace(mailer).replace(mailbox.clone());
        let app = match assemble(builder).build() {
            Ok(app) => app,
            Err(error) => panic!("{error}"),
        };
        if let Err(error) = app.migrate().await {
            panic!("the migrations failed: {error}");
        }
        if let Err(error) = app.start().await {
            panic!("{error}");
        }
        Self { app, clock, callers, mailbox, database }
    }

    /// The clock, to be moved.
    pub fn clock(&self) -> &MockClock {
        &self.clock
    }

    /// The app itself.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The app's database.
    pub fn db(&self) -> &Db {
        self.app.db()
    }

    /// Where the app's database is.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// The app's job queue. Nothing runs by itself.
    ///
    /// # Panics
    /// Never: every app has one.
    pub fn jobs(&self) -> Jobs {
        match self.app.ctx().get() {
            Ok(jobs) => jobs,
            Err(missing) => panic!("{missing}"),
        }
    }

    /// Runs the jobs that are due, and those they enqueue, until none is; returns how many attempts were made. Move the clock
    /// for those that wait.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn run_jobs(&self) -> usize {
        match self.app.runner().run_until_idle().await {
            Ok(attempts) => attempts,
            Err(error) => panic!("{error}"),
        }
    }

    /// The app's events. Nothing is delivered by itself.
    ///
    /// # Panics
    /// Never: every app has them.
    pub fn events(&self) -> Events {
        match self.app.ctx().get() {
            Ok(events) => events,
            Err(missing) => panic!("{missing}"),
        }
    }

    /// Delivers the events that are due, and those that publishes, until none is; returns how many attempts were made. Move the
    /// clock for those that wait.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn run_events(&self) -> usize {
        match self.app.dispatcher().run_until_idle().await {
            Ok(attempts) => attempts,
            Err(error) => panic!("{error}"),
        }
    }

    /// The mails sent so far. Those of the outbox are sent by [`run_jobs`](Self::run_jobs).
    pub fn mails(&self) -> Mails {
        Mails::new(self.mailbox.mails().into_iter().map(|received| received.email).collect())
    }

    /// The jobs of a kind that are enqueued and not finished, the oldest first, at most a hundred.
    ///
    /// # Panics
    /// When the database fails, or a payload is no `J`.
    pub async fn enqueued<J: Job>(&self) -> Vec<J> {
        let filter = JobFilter { name: Some(J::NAME.into()), ..JobFilter::default() };
        let jobs = match self.jobs().list(&filter, None, 100).await {
            Ok(jobs) => jobs,
            Err(error) => panic!("{error}"),
        };
        let waiting = jobs.into_iter().rev().filter(|job| job.finished_at.is_none());
        let read = |job: JobInfo| match serde_json::from_value(job.payload) {
            Ok(job) => job,
            Err(error) => panic!("a payload is no `{}`: {error}", J::NAME),
        };
        waiting.map(read).collect()
    }

    /// A client nobody is signed in with.
    pub fn anonymous(&self) -> Client {
        Client::new(self.app.service(), None, None)
    }

    /// A client of a new user in a new tenant, who may do everything there.
    pub fn user(&self) -> Client {
        let user = Identity::user(Id::from_uuid(Uuid::new_v4())).with_permissions(Permissions::all());
        self.caller(user.for_tenant(Id::from_uuid(Uuid::new_v4())))
    }

    /// A client of a new operator.
    pub fn admin(&self) -> Client {
        self.caller(Identity::user(Id::from_uuid(Uuid::new_v4())).into_admin())
    }

    /// A client that presents this bearer token.
    pub fn bearer(&self, token: impl Into<String>) -> Client {
        Client::new(self.app.service(), Some(token.into()), None)
    }

    /// A client of exactly this caller.
    pub fn caller(&self, identity: Identity) -> Client {
        let token = Uuid::new_v4().simple().to_string();
        self.callers.known().insert(token.clone(), identity.clone());
        Client::new(self.app.service(), Some(token), Some(identity))
    }

    /// Serves the app on a real socket of this machine, for what only shows on the wire.
    pub async fn listen(&self, settings: ServerSettings) -> Listening {
        let server = match Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), settings).await {
            Ok(server) => server,
            Err(error) => panic!("can't listen: {error}"),
        };
        let Ok(address) = server.local_addr() else { panic!("a bound listener has an address") };
        let shutdown = Shutdown::new();
        let ended = tokio::spawn(server.run(self.app.service(), shutdown.clone()));
        Listening { address, shutdown, ended }
    }

    /// As [`listen`](Self::listen), with the settings an app has by default.
    pub async fn listen_by_default(&self) -> Listening {
        self.listen(ServerSettings { header_timeout: Duration::from_secs(75), grace: Duration::from_secs(30) }).await
    }
}

/// A test app on a socket. Dropped, it takes no more connections.
#[derive(Debug)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    shutdown: Shutdown,
    ended: tokio::task::JoinHandle<usize>,
}

impl Listening {
    /// Ends it gracefully and returns how many connections were cut.
    pub async fn shut_down(mut self) -> usize {
        self.shutdown.cancel();
        match (&mut self.ended).await {
            Ok(cut) => cut,
            Err(error) => panic!("the server did not end well: {error}"),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Those who were made on demand, by token.
#[derive(Clone, Debug, Default)]
struct Callers(Arc<Mutex<HashMap<String, Identity>>>);

impl Callers {
    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Identity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authenticate for Callers {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let Some(token) = bearer_token(request) else {
            return Ok(None);
        };
        let identity = self.known().get(token).cloned();
        identity.map(Some).ok_or_else(|| Error::unauthorized("the test knows no caller with this token"))
    }
}
