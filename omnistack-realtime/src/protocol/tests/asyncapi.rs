//! The AsyncAPI document has the messages and the codes of the code, and no others.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const DOCUMENT: &str = include_str!("../../../asyncapi.yaml");
const CODES: &str = include_str!("../codes.rs");
const COMMANDS: &str = include_str!("../command.rs");
const REPLIES: &str = include_str!("../reply.rs");

/// Returns the members of an object in the document, with the text behind their names.
fn members(path: &[&str]) -> BTreeMap<String, String> {
    let (mut place, mut found) = (Vec::new(), BTreeMap::new());
    for line in DOCUMENT.lines() {
        let text = line.trim_start();
        let depth = (line.len() - text.len()) / 2;
        let Some((name, value)) = text.split_once(':').filter(|_| depth <= place.len()) else { continue };
        place.truncate(depth);
        if place == path {
            found.insert(name.to_owned(), value.trim().to_owned());
        }
        place.push(name);
    }
    assert!(!found.is_empty(), "the document has {path:?}");
    found
}

fn names(path: &[&str]) -> BTreeSet<String> {
    members(path).into_keys().collect()
}

/// Returns the variants of an enum in the source.
fn variants(source: &str, name: &str) -> Vec<String> {
    let (_, body) = source.split_once(&format!("enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let lines = body.lines().map(str::trim).filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    lines.map(|line| line.split(['(', ',']).next().unwrap().to_owned()).collect()
}

/// Returns the name of a variant in the document: `PresenceStats` is `presenceStats`.
fn camel_case(variant: &str) -> String {
    let (first, rest) = variant.split_at(1);
    format!("{}{rest}", first.to_ascii_lowercase())
}

/// Returns the name of a variant in a message: `PresenceStats` is `presence_stats`.
fn snake_case(variant: &str) -> String {
    let parts = camel_case(variant);
    let mut name = String::new();
    for letter in parts.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[test]
fn the_document_has_each_message() {
    let kinds = [("Command", COMMANDS, "Method"), ("Reply", REPLIES, "ReplyContent"), ("Push", REPLIES, "PushContent")];
    let mut expected = BTreeSet::from(["ping".to_owned(), "pong".to_owned()]);
    for (kind, source, of_kind) in kinds {
        for variant in variants(source, of_kind) {
            let (message, member) = (format!("{}{kind}", camel_case(&variant)), snake_case(&variant));
            let payload = ["components", "messages", message.as_str(), "payload"];
            let mut place = payload.to_vec();
            if kind == "Push" {
                place.extend(["properties", "push"]);
            }
            let object = members(&place);
            let required: Vec<_> = object["required"].trim_matches(['[', ']']).split(", ").collect();
            assert_eq!(required.last(), Some(&member.as_str()), "{message}");
            assert_eq!(required[0] == "id", kind != "Push" && message != "sendCommand", "{message}");
            expected.insert(message);
        }
    }
    assert_eq!(names(&["components", "messages"]), expected);
    assert_eq!(names(&["channels", "connection", "messages"]), expected);
    let used = DOCUMENT.split("- $ref: '#/channels/connection/messages/").skip(1);
    let used: BTreeSet<_> = used.map(|rest| rest.split('\'').next().unwrap().to_owned()).collect();
    assert_eq!(used, expected);
}

#[test]
fn the_document_has_each_code() {
    let errors = [
        ErrorCode::Internal,
        ErrorCode::Unauthorized,
        ErrorCode::UnknownChannel,
        ErrorCode::PermissionDenied,
        ErrorCode::MethodNotFound,
        ErrorCode::AlreadySubscribed,
        ErrorCode::LimitExceeded,
        ErrorCode::BadRequest,
        ErrorCode::NotAvailable,
        ErrorCode::TokenExpired,
        ErrorCode::TooManyRequests,
        ErrorCode::UnrecoverablePosition,
    ];
    let described = errors.map(|code| {
        let temporary = if code.is_temporary() { ", temporary: true" } else { "" };
        (code.number().to_string(), format!("{{ message: {}{temporary} }}", code.message()))
    });
    expect_codes("x-error-codes", "ErrorCode", described.into());

    let ends = [UnsubscribeCode::Server, UnsubscribeCode::InsufficientState];
    let described = ends.map(|code| {
        let resubscribe = code.number() >= 2500;
        (code.number().to_string(), format!("{{ reason: {}, resubscribe: {resubscribe} }}", code.reason()))
    });
    expect_codes("x-unsubscribe-codes", "UnsubscribeCode", described.into());

    let closes = [
        CloseCode::ConnectionClosed,
        CloseCode::Shutdown,
        CloseCode::Server,
        CloseCode::Expired,
        CloseCode::Slow,
        CloseCode::InsufficientState,
        CloseCode::ForceReconnect,
        CloseCode::NoPong,
        CloseCode::TooManyRequests,
        CloseCode::InvalidToken,
        CloseCode::BadRequest,
        CloseCode::Stale,
        CloseCode::ForceNoReconnect,
        CloseCode::ConnectionLimit,
        CloseCode::PermissionDenied,
    ];
    let described = closes.map(|code| {
        let reconnect = !code.is_final();
        (code.number().to_string(), format!("{{ reason: {}, reconnect: {reconnect} }}", code.reason()))
    });
    expect_codes("x-close-codes", "CloseCode", described.into());
}

/// Asserts that a table of codes in the document is this one, and that it has each code of an enum.
fn expect_codes(table: &str, of_enum: &str, codes: BTreeMap<String, String>) {
    assert_eq!(codes.len(), variants(CODES, of_enum).len(), "this test has each `{of_enum}`");
    assert_eq!(members(&[table]), codes);
}
