//! The module [`Mail`].

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Address, ConsoleProvider, DevMailbox, EmailProvider, EmailSettings, Mailer, Outbox, Suppressions,
    bounces::{self, WebhookKeys},
    dev_mailbox,
    settings::provide_mailer,
    template::{Brand, Template, TemplateError, TemplateOverrides, Templates},
};
use crate::{
    outbox::{self, OutboxLimits},
    suppression,
};
use omnistack_core::{
    db::{Db, Migrations},
    email::MailOutbox,
    jobs::Jobs,
    migrations,
    module::{AccessLevel, Module, Mount, Registry},
};

omnistack_core::settings! {
    /// Mail templates and outbox.
    ///
    /// ```
    /// use omnistack_core::config::Config;
    /// use omnistack_messaging::email::MailSettings;
    /// use std::time::Duration;
    ///
    /// let config = Config::from_pairs([
    ///     ("EMAIL_PRODUCT", "Acme"),
    ///     ("EMAIL_SUPPORT", "help@acme.example"),
    ///     ("EMAIL_GIVE_UP_AFTER", "24h"),
    /// ]);
    /// let settings = config.read_settings::<MailSettings>()?;
    /// assert_eq!(settings.product.as_deref(), Some("Acme"));
    /// assert_eq!(settings.give_up_after, Duration::from_secs(24 * 3600));
    /// assert_eq!(settings.keep, Duration::from_secs(30 * 24 * 3600));
    /// # Ok::<(), Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct MailSettings {
        /// The product's name, shown at the top of every mail. Default: the app's name.
        pub product: Option<String> = "EMAIL_PRODUCT";
        /// The address for support, shown at the bottom of every mail.
        pub support: Option<Address> = "EMAIL_SUPPORT";
        /// The URL that the product's name at the top of every mail links to.
        pub url: Option<String> = "EMAIL_PRODUCT_URL";
        /// The time for which sending a mail is retried before it is given up.
        pub give_up_after: Duration = "EMAIL_GIVE_UP_AFTER", default "72h", range "1s"..="30d";
        /// The time for which the outbox keeps the state of a mail after it was sent, skipped or given up.
        pub keep: Duration = "EMAIL_KEEP", default "720h", range "1h"..="3650d";
        /// The signing secret of Resend's webhook for bounces and complaints. Without it, the app has no route for
        /// that webhook.
        pub resend_webhook_secret: Option<SecretString> = "RESEND_WEBHOOK_SECRET";
        /// The verification key of SendGrid's signed event webhook. Without it, the app has no route for that
        /// webhook.
        pub sendgrid_webhook_key: Option<String> = "SENDGRID_WEBHOOK_KEY";
    }
}

type AddTemplate = Box<dyn Fn(Templates) -> Result<Templates, TemplateError> + Send + Sync>;

/// The module for mail from templates, sent by jobs: `.with(Mail::default())`.
///
/// It provides [`Outbox`], [`TemplateOverrides`], [`Suppressions`] and [`Templates`], and runs the jobs that send. By
/// the port [`MailOutbox`], other modules use the same outbox. It receives bounces and complaints at
/// `/api/v1/public/email/webhooks/resend` and `…/sendgrid` if their keys are set. Outside production, it shows mails
/// and templates at `/dev/mailbox`.
///
/// ```
/// use omnistack_messaging::email::{template::Template, Mail};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct ReportReady { link: String }
///
/// impl Template for ReportReady {
///     const NAME: &'static str = "report_ready";
///     const SOURCES: &'static [(&'static str, &'static str)] =
///         &[("en", "subject: Your report is ready\n---\n{{ button(link, 'Open it') }}\n")];
///
///     fn sample() -> Self {
///         Self { link: "https://example.com/reports/1".into() }
///     }
/// }
///
/// let mail = Mail::default().template::<ReportReady>();
/// ```
#[doc(alias("email", "SMTP"))]
#[derive(Default)]
#[must_use]
pub struct Mail {
    provider: Option<Arc<dyn EmailProvider>>,
    templates: Vec<AddTemplate>,
    sources: Vec<TemplateReplacement>,
}

/// A source with which the app replaces that of a template.
struct TemplateReplacement {
    name: Cow<'static, str>,
    locale: Cow<'static, str>,
    source: Cow<'static, str>,
}

impl Mail {
    /// Sends mail by this provider instead of the one that `EMAIL_PROVIDER` names.
    pub fn provider(mut self, provider: impl EmailProvider) -> Self {
        self.provider = Some(Arc::new(provider));
        self
    }

    /// Replaces the source of a template for a locale, such as `verify` or `footer`. The names and values of the built-in
    /// templates are in the book; `/dev/mailbox` shows them. Overrides of tenants still take precedence.
    ///
    /// `notification` is the template of many mails. `notification/password_changed` replaces its source for one of them:
    /// see [`Template::occasion`].
    ///
    /// A name that no template has, and a source that does not render with the sample of its template, are problems of the
    /// build.
    ///
    /// ```
    /// use omnistack_messaging::email::Mail;
    ///
    /// let mail = Mail::default()
    ///     .source("footer", "en", "Acme Ltd., 1 Main Street, Springfield")
    ///     .source("notification/password_changed", "en", "subject: {{ title }}\n---\nWas that you?");
    /// ```
    pub fn source(
        mut self,
        name: impl Into<Cow<'static, str>>,
        locale: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.sources.push(TemplateReplacement { name: name.into(), locale: locale.into(), source: source.into() });
        self
    }

