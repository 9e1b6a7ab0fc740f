//! The settings of the mail provider.

use std::{sync::Arc, time::Duration};

use bytesize::ByteSize;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Address, ConsoleProvider, DevMailbox, EmailError, EmailProvider, FailoverProvider, Mailer, Resend, SendGrid, Smtp,
};
use omnistack_core::{config::SettingValue, module::Registry};

omnistack_core::settings! {
    /// Mail.
    ///
    /// ```
    /// use omnistack_core::config::Config;
    /// use omnistack_messaging::email::EmailSettings;
    ///
    /// let config = Config::from_pairs([
    ///     ("EMAIL_PROVIDER", "smtp"),
    ///     ("SMTP_URL", "smtps://user:password@smtp.example.com"),
    ///     ("EMAIL_FROM", "Shop <shop@example.com>"),
    ///     ("EMAIL_SIZE_LIMIT", "2MiB"),
    /// ]);
    /// let settings = config.read_settings::<EmailSettings>()?;
    /// assert_eq!(settings.from.map(|from| from.to_string()).as_deref(), Some("Shop <shop@example.com>"));
    /// assert_eq!((settings.size_limit.as_u64(), settings.smtp_connections), (2 * 1024 * 1024, 4));
    /// assert!(Config::from_pairs([("EMAIL_FROM", "the shop")]).read_settings::<EmailSettings>().is_err());
    /// # Ok::<(), Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct EmailSettings {
        /// The mail provider. `console` writes mails to the log and delivers none; in production it is an error if
        /// a module sends mail.
        pub provider: EmailProviderName = "EMAIL_PROVIDER", default "console";
        /// The sender of mails that have no sender of their own.
        pub from: Option<Address> = "EMAIL_FROM";
        /// A second provider, for mails that the first has certainly not accepted because it is unavailable or rate
        /// limited.
        pub fallback: Option<EmailProviderName> = "EMAIL_FALLBACK";
        /// The largest mail: text, HTML, and attachments as base64.
        pub size_limit: ByteSize = "EMAIL_SIZE_LIMIT", default "10MiB", range "1KiB"..="40MiB";
        /// The URL of the mail server: `smtps://user:password@host`, or
        /// `smtp://user:password@host:587?tls=required`.
        pub smtp_url: Option<SecretString> = "SMTP_URL";
        /// The longest time that sending one mail to the mail server may take.
        pub smtp_timeout: Duration = "SMTP_TIMEOUT", default "30s", range "1ms"..="10m";
        /// The largest number of concurrent connections to the mail server.
        pub smtp_connections: usize = "SMTP_CONNECTIONS", default "4", range "1"..="1000";
        /// The API key for Resend.
        pub resend_api_key: Option<SecretString> = "RESEND_API_KEY";
        /// The base URL of Resend's API.
        pub resend_url: String = "RESEND_URL", default "https://api.resend.com";
        /// The API key for SendGrid.
        pub sendgrid_api_key: Option<SecretString> = "SENDGRID_API_KEY";
        /// The base URL of SendGrid's API; `https://api.eu.sendgrid.com` for senders in the European Union.
        pub sendgrid_url: String = "SENDGRID_URL", default "https://api.sendgrid.com";
    }
}

/// The name of a provider in the settings.
///
/// ```
/// use omnistack_core::config::{Config, SettingValue};
/// use omnistack_messaging::email::{EmailSettings, EmailProviderName};
///
/// fn delivers(config: &Config) -> bool {
///     config.read_settings::<EmailSettings>().is_ok_and(|settings| settings.provider != EmailProviderName::Console)
/// }
///
/// assert!(!delivers(&Config::default()));
/// assert!(delivers(&Config::from_pairs([("EMAIL_PROVIDER", "sendgrid")])));
/// assert!(EmailProviderName::parse("pigeon").unwrap_err().ends_with("not one of console, smtp, resend or sendgrid"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmailProviderName {
    /// The log: [`ConsoleProvider`].
    Console,
    /// A mail server, by SMTP.
    Smtp,
    /// Resend's API.
    Resend,
    /// SendGrid's API.
    SendGrid,
}

impl SettingValue for EmailProviderName {
    const EXPECTED: &'static str = "console, smtp, resend or sendgrid";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "console" => Ok(Self::Console),
            "smtp" => Ok(Self::Smtp),
            "resend" => Ok(Self::Resend),
            "sendgrid" => Ok(Self::SendGrid),
            _ => Err(format!("`{text}` is not one of {}", Self::EXPECTED)),
        }
    }
}

