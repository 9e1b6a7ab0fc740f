//! Maintenance: while it lasts, requests get 503, except those of operators and to routes that stay open.
//!
//! The state is a row of the app's database, so all replicas see it: each reads it once a second. Health, metrics and
//! sign-in stay open ([`Mount::during_maintenance`](crate::module::Mount::during_maintenance)); jobs and other background
//! work go on. The router of [`AppBuilder::fallback`](crate::app::AppBuilder::fallback) is closed to all callers, also to
//! operators, since it authenticates its callers itself.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use axum::response::IntoResponse as _;
use http::{HeaderValue, header};
use tokio::sync::watch;

use crate::{
    BoxError, ShutdownToken,
    clock::{Clock, Timestamp},
    db::{self, Db, Tx},
    http::{
        Error, Request, Response,
        layer::{HookLayer, RequestHook},
    },
};

/// Time between two readings of the state.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Least time after which a caller is asked to try again, and the time if the expected end has passed.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(10);

/// A period of maintenance, until it is ended.
#[derive(Clone, Debug, PartialEq, Eq, crate::db::FromRow)]
#[non_exhaustive]
pub struct MaintenancePeriod {
    /// The time at which it began.
    pub started_at: Timestamp,
    /// The time at which operators expect it to end. `Retry-After` is derived from it.
    pub expected_end: Timestamp,
    /// The message to callers.
    pub message: String,
}

/// The handle that says whether the app is under maintenance. It is in the
/// [`Context`](crate::module::Context) of every app. Cheap to clone.
///
/// ```
/// use std::time::Duration;
/// # use omnistack_core::{app::App, config::Config, maintenance::MaintenanceMode};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// let maintenance: MaintenanceMode = app.context().get()?;
/// let mut tx = app.db().begin().await?;
/// maintenance.start_in(&mut tx, Duration::from_secs(600), "we are moving to a larger database").await?;
/// tx.commit().await?;
/// assert!(maintenance.refresh().await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MaintenanceMode(Arc<MaintenanceInner>);

struct MaintenanceInner {
    db: Db,
    clock: Clock,
    current: ArcSwapOption<MaintenancePeriod>,
    /// Whether there is a current period, for those that wait for a change.
    is_on: watch::Sender<bool>,
}

impl MaintenanceMode {
    pub(crate) fn new(db: &Db, clock: Clock) -> Self {
        let (current, is_on) = (ArcSwapOption::empty(), watch::Sender::new(false));
        Self(Arc::new(MaintenanceInner { db: db.app_database(), clock, current, is_on }))
    }

    /// Starts maintenance in a transaction of the app's database, or changes its expected end and its message.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn start_in(&self, tx: &mut Tx, expected: Duration, message: &str) -> Result<(), db::Error> {
        let now = self.0.clock.now();
        let sql = "insert into omni_maintenance (id, started_at, expected_end, message) values (1, $1, $2, $3)
            on conflict (id) do update set expected_end = $2, message = $3";
        tx.query(sql).bind(now).bind(now + expected).bind(message.to_owned()).execute().await.map(drop)
    }

    /// Ends maintenance in a transaction of the app's database. Returns whether there was any.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn end_in(&self, tx: &mut Tx) -> Result<bool, db::Error> {
        Ok(tx.query("delete from omni_maintenance").execute().await? > 0)
    }

    /// Returns the state that this process has read last.
    pub fn current(&self) -> Option<Arc<MaintenancePeriod>> {
        self.0.current.load_full()
    }

    /// Reads the state, by which requests are then refused or not. The app does so every second while it serves.
    ///
    /// # Errors
    /// The errors of the database. The state that was read before then stays.
    pub async fn refresh(&self) -> Result<Option<Arc<MaintenancePeriod>>, db::Error> {
        let sql = "select started_at, expected_end, message from omni_maintenance";
        let read: Option<MaintenancePeriod> = self.0.db.query(sql).fetch_optional().await?;
        let period = read.map(Arc::new);
        self.0.current.store(period.clone());
        let on = period.is_some();
        if self.0.is_on.send_replace(on) != on {
            tracing::warn!(target: "omnistack::maintenance", on, "maintenance has changed");
        }
        Ok(period)
    }

    /// Waits until this process has read that there is maintenance. Returns at once if it has. For what is open when
    /// maintenance begins, such as connections, since only new requests are refused.
    pub async fn wait_for_start(&self) {
        self.wait_for(true).await;
    }

    /// Waits until this process has read that there is no maintenance. Returns at once if there is none.
    pub async fn wait_for_end(&self) {
        self.wait_for(false).await;
    }

    async fn wait_for(&self, on: bool) {
        // The channel is open as long as this handle exists.
        let mut changes = self.0.is_on.subscribe();
        _ = changes.wait_for(|is_on| *is_on == on).await;
    }

    /// Returns the error for a request, or `None` if there is no maintenance.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let period = self.0.current.load();
        let period = period.as_ref()?;
        let left = period.expected_end.duration_since(self.0.clock.now()).max(MIN_RETRY_AFTER);
        let error = Error::unavailable("MAINTENANCE", period.message.clone());
        Some(error.with_header(header::RETRY_AFTER, HeaderValue::from(left.as_secs())))
    }

    /// Returns the layer for routes whose callers are not known, and for the app's fallback.
    pub(crate) fn layer(&self) -> MaintenanceLayer {
        HookLayer(self.clone())
    }

    /// Reads the state regularly, until shutdown.
    pub(crate) async fn run(self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        loop {
            // Without the database, requests fail anyway.
            _ = self.refresh().await;
            if tokio::time::timeout(REFRESH_INTERVAL, shutdown.cancelled()).await.is_ok() {
                return Ok(());
            }
        }
    }
}

/// The layer that refuses all requests during maintenance.
pub(crate) type MaintenanceLayer = HookLayer<MaintenanceMode>;

impl RequestHook for MaintenanceMode {
    type After = ();

    fn request(&self, _: &mut Request) -> Result<(), Response> {
        self.refusal().map_or(Ok(()), |error| Err(error.into_response()))
    }
}

impl fmt::Debug for MaintenanceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MaintenanceMode").field(&self.0.current.load()).finish()
    }
}