    /// Adds a template, or replaces the sources of a built-in template with the same name. A source that does not
    /// render with the template's sample is reported when the app is built.
    pub fn template<T: Template + 'static>(mut self) -> Self {
        self.templates.push(Box::new(|templates| templates.with::<T>()));
        self
    }

    fn templates(&self, registry: &mut Registry, settings: &MailSettings) -> Templates {
        let mut brand = Brand::new(settings.product.as_deref().unwrap_or(registry.app_name()));
        brand.support = settings.support.as_ref().map(|address| address.mailbox().to_owned());
        if let Some(url) = &settings.url {
            if super::template::check_link(url).is_err() {
                registry.report_problem(
                    "`EMAIL_PRODUCT_URL` is not an http or https URL",
                    "set it to https://…, or unset it",
                );
            }
            brand = brand.url(url);
        }
        let mut templates = Templates::new(brand);
        for add in &self.templates {
            match add(templates.clone()) {
                Ok(more) => templates = more,
                Err(error) => {
                    _ = registry.report_problem(error.to_string(), "correct the template's source or its sample");
                }
            }
        }
        for TemplateReplacement { name, locale, source } in &self.sources {
            match templates.clone().with_source(name, locale, source) {
                Ok(more) => templates = more,
                Err(error) => {
                    let known: Vec<_> = templates.list().map(|(name, _)| name).collect();
                    let fix = format!("correct the source, or its name: the templates are {}", known.join(", "));
                    registry.report_problem(error.to_string(), fix);
                }
            }
        }
        templates
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("templates", &self.templates.len()).finish_non_exhaustive()
    }
}

fn keys(registry: &mut Registry, settings: &MailSettings) -> WebhookKeys {
    let mut keys = WebhookKeys::default();
    if let Some(secret) = &settings.resend_webhook_secret {
        match keys.clone().resend(secret.expose_secret()) {
            Some(more) => keys = more,
            None => {
                let fix = "copy the signing secret `whsec_…` from the webhook's page at Resend";
                registry.report_problem("`RESEND_WEBHOOK_SECRET` is not a webhook signing secret", fix);
            }
        }
    }
    if let Some(key) = &settings.sendgrid_webhook_key {
        match keys.clone().sendgrid(key) {
            Some(more) => keys = more,
            None => {
                let fix = "copy the verification key from SendGrid's settings of the event webhook";
                registry.report_problem("`SENDGRID_WEBHOOK_KEY` is not a P-256 public key", fix);
            }
        }
    }
    keys
}

/// Adds the tables of mail to the app, except those of the outbox. The module [`Mail`] does so itself; a module that uses
/// [`RecipientLimit`](super::RecipientLimit) without it calls this function.
pub fn register_mail_migrations(registry: &mut Registry) {
    registry.shared_migrations("email", MIGRATIONS);
}

/// Migrations of the tables of mail, except those of the outbox, for use without an
/// [`App`](omnistack_core::app::App), whose modules include them. Their history is `email`:
/// `db.migrate("email", email::MIGRATIONS)`.
pub const MIGRATIONS: Migrations = migrations!["0001_email"];

impl Module for Mail {
    fn name(&self) -> &'static str {
        "mail"
    }

    fn register(&self, registry: &mut Registry) {
        suppression::register_migrations(registry);
        register_mail_migrations(registry);
        let Some(settings) = registry.config::<MailSettings>() else { return };
        let templates = self.templates(registry, &settings);
        let keys = keys(registry, &settings);
        let clock = registry.clock();
        if let Some(provider) = registry.config::<EmailSettings>() {
            let own = self.provider.clone();
            registry.after_modules(move |registry| provide_mailer(registry, &provider, own));
        }
        registry.service_check("email", |ctx| {
            let mailer = ctx.get::<Mailer>()?;
            Ok(move || {
                let mailer = mailer.clone();
                async move { Ok(mailer.check_connection().await?) }
            })
        });
        // Without a database, the missing settings are reported already.
        let (Some(db), Some(jobs)) = (registry.provided::<Db>(), registry.provided::<Jobs>()) else { return };
        let overrides = TemplateOverrides::new(db.clone(), clock.clone(), templates.clone());
        let mail = Outbox::new(db.clone(), clock.clone(), jobs, overrides.clone());
        let limits = OutboxLimits { give_up_after: settings.give_up_after, keep: settings.keep };
        registry.provide(MailOutbox::new(mail.clone()));
        outbox::register(registry, mail, limits, |ctx| ctx.get::<Mailer>());
        registry.provide(overrides).provide(templates.clone()).tenant_tables(["omni_email_templates"]);
        super::template::export::register(registry);
        bounces::register(registry, keys, &Suppressions::new(db, clock.clone()));
        if !registry.environment().is_production() {
            // Mails of `EMAIL_PROVIDER=console` go through the dev mailbox.
            registry
                .provide(DevMailbox::new(ConsoleProvider::default(), clock))
                .routes(Mount::root("", AccessLevel::Public), dev_mailbox::routes(), move |ctx| {
                    Ok(dev_mailbox::DevMailboxState {
                        mailbox: ctx.get()?,
                        templates,
                        #[cfg(feature = "sms")]
                        sms_mailbox: ctx.get().ok(),
                    })
                })
                .banner("mail", || "/dev/mailbox".into());
        }
    }
}
