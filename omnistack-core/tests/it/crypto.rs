//! Tests of tokens, signatures and sealed values.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod build;

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    ExposeSecret as _,
    crypto::{Error, ErrorKind, HmacKey, KeyRing, SealContext, Sha256, Token, constant_time_eq},
};

#[test]
fn tokens_differ_hide_and_are_known_by_their_hash() {
    let tokens: Vec<_> = (0..1_000).map(|_| Token::with_prefix("sk_live_")).collect();
    assert_eq!(tokens.iter().map(Token::expose).collect::<HashSet<_>>().len(), 1_000);
    for token in &tokens {
        let random = token.expose().strip_prefix("sk_live_").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), 32, "256 bits");
        assert_eq!(format!("{token:?} {:?}", token.clone().into_secret()).find(&random[..8]), None);
    }
    let (token, other) = (&tokens[0], &tokens[1]);
    let stored = Sha256::from_bytes(token.hash().as_bytes()).unwrap();
    assert!(stored.matches(token.expose()));
    assert!(!stored.matches(other.expose()) && !stored.matches("") && !stored.matches(stored.to_string()));
    assert_eq!(Token::random().expose().len(), 43);
}

#[test]
fn comparing_tells_same_from_not() {
    for (a, b, expected) in [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false), ("ab", "", false)]
    {
        assert_eq!(constant_time_eq(a, b), expected, "{a:?} {b:?}");
    }
}

#[test]
fn an_empty_signing_key_is_refused() {
    assert_eq!(HmacKey::new("").unwrap_err().kind(), ErrorKind::Configuration);
}

#[test]
fn a_sealed_value_opens_in_its_place_only() {
    let ring = ring(&["a"]);
    let place = SealContext::row("users", "totp", 1);
    for secret in ["", "secret", "grüße", &"long ".repeat(10_000)] {
        let sealed = ring.seal(secret, &place).unwrap();
        assert_ne!(sealed, ring.seal(secret, &place).unwrap(), "a nonce of its own each time");
        assert!(secret.is_empty() || !sealed.contains(secret));
        assert_eq!(ring.open_text(&sealed, &place).unwrap().expose_secret(), secret);
        for elsewhere in [
            SealContext::row("users", "totp", 2),
            SealContext::row("users", "totp2", 1),
            SealContext::row("user", "stotp", 1),
            SealContext::row("users", "totp", 1).with("tenant", 1),
            SealContext::row("users", "totp", ""),
        ] {
            assert_eq!(ring.open(&sealed, &elsewhere).unwrap_err(), Error::CannotOpen, "{elsewhere:?}");
        }
    }
    let bytes = ring.seal([0xff, 0x00], &place).unwrap();
    assert_eq!(ring.open(&bytes, &place).unwrap().expose_secret(), [0xff, 0x00]);
    assert_eq!(ring.open_text(&bytes, &place).unwrap_err(), Error::NotText);
}

#[test]
fn every_changed_character_is_found() {
    let ring = ring(&["a", "b"]);
    let place = SealContext::row("users", "totp", 1);
    let sealed = ring.seal("secret", &place).unwrap();
    for index in 0..sealed.len() {
        for other in ["A", "b", "1", ".", "=", "é", ""] {
            let changed = format!("{}{other}{}", &sealed[..index], &sealed[index + 1..]);
            if changed != sealed {
                let error = ring.open(&changed, &place).unwrap_err();
                assert!(!error.is_retryable() && !error.to_string().contains("secret"), "{changed}: {error}");
            }
        }
    }
    for text in ["", "v1", "v1.a", "v1.a.", "v1..AAAA", "v2.a.AAAA", "plain text", "v1.a.AAAA"] {
        assert_eq!(ring.open(text, &place).unwrap_err(), Error::Malformed, "{text}");
        assert!(ring.needs_reseal(text));
    }
}

#[test]
fn keys_rotate() {
    let (a, b) = (KeyRing::new_key("a"), KeyRing::new_key("b"));
    let place = SealContext::row("users", "totp", 1);
    let first: KeyRing = a.parse().unwrap();
    let sealed = first.seal("secret", &place).unwrap();
    assert!(!first.needs_reseal(&sealed) && first.reseal(&sealed, &place).unwrap().is_none());

    let both: KeyRing = format!("{b}, {a}").parse().unwrap();
    assert_eq!((both.primary(), format!("{both:?}").as_str()), ("b", r#"{"b", "a"}"#));
    assert!(both.needs_reseal(&sealed));
    assert_eq!(both.open_text(&sealed, &place).unwrap().expose_secret(), "secret");
    let resealed = both.reseal(&sealed, &place).unwrap().unwrap();
    assert!(!both.needs_reseal(&resealed));

    let second: KeyRing = b.parse().unwrap();
    assert_eq!(second.open_text(&resealed, &place).unwrap().expose_secret(), "secret");
    let gone = second.open(&sealed, &place).unwrap_err();
    assert_eq!((gone.kind(), gone), (ErrorKind::UnknownKey, Error::UnknownKey("a".into())));
    // Another key with the same id, and the same key with another id.
    assert_eq!(ring(&["a"]).open(&sealed, &place).unwrap_err(), Error::CannotOpen);
    let renamed: KeyRing = a.replacen('a', "c", 1).parse().unwrap();
    assert_eq!(renamed.open(&sealed.replacen(".a.", ".c.", 1), &place).unwrap_err(), Error::CannotOpen);
}

#[test]
fn keys_that_cannot_be_used_are_told_apart() {
    let good = KeyRing::new_key("a");
    let unpadded = good.trim_end_matches('=');
    let url_safe = unpadded.replace('+', "-").replace('/', "_");
    for text in [good.clone(), format!(" {good} ,"), unpadded.into(), url_safe] {
        assert_eq!(text.parse::<KeyRing>().unwrap().primary(), "a", "{text}");
    }
    let long = format!("{}:{}", "a".repeat(33), &good[2..]);
    for (text, expected) in [
        (String::new(), "no key is given"),
        (" , ".into(), "no key is given"),
        ("a".into(), "key 1 is not of the form `id:base64`"),
        (format!("{good},{good}"), "key 2 has the same id as another key"),
        (
            format!("a.b:{}", &good[2..]),
            "key 1 has an invalid id: it must be 1 to 32 of the characters a-z A-Z 0-9 - _",
        ),
        (long, "key 1 has an invalid id: it must be 1 to 32 of the characters a-z A-Z 0-9 - _"),
        ("a:AAAA".into(), "key 1 has 3 bytes: it must have 32"),
        (format!("{good},b:***"), "key 2 is not base64"),
    ] {
        assert_eq!(text.parse::<KeyRing>().unwrap_err(), Error::InvalidKeys(expected.into()));
    }
}

fn ring(ids: &[&str]) -> KeyRing {
    ids.iter().map(|id| KeyRing::new_key(id)).collect::<Vec<_>>().join(",").parse().unwrap()
}
