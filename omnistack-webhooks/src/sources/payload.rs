//! Reading of bodies in which the provider may add or change fields.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    webhook::{SourceEvent, WebhookRejection},
};
use serde_json::Value;

/// A JSON body, of which fields are read by [JSON pointers](https://www.rfc-editor.org/rfc/rfc6901). A field of an
/// unexpected type counts as absent.
#[derive(Debug)]
pub(crate) struct ProviderPayload(Value);

impl ProviderPayload {
    /// Parses a body.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Malformed`] if it is not JSON.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, WebhookRejection> {
        let parsed = serde_json::from_slice(body);
        parsed.map(Self).map_err(|error| WebhookRejection::Malformed(error.to_string()))
    }

    /// Returns a field.
    pub(crate) fn get(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// Returns a field that is a text, not empty, or a number.
    pub(crate) fn text(&self, pointer: &str) -> Option<String> {
        match self.get(pointer)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Returns a field that is a whole number.
    pub(crate) fn number(&self, pointer: &str) -> Option<i64> {
        self.get(pointer)?.as_i64()
    }

    /// Returns a time: RFC 3339 text, or seconds or milliseconds since 1970.
    pub(super) fn time(&self, pointer: &str) -> Option<Timestamp> {
        match self.get(pointer)? {
            Value::String(text) => text.parse().ok().or_else(|| text.parse().ok().map(from_epoch)),
            Value::Number(number) => number.as_i64().map(from_epoch),
            _ => None,
        }
    }
}

/// Returns the time for a number of seconds or milliseconds since 1970. Numbers from 10¹¹ on are milliseconds: as
/// seconds they would be after the year 5000.
pub(super) fn from_epoch(number: i64) -> Timestamp {
    let unit = if number.unsigned_abs() < 100_000_000_000 { 1_000_000 } else { 1_000 };
    Timestamp::from_micros(number.saturating_mul(unit))
}

/// Describes an event, with an id and a type of any length.
///
/// # Errors
/// Fails with [`WebhookRejection::Malformed`] if there is no id or no type.
pub(super) fn source_event(id: Option<&str>, kind: Option<&str>) -> Result<SourceEvent, WebhookRejection> {
    let missing = |what: &str| WebhookRejection::Malformed(format!("the event has no {what}"));
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| missing("id"))?;
    let kind = kind.filter(|kind| !kind.is_empty()).ok_or_else(|| missing("type"))?;
    Ok(SourceEvent::new(bounded_id(id), bounded_kind(kind)))
}

/// Returns an id that can be stored: itself, or its hash if it is too long or contains NUL, which PostgreSQL refuses.
pub(super) fn bounded_id(id: &str) -> String {
    if id.len() <= SourceEvent::MAX_ID_BYTES && !id.contains('\0') {
        return id.to_owned();
    }
    format!("sha256:{}", Sha256::digest(id))
}

/// Returns the id for a request without one: the hash of its body.
pub(super) fn body_id(body: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(body))
}

/// Returns the beginning of a type that can be stored.
fn bounded_kind(kind: &str) -> String {
    let mut kind = kind.replace('\0', "\u{fffd}");
    kind.truncate(kind.floor_char_boundary(SourceEvent::MAX_KIND_BYTES));
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_other_types_are_absent() {
        let body = br#"{"id":7,"none":null,"empty":"","at":"2030-01-01T00:00:00Z","s":1893456000,"ms":1893456000000,
            "t":"1893456000"}"#;
        let payload = ProviderPayload::parse(body).unwrap();
        for (pointer, expected) in [("/id", Some("7")), ("/none", None), ("/empty", None), ("/no/such", None)] {
            assert_eq!(payload.text(pointer).as_deref(), expected, "{pointer}");
        }
        let at: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        for pointer in ["/at", "/s", "/ms", "/t"] {
            assert_eq!(payload.time(pointer), Some(at), "{pointer}");
        }
        assert_eq!(payload.time("/none"), None);
    }

    #[test]
    fn ids_and_types_fit_their_columns() {
        let event = source_event(Some(&"é".repeat(101)), Some(&"é".repeat(51))).unwrap();
        assert!(event.id.starts_with("sha256:") && event.id.len() == 71, "{}", event.id);
        assert_eq!(event.kind, "é".repeat(50));
        let event = source_event(Some("a\0b"), Some("a\0b")).unwrap();
        assert!(event.id.starts_with("sha256:") && event.kind == "a\u{fffd}b");
        // Three bytes replace one.
        let event = source_event(Some("a"), Some(&"\0".repeat(100))).unwrap();
        assert_eq!(event.kind, "\u{fffd}".repeat(33));
        let event = source_event(Some(&"a".repeat(200)), Some(&"b".repeat(100))).unwrap();
        assert_eq!((event.id.len(), event.kind.len()), (200, 100));
        for (id, kind) in [(None, Some("a")), (Some(""), Some("a")), (Some("a"), None), (Some("a"), Some(""))] {
            assert!(matches!(source_event(id, kind), Err(WebhookRejection::Malformed(_))), "{id:?} {kind:?}");
        }
    }
}