/// Provides the [`Mailer`] that the settings describe, with the app's own provider if it has one, unless a module or a
/// test provides its own mailer.
pub(super) fn provide_mailer(registry: &mut Registry, settings: &EmailSettings, own: Option<Arc<dyn EmailProvider>>) {
    if registry.provides::<Mailer>() {
        return;
    }
    if registry.environment().is_production() {
        if own.is_none() && settings.provider == EmailProviderName::Console {
            let what = "`EMAIL_PROVIDER` is `console`, which delivers no mail, and a module sends mail";
            registry.report_problem(what, "set EMAIL_PROVIDER to smtp, resend or sendgrid");
        }
        if settings.from.is_none() {
            let what = "`EMAIL_FROM` is not set, and a module sends mail";
            registry.report_problem(what, "set EMAIL_FROM to an address the provider lets the app send from");
        }
    }
    let mailer = match own {
        Some(provider) => Some(with_settings(Mailer::new(provider), settings)),
        None => mailer(registry, settings),
    };
    if let Some(mailer) = mailer {
        registry.provide(mailer);
    }
}

fn with_settings(mailer: Mailer, settings: &EmailSettings) -> Mailer {
    let mailer = mailer.max_size(settings.size_limit.as_u64());
    match settings.from.clone() {
        Some(from) => mailer.default_sender(from),
        None => mailer,
    }
}

/// Creates the mailer. Returns `None` after a problem with the settings was reported.
fn mailer(registry: &mut Registry, settings: &EmailSettings) -> Option<Mailer> {
    if settings.provider == EmailProviderName::Console && settings.fallback.is_none() {
        let mailer = match registry.provided::<DevMailbox>() {
            // The dev mailbox keeps the mails, and they are written to the log as well.
            Some(mailbox) => Mailer::default().with_provider(mailbox),
            None => Mailer::default(),
        };
        return Some(with_settings(mailer, settings));
    }
    let first = provider(registry, settings, settings.provider)?;
    let provider: Arc<dyn EmailProvider> = match settings.fallback {
        None => first,
        Some(second) if second == settings.provider || second == EmailProviderName::Console => {
            let fix = "set it to another provider that delivers, or unset it";
            registry.report_problem("`EMAIL_FALLBACK` is `console` or the same provider as `EMAIL_PROVIDER`", fix);
            return None;
        }
        Some(second) => Arc::new(FailoverProvider::new(first, provider(registry, settings, second)?)),
    };
    Some(with_settings(Mailer::new(provider), settings))
}

fn provider(
    registry: &mut Registry,
    settings: &EmailSettings,
    name: EmailProviderName,
) -> Option<Arc<dyn EmailProvider>> {
    fn required_setting<T>(registry: &mut Registry, name: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            registry
                .report_problem(format!("`{name}` is not set, and the mail provider needs it"), format!("set {name}"));
        }
        value
    }
    let clock = registry.clock();
    let (setting, made): (_, Result<Arc<dyn EmailProvider>, EmailError>) = match name {
        EmailProviderName::Console => ("EMAIL_PROVIDER", Ok(Arc::new(ConsoleProvider::default()))),
        EmailProviderName::Smtp => {
            let url = required_setting(registry, "SMTP_URL", settings.smtp_url.as_ref())?;
            let smtp = Smtp::new(url.expose_secret(), clock);
            (
                "SMTP_URL",
                smtp.map(|smtp| {
                    Arc::new(smtp.timeout(settings.smtp_timeout).connections(settings.smtp_connections)) as _
                }),
            )
        }
        EmailProviderName::Resend => {
            let key = required_setting(registry, "RESEND_API_KEY", settings.resend_api_key.as_ref())?;
            let client = registry.http_client()?;
            ("RESEND_URL", Resend::new(client, &settings.resend_url, key, clock).map(|resend| Arc::new(resend) as _))
        }
        EmailProviderName::SendGrid => {
            let key = required_setting(registry, "SENDGRID_API_KEY", settings.sendgrid_api_key.as_ref())?;
            let client = registry.http_client()?;
            let sendgrid = SendGrid::new(client, &settings.sendgrid_url, key, clock);
            ("SENDGRID_URL", sendgrid.map(|sendgrid| Arc::new(sendgrid) as _))
        }
    };
    made.map_err(|error| {
        registry.report_problem(format!("`{setting}`: {error}"), format!("correct {setting}"));
    })
    .ok()
}
