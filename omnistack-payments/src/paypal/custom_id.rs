//! The text that is stored with each order and subscription.

use omnistack_core::{clock::Timestamp, payment::PaymentError};

/// Largest length of a reference, in bytes. PayPal stores 127 for all parts.
const MAX_REFERENCE_BYTES: usize = 70;
/// Largest length of the id of a customer, in bytes.
const MAX_CUSTOMER_BYTES: usize = 30;
/// The mark of an order that the app has canceled.
const CANCELED: &str = "canceled";
/// The beginning of the mark of a subscription that ends at a time.
const CANCEL_AT: &str = "cancel-at-";

/// A decision of the app that PayPal has no field for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CustomMark {
    /// The order is canceled: its money is not taken.
    Canceled,
    /// The suspended subscription ends at this time.
    CancelAt(Timestamp),
}

impl CustomMark {
    /// Parses a mark. Returns `None` if the text is no mark.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(CANCEL_AT) {
            Some(seconds) => {
                let seconds: i64 = seconds.parse().ok()?;
                Some(Self::CancelAt(Timestamp::from_micros(seconds.saturating_mul(1_000_000))))
            }
            None => (text == CANCELED).then_some(Self::Canceled),
        }
    }

    /// Returns the mark as text.
    pub(super) fn to_text(self) -> String {
        match self {
            Self::Canceled => CANCELED.to_owned(),
            Self::CancelAt(at) => format!("{CANCEL_AT}{}", at.as_seconds()),
        }
    }
}

/// The `custom_id` of an order or of a subscription: `reference|customer|mark`. Empty parts at the end are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CustomId {
    pub(super) reference: String,
    pub(super) customer: Option<String>,
    pub(super) mark: Option<CustomMark>,
}

impl CustomId {
    /// Creates the text for a new object.
    ///
    /// # Errors
    /// Fails with [`PaymentError::Rejected`] if a part is too long or has a `|`.
    pub(super) fn new(reference: &str, customer: Option<&str>) -> Result<Self, PaymentError> {
        let fits = |text: &str, limit: usize| !text.is_empty() && text.len() <= limit && !text.contains('|');
        if !fits(reference, MAX_REFERENCE_BYTES) || customer.is_some_and(|id| !fits(id, MAX_CUSTOMER_BYTES)) {
            return Err(PaymentError::Rejected {
                code: Some("invalid_reference".to_owned()),
                message: format!(
                    "references at PayPal have at most {MAX_REFERENCE_BYTES} bytes, customers {MAX_CUSTOMER_BYTES}, \
                     both without `|`"
                ),
            });
        }
        Ok(Self { reference: reference.to_owned(), customer: customer.map(str::to_owned), mark: None })
    }

    /// Parses the text of an object. Every text is one: an object that was made elsewhere has no further parts.
    pub(super) fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '|');
        let reference = parts.next().unwrap_or_default().to_owned();
        let customer = parts.next().filter(|customer| !customer.is_empty()).map(str::to_owned);
        let mark = parts.next().and_then(CustomMark::parse);
        Self { reference, customer, mark }
    }

    /// Returns this text with another mark.
    pub(super) fn marked(&self, mark: Option<CustomMark>) -> Self {
        Self { mark, ..self.clone() }
    }

    /// Returns the text for PayPal.
    pub(super) fn to_text(&self) -> String {
        let Self { reference, customer, mark } = self;
        let customer = customer.as_deref().unwrap_or_default();
        let mark = mark.map(CustomMark::to_text).unwrap_or_default();
        format!("{reference}|{customer}|{mark}").trim_end_matches('|').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_parsed_as_they_are_written() {
        let at = "2030-01-31T12:00:00Z".parse().unwrap();
        for (customer, mark, text) in [
            (None, None, "pay_1"),
            (Some("c"), None, "pay_1|c"),
            (None, Some(CustomMark::Canceled), "pay_1||canceled"),
            (Some("c"), Some(CustomMark::CancelAt(at)), "pay_1|c|cancel-at-1896091200"),
        ] {
            let custom = CustomId::new("pay_1", customer).unwrap().marked(mark);
            assert_eq!((custom.to_text().as_str(), CustomId::parse(text)), (text, custom));
        }
        let other = CustomId::parse("made elsewhere");
        assert_eq!((other.reference.as_str(), other.customer, other.mark), ("made elsewhere", None, None));
        assert_eq!(CustomId::parse("a|b|new").mark, None);
        for (reference, customer) in [("", None), ("a|b", None), ("a", Some("|")), (&*"a".repeat(71), None)] {
            assert!(CustomId::new(reference, customer).is_err(), "{reference} {customer:?}");
        }
        let longest = CustomId::new(&"a".repeat(70), Some(&"b".repeat(30))).unwrap();
        assert!(longest.marked(Some(CustomMark::CancelAt(at))).to_text().len() <= 127);
    }
}
