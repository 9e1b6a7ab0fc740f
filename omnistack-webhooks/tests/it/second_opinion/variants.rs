//! Requests that differ from a signed one in one respect. They are the same in every run.

use http::{HeaderMap, HeaderValue};

use super::{
    BODY, OTHER_SECRET, SECRET,
    schemes::{PAYPAL_CERTIFICATE, Scheme, SignedRequest},
};

/// The number of places at which a body and a signature are changed.
const CHANGED_PLACES: usize = 16;

/// Returns what is different, with the headers and the body.
pub(super) fn variants(scheme: &Scheme) -> Vec<(String, HeaderMap, Vec<u8>)> {
    let right = scheme.sign(SECRET, 0, BODY);
    let changed = [bodies(&right), signatures(&right), other_headers(&right), signed_again(scheme)].concat();
    let changed = changed.into_iter().map(|(what, request)| (what, request.headers(), request.body));
    changed.chain(missing_headers(&right)).collect()
}

fn bodies(right: &SignedRequest) -> Vec<(String, SignedRequest)> {
    let body = right.body.as_slice();
    let places = (0..CHANGED_PLACES).map(|place| {
        let at = place * body.len() / CHANGED_PLACES;
        let mut changed = body.to_vec();
        changed[at] ^= 1;
        (format!("a bit of byte {at} of the body"), changed)
    });
    let others = [
        ("no body", Vec::new()),
        ("a line break after the body", [body, b"\n".as_slice()].concat()),
        ("no last byte of the body", body[..body.len() - 1].to_vec()),
        ("a byte order mark before the body", [b"\xef\xbb\xbf".as_slice(), body].concat()),
    ];
    let all = places.chain(others.map(|(what, body)| (what.to_owned(), body)));
    all.map(|(what, body)| (what, SignedRequest { body, ..right.clone() })).collect()
}

fn signatures(right: &SignedRequest) -> Vec<(String, SignedRequest)> {
    let text = right.signature.as_str();
    let places = (0..CHANGED_PLACES).map(|place| {
        let at = place * text.len() / CHANGED_PLACES;
        let mut changed = text.to_owned();
        changed.replace_range(at..=at, if text.as_bytes()[at] == b'0' { "1" } else { "0" });
        (format!("character {at} of the signature"), changed)
    });
    let others = [
        ("no first character", text[1..].to_owned()),
        ("no last character", text[..text.len() - 1].to_owned()),
        ("the signature twice", text.repeat(2)),
        ("the signature backwards", text.chars().rev().collect()),
        ("no signature", String::new()),
        ("upper case", text.to_ascii_uppercase()),
        ("lower case", text.to_ascii_lowercase()),
        ("quotes", format!("\"{text}\"")),
        ("a signature of one letter", "A".repeat(text.len())),
        ("a digit after the signature", format!("{text}0")),
        ("an equals sign after the signature", format!("{text}=")),
    ];
    let all = places.chain(others.map(|(what, signature)| (what.to_owned(), signature)));
    let mut all: Vec<_> = all.map(|(what, signature)| (what, SignedRequest { signature, ..right.clone() })).collect();
    for (what, before) in [("no prefix", String::new()), ("another prefix", right.before.replace('6', "7"))] {
        all.push((what.to_owned(), SignedRequest { before, ..right.clone() }));
    }
    all
}

/// Returns requests in which a header besides that of the signature has another value.
fn other_headers(right: &SignedRequest) -> Vec<(String, SignedRequest)> {
    let mut all = Vec::new();
    for (index, (name, value)) in right.others.iter().enumerate() {
        if *name == PAYPAL_CERTIFICATE {
            continue;
        }
        for changed in [format!("{value}0"), value[1..].to_owned()] {
            let what = format!("{name}: {changed}");
            let mut request = right.clone();
            request.others[index].1 = changed;
            all.push((what, request));
        }
    }
    all
}

/// Returns requests that are signed like the right one: other bodies, other times, and another secret.
fn signed_again(scheme: &Scheme) -> Vec<(String, SignedRequest)> {
    let large = vec![b'x'; 64 * 1024];
    let bodies: [&[u8]; 5] = [b"", b"{}", b"\xff\x00\xfe", &large, "{\"name\": \"é\"}".as_bytes()];
    let bodies = bodies.map(|body| (format!("a signed body of {} bytes", body.len()), scheme.sign(SECRET, 0, body)));
    let times = scheme.times.iter().map(|time| (format!("signed at {time} s"), scheme.sign(SECRET, *time, BODY)));
    let other = ("another secret".to_owned(), scheme.sign(OTHER_SECRET, 0, BODY));
    bodies.into_iter().chain(times).chain([other]).collect()
}

/// Returns requests in which a header is missing, empty, or not ASCII.
fn missing_headers(right: &SignedRequest) -> Vec<(String, HeaderMap, Vec<u8>)> {
    let headers = right.headers();
    let mut all = Vec::new();
    for name in headers.keys() {
        let mut missing = headers.clone();
        missing.remove(name);
        let mut empty = headers.clone();
        empty.insert(name, HeaderValue::from_static(""));
        let mut foreign = headers.clone();
        foreign.insert(name, HeaderValue::from_bytes("é".as_bytes()).unwrap());
        for (what, headers) in [("missing", missing), ("empty", empty), ("not ASCII", foreign)] {
            all.push((format!("{name} is {what}"), headers, right.body.clone()));
        }
    }
    all
}
