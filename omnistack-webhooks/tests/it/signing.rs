//! Tests of the signing schemes, with vectors of the official libraries.

#![cfg(test)]

use http::{HeaderMap, HeaderValue};
use omnistack_core::{ExposeSecret as _, clock::Timestamp, webhook::WebhookRejection};
use omnistack_webhooks::{SigningKey, SigningScheme, WebhookVerifier, sign};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SECONDS: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
/// A key of Svix: seed and public key.
const PRIVATE_KEY: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const ED25519_SIGNATURE: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn headers(prefix: &str, seconds: i64, signature: &str) -> HeaderMap {
    let (mut headers, seconds) = (HeaderMap::new(), seconds.to_string());
    for (name, value) in [("id", ID), ("timestamp", seconds.as_str()), ("signature", signature)] {
        let name = http::HeaderName::try_from(format!("{prefix}-{name}")).unwrap();
        headers.insert(name, HeaderValue::try_from(value).unwrap());
    }
    headers
}

fn accepts(key: &str, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
    WebhookVerifier::new([key]).unwrap().verify(headers, body, at(now)).is_ok()
}

#[test]
fn the_vectors_of_the_libraries_are_reproduced() {
    let first = (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        br#"{"email":"test@example.com","username":"test_user"}"#.as_slice(),
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    );
    let second = (SECRET, ID, SECONDS, BODY, SIGNATURE);
    let third = (PRIVATE_KEY, ID, SECONDS, BODY, ED25519_SIGNATURE);
    for (key, id, seconds, body, expected) in [first, second, third] {
        let key = SigningKey::parse(key).unwrap();
        assert_eq!(key.sign(id, seconds, body), expected);
        assert_eq!(expected.split(',').next(), Some(key.scheme().as_str()));
    }
    assert_eq!(SigningKey::parse(PRIVATE_KEY).unwrap().public_key().as_deref(), Some(PUBLIC_KEY));
    assert_eq!(SigningKey::parse(SECRET).unwrap().public_key(), None);
}

