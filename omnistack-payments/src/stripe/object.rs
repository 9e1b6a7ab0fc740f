//! Objects of Stripe's API, read leniently: a field that is missing or of another type is absent, and fields that this
//! app does not know are ignored.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    money::{Currency, Money},
};
use serde_json::{Map, Value};

use super::{OWN_NAMES, REFERENCE};
use crate::wire::{WireForm, from_minor_units};

/// An object of Stripe's API. Paths are JSON pointers (RFC 6901).
#[derive(Clone, Copy, Debug)]
pub(super) struct StripeObject<'a>(&'a Value);

impl<'a> StripeObject<'a> {
    pub(super) const fn new(value: &'a Value) -> Self {
        Self(value)
    }

    /// Returns the value at a path that is not null.
    pub(super) fn value(self, path: &str) -> Option<&'a Value> {
        self.0.pointer(path).filter(|value| !value.is_null())
    }

    /// Returns the object at a path.
    pub(super) fn object(self, path: &str) -> Option<Self> {
        self.value(path).filter(|value| value.is_object()).map(Self)
    }

    /// Returns the text at a path that is not empty.
    pub(super) fn text(self, path: &str) -> Option<&'a str> {
        self.value(path)?.as_str().filter(|text| !text.is_empty())
    }

    /// Returns the text at a path that is not empty.
    pub(super) fn owned(self, path: &str) -> Option<String> {
        self.text(path).map(str::to_owned)
    }

    /// Returns the whole number at a path.
    pub(super) fn integer(self, path: &str) -> Option<i64> {
        self.value(path)?.as_i64()
    }

    /// Returns whether the value at a path is true.
    pub(super) fn flag(self, path: &str) -> bool {
        self.value(path).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Returns the time at a path, which is in seconds since 1970.
    pub(super) fn time(self, path: &str) -> Option<Timestamp> {
        self.integer(path).map(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
    }

    /// Returns the id of the object at a path, which is an id or the expanded object.
    pub(super) fn id_at(self, path: &str) -> Option<&'a str> {
        self.text(path).or_else(|| self.object(path)?.text("/id"))
    }

    /// Returns whether there is an array at a path. Without one, nothing is known of its items.
    pub(super) fn is_array(self, path: &str) -> bool {
        self.value(path).is_some_and(Value::is_array)
    }

    /// Returns the items at a path, which is an array or a list of Stripe.
    pub(super) fn items(self, path: &str) -> impl Iterator<Item = StripeObject<'a>> + use<'a> {
        let found = self.value(path);
        let items = found.and_then(|value| value.as_array().or_else(|| value.get("data")?.as_array()));
        items.into_iter().flatten().map(Self)
    }

    /// Returns the amount at a path, in the currency of the object.
    pub(super) fn money(self, path: &str) -> Option<Money> {
        self.money_in(path, self.text("/currency")?)
    }

    /// Returns the amount at a path in a currency.
    pub(super) fn money_in(self, path: &str, currency: &str) -> Option<Money> {
        from_minor_units(WireForm::Stripe, self.integer(path)?, &currency.to_ascii_uppercase())
    }

    /// Returns the app's reference in the metadata at a path.
    pub(super) fn reference_in(self, path: &str) -> Option<&'a str> {
        self.object(path)?.text(&format!("/{REFERENCE}"))
    }

    /// Returns the app's reference.
    pub(super) fn reference(self) -> Option<String> {
        self.reference_in("/metadata").map(str::to_owned)
    }

    /// Returns the subscription that an invoice bills: below `parent` since API 2025-03-31, and in the invoice before.
    pub(super) fn billed_subscription(self) -> Option<&'a str> {
        self.id_at("/parent/subscription_details/subscription").or_else(|| self.id_at("/subscription"))
    }
}

/// Returns the metadata of an object with the app's reference. A caller's values can't have the names of the app's own.
pub(super) fn metadata(reference: &str, further: &BTreeMap<String, String>) -> Value {
    let mut fields: Map<String, Value> =
        further.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    fields.retain(|name, _| !name.starts_with(OWN_NAMES));
    fields.insert(REFERENCE.to_owned(), Value::String(reference.to_owned()));
    Value::Object(fields)
}

/// Returns the code of a currency as Stripe writes it.
pub(super) fn currency_code(currency: Currency) -> String {
    currency.code().to_ascii_lowercase()
}
