//! PostgreSQL says when there is something to do.

use std::sync::Arc;
#[cfg(feature = "postgres")]
use std::time::Duration;

#[cfg(feature = "postgres")]
use sqlx::{Acquire as _, ConnectOptions as _, Executor as _, PgPool, postgres::PgListener};
use tokio::sync::Notify;
#[cfg(feature = "postgres")]
use tokio::time::timeout;

use crate::{app::Shutdown, db::Db};

/// How often a connection on which nothing is announced is tried: one that was lost on the way would stay silent for ever.
#[cfg(feature = "postgres")]
const TRY_AFTER: Duration = Duration::from_secs(10);
/// How long it has to answer, and another to be opened.
#[cfg(feature = "postgres")]
const TRY_LIMIT: Duration = Duration::from_secs(2);

/// Wakes a worker whenever something is announced on its channel. Without it, and while the database is away, the worker
/// polls.
#[cfg(feature = "postgres")]
pub(crate) async fn listen(db: Db, channel: &'static str, wake: Arc<Notify>, shutdown: Shutdown) {
    let Some(pool) = db.postgres() else { return };
    while !shutdown.is_cancelled() {
        if let Ok(mut listener) = PgListener::connect_with(pool).await {
            listener.eager_reconnect(false);
            let heard = shutdown.run_until_cancelled(hear(&mut listener, channel, &wake));
            if let Some(Heard::NoAnswer) = heard.await {
                _ = shutdown.run_until_cancelled(replace(&mut listener, pool)).await;
            }
        }
        _ = timeout(Duration::from_secs(1), shutdown.cancelled()).await;
    }
}

/// Why a connection is no longer listened to.
#[cfg(feature = "postgres")]
enum Heard {
    Closed,
    NoAnswer,
}

/// Wakes the worker until the connection is lost.
#[cfg(feature = "postgres")]
async fn hear(listener: &mut PgListener, channel: &str, wake: &Notify) -> Heard {
    match timeout(TRY_LIMIT, listener.listen(channel)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Heard::Closed,
        Err(_) => return Heard::NoAnswer,
    }
    // What was announced before anybody listened.
    wake.notify_one();
    loop {
        match timeout(TRY_AFTER, listener.try_recv()).await {
            Ok(Ok(Some(_))) => wake.notify_one(),
            Ok(Ok(None) | Err(_)) => return Heard::Closed,
            Err(_) => match timeout(TRY_LIMIT, listener.execute("select 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Heard::Closed,
                Err(_) => return Heard::NoAnswer,
            },
        }
    }
}

/// Puts a new connection in the place of one that does not answer, and closes that: sqlx would wait for its answer for ever
/// before it gives the place back to the pool.
#[cfg(feature = "postgres")]
async fn replace(listener: &mut PgListener, pool: &PgPool) {
    loop {
        let opening = async {
            let mut connection = pool.connect_options().connect().await?;
            std::mem::swap(listener.acquire().await?, &mut connection);
            Ok::<_, sqlx::Error>(())
        };
        if matches!(timeout(TRY_LIMIT, opening).await, Ok(Ok(()))) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// SQLite has nothing to say.
#[cfg(not(feature = "postgres"))]
pub(crate) async fn listen(_: Db, _: &'static str, _: Arc<Notify>, _: Shutdown) {}
