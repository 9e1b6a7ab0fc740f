//! The settings of the sources.

use std::path::PathBuf;

use http::HeaderName;
use omnistack_core::config::SettingValue;
use secrecy::SecretString;

use super::{HmacAlgorithm, SignatureEncoding};

/// The secrets of a setting, separated by commas: the one that signs first, then those that are being replaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebhookSecrets(Vec<SecretString>);

impl WebhookSecrets {
    pub(super) fn as_slice(&self) -> &[SecretString] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns these secrets, followed by those of another setting.
    pub(super) fn and(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(&others.0).cloned().collect())
    }
}

impl SettingValue for WebhookSecrets {
    const EXPECTED: &'static str = "list of secrets, separated by commas, none of them empty";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let secrets: Vec<&str> = text.split(',').map(str::trim).collect();
        if secrets.iter().any(|secret| secret.is_empty()) {
            return Err("one of the secrets is empty".into());
        }
        Ok(Self(secrets.into_iter().map(Into::into).collect()))
    }

    fn when_unset() -> Option<Self> {
        Some(Self::default())
    }
}

omnistack_core::settings! {
    /// Webhooks of Stripe.
    pub(crate) struct StripeWebhookSettings {
        /// The signing secrets of the webhook endpoint, `whsec_…`, separated by commas: two while one is being
        /// replaced. Without one, the app has no source `stripe`.
        pub(crate) secrets: WebhookSecrets = "WEBHOOKS_STRIPE_SECRETS";
        /// The signing secret of the webhook endpoint, under the name that Stripe's documentation uses. It counts like
        /// one of `WEBHOOKS_STRIPE_SECRETS`.
        pub(crate) secret: WebhookSecrets = "STRIPE_WEBHOOK_SECRET";
        /// An API key that may read events and the objects that they are about. With it, the app asks Stripe for
        /// events that Stripe could not deliver, and handlers can ask for the current state of an object.
        pub(crate) api_key: Option<SecretString> = "WEBHOOKS_STRIPE_API_KEY";
        /// The base URL of Stripe's API.
        pub(crate) api_url: String = "WEBHOOKS_STRIPE_API_URL", default "https://api.stripe.com";
    }
}

omnistack_core::settings! {
    /// Webhooks of GitHub.
    pub(crate) struct GitHubWebhookSettings {
        /// The secrets of the webhook, separated by commas: two while one is being replaced. Without one, the app has
        /// no source `github`.
        pub(crate) secrets: WebhookSecrets = "WEBHOOKS_GITHUB_SECRETS";
        /// The path of the webhook in GitHub's API: `/repos/OWNER/REPOSITORY/hooks/ID`, `/orgs/NAME/hooks/ID`, or
        /// `/app/hook` for a GitHub App. With it, the app asks GitHub to send failed deliveries again.
        pub(crate) hook: Option<String> = "WEBHOOKS_GITHUB_HOOK";
        /// A token that may read and redeliver the deliveries of the webhook. A GitHub App needs its id and key
        /// instead.
        pub(crate) token: Option<SecretString> = "WEBHOOKS_GITHUB_TOKEN";
        /// The id of the GitHub App, for the path `/app/hook`.
        pub(crate) app_id: Option<String> = "WEBHOOKS_GITHUB_APP_ID";
        /// The private key of the GitHub App in PEM. Line breaks may be written as `\n`.
        pub(crate) app_key: Option<SecretString> = "WEBHOOKS_GITHUB_APP_KEY";
        /// The base URL of GitHub's API.
        pub(crate) api_url: String = "WEBHOOKS_GITHUB_API_URL", default "https://api.github.com";
    }
}

omnistack_core::settings! {
    /// Webhooks of Razorpay.
    pub(crate) struct RazorpayWebhookSettings {
        /// The secrets of the webhook, separated by commas: two after a change, since Razorpay signs repetitions of
        /// older events with the previous secret. Without one, the app has no source `razorpay`.
        pub(crate) secrets: WebhookSecrets = "WEBHOOKS_RAZORPAY_SECRETS";
    }
}

omnistack_core::settings! {
    /// Webhooks of Clerk, Supabase Auth and other senders of Standard Webhooks.
    pub(crate) struct StandardWebhookSettings {
        /// The signing secrets of Clerk's webhook, `whsec_…`, separated by commas. Without one, the app has no source
        /// `clerk`.
        pub(crate) clerk_secrets: WebhookSecrets = "WEBHOOKS_CLERK_SECRETS";
        /// The secrets of Supabase's auth hooks, `v1,whsec_…`. Several are separated by `|`, as Supabase does.
        /// Without one, the app has no source `supabase-auth`.
        pub(crate) supabase_auth_secrets: Option<SecretString> = "WEBHOOKS_SUPABASE_AUTH_SECRETS";
        /// The secrets of another sender of Standard Webhooks, `whsec_…` or base64, separated by commas. Without one,
        /// the app has no source `standard`.
        pub(crate) standard_secrets: WebhookSecrets = "WEBHOOKS_STANDARD_SECRETS";
        /// Whether `WEBHOOKS_STANDARD_SECRETS` holds keys as raw text instead of base64, of 16 to 75 bytes each.
        pub(crate) standard_raw: bool = "WEBHOOKS_STANDARD_RAW_SECRETS", default "false";
    }
}

