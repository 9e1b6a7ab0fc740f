//! Errors of calls to payment providers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resilience::Outcome;

/// The reason why a payment was declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeclineReason {
    /// The issuer of the card gave no reason.
    Generic,
    /// The account of the payer has too little money.
    InsufficientFunds,
    /// The card has expired.
    ExpiredCard,
    /// The number, the expiry or the security code is wrong.
    IncorrectDetails,
    /// The payer must confirm the payment, such as by 3-D Secure, and has not.
    AuthenticationRequired,
    /// The provider or the issuer suspects fraud. The payer must not be told.
    Fraud,
    /// The payment method does not support the amount, the currency or the country.
    NotSupported,
    /// The issuer could not be asked. A later attempt can succeed.
    TemporarilyUnavailable,
}

/// The error of a call to a payment provider. Each variant says whether the call took effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaymentError {
    /// The payment was declined. No money was moved.
    #[error("the payment was declined: {message}")]
    Declined {
        /// The reason, in the terms of this port.
        reason: DeclineReason,
        /// The code of the provider, such as `insufficient_funds`.
        code: Option<String>,
        /// The message of the provider.
        message: String,
    },
    /// The provider rejected the request, or the request can't be expressed in its API. Nothing was changed, and the
    /// same request will be rejected again.
    #[error("the payment provider rejected the request: {message}")]
    Rejected {
        /// The code of the provider, or of this app such as `amount_not_expressible`.
        code: Option<String>,
        /// The reason, and what would be accepted.
        message: String,
    },
    /// The provider has no such object.
    #[error("the payment provider has no such {object}")]
    NotFound {
        /// The type of object, such as `payment`.
        object: &'static str,
    },
    /// The provider can't do this. Nothing was changed.
    #[error("{provider} does not support {operation}")]
    NotSupported {
        /// The name of the provider.
        provider: &'static str,
        /// The operation, such as `pausing subscriptions`.
        operation: &'static str,
    },
    /// The credentials are wrong or lack a permission. Nothing was changed.
    #[error("the payment provider rejected the credentials: {message}")]
    Unauthorized {
        /// The message of the provider.
        message: String,
    },
    /// The provider could not be reached, or certainly did not process the request, such as because of its rate limit.
    #[error("the payment provider is unavailable: {message}")]
    Unavailable {
        /// The failure, for the log.
        message: String,
        /// The time after which the provider accepts requests again, if it states one.
        retry_after: Option<Duration>,
    },
    /// The request was sent and no conclusive response arrived: it may have taken effect.
    #[error("it is not known whether the payment provider processed the request: {message}")]
    Unknown {
        /// The failure, for the log.
        message: String,
    },
}

impl PaymentError {
    /// Returns whether the call took effect: never [`Outcome::Success`].
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown { .. } => Outcome::Unknown,
            _ => Outcome::Failed,
        }
    }

    /// Returns whether another provider may succeed with the same payment. Never after an unknown outcome.
    pub const fn allows_other_provider(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Unauthorized { .. } | Self::NotSupported { .. } => true,
            Self::Declined { reason, .. } => {
                matches!(reason, DeclineReason::TemporarilyUnavailable | DeclineReason::NotSupported)
            }
            // Another provider may be able to express the amount, or know the payment method.
            Self::Rejected { .. } => true,
            Self::NotFound { .. } | Self::Unknown { .. } => false,
        }
    }
}
