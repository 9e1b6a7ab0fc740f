//! Entry points of the fuzz targets `mail` and `sms` in `omnistack-webhooks/fuzz/`: the parsers of the webhooks of
//! providers. They are no part of the API.
//!
//! They return nothing: a target looks for panics, endless loops and memory.

use http::HeaderMap;
use omnistack_core::{clock::Timestamp, webhook::WebhookRequest};

fn request<'a>(url: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> WebhookRequest<'a> {
    // 2026-01-01.
    WebhookRequest { url, headers, body, now: Timestamp::from_micros(1_767_225_600_000_000) }
}

/// Parses the key of a provider of mail, verifies a request with it, and reads the events.
#[cfg(feature = "email")]
pub fn mail(key: &str, headers: &HeaderMap, body: &[u8]) {
    crate::email::parse_webhooks(key, &request("https://app.example.com/", headers, body));
}

/// Verifies a request of Twilio to a URL with this query, and reads the event.
///
/// # Panics
/// Panics if the description is not valid.
#[cfg(feature = "sms")]
pub fn sms(query: &str, headers: &HeaderMap, body: &[u8]) {
    let url = format!("https://app.example.com/?{query}");
    crate::sms::parse_webhooks(&request(&url, headers, body));
}
