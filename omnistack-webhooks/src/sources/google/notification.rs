//! The message of Pub/Sub and the notification in it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    webhook::{DataEnvironment, SourceEvent, WebhookRejection},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sources::payload::source_event;

/// Maximum size of the name of a notification that this version does not know, in bytes. In snake case and with a
/// number it has at most 100 bytes, as the inbox stores a type.
const MAX_NAME_BYTES: usize = 40;
/// The number of hexadecimal digits of a hash that identify a purchase.
const PURCHASE_DIGITS: usize = 32;
/// The notifications of which a message has one, by their names without `Notification`.
const NOTIFICATIONS: [&str; 5] = ["test", "subscription", "oneTimeProduct", "voidedPurchase", "pendingRefundReview"];

/// A push request of Pub/Sub.
#[derive(Deserialize)]
struct PushRequest {
    message: PushMessage,
}

/// A message of Pub/Sub. It has its id in both spellings.
#[derive(Deserialize)]
struct PushMessage {
    #[serde(default)]
    data: String,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
    #[serde(rename = "message_id")]
    message_id_in_snake_case: Option<String>,
}

/// A notification and the id of its message.
#[derive(Debug)]
pub(super) struct PlayNotification {
    id: String,
    fields: Map<String, Value>,
}

impl PlayNotification {
    /// Reads the body of a push request.
    pub(super) fn read(body: &[u8]) -> Result<Self, WebhookRejection> {
        let malformed = |what: &str| WebhookRejection::Malformed(what.to_owned());
        let PushRequest { message } =
            serde_json::from_slice(body).map_err(|error| WebhookRejection::Malformed(error.to_string()))?;
        let id = message.message_id.or(message.message_id_in_snake_case);
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| malformed("`message.messageId` is missing"))?;
        let data = STANDARD.decode(&message.data).map_err(|_| malformed("`message.data` is not base64"))?;
        let fields = serde_json::from_slice(&data).map_err(|_| malformed("`message.data` contains no JSON object"))?;
        Ok(Self { id, fields })
    }

    /// Returns the package name of the app.
    pub(super) fn package(&self) -> Option<&String> {
        match self.fields.get("packageName") {
            Some(Value::String(package)) => Some(package),
            _ => None,
        }
    }

    /// Describes the event. A number of a type that this version does not know stays a number.
    pub(super) fn describe(&self) -> Result<SourceEvent, WebhookRejection> {
        let (name, notification) = self
            .notification()
            .ok_or_else(|| WebhookRejection::Malformed("the message has no notification".to_owned()))?;
        let number = notification.get("notificationType").and_then(Value::as_u64);
        let kind = kind(name, number);
        let environment = if name == "test" { DataEnvironment::Test } else { DataEnvironment::Live };
        let text = |name: &str| notification.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // Tokens of purchases are secret and have no maximum size. A refund that waits for a review names its order.
        let purchase = text("purchaseToken").or_else(|| text("orderId"));
        let object = purchase.map(|purchase| {
            let mut hash = Sha256::digest(purchase).to_string();
            hash.truncate(PURCHASE_DIGITS);
            hash
        });
        let occurred_at = self.fields.get("eventTimeMillis").and_then(millis);
        let event = source_event(Some(&self.id), Some(&kind))?;
        Ok(event.environment(environment).occurred_at(occurred_at).object(object))
    }

    /// Returns the notification and its name without `Notification`.
    fn notification(&self) -> Option<(&str, &Map<String, Value>)> {
        let known = NOTIFICATIONS.iter().find_map(|name| {
            let notification = self.fields.get(&format!("{name}Notification"))?.as_object()?;
            Some((*name, notification))
        });
        known.or_else(|| {
            self.fields.iter().find_map(|(name, value)| {
                let name = name.strip_suffix("Notification").filter(|name| is_plain(name))?;
                Some((name, value.as_object()?))
            })
        })
    }
}

fn is_plain(name: &str) -> bool {
    matches!(name.len(), 1..=MAX_NAME_BYTES) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Returns the type of an event, such as `subscription.renewed`, `subscription.99` or `voided_purchase`.
fn kind(name: &str, number: Option<u64>) -> String {
    let prefix = snake_case(name);
    let known = match (name, number) {
        ("subscription", Some(number)) => subscription(number),
        ("oneTimeProduct", Some(1)) => Some("purchased"),
        ("oneTimeProduct", Some(2)) => Some("canceled"),
        _ => None,
    };
    match (known, number) {
        (Some(known), _) => format!("{prefix}.{known}"),
        (None, Some(number)) => format!("{prefix}.{number}"),
        (None, None) => prefix,
    }
}

/// Returns Google's name of a type of subscription notification, in lower case without `SUBSCRIPTION_`.
fn subscription(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "recovered",
        2 => "renewed",
        3 => "canceled",
        4 => "purchased",
        5 => "on_hold",
        6 => "in_grace_period",
        7 => "restarted",
        8 => "price_change_confirmed",
        9 => "deferred",
        10 => "paused",
        11 => "pause_schedule_changed",
        12 => "revoked",
        13 => "expired",
        17 => "items_changed",
        18 => "cancellation_scheduled",
        19 => "price_change_updated",
        20 => "pending_purchase_canceled",
        22 => "price_step_up_consent_updated",
        _ => return None,
    })
}

