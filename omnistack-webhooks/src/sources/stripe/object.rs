//! The current state of the object that an event is about.

use http::{HeaderName, StatusCode};
use omnistack_core::BoxError;
use serde_json::Value;

use super::api::StripeApi;
use crate::sources::{payload::ProviderPayload, provider_api::send};

/// The header that names the connected account whose object is requested.
const ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");

/// The types of objects, and the paths of their collections in the API.
const COLLECTIONS: [(&str, &str); 26] = [
    ("account", "accounts"),
    ("billing.meter", "billing/meters"),
    ("charge", "charges"),
    ("checkout.session", "checkout/sessions"),
    ("coupon", "coupons"),
    ("credit_note", "credit_notes"),
    ("customer", "customers"),
    ("dispute", "disputes"),
    ("invoice", "invoices"),
    ("invoiceitem", "invoiceitems"),
    ("payment_intent", "payment_intents"),
    ("payment_link", "payment_links"),
    ("payment_method", "payment_methods"),
    ("payout", "payouts"),
    ("plan", "plans"),
    ("price", "prices"),
    ("product", "products"),
    ("promotion_code", "promotion_codes"),
    ("quote", "quotes"),
    ("refund", "refunds"),
    ("setup_intent", "setup_intents"),
    ("subscription", "subscriptions"),
    ("subscription_schedule", "subscription_schedules"),
    ("tax_rate", "tax_rates"),
    ("topup", "topups"),
    ("transfer", "transfers"),
];

/// The place of an object in the API.
#[derive(Debug, PartialEq, Eq)]
struct ObjectLocation {
    path: String,
    /// The connected account that the object belongs to.
    account: Option<String>,
}

impl ObjectLocation {
    /// Returns the place of the object that an event is about. Returns `None` if the event has no object, or one
    /// that can't be fetched by its id.
    fn of_event(body: &[u8]) -> Option<Self> {
        let event = ProviderPayload::parse(body).ok()?;
        let account = match event.text("/account") {
            Some(account) => Some(plain_id(account)?),
            None => None,
        };
        let (kind, id) = match event.text("/data/object/object") {
            Some(kind) => (kind, event.text("/data/object/id")?),
            None => (event.text("/related_object/type")?, event.text("/related_object/id")?),
        };
        let (_, collection) = COLLECTIONS.iter().find(|(other, _)| *other == kind)?;
        Some(Self { path: format!("/v1/{collection}/{}", plain_id(id)?), account })
    }
}

/// Returns an id that can stand in a path and in a header.
fn plain_id(id: String) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (!id.is_empty() && id.bytes().all(plain)).then_some(id)
}

impl StripeApi {
    /// Returns the current state of the object that an event is about. Returns `None` if Stripe no longer has it, or
    /// if the event has no object that can be fetched by its id.
    pub(super) async fn object_of(&self, event: &[u8]) -> Result<Option<Value>, BoxError> {
        let Some(ObjectLocation { path, account }) = ObjectLocation::of_event(event) else { return Ok(None) };
        let request = self.get(&path, &[]);
        let request = account.iter().fold(request, |request, account| request.header(ACCOUNT, account));
        let response = send(request).await?;
        match response.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(serde_json::from_slice(&response.body)?)),
            status => Err(format!("Stripe responded to the request for an object with {status}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_a_path() {
        for (event, expected) in [
            (r#"{"data":{"object":{"object":"invoice","id":"in_1"}}}"#, Some(("/v1/invoices/in_1", None))),
            (
                r#"{"account":"acct_1","data":{"object":{"object":"checkout.session","id":"cs_test_1"}}}"#,
                Some(("/v1/checkout/sessions/cs_test_1", Some("acct_1"))),
            ),
            (
                r#"{"related_object":{"type":"billing.meter","id":"mtr_1","url":"https://evil.example"}}"#,
                Some(("/v1/billing/meters/mtr_1", None)),
            ),
            (r#"{"data":{"object":{"object":"balance"}}}"#, None),
            (r#"{"data":{"object":{"object":"unknown","id":"x_1"}}}"#, None),
            (r#"{"data":{"object":{"object":"invoice","id":"../customers/cus_1"}}}"#, None),
            (r#"{"data":{"object":{"object":"invoice","id":""}}}"#, None),
            (r#"{"account":"a b","data":{"object":{"object":"invoice","id":"in_1"}}}"#, None),
            ("[]", None),
        ] {
            let found = ObjectLocation::of_event(event.as_bytes());
            let expected =
                expected.map(|(path, account)| ObjectLocation { path: path.into(), account: account.map(Into::into) });
            assert_eq!(found, expected, "{event}");
        }
    }
}
