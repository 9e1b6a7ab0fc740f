//! The test cards of the fake: each behaves in one way.

use omnistack_core::payment::{DeclineReason, PaymentError};

/// The behavior of a test card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CardBehavior {
    /// Each charge succeeds.
    Succeeds,
    /// Each charge is declined.
    Declines(DeclineReason, &'static str),
    /// The payer must confirm each charge on a page.
    Authenticates,
    /// A charge is processed for some minutes, and succeeds then.
    SucceedsLater,
    /// A charge is processed for some minutes, and is declined then.
    DeclinesLater,
    /// A charge succeeds, and its response is lost.
    LosesResponse,
    /// The first request for a charge is lost, and a repetition succeeds.
    LosesRequest,
    /// The provider is unavailable for each charge.
    Unavailable,
    /// A charge succeeds, and the payer disputes it later.
    Disputes,
    /// The first charge of a subscription succeeds, and each renewal is declined.
    DeclinesRenewals,
    /// A charge succeeds. The response to its first refund is lost.
    LosesRefundResponse,
}

/// A test card.
#[derive(Clone, Copy, Debug)]
pub(super) struct TestCard {
    /// The token, by which an app charges the card.
    pub(super) token: &'static str,
    /// The number, as that of the test card of Stripe that behaves in the same way.
    pub(super) number: &'static str,
    /// The text for the payer.
    pub(super) label: &'static str,
    pub(super) behavior: CardBehavior,
}

/// The test cards, in the order of the pages.
pub(super) const CARDS: [TestCard; 15] = [
    card("tok_ok", "4242424242424242", "Succeeds", CardBehavior::Succeeds),
    card("tok_3ds", "4000002500003155", "Asks for authentication", CardBehavior::Authenticates),
    card("tok_declined", "4000000000000002", "Is declined", declines(DeclineReason::Generic, "generic_decline")),
    card(
        "tok_insufficient_funds",
        "4000000000009995",
        "Has insufficient funds",
        declines(DeclineReason::InsufficientFunds, "insufficient_funds"),
    ),
    card("tok_expired", "4000000000000069", "Has expired", declines(DeclineReason::ExpiredCard, "expired_card")),
    card(
        "tok_incorrect",
        "4000000000000127",
        "Has a wrong security code",
        declines(DeclineReason::IncorrectDetails, "incorrect_cvc"),
    ),
    card("tok_fraud", "4100000000000019", "Is suspected of fraud", declines(DeclineReason::Fraud, "fraudulent")),
    card(
        "tok_try_again",
        "4000000000000119",
        "Can't be checked now",
        declines(DeclineReason::TemporarilyUnavailable, "try_again_later"),
    ),
    card("tok_slow", "4000000000000077", "Succeeds after five minutes", CardBehavior::SucceedsLater),
    card("tok_slow_declined", "4000000000000085", "Is declined after five minutes", CardBehavior::DeclinesLater),
    card("tok_dispute", "4000000000000259", "Succeeds and is disputed", CardBehavior::Disputes),
    card("tok_fails_on_renewal", "4000000000000341", "Succeeds once", CardBehavior::DeclinesRenewals),
    card("tok_timeout_charged", "4000000000000416", "Is charged, without a response", CardBehavior::LosesResponse),
    card("tok_timeout_uncharged", "4000000000000424", "Gets no response at first", CardBehavior::LosesRequest),
    card("tok_unavailable", "4000000000000432", "Can't reach the provider", CardBehavior::Unavailable),
];

/// A card for the tests of refunds, which is on no page.
const REFUND_TIMEOUT: TestCard = card(
    "tok_refund_timeout",
    "4000000000000440",
    "Succeeds; its refund gets no response",
    CardBehavior::LosesRefundResponse,
);

const fn card(token: &'static str, number: &'static str, label: &'static str, behavior: CardBehavior) -> TestCard {
    TestCard { token, number, label, behavior }
}

const fn declines(reason: DeclineReason, code: &'static str) -> CardBehavior {
    CardBehavior::Declines(reason, code)
}

impl TestCard {
    /// Returns the card with a token or a number.
    ///
    /// # Errors
    /// Fails with [`PaymentError::Rejected`] if there is none. The message has the tokens.
    pub(super) fn find(token: &str) -> Result<Self, PaymentError> {
        let known = CARDS.into_iter().chain([REFUND_TIMEOUT]).find(|card| card.token == token || card.number == token);
        known.ok_or_else(|| PaymentError::Rejected {
            code: Some("payment_method_unknown".into()),
            message: format!("there is no such test card; use one of {}", CARDS.map(|card| card.token).join(", ")),
        })
    }

    /// Returns the text for the payer of a stored card, such as `Test card …4242`.
    pub(super) fn stored_label(&self) -> String {
        format!("Test card …{}", self.last_digits())
    }

    /// Returns the last four digits of the number.
    pub(super) fn last_digits(&self) -> &'static str {
        self.number.get(self.number.len().saturating_sub(4)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn cards_are_found_by_token_and_by_number() {
        let cards: Vec<_> = CARDS.into_iter().chain([REFUND_TIMEOUT]).collect();
        for card in &cards {
            assert_eq!(TestCard::find(card.token).unwrap().behavior, card.behavior);
            assert_eq!(TestCard::find(card.number).unwrap().token, card.token);
            assert_eq!(card.stored_label().chars().count(), "Test card …4242".chars().count());
        }
        let names: BTreeSet<_> = cards.iter().flat_map(|card| [card.token, card.number]).collect();
        assert_eq!(names.len(), cards.len() * 2);
        let error = TestCard::find("tok_visa").unwrap_err();
        assert!(error.to_string().contains("tok_ok, tok_3ds"), "{error}");
    }
}
