//! The events of app stores.

use omnistack_core::{clock::Timestamp, events::Event};
use serde::{Deserialize, Serialize};

/// Event: a customer of Google Play has asked for a refund, and Google asks the app for its opinion. The app answers
/// through Google's API (`orders.reviewrefund`), where it can add what the customer has used. Without an answer, Google
/// decides alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefundReviewRequested {
    /// The id of the order at Google.
    pub order: String,
    /// Google's number of the reason, if it states one.
    pub reason: Option<i64>,
    /// The time until which Google waits for an answer.
    pub respond_by: Timestamp,
}

impl RefundReviewRequested {
    pub(super) fn new(order: String, reason: Option<i64>, respond_by: Timestamp) -> Self {
        Self { order, reason, respond_by }
    }
}

impl Event for RefundReviewRequested {
    const NAME: &'static str = "app_stores.refund_review_requested";

    fn key(&self) -> String {
        self.order.clone()
    }
}
