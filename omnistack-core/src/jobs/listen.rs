//! PostgreSQL says when jobs are ready.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{app::Shutdown, db::Db};

/// Wakes the worker for as long as the app runs. Without it, and while the database is away, the worker polls.
#[cfg(feature = "postgres")]
pub(super) async fn listen(db: Db, wake: Arc<Notify>, shutdown: Shutdown) {
    use std::time::Duration;

    /// Where the statement that inserts jobs announces their queues.
    const CHANNEL: &str = "omnistack_jobs";

    let Some(pool) = db.postgres() else { return };
    while !shutdown.is_cancelled() {
        if let Ok(mut listener) = sqlx::postgres::PgListener::connect_with(pool).await
            && listener.listen(CHANNEL).await.is_ok()
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
pub(super) async fn listen(_: Db, _: Arc<Notify>, _: Shutdown) {}
