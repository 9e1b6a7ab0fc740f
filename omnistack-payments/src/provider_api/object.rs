//! JSON objects of providers.

use omnistack_core::clock::Timestamp;
use serde_json::{Map, Value};

/// A JSON object of a provider. A field of another type counts as missing, so that a provider that adds or changes a
/// field which is not needed breaks nothing.
#[derive(Clone, Debug)]
pub(crate) struct ApiObject(Value);

impl Default for ApiObject {
    fn default() -> Self {
        Self(Value::Object(Map::new()))
    }
}

impl ApiObject {
    /// Parses an object. Nothing is an object without fields. Returns `None` if the text is anything else.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        serde_json::from_slice(text).ok().filter(Value::is_object).map(Self)
    }

    /// Returns a text that is not empty, by its JSON pointer.
    pub(crate) fn text(&self, pointer: &str) -> Option<String> {
        self.0.pointer(pointer)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Returns an integer, which may be a text.
    pub(crate) fn integer(&self, pointer: &str) -> Option<i64> {
        let value = self.0.pointer(pointer)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    /// Returns a truth value.
    #[cfg(any(test, feature = "razorpay"))]
    pub(crate) fn flag(&self, pointer: &str) -> Option<bool> {
        self.0.pointer(pointer)?.as_bool()
    }

    /// Returns a time in RFC 3339.
    #[cfg(any(test, feature = "paypal"))]
    pub(crate) fn time(&self, pointer: &str) -> Option<Timestamp> {
        self.0.pointer(pointer)?.as_str()?.parse().ok()
    }

    /// Returns a time in seconds since 1970. Zero counts as none.
    #[cfg(any(test, feature = "razorpay"))]
    pub(crate) fn seconds(&self, pointer: &str) -> Option<Timestamp> {
        let seconds = self.integer(pointer).filter(|seconds| *seconds > 0)?;
        Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
    }

    /// Returns an object in this one.
    pub(crate) fn get(&self, pointer: &str) -> Option<Self> {
        self.0.pointer(pointer).filter(|value| value.is_object()).cloned().map(Self)
    }

    /// Returns the objects of a list, or `None` if there is no list: then nothing is known of its objects.
    pub(crate) fn stated_list(&self, pointer: &str) -> Option<Vec<Self>> {
        self.0.pointer(pointer).filter(|value| value.is_array()).map(|_| self.list(pointer))
    }

    /// Returns the objects of a list, which may be missing.
    pub(crate) fn list(&self, pointer: &str) -> Vec<Self> {
        let items = self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        items.filter(|value| value.is_object()).cloned().map(Self).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_another_type_are_missing() {
        let object = ApiObject::parse(
            br#"{"text":"a","empty":"","number":7,"decimal":"12","flag":true,"none":null,"at":0,"seconds":1893456000,
                "time":"2030-01-01T00:00:00Z","list":[{"id":1},7,{"id":2}],"object":{"id":"b"}}"#,
        )
        .unwrap();
        assert_eq!((object.text("/text").as_deref(), object.text("/empty")), (Some("a"), None));
        assert_eq!((object.text("/number"), object.text("/none"), object.text("/other")), (None, None, None));
        assert_eq!((object.integer("/number"), object.integer("/decimal")), (Some(7), Some(12)));
        assert_eq!((object.integer("/text"), object.flag("/flag"), object.flag("/text")), (None, Some(true), None));
        assert_eq!((object.seconds("/at"), object.seconds("/seconds")), (None, object.time("/time")));
        assert_eq!(object.list("/list").len(), 2);
        assert!(object.list("/object").is_empty() && object.get("/list").is_none());
        assert!(object.stated_list("/object").is_none() && object.stated_list("/other").is_none());
        assert_eq!(object.stated_list("/list").map(|list| list.len()), Some(2));
        assert_eq!(object.get("/object").unwrap().text("/id").as_deref(), Some("b"));
        assert!(ApiObject::parse(b"").is_some());
        assert!(ApiObject::parse(b"[]").is_none() && ApiObject::parse(b"{").is_none());
    }
}
