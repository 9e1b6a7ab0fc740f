//! The module [`Contact`].

use secrecy::ExposeSecret as _;

use super::{
    ContactInbox, ContactSettings, ContactWebhookJob, PurgeContacts, http,
    inbox::InboxParts,
    token::FormTokens,
    webhook::{self, ContactJobState, ContactWebhookTarget},
};
use crate::email::{Outbox, RecipientLimit};
use omnistack_core::{
    audit::AuditLog,
    crypto::KeyRing,
    http::RateLimits,
    jobs::Cron,
    migrations,
    module::{Context, Module, Mount, Registry},
};

/// The module for the contact form: `.with(Contact::default())`. It needs the module [`Mail`](crate::email::Mail).
///
/// It accepts messages at `/api/v1/public/contact`, describes the form at `/api/v1/public/contact/status`, shows
/// messages to operators at `/api/v1/admin/contact`, and provides [`ContactInbox`].
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Contact {
    without_admin_routes: bool,
}

impl Contact {
    /// Leaves out the routes for operators, for an app without operators whose messages are read by mail.
    pub fn without_admin_routes(mut self) -> Self {
        self.without_admin_routes = true;
        self
    }
}

/// Largest request body, in bytes: larger than any message that is accepted.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// Returns the webhook's target, if the settings have one. Reports problems with the settings.
fn target(registry: &mut Registry, settings: &ContactSettings) -> Option<ContactWebhookTarget> {
    let url = match webhook::url(settings.webhook_url.as_ref()?.expose_secret()) {
        Ok(url) => Some(url),
        Err(error) => {
            // The URL may contain a secret; the parser's error does not repeat it.
            registry.report_problem(format!("`CONTACT_WEBHOOK_URL`: {error}"), "set it to https://…, or unset it");
            None
        }
    };
    let secret = settings.webhook_secret.as_ref().and_then(|secret| webhook::secret(secret.expose_secret()));
    if secret.is_none() {
        registry.report_problem(
            "`CONTACT_WEBHOOK_SECRET` is missing or not valid, and the webhook is signed with it",
            "set it to `whsec_` and the output of `openssl rand -base64 32`",
        );
    }
    let client = registry.settings_client()?;
    Some(ContactWebhookTarget { client, url: url?, secret: secret?, timeout: settings.webhook_timeout })
}

impl Module for Contact {
    fn name(&self) -> &'static str {
        "contact"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(migrations!["0001_contact"]);
        let Some(settings) = registry.config::<ContactSettings>() else { return };
        if settings.max_time <= settings.min_time {
            registry.report_problem(
                "`CONTACT_MAX_TIME` must be longer than `CONTACT_MIN_TIME`",
                "set CONTACT_MAX_TIME to a longer time, such as 24h",
            );
        }
        registry.require::<Outbox>().require::<KeyRing>();
        let target = target(registry, &settings);
        let clock = registry.clock();
        let teller = {
            let (clock, keep) = (clock.clone(), settings.keep);
            move |ctx: &Context| {
                Ok(ContactJobState { db: ctx.get()?, clock: clock.clone(), keep, target: target.clone() })
            }
        };
        registry
            .provide_from(move |ctx| {
                let limit = InboxParts::limit(&ctx.get::<RateLimits>()?, &settings);
                Ok(ContactInbox::new(InboxParts {
                    db: ctx.get()?,
                    clock: clock.clone(),
                    jobs: ctx.get()?,
                    outbox: ctx.get()?,
                    log: ctx.get::<AuditLog>()?,
                    tokens: FormTokens::new(ctx.get::<KeyRing>()?, clock.clone()),
                    settings: settings.clone(),
                    limit,
                    recipients: RecipientLimit::new(clock.clone()),
                }))
            })
            .job::<ContactWebhookJob>(teller.clone())
            .job::<PurgeContacts>(teller)
            .cron(Cron::new("41 4 * * *", PurgeContacts {}))
            .routes(Mount::public("/contact").body_limit(MAX_BODY_BYTES), http::public(), |ctx| {
                ctx.get::<ContactInbox>()
            });
        if !self.without_admin_routes {
            registry.routes(Mount::admin("/contact"), http::admin(), |ctx| ctx.get::<ContactInbox>());
        }
    }
}
