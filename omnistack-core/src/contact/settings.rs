//! The form as settings.

use std::time::Duration;

use secrecy::SecretString;

use crate::{email::Address, http::RateSetting};

crate::section! {
    /// Contact form.
    pub struct ContactSettings {
        /// Whether messages are taken.
        pub open: bool = "CONTACT_OPEN", default "true";
        /// Who is told of each message, by mail: addresses, separated by commas. Without one, messages are only kept.
        pub to: Vec<Address> = "CONTACT_TO";
        /// Messages one address may send.
        pub rate_limit: RateSetting = "CONTACT_RATE_LIMIT", default "5/hour";
        /// Whether a message needs a subject.
        pub require_subject: bool = "CONTACT_REQUIRE_SUBJECT", default "false";
        /// Whether a message needs a phone number.
        pub require_phone: bool = "CONTACT_REQUIRE_PHONE", default "false";
        /// Whether a message needs a company.
        pub require_company: bool = "CONTACT_REQUIRE_COMPANY", default "false";
        /// Whether the sender gets a mail with the reference number.
        pub send_confirmation: bool = "CONTACT_SEND_CONFIRMATION", default "true";
        /// Who sends a form sooner than this after it was opened is a bot. `0s` asks for no token.
        pub min_time: Duration = "CONTACT_MIN_TIME", default "3s", range "0s"..="1h";
        /// How long a form may be open before it is sent.
        pub max_time: Duration = "CONTACT_MAX_TIME", default "24h", range "1m"..="30d";
        /// Where each message is posted, as a webhook: `https`, or `http` to this machine.
        pub webhook_url: Option<SecretString> = "CONTACT_WEBHOOK_URL";
        /// What the webhook is signed with: `whsec_` and base64 of 24 to 64 random bytes.
        pub webhook_secret: Option<SecretString> = "CONTACT_WEBHOOK_SECRET";
        /// How long the webhook's receiver may take to answer.
        pub webhook_timeout: Duration = "CONTACT_WEBHOOK_TIMEOUT", default "15s", range "1ms"..="10m";
        /// How long messages are kept.
        pub keep: Duration = "CONTACT_KEEP", default "8760h", range "1h"..="36500d";
    }
}
