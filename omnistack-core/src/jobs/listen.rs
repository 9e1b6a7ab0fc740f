//! PostgreSQL says when jobs are ready.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::{app::Shutdown, db::Db};

/// Wakes the worker for as long as the app runs. Without it, and while the database is away, the worker polls.
pub(super) async fn listen(db: Db, wake: Arc<Notify>, shutdown: Shutdown) {
    #[cfg(feature = "postgres")]
    if let Some(pool) = db.postgres() {
        while !shutdown.is_cancelled() {
            if let Ok(mut listener) = sqlx::postgres::PgListener::connect_with(pool).await
                && listener.listen(super::store::CHANNEL).await.is_ok()
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
    _ = (db, wake, shutdown);
}
