//! The parsers of this crate's sources, for fuzzing. Not part of the public API.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::{generic::SignedTemplate, github, paypal, razorpay, standard, stripe, supabase_database};

/// Parses the text by every parser of headers and URLs.
pub fn headers(text: &str) {
    _ = stripe::StripeSignature::parse(text);
    _ = github::parse_signature(text);
    _ = github::next_cursor(text);
    _ = paypal::certificate_url(text);
    _ = SignedTemplate::parse(text);
}

/// Describes the event in a body by every source, with its id and its type in headers.
///
/// # Panics
/// Panics if a description is not valid.
pub fn bodies(id: Option<&str>, kind: Option<&str>, body: &[u8]) {
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let form = HeaderMap::from_iter([(CONTENT_TYPE, form)]);
    let described = [
        stripe::describe(body),
        paypal::describe("", body),
        razorpay::describe(id, body),
        supabase_database::describe(id, body),
        standard::describe(standard::StandardSender::Clerk, id, body),
        standard::describe(standard::StandardSender::SupabaseAuth, id, body),
        standard::describe(standard::StandardSender::Other, id, body),
        github::describe(id, kind, &github::json_body(&HeaderMap::new(), body)),
        github::describe(id, kind, &github::json_body(&form, body)),
    ];
    for event in described.into_iter().flatten() {
        assert!(event.validate().is_ok(), "{event:?}");
    }
    _ = paypal::CertificateChain::parse(body);
}
