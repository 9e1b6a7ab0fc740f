//! The crate `webhook-verify` as a second opinion: it accepts and rejects the same requests as the sources, except for
//! the differences that are listed here.

#![cfg(test)]

mod schemes;
mod variants;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use omnistack_core::webhook::StandardSecret;

use self::{
    schemes::{SignedRequest, schemes},
    variants::variants,
};

/// The time of all requests, in seconds since 1970.
const NOW: i64 = 1_893_456_000;
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The body of the signed requests. Its signature in base64 has a `/`, so that it needs its padding.
const BODY: &[u8] = br#"{"id":"evt_1","type":"invoice.paid","data":{"id":"in_1","amount":1005}}"#;

#[tokio::test]
async fn the_same_requests_are_accepted() {
    for scheme in schemes().await {
        let name = scheme.name;
        let right = scheme.sign(SECRET, 0, BODY);
        assert_eq!(scheme.verify(&right.headers(), BODY).await, (true, true), "{name}");
        let variants = variants(&scheme);
        assert!(variants.len() >= 50, "{name}: {}", variants.len());
        let mut accepted = 0;
        for (what, headers, body) in &variants {
            let (ours, second) = scheme.verify(headers, body).await;
            assert_eq!(ours, second, "{name}: {what}");
            accepted += usize::from(ours);
        }
        // Equal opinions prove something only if they are not always the same.
        assert!((5..variants.len() / 2).contains(&accepted), "{name}: {accepted} of {}", variants.len());
    }
}

impl SignedRequest {
    /// Returns the headers with another signature.
    fn headers_with(&self, signature: String) -> HeaderMap {
        Self { signature, ..self.clone() }.headers()
    }
}

/// Returns the headers of Svix for those of Standard Webhooks.
fn of_svix(headers: &HeaderMap) -> HeaderMap {
    let name = |name: &HeaderName| HeaderName::try_from(name.as_str().replace("webhook-", "svix-")).unwrap();
    headers.iter().map(|(known, value)| (name(known), value.clone())).collect()
}

#[tokio::test]
async fn the_differences_are_deliberate() {
    let schemes = schemes().await;
    let scheme = |name: &str| schemes.iter().find(|scheme| scheme.name == name).unwrap();
    let right = |name: &str| scheme(name).sign(SECRET, 0, BODY);
    let (stripe, github, standard) = (right("stripe"), right("github"), right("standard"));
    let (slack, shopify) = (right("slack"), right("shopify"));

    let mut dotted = standard.headers();
    let signature = StandardSecret::parse(SECRET).unwrap().sign("msg.1", NOW, BODY);
    dotted.insert("webhook-id", HeaderValue::from_static("msg.1"));
    dotted.insert("webhook-signature", HeaderValue::try_from(signature).unwrap());
    let mut doubled = github.headers();
    let signature = doubled["x-hub-signature-256"].clone();
    doubled.append("x-hub-signature-256", signature);
    let mut elsewhere = right("paypal").headers();
    elsewhere.insert("paypal-cert-url", HeaderValue::from_static("https://evil.example/certificate.pem"));
    let url_safe = URL_SAFE_NO_PAD.encode(STANDARD.decode(&shopify.signature).unwrap());

    for (name, ours, headers) in [
        // A signature that is malformed does not spoil the others.
        ("stripe", true, stripe.headers_with(format!("{},v1=zz", stripe.signature))),
        ("standard", true, standard.headers_with(format!("{} v1,zz", standard.signature))),
        ("slack", true, slack.headers_with(format!("{},v0=00", slack.signature))),
        // Spaces after commas.
        ("stripe", true, SignedRequest { before: stripe.before.replace(',', ", "), ..stripe.clone() }.headers()),
        // The headers of Svix.
        ("standard", true, of_svix(&standard.headers())),
        // Base64 in the other alphabet.
        ("shopify", true, shopify.headers_with(url_safe)),
        // An id and a timestamp can't be told apart if the id has a dot.
        ("standard", false, dotted),
        // GitHub writes the prefix in lower case.
        ("github", false, SignedRequest { before: "SHA256=".to_owned(), ..github.clone() }.headers()),
        ("github", false, doubled),
        // The second opinion does not fetch the certificate, and has one limit for both directions of time.
        ("paypal", false, elsewhere),
        ("paypal", false, scheme("paypal").sign(SECRET, 301, BODY).headers()),
    ] {
        assert_eq!(scheme(name).verify(&headers, BODY).await, (ours, !ours), "{name}: {headers:?}");
    }
}
