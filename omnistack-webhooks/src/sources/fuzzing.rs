//! The parsers of this crate's sources, for fuzzing. Not part of the public API.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::{generic::SignedTemplate, github, razorpay, standard, stripe, supabase_database};

/// Parses the text by every parser of headers and URLs.
pub fn headers(text: &str) {
    _ = stripe::StripeSignature::parse(text);
    _ = github::parse_signature(text);
    _ = github::next_cursor(text);
    _ = SignedTemplate::parse(text);
    {
        _ = super::paypal::certificate_url(text);
    }
}

/// Describes the event in a body by every source, with its id and its type in headers.
pub fn bodies(id: Option<&str>, kind: Option<&str>, body: &[u8]) {
    _ = stripe::describe(body);
    _ = razorpay::describe(id, body);
    _ = supabase_database::describe(id, body);
    for sender in
        [standard::StandardSender::Clerk, standard::StandardSender::SupabaseAuth, standard::StandardSender::Other]
    {
        _ = standard::describe(sender, id, body);
    }
    let mut headers = HeaderMap::new();
    _ = github::describe(id, kind, &github::json_body(&headers, body));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    _ = github::describe(id, kind, &github::json_body(&headers, body));
    {
        _ = super::paypal::describe("", body);
        _ = super::paypal::CertificateChain::parse(body);
    }
}
