//! Tests of Stripe's signatures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use omnistack_core::{
    async_trait,
    jobs::JobError,
    module::{Module, Registry},
    webhook::{InboundWebhook, WebhookHandler, WebhookOutcome, WebhookTx},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use omnistack_webhooks::Webhooks;

use super::{START, accepted, hex_mac, rejected, start};

const SECRET: &str = "whsec_current";
const PREVIOUS: &str = "whsec_previous";

fn event(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","object":"event","type":"invoice.paid","livemode":true,"data":{{"object":{{"id":"in_1"}}}}}}"#
    )
}

fn signature(secret: &str, seconds: i64, body: &str) -> String {
    hex_mac(secret, format!("{seconds}.{body}"))
}

/// Counts the events that are processed.
#[derive(Clone, Default)]
struct Processed(Arc<AtomicUsize>);

#[async_trait]
impl WebhookHandler for Processed {
    async fn handle(&self, _: &InboundWebhook, _: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(WebhookOutcome::Processed)
    }
}

impl Module for Processed {
    fn name(&self) -> &'static str {
        "processed"
    }

    fn register(&self, registry: &mut Registry) {
        let handler = self.clone();
        registry.webhook_handler("stripe", "invoice.*", move |_| Ok(handler));
    }
}

on_each_database! {
    async fn the_secret_can_have_the_name_of_stripes_documentation(database: TestDatabase) {
        let settings = [("WEBHOOKS_STRIPE_SECRETS", SECRET), ("STRIPE_WEBHOOK_SECRET", PREVIOUS)];
        let app = start(database, &settings).await;
        for (secret, id) in [(SECRET, "evt_1"), (PREVIOUS, "evt_2")] {
            let body = event(id);
            let header = format!("t={START},v1={}", signature(secret, START, &body));
            accepted(&app, "stripe", &[("stripe-signature", &header)], body).await;
        }
        let body = event("evt_3");
        let header = format!("t={START},v1={}", signature("whsec_other", START, &body));
        rejected(&app, "stripe", &[("stripe-signature", &header)], body).await;
    }

    // Case 41.
    async fn rotation_and_age(database: TestDatabase) {
        let app = start(database, &[("WEBHOOKS_STRIPE_SECRETS", SECRET)]).await;
        let body = event("evt_1");
        let (right, wrong) = (signature(SECRET, START, &body), signature(PREVIOUS, START, &body));
        for header in [
            format!("t={START},v1={right}"),
            format!("t={START},v1={wrong},v1={right}"),
            format!("t={START},v1={right},v1={wrong},v0={wrong}"),
        ] {
            accepted(&app, "stripe", &[("stripe-signature", &header)], body.clone()).await;
        }
        for header in [
            format!("t={START},v0={right}"),
            format!("t={START},v1={wrong}"),
            format!("t={START},t={START},v1={right}"),
            format!("t={},v1={right}", START + 1),
            format!("v1={right}"),
            format!("t={START}"),
            String::new(),
        ] {
            rejected(&app, "stripe", &[("stripe-signature", &header)], body.clone()).await;
        }
        rejected(&app, "stripe", &[], body.clone()).await;
        let pretty = body.replace(':', ": ");
        rejected(&app, "stripe", &[("stripe-signature", &format!("t={START},v1={right}"))], pretty).await;
        for (difference, is_recent) in
            [(-301, false), (-300, true), (-299, true), (300, true), (301, false), (86_400, false)]
        {
            let seconds = START + difference;
            let header = format!("t={seconds},v1={}", signature(SECRET, seconds, &body));
            let headers = [("stripe-signature", header.as_str())];
            if is_recent {
                accepted(&app, "stripe", &headers, body.clone()).await;
            } else {
                rejected(&app, "stripe", &headers, body.clone()).await;
            }
        }
    }

    async fn both_secrets_count_while_one_is_replaced(database: TestDatabase) {
        let app = start(database, &[("WEBHOOKS_STRIPE_SECRETS", &format!("{SECRET}, {PREVIOUS}"))]).await;
        for secret in [SECRET, PREVIOUS] {
            let body = event(secret);
            let header = format!("t={START},v1={}", signature(secret, START, &body));
            accepted(&app, "stripe", &[("stripe-signature", &header)], body).await;
        }
        let body = event("evt_1");
        // An empty key, and a secret without its prefix.
        for secret in ["current", " "] {
            let header = format!("t={START},v1={}", signature(secret, START, &body));
            rejected(&app, "stripe", &[("stripe-signature", &header)], body.clone()).await;
        }
    }

    // Case 41: the age counts when a request comes, not when it is processed.
    async fn a_stored_event_is_processed_an_hour_later(database: TestDatabase) {
        let processed = Processed::default();
        let app = TestApp::start(database, |app| {
            app.with(Webhooks::from_env()).with(processed.clone()).set("WEBHOOKS_STRIPE_SECRETS", SECRET)
        })
        .await;
        let body = event("evt_1");
        let header = format!("t={START},v1={}", signature(SECRET, START, &body));
        accepted(&app, "stripe", &[("stripe-signature", &header)], body).await;
        app.clock().advance(Duration::from_secs(3600));
        app.run_events().await;
        app.run_jobs().await;
        assert_eq!(processed.0.load(Ordering::SeqCst), 1);
    }
}
