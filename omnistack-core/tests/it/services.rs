//! Tests of background services of modules.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use omnistack_core::{
    ShutdownToken,
    app::Server,
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase};
use tokio::sync::Notify;

/// A service that fails at its first start, panics at its second, and then runs until shutdown.
#[derive(Clone, Default)]
struct Worker {
    starts: Arc<AtomicUsize>,
    running: Arc<Notify>,
    ended: Arc<AtomicUsize>,
}

impl Module for Worker {
    fn name(&self) -> &'static str {
        "worker"
    }

    fn register(&self, registry: &mut Registry) {
        let worker = self.clone();
        registry.background_service("worker", move |_| {
            Ok(move |shutdown: ShutdownToken| {
                let worker = worker.clone();
                async move {
                    match worker.starts.fetch_add(1, Ordering::SeqCst) {
                        0 => return Err("the first time it fails".into()),
                        1 => panic!("the second time it panics"),
                        _ => worker.running.notify_one(),
                    }
                    shutdown.cancelled().await;
                    worker.ended.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            })
        });
    }
}

#[tokio::test]
async fn a_service_is_started_again_until_told_to_end() {
    let worker = Worker::default();
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(worker.clone())).await;
    let server = Server::bind(([127, 0, 0, 1], 0).into(), app.app().server_settings()).await.unwrap();
    // With paused time, the delay before a restart takes no time.
    tokio::time::pause();
    let shutdown = ShutdownToken::new();
    let serving = app.app().serve(server, shutdown.clone());
    let ((), cut) = tokio::join!(
        async {
            worker.running.notified().await;
            shutdown.cancel();
        },
        serving
    );
    assert_eq!(cut, 0);
    assert_eq!(worker.starts.load(Ordering::SeqCst), 3);
    assert_eq!(worker.ended.load(Ordering::SeqCst), 1, "it was told to end and did");
}