omnistack_core::settings! {
    /// Database webhooks of Supabase.
    pub(crate) struct SupabaseDatabaseWebhookSettings {
        /// The secrets that Supabase sends in a header, separated by commas, of at least 16 characters each. Supabase
        /// does not sign database webhooks. Without one, the app has no source `supabase-database`.
        pub(crate) secrets: WebhookSecrets = "WEBHOOKS_SUPABASE_DATABASE_SECRETS";
        /// The header with the secret.
        pub(crate) header: HeaderName = "WEBHOOKS_SUPABASE_DATABASE_HEADER", default "x-webhook-secret";
    }
}

omnistack_core::settings! {
    /// Webhooks of another sender that signs with HMAC.
    pub(crate) struct GenericWebhookSettings {
        /// The name of the source, in the URL of the webhook: lower-case letters, digits and `-`.
        pub(crate) name: String = "WEBHOOKS_GENERIC_NAME", default "generic";
        /// The secrets, separated by commas: two while one is being replaced. Without one, the app has no generic
        /// source.
        pub(crate) secrets: WebhookSecrets = "WEBHOOKS_GENERIC_SECRETS";
        /// The header with the signature.
        pub(crate) header: HeaderName = "WEBHOOKS_GENERIC_HEADER", default "x-signature";
        /// The hash function of the HMAC: `sha256`, `sha512` or `sha1`.
        pub(crate) algorithm: HmacAlgorithm = "WEBHOOKS_GENERIC_ALGORITHM", default "sha256";
        /// The encoding of the signature: `hex` or `base64`.
        pub(crate) encoding: SignatureEncoding = "WEBHOOKS_GENERIC_ENCODING", default "hex";
        /// The text before the signature in the header, such as `sha256=`. It can't contain a comma.
        pub(crate) prefix: Option<String> = "WEBHOOKS_GENERIC_PREFIX";
        /// The header with the signed time, in seconds or milliseconds since 1970. Without it, a captured request can
        /// be sent again later, and only its id shows that it is a repetition.
        pub(crate) timestamp_header: Option<HeaderName> = "WEBHOOKS_GENERIC_TIMESTAMP_HEADER";
        /// The signed text, with the parts `{timestamp}`, `{id}` and `{body}`. Default: `{timestamp}.{body}` if there
        /// is a header with the time, or else `{body}`.
        pub(crate) template: Option<String> = "WEBHOOKS_GENERIC_TEMPLATE";
        /// The header with the id of the event, if the body has none. It is signed only if the template has `{id}`.
        pub(crate) id_header: Option<HeaderName> = "WEBHOOKS_GENERIC_ID_HEADER";
        /// The path of the event's id in the JSON body, such as `data.id`. Without it and without a header, the id is
        /// the hash of the body.
        pub(crate) id_path: Option<String> = "WEBHOOKS_GENERIC_ID_PATH";
        /// The header with the type of the event, which is not signed.
        pub(crate) type_header: Option<HeaderName> = "WEBHOOKS_GENERIC_TYPE_HEADER";
        /// The path of the event's type in the JSON body, if no header has it.
        pub(crate) type_path: String = "WEBHOOKS_GENERIC_TYPE_PATH", default "type";
        /// The path, in the JSON body, of the id of the object that the event is about. Events of one object are
        /// processed one after another.
        pub(crate) object_path: Option<String> = "WEBHOOKS_GENERIC_OBJECT_PATH";
        /// The path, in the JSON body, of the time of the event.
        pub(crate) time_path: Option<String> = "WEBHOOKS_GENERIC_TIME_PATH";
        /// The path, in the JSON body, of the tenant's id. Set it only if the sender decides which tenant an event is
        /// for.
        pub(crate) tenant_path: Option<String> = "WEBHOOKS_GENERIC_TENANT_PATH";
    }
}

omnistack_core::settings! {
    /// Webhooks of PayPal.
    pub(crate) struct PayPalWebhookSettings {
        /// The id of the webhook, as PayPal's dashboard shows it. Several are separated by commas, such as those of
        /// the live account and of the sandbox. Without one, the app has no source `paypal`.
        pub(crate) webhook_ids: Vec<String> = "WEBHOOKS_PAYPAL_WEBHOOK_ID";
        /// A PEM file with the certificates, of roots or of intermediates, that PayPal's certificate must come from.
        /// Default: the roots that the operating system trusts.
        pub(crate) authorities: Option<PathBuf> = "WEBHOOKS_PAYPAL_AUTHORITIES";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_secrets_has_no_empty_one() {
        for (text, expected) in [("a", Some(1)), ("a, b", Some(2)), (" ", None), ("a,,b", None), ("a,", None)] {
            let parsed = WebhookSecrets::parse(text).ok();
            assert_eq!(parsed.map(|secrets| secrets.as_slice().len()), expected, "{text}");
        }
    }
}
