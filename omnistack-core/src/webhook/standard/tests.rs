//! Vectors and refusals of Standard Webhooks.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::{StandardHeaders, StandardSecret, is_recent};
use crate::{
    clock::Timestamp,
    webhook::{WebhookRejection, WebhookRequest},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SECONDS: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret() -> StandardSecret {
    StandardSecret::parse(SECRET).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn headers(prefix: &str, [id, timestamp, signature]: [&str; 3]) -> HeaderMap {
    let names = ["id", "timestamp", "signature"].map(|name| format!("{prefix}-{name}"));
    let values = [id, timestamp, signature].map(|value| HeaderValue::from_str(value).unwrap());
    names.into_iter().map(|name| HeaderName::try_from(name).unwrap()).zip(values).collect()
}

fn verify(headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), WebhookRejection> {
    StandardHeaders::read(headers)?.verify(&[secret()], body, at(now))
}

#[track_caller]
fn refused(headers: &HeaderMap, now: i64, why: &str) {
    match verify(headers, BODY, now) {
        Err(WebhookRejection::Unverified(reason)) => assert_eq!(reason, why),
        other => panic!("expected `{why}`, got {other:?}"),
    }
}

#[test]
fn the_published_vectors_verify() {
    for (secret, id, seconds, body, signature) in [
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            br#"{"email":"test@example.com","username":"test_user"}"#.as_slice(),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (SECRET, ID, SECONDS, BODY, SIGNATURE),
    ] {
        let secret = StandardSecret::parse(secret).unwrap();
        assert_eq!(secret.sign(id, seconds, body), signature);
        for prefix in ["webhook", "svix"] {
            let headers = headers(prefix, [id, &seconds.to_string(), signature]);
            StandardHeaders::read(&headers).unwrap().verify(std::slice::from_ref(&secret), body, at(seconds)).unwrap();
        }
    }
}

#[test]
fn all_forms_of_a_secret_are_one_key() {
    let key = SECRET.trim_start_matches("whsec_");
    for form in [SECRET.to_owned(), key.to_owned(), format!("v1,{SECRET}"), format!(" {SECRET}\n")] {
        assert_eq!(StandardSecret::parse(&form).unwrap().sign(ID, SECONDS, BODY), SIGNATURE, "{form}");
        let setting = SecretString::from(form);
        assert_eq!(StandardSecret::try_from(&setting).unwrap().sign(ID, SECONDS, BODY), SIGNATURE);
    }
    // 32 bytes are padded in base64. Some tools print them without padding.
    let bytes = [7; 32];
    let same = StandardSecret::from_bytes(&bytes).unwrap().sign(ID, SECONDS, BODY);
    for form in [STANDARD.encode(bytes), STANDARD_NO_PAD.encode(bytes)] {
        assert_eq!(StandardSecret::parse(&format!("whsec_{form}")).unwrap().sign(ID, SECONDS, BODY), same);
    }
}

#[test]
fn other_texts_are_no_secrets() {
    let of_length = |length: usize| format!("whsec_{}", STANDARD.encode(vec![1; length]));
    for length in [16, 24, 64, 75] {
        StandardSecret::parse(&of_length(length)).unwrap();
    }
    for text in [
        String::new(),
        "whsec_".into(),
        "v1,whsec_".into(),
        of_length(15),
        of_length(76),
        // Raw text, the key of another algorithm, and the alphabet of URLs.
        "a raw secret that is no base64".into(),
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=".into(),
        "whsec_____________________________________________".into(),
        format!("{SECRET}|{SECRET}"),
    ] {
        assert!(StandardSecret::parse(&text).is_err(), "{text}");
    }
    assert!(StandardSecret::from_bytes(&[]).is_err());
}

#[test]
fn generated_secrets_differ_and_are_not_shown() {
    let (one, other) = (StandardSecret::generate(), StandardSecret::generate());
    assert_ne!(one.expose_secret(), other.expose_secret());
    assert_eq!(one.expose_secret().len(), "whsec_".len() + 44);
    let secret = StandardSecret::try_from(&one).unwrap();
    assert_eq!(format!("{secret:?}"), "StandardSecret");
}

#[test]
fn a_timestamp_is_at_most_five_minutes_from_now() {
    let headers = headers("webhook", [ID, &SECONDS.to_string(), SIGNATURE]);
    for (age, recent) in [(-301, false), (-300, true), (-299, true), (0, true), (299, true), (300, true), (301, false)]
    {
        assert_eq!(is_recent(SECONDS, at(SECONDS + age)), recent, "{age}");
        assert_eq!(verify(&headers, BODY, SECONDS + age).is_ok(), recent, "{age}");
    }
    refused(&headers, SECONDS + 301, "the timestamp is more than five minutes from now");
    for seconds in [i64::MIN, i64::MAX] {
        assert!(!is_recent(seconds, at(SECONDS)));
    }
}

#[test]
fn a_signature_covers_id_timestamp_and_body() {
    let now = SECONDS.to_string();
    refused(&headers("webhook", ["msg_other", &now, SIGNATURE]), SECONDS, "no signature matches");
    refused(&headers("webhook", [ID, "1614265331", SIGNATURE]), SECONDS, "no signature matches");
    // The text counts, not its number.
    refused(&headers("webhook", [ID, "01614265330", SIGNATURE]), SECONDS, "no signature matches");
    let right = headers("webhook", [ID, &now, SIGNATURE]);
    assert!(verify(&right, br#"{"test":2432232314}"#, SECONDS).is_err());
    // A body need not be text.
    let body = [0xff, 0, b'.', 0xfe];
    let signature = secret().sign(ID, SECONDS, &body);
    verify(&headers("webhook", [ID, &now, &signature]), &body, SECONDS).unwrap();
}

#[test]
fn one_of_several_signatures_and_secrets_is_enough() {
    let now = SECONDS.to_string();
    let other = StandardSecret::from_bytes(&[9; 24]).unwrap();
    let both = headers("svix", [ID, &now, &format!("{} {SIGNATURE}", other.sign(ID, SECONDS, BODY))]);
    verify(&both, BODY, SECONDS).unwrap();
    let secrets = [other.clone(), secret()];
    let one = headers("svix", [ID, &now, SIGNATURE]);
    StandardHeaders::read(&one).unwrap().verify(&secrets, BODY, at(SECONDS)).unwrap();
    let others: [&[StandardSecret]; 2] = [&[], &[other]];
    for secrets in others {
        assert!(StandardHeaders::read(&one).unwrap().verify(secrets, BODY, at(SECONDS)).is_err());
    }
    // The 16th signature is checked, the 17th is not.
    for (before, accepted) in [(15, true), (16, false)] {
        let many = format!("{}{SIGNATURE}", "v1,AAAA ".repeat(before));
        assert_eq!(verify(&headers("webhook", [ID, &now, &many]), BODY, SECONDS).is_ok(), accepted, "{before}");
    }
}

#[test]
fn other_signatures_do_not_count() {
    let now = SECONDS.to_string();
    let bytes = STANDARD.decode(SIGNATURE.trim_start_matches("v1,")).unwrap();
    for signature in [
        String::new(),
        "v1".into(),
        "v1,".into(),
        SIGNATURE.trim_start_matches("v1,").into(),
        SIGNATURE.replace("v1,", "v1a,"),
        SIGNATURE.replace("v1,", "v2,"),
        SIGNATURE.replace("v1,", "V1,"),
        SIGNATURE.replace("v1,", "v1, "),
        SIGNATURE[..SIGNATURE.len() - 4].into(),
        format!("v1,{}", hex::encode(&bytes)),
        format!("v1,{}", STANDARD.encode([&bytes[..], b"0"].concat())),
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==".into(),
    ] {
        refused(&headers("webhook", [ID, &now, &signature]), SECONDS, "no signature matches");
    }
    let mixed = headers("webhook", [ID, &now, &format!("v1a,AAAA {SIGNATURE}")]);
    verify(&mixed, BODY, SECONDS).unwrap();
    let read = StandardHeaders::read(&mixed).unwrap();
    assert_eq!(
        (read.signatures("v1a").count(), read.signatures("v1").count(), read.signatures("v0").count()),
        (1, 1, 0)
    );
    assert_eq!(read.signed_bytes(b"x"), format!("{ID}.{now}.x").into_bytes());
}

#[test]
fn malformed_headers_are_refused() {
    let now = SECONDS.to_string();
    let right = [ID, &now, SIGNATURE];
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut absent = headers("webhook", right);
        absent.remove(name);
        refused(&absent, SECONDS, "a signature header is missing");
        let mut twice = headers("webhook", right);
        let value = twice[name].clone();
        twice.append(name, value);
        refused(&twice, SECONDS, "a signature header is missing");
        let mut opaque = headers("webhook", right);
        opaque.insert(name, HeaderValue::from_bytes(b"\xff").unwrap());
        refused(&opaque, SECONDS, "a signature header is missing");
    }
    // The sets of headers are not mixed.
    let mut mixed = headers("svix", right);
    verify(&mixed, BODY, SECONDS).unwrap();
    mixed.insert("webhook-id", HeaderValue::from_static(ID));
    refused(&mixed, SECONDS, "a signature header is missing");
    // Without dots, the signed text can be split in one way only.
    for id in ["", "msg.1", &"m".repeat(201)] {
        let signature = secret().sign(id, SECONDS, BODY);
        refused(&headers("webhook", [id, &now, &signature]), SECONDS, "the id of the message is invalid");
    }
    let longest = "m".repeat(200);
    let signature = secret().sign(&longest, SECONDS, BODY);
    verify(&headers("webhook", [&longest, &now, &signature]), BODY, SECONDS).unwrap();
    for timestamp in ["", "now", "-1614265330", "+1614265330", "1614265330.0", "1e9", "99999999999999999999"] {
        refused(&headers("webhook", [ID, timestamp, SIGNATURE]), SECONDS, "the timestamp is not a number of seconds");
    }
}

#[test]
fn a_signed_request_verifies() {
    let mut given = HeaderMap::new();
    for id in [None, Some("msg_of_a_file")] {
        given.extend(id.map(|id| (HeaderName::from_static("webhook-id"), HeaderValue::from_static(id))));
        let request = WebhookRequest { url: "https://example.com", headers: &given, body: BODY, now: at(SECONDS) };
        let signed = secret().sign_request(&request).unwrap();
        verify(&signed, BODY, SECONDS).unwrap();
        let read = StandardHeaders::read(&signed).unwrap();
        assert!(id.map_or(read.id.len() == 36, |id| id == read.id), "{}", read.id);
    }
}
