//! PostgreSQL says when there is something to do.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{app::Shutdown, db::Db};

/// Wakes a worker whenever something is announced on its channel. Without it, and while the database is away, the worker
/// polls.
#[cfg(feature = "postgres")]
pub(crate) async fn listen(db: Db, channel: &'static str, wake: Arc<Notify>, shutdown: Shutdown) {
    use std::time::Duration;

    let Some(pool) = db.postgres() else { return };
    while !shutdown.is_cancelled() {
        if let Ok(mut listener) = sqlx::postgres::PgListener::connect_with(pool).await
            && listener.listen(channel).await.is_ok()
        {
            // What was announced before anybody listened.
            wake.notify_one();
            while let Some(Ok(_)) = shutdown.run_until_cancelled(listener.recv()).await {
                wake.notify_one();
            }
        }
        _ = tokio::time::timeout(Duration::from_secs(1), shutdown.cancelled()).await;
    }
}

/// SQLite has nothing to say.
#[cfg(not(feature = "postgres"))]
pub(crate) async fn listen(_: Db, _: &'static str, _: Arc<Notify>, _: Shutdown) {}
