//! Error analytics: errors of requests, jobs and deliveries, grouped and counted in the app's database.

mod alert;
mod analysis;
mod batch;
mod fingerprint;
mod http;
mod maintenance;
mod model;
mod normalize;
mod recommendations;
mod recorder;
mod settings;
mod signal;
mod status;
mod store;

pub use alert::{AlertReason, ErrorGroupAlert, ErrorGroupEscalating, ErrorGroupNew, ErrorGroupRegressed};
pub use model::{ErrorGroupId, ErrorGroupMarker, ErrorGroupStatus, ErrorOriginKind, ErrorSeverity};
pub use recorder::ErrorRecorder;
pub use settings::ErrorSettings;

use omnistack_core::{
    ExposeSecret as _,
    db::Db,
    email::Mailer,
    events::Events,
    http::client::Client,
    identity::Authenticator,
    jobs::{Cron, Jobs},
    module::{Context, MissingDependency, Registry},
};
use reqwest::Url;

use crate::panics;
use alert::{AlertTargets, SendErrorAlertMail, SendErrorAlertWebhook};
use maintenance::{PurgeErrors, PurgeState, ReviewErrorGroups};
use store::ErrorStore;

/// Registers error analytics, and returns the recorder that the module composes with other observers of errors. Returns
/// `None` if errors are not recorded, or if a setting is invalid, which is reported.
pub(crate) fn register(registry: &mut Registry) -> Option<ErrorRecorder> {
    let settings = registry.config::<ErrorSettings>().filter(|settings| settings.enabled)?;
    let webhook = webhook(registry, &settings);
    // Without a database, the missing settings are reported already.
    let store = ErrorStore {
        db: registry.provided::<Db>()?,
        clock: registry.clock(),
        events: registry.provided::<Events>()?,
        jobs: registry.provided::<Jobs>()?,
        release: registry.app_version().to_owned(),
        sends_mail: !settings.alert_email.is_empty(),
        posts_webhook: webhook.is_some(),
    };
    panics::install_hook();
    let recorder = ErrorRecorder::new(store.clone(), registry.clock());
    register_jobs(registry, &store, settings, webhook);
    registry.after_modules(move |registry| {
        if registry.provides::<Authenticator>() {
            http::register(registry, &store);
        }
    });
    let recording = recorder.clone();
    registry.provide(recorder.clone()).background_service("errors", move |_| {
        Ok(move |shutdown| {
            let recorder = recording.clone();
            async move { recorder.run(shutdown).await }
        })
    });
    Some(recorder)
}

/// Stores the last errors at shutdown.
pub(crate) async fn stop(ctx: &Context) {
    // Provided only if errors are recorded.
    let Ok(recorder) = ctx.get::<ErrorRecorder>() else { return };
    if let Err(error) = recorder.flush().await {
        tracing::warn!(target: "omnistack::errors", %error, "the last errors were not stored");
    }
}

fn register_jobs(registry: &mut Registry, store: &ErrorStore, settings: ErrorSettings, webhook: Option<(Client, Url)>) {
    let app_name = registry.app_name().to_owned();
    let targets = move |ctx: &Context| -> Result<AlertTargets, MissingDependency> {
        Ok(AlertTargets {
            mailer: ctx.get::<Mailer>()?,
            recipients: settings.alert_email.clone(),
            webhook: webhook.clone(),
            app_name: app_name.clone(),
        })
    };
    let (purge, review) = (PurgeState { store: store.clone(), keep: settings.keep }, store.clone());
    registry
        .job::<SendErrorAlertMail>(targets.clone())
        .job::<SendErrorAlertWebhook>(targets)
        .job::<PurgeErrors>(move |_| Ok(purge))
        .job::<ReviewErrorGroups>(move |_| Ok(review))
        .cron(Cron::new("23 4 * * *", PurgeErrors {}))
        .cron(Cron::new("7 * * * *", ReviewErrorGroups {}));
}

/// Returns the webhook of alerts, if the settings have one. Reports a URL that is not valid.
fn webhook(registry: &mut Registry, settings: &ErrorSettings) -> Option<(Client, Url)> {
    match alert::webhook_url(settings.alert_webhook.as_ref()?.expose_secret()) {
        Ok(url) => Some((registry.settings_client()?, url)),
        Err(error) => {
            // The URL may contain a secret; the parser's error does not repeat it.
            registry.report_problem(format!("`ERRORS_ALERT_WEBHOOK`: {error}"), "set it to https://…, or unset it");
            None
        }
    }
}
