//! The entry point of the fuzz target `users` in `omnistack-webhooks/fuzz/`: the parsers of the webhooks of identity
//! providers. It is no part of the API.

use http::HeaderMap;
use omnistack_core::{clock::Timestamp, webhook::WebhookRequest};

/// Describes an event of an identity provider, and reads the user in it.
pub fn users(headers: &HeaderMap, body: &[u8]) {
    // 2026-01-01.
    let now = Timestamp::from_micros(1_767_225_600_000_000);
    let url = "https://app.example.com/";
    crate::federation::issuer::webhook::parse_all(&WebhookRequest { url, headers, body, now });
}