fn snake_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

/// Reads milliseconds since 1970, which Google sends as text or as a number.
fn millis(value: &Value) -> Option<Timestamp> {
    let millis = match value {
        Value::String(text) => text.parse().ok()?,
        other => other.as_i64()?,
    };
    Some(Timestamp::from_micros(millis.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(notification: &Value) -> Result<PlayNotification, WebhookRejection> {
        let data = STANDARD.encode(notification.to_string());
        PlayNotification::read(json!({ "message": { "data": data, "messageId": "7" } }).to_string().as_bytes())
    }

    #[test]
    fn types_have_googles_names() {
        for (notification, expected) in [
            (json!({ "subscriptionNotification": { "notificationType": 2 } }), "subscription.renewed"),
            (json!({ "subscriptionNotification": { "notificationType": 13 } }), "subscription.expired"),
            (json!({ "subscriptionNotification": { "notificationType": 99 } }), "subscription.99"),
            (json!({ "subscriptionNotification": {} }), "subscription"),
            (json!({ "oneTimeProductNotification": { "notificationType": 1 } }), "one_time_product.purchased"),
            (json!({ "oneTimeProductNotification": { "notificationType": 2 } }), "one_time_product.canceled"),
            (json!({ "oneTimeProductNotification": { "notificationType": 3 } }), "one_time_product.3"),
            (json!({ "voidedPurchaseNotification": { "refundType": 1 } }), "voided_purchase"),
            (json!({ "pendingRefundReviewNotification": { "refundReason": 7 } }), "pending_refund_review"),
            (json!({ "testNotification": { "version": "1.0" } }), "test"),
            (json!({ "newThingNotification": { "notificationType": 4 } }), "new_thing.4"),
        ] {
            assert_eq!(read(&notification).unwrap().describe().unwrap().kind, expected, "{notification}");
        }
    }

    #[test]
    fn an_event_has_the_id_of_its_message_and_a_hash_of_its_purchase() {
        let event = read(&json!({
            "packageName": "com.example", "eventTimeMillis": "1503349566168",
            "subscriptionNotification": { "notificationType": 4, "purchaseToken": "secret" },
        }));
        let event = event.unwrap().describe().unwrap();
        assert_eq!(event.id, "7");
        assert_eq!(event.object.as_deref(), Some("2bb80d537b1da3e38bd30361aa855686"), "SHA-256 of `secret`");
        assert_eq!(event.occurred_at.unwrap().to_string(), "2017-08-21T21:06:06.168Z");
        assert_eq!(event.environment, DataEnvironment::Live);
        let test = read(&json!({ "eventTimeMillis": 1_503_349_566_168_i64, "testNotification": {} }));
        let test = test.unwrap().describe().unwrap();
        assert_eq!((test.environment, test.occurred_at), (DataEnvironment::Test, event.occurred_at));
    }

    #[test]
    fn other_bodies_are_malformed() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"message":{}}"#,
            r#"{"message":{"messageId":"7"}}"#,
            r#"{"message":{"messageId":"","data":"e30="}}"#,
            r#"{"message":{"messageId":"7","data":"e30"}}"#,
            r#"{"message":{"messageId":"7","data":"W10="}}"#,
        ] {
            assert!(matches!(PlayNotification::read(body.as_bytes()), Err(WebhookRejection::Malformed(_))), "{body}");
        }
        for notification in [json!({}), json!({ "Notification": {} }), json!({ "a.bNotification": {} })] {
            let described = read(&notification).unwrap().describe();
            assert!(matches!(described, Err(WebhookRejection::Malformed(_))), "{notification}");
        }
    }

    #[test]
    fn both_spellings_of_the_id_may_occur_together() {
        let body = r#"{"message":{"data":"e30=","messageId":"7","message_id":"7"},"subscription":"projects/p"}"#;
        assert_eq!(PlayNotification::read(body.as_bytes()).unwrap().id, "7");
        let body = r#"{"message":{"data":"e30=","message_id":"8"}}"#;
        assert_eq!(PlayNotification::read(body.as_bytes()).unwrap().id, "8");
    }
}
