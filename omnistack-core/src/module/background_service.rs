//! Background services, which run for as long as the app.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::task::JoinSet;

use crate::{BoxError, ShutdownToken};

type Run = Arc<dyn Fn(ShutdownToken) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// A named future that is restarted if it fails.
#[derive(Clone)]
pub(crate) struct BackgroundService {
    name: &'static str,
    run: Run,
}

const MAX_RESTART_DELAY: Duration = Duration::from_secs(30);

impl BackgroundService {
    pub(crate) fn new<F>(name: &'static str, run: impl Fn(ShutdownToken) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self { name, run: Arc::new(move |shutdown| Box::pin(run(shutdown))) }
    }

    async fn run_with_restarts(self, shutdown: ShutdownToken) {
        let mut pause = Duration::from_secs(1);
        while !shutdown.is_cancelled() {
            let run = AssertUnwindSafe((self.run)(shutdown.clone())).catch_unwind();
            match run.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::error!(service = self.name, %error, ?pause, "a background service failed; restarting it after the pause");
                }
                Err(_) => tracing::error!(
                    service = self.name,
                    ?pause,
                    "a background service panicked; restarting it after the pause"
                ),
            }
            _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
            pause = (pause * 2).min(MAX_RESTART_DELAY);
        }
    }
}

/// Starts every service. The set ends when all services have ended.
pub(crate) fn spawn(services: &[BackgroundService], shutdown: &ShutdownToken) -> JoinSet<()> {
    services.iter().map(|service| service.clone().run_with_restarts(shutdown.clone())).collect()
}
