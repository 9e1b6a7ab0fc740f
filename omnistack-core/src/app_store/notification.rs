//! The object in a notification of the App Store that names the app.

use serde_json::Value;

/// The beginning of the ids of tokens for purchases outside of the App Store that the sandbox has created.
const SANDBOX_TOKEN: &str = "SANDBOX";

/// The object in a notification that names the app. A notification has one of several.
#[derive(Clone, Copy, Debug)]
pub struct AppleNotificationSubject<'n> {
    /// The object.
    pub object: &'n Value,
    /// The environment, such as `Sandbox`; empty if the object names none.
    pub environment: &'n str,
}

impl<'n> AppleNotificationSubject<'n> {
    /// Returns the object of a notification, or `None` if it has none of a known name.
    pub fn of(notification: &'n Value) -> Option<Self> {
        let part = |name: &str| notification.get(name).filter(|part| part.is_object());
        if let Some(object) = part("data").or_else(|| part("summary")).or_else(|| part("appData")) {
            let environment = object.get("environment").and_then(Value::as_str).unwrap_or_default();
            return Some(Self { object, environment });
        }
        let object = part("externalPurchaseToken")?;
        let is_test = object.get("externalPurchaseId")?.as_str()?.starts_with(SANDBOX_TOKEN);
        Some(Self { object, environment: if is_test { "Sandbox" } else { "Production" } })
    }
}
