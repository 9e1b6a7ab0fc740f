//! The settings of the contact form.

use std::time::Duration;

use secrecy::SecretString;

use crate::email::Address;
use omnistack_core::http::RateSetting;

omnistack_core::settings! {
    /// Contact form.
    pub struct ContactSettings {
        /// Whether the form accepts messages.
        pub open: bool = "CONTACT_OPEN", default "true";
        /// The addresses that get a mail for each message, separated by commas. Without one, messages are only
        /// stored.
        pub to: Vec<Address> = "CONTACT_TO";
        /// The number of messages that an IP address, or an IPv6 /64 network, may send.
        pub rate_limit: RateSetting = "CONTACT_RATE_LIMIT", default "5/hour";
        /// Whether a message must have a subject.
        pub require_subject: bool = "CONTACT_REQUIRE_SUBJECT", default "false";
        /// Whether a message must have a phone number.
        pub require_phone: bool = "CONTACT_REQUIRE_PHONE", default "false";
        /// Whether a message must have a company.
        pub require_company: bool = "CONTACT_REQUIRE_COMPANY", default "false";
        /// Whether the sender gets a mail with the reference number.
        pub send_confirmation: bool = "CONTACT_SEND_CONFIRMATION", default "true";
        /// A message that is sent sooner than this after the form was opened counts as sent by a bot. With `0s`, no
        /// token is required.
        pub min_time: Duration = "CONTACT_MIN_TIME", default "3s", range "0s"..="1h";
        /// The longest time between opening the form and sending the message.
        pub max_time: Duration = "CONTACT_MAX_TIME", default "24h", range "1m"..="30d";
        /// The URL to which each message is posted as a webhook: `https`, or `http` on this machine. In production it
        /// must lead to a public address, or to a network in `HTTP_CLIENT_ALLOWED_NETWORKS`.
        pub webhook_url: Option<SecretString> = "CONTACT_WEBHOOK_URL";
        /// The secret with which the webhook is signed: `whsec_` and base64 of 24 to 64 random bytes.
        pub webhook_secret: Option<SecretString> = "CONTACT_WEBHOOK_SECRET";
        /// The longest time that the webhook's receiver may take to respond.
        pub webhook_timeout: Duration = "CONTACT_WEBHOOK_TIMEOUT", default "15s", range "1ms"..="10m";
        /// The time for which messages are kept before they are deleted.
        pub keep: Duration = "CONTACT_KEEP", default "8760h", range "1h"..="36500d";
    }
}
