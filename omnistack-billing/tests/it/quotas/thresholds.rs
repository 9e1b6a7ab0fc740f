//! Tests of the events that tell tenants how much of a limit is used.

use std::sync::Arc;

use omnistack_billing::UsageOutcome;
use omnistack_core::{ShutdownToken, usage_threshold::UsageThresholdReached, webhook::WebhookCatalogue};
use omnistack_testkit::on_each_database;
use tokio::sync::broadcast::Receiver;

use super::*;

/// The share in percent, the amount that is used, and the limit.
type Alert = (u8, String, u64);

const NO_ALERTS: [Alert; 0] = [];

/// The events of thresholds, as this process publishes them.
struct Alerts<'a> {
    app: &'a TestApp,
    process: Process,
    events: Receiver<Arc<UsageThresholdReached>>,
}

impl<'a> Alerts<'a> {
    fn of(app: &'a TestApp) -> Self {
        Self { app, process: Process::of(app.app()), events: app.events().subscribe() }
    }

    /// Records usage of a tenant, and returns the events that it causes.
    async fn after(&mut self, tenant: TenantId, meter: &'static str, quantity: i64) -> Vec<Alert> {
        self.record(tenant, meter, quantity).await;
        let mut alerts = Vec::new();
        // Windows are compared with their limits in batches. Usage of another tenant may be in the same batch, but that
        // of a second one, which is recorded when the first has caused its event, is in a later batch.
        for _ in 0..2 {
            let other = new_tenant(self.app);
            self.record(other, RUNS, 80).await;
            loop {
                let event = timeout(Duration::from_secs(20), self.events.recv()).await;
                let event = event.expect("an event is published").unwrap();
                if event.tenant == other {
                    break;
                }
                assert_eq!((event.tenant, event.meter.as_str()), (tenant, meter));
                alerts.push((event.threshold, event.used.to_string(), event.limit));
            }
        }
        alerts
    }

    async fn record(&self, tenant: TenantId, meter: &'static str, quantity: i64) {
        let event = self.process.event(tenant, meter, quantity);
        let outcomes = self.process.ledger.ingest(vec![event]).await.unwrap();
        assert!(matches!(outcomes[..], [UsageOutcome::Accepted { late: false }]), "{outcomes:?}");
    }
}

/// Does work while the background services of the app run.
async fn with_workers(app: &TestApp, work: impl Future<Output = ()>) {
    let shutdown = ShutdownToken::new();
    let work = async {
        work.await;
        shutdown.cancel();
    };
    tokio::join!(app.app().run_workers(shutdown.clone()), work);
}

fn alert(percent: u8, used: &str, limit: u64) -> Alert {
    (percent, used.to_owned(), limit)
}

on_each_database! {
    async fn each_share_of_a_limit_is_told_once(database: TestDatabase) {
        let app = start(database).await;
        let mut alerts = Alerts::of(&app);
        let tenant = new_tenant(&app);
        let work = async {
            for (quantity, expected) in [
                (79, vec![]),
                (1, vec![alert(80, "80", 100)]),
                (10, vec![]),
                (9, vec![]),
                (1, vec![alert(100, "100", 100)]),
                (50, vec![]),
                (-100, vec![]),
                (100, vec![]),
            ] {
                assert_eq!(alerts.after(tenant, RUNS, quantity).await, expected, "{quantity}");
            }
            // One event can reach both. A limit that is not enforced is told, too.
            let both = [alert(80, "150", 100), alert(100, "150", 100)];
            assert_eq!(alerts.after(new_tenant(&app), RUNS, 150).await, both);
            let both = [alert(80, "10", 10), alert(100, "10", 10)];
            assert_eq!(alerts.after(new_tenant(&app), meters::AI_FIXES, 10).await, both);
            assert_eq!(alerts.after(tenant, "hours", 8).await, [alert(80, "8", 10)]);
            assert_eq!(alerts.after(tenant, meters::AI_REQUESTS, 1_000_000).await, NO_ALERTS);
        };
        with_workers(&app, work).await;

        // In the next billing period, it is told again.
        app.clock().advance(Duration::from_secs(31 * 24 * 60 * 60));
        let work = async {
            assert_eq!(alerts.after(tenant, RUNS, 90).await, [alert(80, "90", 100)]);
        };
        with_workers(&app, work).await;
    }

    async fn a_larger_limit_is_told_again(database: TestDatabase) {
        let app = start(database).await;
        let mut alerts = Alerts::of(&app);
        let tenant = new_tenant(&app);
        let work = async {
            assert_eq!(alerts.after(tenant, RUNS, 85).await, [alert(80, "85", 100)]);
            assign(&app, tenant, "pro").await;
            assert_eq!(alerts.after(tenant, RUNS, 7_914).await, NO_ALERTS);
            assert_eq!(alerts.after(tenant, RUNS, 1).await, [alert(80, "8000", 10_000)]);
            // A smaller limit is told only of the share that was not reached before.
            assign(&app, tenant, "small").await;
            assert_eq!(alerts.after(tenant, RUNS, 1).await, [alert(100, "8001", 40)]);
        };
        with_workers(&app, work).await;
    }

    async fn the_limit_of_what_is_kept_is_told_again_after_thirty_days(database: TestDatabase) {
        let app = start(database).await;
        let mut alerts = Alerts::of(&app);
        let tenant = new_tenant(&app);
        let work = async {
            assert_eq!(alerts.after(tenant, meters::STORAGE_BYTES, 400).await, [alert(80, "400", 500)]);
            assert_eq!(alerts.after(tenant, meters::STORAGE_BYTES, -300).await, NO_ALERTS);
            assert_eq!(alerts.after(tenant, meters::STORAGE_BYTES, 350).await, NO_ALERTS);
        };
        with_workers(&app, work).await;
        app.clock().advance(Duration::from_secs(30 * 24 * 60 * 60 + 1));
        let work = async {
            assert_eq!(alerts.after(tenant, meters::STORAGE_BYTES, 1).await, [alert(80, "451", 500)]);
        };
        with_workers(&app, work).await;
    }

    async fn tenants_can_receive_it_by_webhook(database: TestDatabase) {
        let app = start(database).await;
        let catalogue: WebhookCatalogue = app.app().context().get().unwrap();
        assert!(catalogue.get("usage.threshold_reached").is_some());
    }
}