#[test]
fn a_receiver_accepts_what_was_signed_and_nothing_else() {
    for (key, signature) in [(SECRET, SIGNATURE), (PUBLIC_KEY, ED25519_SIGNATURE)] {
        for prefix in ["webhook", "svix"] {
            let headers = headers(prefix, SECONDS, signature);
            let message = WebhookVerifier::new([key]).unwrap().verify(&headers, BODY, at(SECONDS + 1)).unwrap();
            assert_eq!((message.id.as_str(), message.timestamp), (ID, at(SECONDS)));
            assert!(!accepts(key, &headers, br#"{"test": 2432232315}"#, SECONDS));
        }
        // The timestamp and the id are signed as well.
        assert!(!accepts(key, &headers("webhook", SECONDS + 1, signature), BODY, SECONDS));
        let mut other = headers("webhook", SECONDS, signature);
        other.insert("webhook-id", HeaderValue::from_static("msg_other"));
        assert!(!accepts(key, &other, BODY, SECONDS));
    }
    // A signature of one scheme is none of the other.
    let relabelled = ED25519_SIGNATURE.replace("v1a,", "v1,");
    assert!(!accepts(PUBLIC_KEY, &headers("webhook", SECONDS, &relabelled), BODY, SECONDS));
    assert!(!accepts(SECRET, &headers("webhook", SECONDS, &SIGNATURE.replace("v1,", "v1a,")), BODY, SECONDS));
}

/// Case 41: rotation and age.
#[test]
fn one_signature_of_several_is_enough_if_it_is_recent() {
    let other =
        sign(SigningScheme::V1, &[SigningKey::generate(SigningScheme::V1).unwrap()], ID, SECONDS, BODY).unwrap();
    for (signatures, expected) in [
        (SIGNATURE.to_owned(), true),
        (format!("{other} {SIGNATURE}"), true),
        (format!("{SIGNATURE} {other}"), true),
        (format!("v2,abc {SIGNATURE}"), true),
        (format!("nonsense {SIGNATURE}"), true),
        (other.clone(), false),
        (SIGNATURE.replace("v1,", "v0,"), false),
        (String::new(), false),
    ] {
        let headers = headers("webhook", SECONDS, &signatures);
        assert_eq!(accepts(SECRET, &headers, BODY, SECONDS), expected, "{signatures}");
    }
    // Either secret is accepted while it is rotated.
    let rotated = WebhookVerifier::new([SigningKey::generate(SigningScheme::V1).unwrap().expose_secret(), SECRET]);
    let headers = headers("webhook", SECONDS, SIGNATURE);
    assert!(rotated.unwrap().verify(&headers, BODY, at(SECONDS)).is_ok());
    for (age, expected) in [(-301, false), (-300, true), (-299, true), (299, true), (300, true), (301, false)] {
        assert_eq!(accepts(SECRET, &headers, BODY, SECONDS + age), expected, "{age} s");
    }
}

/// Case 38: each attempt has its own timestamp.
#[test]
fn attempts_an_hour_apart_have_one_id_and_verify() {
    for scheme in [SigningScheme::V1, SigningScheme::V1a] {
        let secrets = [SigningKey::generate(scheme).unwrap()];
        let key = SigningKey::parse(secrets[0].expose_secret()).unwrap();
        let key = key.public_key().unwrap_or_else(|| secrets[0].expose_secret().to_owned());
        for seconds in [SECONDS, SECONDS + 3_600] {
            let signature = sign(scheme, &secrets, ID, seconds, BODY).unwrap();
            let headers = headers("webhook", seconds, &signature);
            assert!(accepts(&key, &headers, BODY, seconds + 299), "{scheme}");
            assert!(!accepts(&key, &headers, BODY, seconds + 3_600), "{scheme}");
        }
    }
}

/// Case 42: the forms of a secret.
#[test]
fn all_forms_of_a_secret_are_one_key() {
    let bare = SECRET.trim_start_matches("whsec_");
    let headers = headers("webhook", SECONDS, SIGNATURE);
    for form in [SECRET.to_owned(), bare.to_owned(), format!("v1,{SECRET}"), format!(" {SECRET}\n")] {
        assert!(accepts(&form, &headers, BODY, SECONDS), "{form:?}");
    }
    for wrong in ["", "whsec_", "whsec_c2hvcnQ=", "not base64!", "whpk_", "whpk_c2hvcnQ=", "whsk_c2hvcnQ=", PRIVATE_KEY]
    {
        assert!(WebhookVerifier::new([wrong]).is_err(), "{wrong}");
    }
    assert!(WebhookVerifier::new::<&str>([]).is_err());
    let mixed_up = PRIVATE_KEY.replace("Kvg==", "Kvw==");
    assert!(SigningKey::parse(&mixed_up).is_err(), "the public key does not belong to the seed");
}

#[test]
fn a_body_need_not_be_text() {
    let body = b"\xff\x00\xfe";
    let secrets = [SECRET.into()];
    let signature = sign(SigningScheme::V1, &secrets, ID, SECONDS, body).unwrap();
    assert!(accepts(SECRET, &headers("webhook", SECONDS, &signature), body, SECONDS));
}

#[test]
fn headers_that_are_missing_or_repeated_are_rejected() {
    let verifier = WebhookVerifier::new([SECRET]).unwrap();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut missing = headers("webhook", SECONDS, SIGNATURE);
        missing.remove(name);
        let mut repeated = headers("webhook", SECONDS, SIGNATURE);
        let value = repeated[name].clone();
        repeated.append(name, value);
        for headers in [missing, repeated] {
            let rejected = verifier.verify(&headers, BODY, at(SECONDS));
            assert!(matches!(rejected, Err(WebhookRejection::Unverified(_))), "{name}");
        }
    }
}

#[test]
fn a_secret_of_another_scheme_does_not_sign() {
    let (v1, v1a) = ([SECRET.into()], [PRIVATE_KEY.into()]);
    assert!(sign(SigningScheme::V1a, &v1, ID, SECONDS, BODY).is_err());
    assert!(sign(SigningScheme::V1, &v1a, ID, SECONDS, BODY).is_err());
    assert!(sign(SigningScheme::V1, &[], ID, SECONDS, BODY).is_err());
    let both = sign(SigningScheme::V1, &[SECRET.into(), SECRET.into()], ID, SECONDS, BODY).unwrap();
    assert_eq!(both, format!("{SIGNATURE} {SIGNATURE}"));
}
