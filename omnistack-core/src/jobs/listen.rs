//! Notifications from PostgreSQL (`LISTEN`) that wake workers.

use std::sync::Arc;
#[cfg(feature = "postgres")]
use std::time::Duration;

#[cfg(feature = "postgres")]
use sqlx::{Acquire as _, ConnectOptions as _, Executor as _, PgPool, postgres::PgListener};
use tokio::sync::Notify;
#[cfg(feature = "postgres")]
use tokio::time::timeout;

use crate::{ShutdownToken, db::Db};

/// Interval at which a connection without notifications is tested: a lost connection would stay silent forever.
#[cfg(feature = "postgres")]
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Timeout of the test, and of the opening of a new connection.
#[cfg(feature = "postgres")]
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Wakes a worker whenever its channel is notified. Without PostgreSQL, and while the database is unavailable,
/// the worker polls.
#[cfg(feature = "postgres")]
pub(crate) async fn listen(db: Db, channel: &'static str, wake: Arc<Notify>, shutdown: ShutdownToken) {
    let Some(pool) = db.postgres() else { return };
    while !shutdown.is_cancelled() {
        if let Ok(mut listener) = PgListener::connect_with(pool).await {
            listener.eager_reconnect(false);
            let heard = shutdown.run_until_cancelled(receive(&mut listener, channel, &wake));
            if let Some(ListenEnd::Unresponsive) = heard.await {
                _ = shutdown.run_until_cancelled(replace(&mut listener, pool)).await;
            }
        }
        _ = timeout(Duration::from_secs(1), shutdown.cancelled()).await;
    }
}

/// Why listening on a connection ended.
#[cfg(feature = "postgres")]
enum ListenEnd {
    Closed,
    Unresponsive,
}

/// Wakes the worker on each notification, until the connection is lost.
#[cfg(feature = "postgres")]
async fn receive(listener: &mut PgListener, channel: &str, wake: &Notify) -> ListenEnd {
    match timeout(PING_TIMEOUT, listener.listen(channel)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return ListenEnd::Closed,
        Err(_) => return ListenEnd::Unresponsive,
    }
    // There may have been notifications before the connection listened.
    wake.notify_one();
    loop {
        match timeout(PING_INTERVAL, listener.try_recv()).await {
            Ok(Ok(Some(_))) => wake.notify_one(),
            Ok(Ok(None) | Err(_)) => return ListenEnd::Closed,
            Err(_) => match timeout(PING_TIMEOUT, listener.execute("select 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return ListenEnd::Closed,
                Err(_) => return ListenEnd::Unresponsive,
            },
        }
    }
}

/// Replaces a connection that does not respond by a new one, and closes it: sqlx would wait for its response
/// without a limit before it returns the connection's place to the pool.
#[cfg(feature = "postgres")]
async fn replace(listener: &mut PgListener, pool: &PgPool) {
    loop {
        let opening = async {
            let mut connection = pool.connect_options().connect().await?;
            std::mem::swap(listener.acquire().await?, &mut connection);
            Ok::<_, sqlx::Error>(())
        };
        if matches!(timeout(PING_TIMEOUT, opening).await, Ok(Ok(()))) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Does nothing: SQLite has no notifications.
#[cfg(not(feature = "postgres"))]
pub(crate) async fn listen(_: Db, _: &'static str, _: Arc<Notify>, _: ShutdownToken) {}
