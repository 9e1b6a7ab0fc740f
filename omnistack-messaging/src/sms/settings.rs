//! The settings for text messages.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{PhoneNumber, SmsConsole, SmsProvider, SmsSender, Twilio, TwilioCredentials, TwilioFrom};
use omnistack_core::{config::SettingValue, module::Registry};

omnistack_core::settings! {
    /// Text messages.
    pub struct SmsSettings {
        /// The SMS provider. `console` writes messages to the log and delivers none; in production it is an error.
        pub provider: SmsProviderName = "SMS_PROVIDER", default "console";
        /// The sender of messages: a number such as +15005550006, or a name of up to 11 letters and digits in
        /// countries that allow it.
        pub from: Option<String> = "SMS_FROM";
        /// The largest number of segments of a message, each of which is billed. At most 10.
        pub max_segments: usize = "SMS_MAX_SEGMENTS", default "4", range "1"..="10";
        /// The longest time that sending one message may take.
        pub timeout: Duration = "SMS_TIMEOUT", default "15s", range "1ms"..="10m";
        /// The time for which sending a message is retried before it is given up.
        pub give_up_after: Duration = "SMS_GIVE_UP_AFTER", default "1h", range "1s"..="30d";
        /// The time for which the outbox keeps the state of a message after it was sent, skipped or given up.
        pub keep: Duration = "SMS_KEEP", default "720h", range "1h"..="3650d";
        /// The SID of the Twilio account, `AC…`.
        pub twilio_account: Option<String> = "TWILIO_ACCOUNT_SID";
        /// The account's auth token. Twilio signs its webhook requests with it.
        pub twilio_token: Option<SecretString> = "TWILIO_AUTH_TOKEN";
        /// The SID of a Twilio API key, `SK…`, to use for sending instead of the auth token.
        pub twilio_key: Option<String> = "TWILIO_API_KEY";
        /// The secret of the Twilio API key.
        pub twilio_key_secret: Option<SecretString> = "TWILIO_API_SECRET";
        /// The SID of a Twilio messaging service, `MG…`, to use as sender instead of `SMS_FROM`.
        pub twilio_service: Option<String> = "TWILIO_MESSAGING_SERVICE_SID";
        /// The base URL of Twilio's API.
        pub twilio_url: String = "TWILIO_URL", default "https://api.twilio.com";
        /// The public URL of the app's webhook for Twilio:
        /// `https://app.example.com/api/v1/public/sms/webhooks/twilio`. With it and the auth token, Twilio sends
        /// delivery reports; without it, the app has no route for that webhook.
        pub twilio_webhook_url: Option<String> = "TWILIO_WEBHOOK_URL";
    }
}

/// The name of a provider in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SmsProviderName {
    /// The log: [`SmsConsole`].
    Console,
    /// Twilio's API: [`Twilio`].
    Twilio,
}

impl SettingValue for SmsProviderName {
    const EXPECTED: &'static str = "console or twilio";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "console" => Ok(Self::Console),
            "twilio" => Ok(Self::Twilio),
            _ => Err(format!("`{text}` is not one of {}", Self::EXPECTED)),
        }
    }
}

/// Returns the provider that the settings describe. Returns `None` after a problem with the settings was reported.
pub(super) fn provider(registry: &mut Registry, settings: &SmsSettings) -> Option<Arc<dyn SmsProvider>> {
    if settings.provider == SmsProviderName::Console {
        if registry.environment().is_production() {
            let what = "`SMS_PROVIDER` is `console`, which delivers no messages, and the app sends text messages";
            registry.report_problem(what, "set SMS_PROVIDER to twilio");
        }
        return Some(Arc::new(SmsConsole::default()));
    }
    let account = required_setting(registry, "TWILIO_ACCOUNT_SID", settings.twilio_account.as_ref());
    let credentials = match &settings.twilio_key {
        Some(key) => required_setting(registry, "TWILIO_API_SECRET", settings.twilio_key_secret.as_ref())
            .map(|secret| TwilioCredentials::Key(key.clone(), secret)),
        None => required_setting(registry, "TWILIO_AUTH_TOKEN", settings.twilio_token.as_ref())
            .map(TwilioCredentials::Token),
    };
    let from = match &settings.twilio_service {
        Some(service) => Some(TwilioFrom::Service(service.clone())),
        None => required_setting(registry, "SMS_FROM", settings.from.as_ref())
            .and_then(|from| parse_sender(registry, &from)),
    };
    let client = registry.http_client()?;
    let twilio = Twilio::new(client, &settings.twilio_url, &account?, &credentials?, from?, registry.clock());
    twilio
        .map(|twilio| Arc::new(twilio.timeout(settings.timeout)) as _)
        .map_err(|error| {
            registry.report_problem(error.to_string(), "correct TWILIO_URL, TWILIO_ACCOUNT_SID or the key");
        })
        .ok()
}

/// Returns a setting that Twilio needs, and reports a problem if it is not set.
fn required_setting<T: Clone>(registry: &mut Registry, name: &str, value: Option<&T>) -> Option<T> {
    if value.is_none() {
        registry.report_problem(format!("`{name}` is not set, and Twilio needs it"), format!("set {name}"));
    }
    value.cloned()
}

/// Parses `SMS_FROM`: a number, or an alphanumeric sender of up to 11 letters, digits and spaces with at least one
/// letter. Returns `None` after reporting a problem.
fn parse_sender(registry: &mut Registry, from: &str) -> Option<TwilioFrom> {
    if let Ok(number) = from.parse::<PhoneNumber>() {
        return Some(TwilioFrom::Sender(number.as_str().into()));
    }
    let is_name = (1..=11).contains(&from.len())
        && from.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ')
        && from.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !is_name {
        let fix = "set it to a number, +15005550006, or to a name of up to 11 letters and digits";
        registry.report_problem("`SMS_FROM` is neither a number nor a name", fix);
    }
    is_name.then(|| TwilioFrom::Sender(from.into()))
}

/// Creates the sender for a provider.
pub(super) fn sms_sender(provider: Arc<dyn SmsProvider>, settings: &SmsSettings) -> SmsSender {
    SmsSender::new(provider).max_segments(settings.max_segments)
}
