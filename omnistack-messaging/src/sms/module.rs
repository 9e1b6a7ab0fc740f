//! The module [`Sms`].

use super::{
    DevSmsMailbox, SmsOutbox, SmsProviderName, SmsSender, SmsSettings, SmsSuppressions, dev_mailbox,
    outbox::SmsCourier,
    settings,
    webhook::{self, TwilioHandler, TwilioSource},
};
use crate::{
    outbox::{self, MessageStore, OutboxLimits},
    suppression,
};
use omnistack_core::{
    db::Db,
    http::client::base_url,
    identity::AccessLevel,
    jobs::Jobs,
    module::{Module, Mount, Registry},
};

/// The module for text messages, sent by jobs: `.with(Sms::default())`.
///
/// It provides [`SmsOutbox`], [`SmsSender`] and [`SmsSuppressions`], and runs the jobs that send. It receives Twilio's
/// delivery reports at `/api/v1/public/sms/webhooks/twilio` if `TWILIO_WEBHOOK_URL` is set. Outside production, it
/// shows the messages of the `console` provider at `/dev/sms.json`.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Sms(());

impl Module for Sms {
    fn name(&self) -> &'static str {
        "sms"
    }

    fn register(&self, registry: &mut Registry) {
        suppression::register_migrations(registry);
        let Some(settings) = registry.config::<SmsSettings>() else { return };
        let Some(provider) = settings::provider(registry, &settings) else { return };
        let clock = registry.clock();
        // Without a database, the missing settings are reported already.
        let (Some(db), Some(jobs)) = (registry.provided::<Db>(), registry.provided::<Jobs>()) else { return };
        let shown = settings.provider == SmsProviderName::Console && !registry.environment().is_production();
        if shown {
            let mailbox = DevSmsMailbox::new(provider, clock.clone());
            registry
                .provide(mailbox.clone())
                .routes(Mount::root("", AccessLevel::Public), dev_mailbox::routes(), |ctx| ctx.get::<DevSmsMailbox>())
                .provide(settings::sms_sender(std::sync::Arc::new(mailbox), &settings));
        } else {
            registry.provide(settings::sms_sender(provider, &settings));
        }
        registry.service_check("sms", |ctx| {
            let sender = ctx.get::<SmsSender>()?;
            Ok(move || {
                let sender = sender.clone();
                async move { Ok(sender.check_connection().await?) }
            })
        });
        let webhook = webhook_url(registry, &settings);
        if let (Some(url), Some(token)) = (webhook.clone(), settings.twilio_token.clone()) {
            let suppressions = SmsSuppressions::new(db.clone(), clock.clone());
            let store = MessageStore::new(db.clone(), clock.clone());
            webhook::register(registry, TwilioSource { token, url }, TwilioHandler { store, suppressions });
        }
        let status_url = webhook.map(String::from);
        let sms = SmsOutbox::new(db, clock, jobs, settings.max_segments);
        let limits = OutboxLimits { give_up_after: settings.give_up_after, keep: settings.keep };
        outbox::register(registry, sms, limits, move |ctx| {
            Ok(SmsCourier { sender: ctx.get::<SmsSender>()?, status_url: status_url.clone() })
        });
    }
}

/// Returns the URL at which Twilio reaches the webhook, if it is set. Reports problems with the settings.
fn webhook_url(registry: &mut Registry, settings: &SmsSettings) -> Option<reqwest::Url> {
    let text = settings.twilio_webhook_url.as_ref()?;
    if settings.twilio_token.is_none() {
        let what = "`TWILIO_AUTH_TOKEN` is not set, and Twilio's webhook requests are signed with it";
        registry.report_problem(what, "set TWILIO_AUTH_TOKEN, or unset TWILIO_WEBHOOK_URL");
    }
    match base_url(text) {
        Ok(url) => Some(url),
        Err(error) => {
            let fix = "set it to https://…/api/v1/public/sms/webhooks/twilio, or unset it";
            registry.report_problem(format!("`TWILIO_WEBHOOK_URL`: {error}"), fix);
            None
        }
    }
}
