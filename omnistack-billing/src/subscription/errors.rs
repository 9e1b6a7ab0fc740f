//! The errors of providers as callers see them.

use omnistack_core::{
    http::{Error, StatusCode},
    payment::{DeclineReason, PaymentError, PaymentProvider},
};

/// Returns the error that a caller gets for that of a provider.
pub(super) fn payment_error(error: PaymentError) -> Error {
    match &error {
        PaymentError::Declined { reason, .. } => {
            // A payer is not told of a suspicion.
            let reason = if *reason == DeclineReason::Fraud { DeclineReason::Generic } else { *reason };
            let message = "the payment was declined; use another payment method, or ask the bank";
            let shown = Error::new(StatusCode::PAYMENT_REQUIRED, "PAYMENT_DECLINED", message);
            shown.with_detail("reason", reason).with_source(error)
        }
        PaymentError::Rejected { message, .. } => {
            let message = format!("the payment provider rejected the request: {message}");
            Error::conflict("PAYMENT_REJECTED", message).with_source(error)
        }
        PaymentError::NotFound { object } => Error::not_found(format!("the {object} at the payment provider")),
        PaymentError::NotSupported { provider, operation } => {
            let message = format!("{provider} does not support {operation}; contact us");
            Error::conflict("PAYMENT_NOT_SUPPORTED", message)
        }
        PaymentError::Unknown { .. } => {
            let message = "the payment provider has not answered in time; try again, nothing is charged twice";
            Error::unavailable("PAYMENT_UNKNOWN", message).with_source(error)
        }
        _ => {
            let message = "the payment provider can't be reached; try again later";
            Error::unavailable("PAYMENT_PROVIDER_UNAVAILABLE", message).with_source(error)
        }
    }
}

/// Returns the error of a coupon at a provider that has none.
pub(super) fn no_coupons(provider: &dyn PaymentProvider) -> Error {
    let message = format!("{} has no coupons; leave `coupon` out", provider.profile().label);
    Error::conflict("COUPONS_NOT_SUPPORTED", message)
}

/// Returns the error of an app without payment providers.
pub(super) fn no_provider() -> Error {
    let message = "this app takes no payments; ask its operator to set up a payment provider";
    Error::unavailable("PAYMENTS_NOT_CONFIGURED", message)
}

/// Returns the error of a tenant that has to pay first.
pub(super) fn payment_due() -> Error {
    let message = "a payment is due; pay it or update the payment method first";
    Error::new(StatusCode::PAYMENT_REQUIRED, "BILLING_PAYMENT_DUE", message)
}

/// Returns the error of a tenant that wants a plan of another group than that of its subscription.
pub(super) fn other_group(plan: &str) -> Error {
    let message = format!(
        "the tenant has the plan `{plan}`, which is of another group; cancel it, and buy the new plan when it has ended"
    );
    Error::conflict("SUBSCRIPTION_OF_OTHER_GROUP", message).with_detail("plan", plan)
}

/// Returns the error of a tenant that has asked for another change, whose answer is awaited.
pub(super) fn subscription_busy() -> Error {
    let message = "another change of the subscription is being made; try again in a minute";
    Error::conflict("SUBSCRIPTION_BUSY", message)
}

/// Returns the error of a subscription that the app can't change.
pub(super) fn app_store_subscription() -> Error {
    let message = "the subscription was bought in an app store; change it there";
    Error::conflict("APP_STORE_SUBSCRIPTION", message)
}

/// Returns the error of a tenant without a subscription.
pub(super) fn no_subscription() -> Error {
    Error::conflict("NO_SUBSCRIPTION", "there is no subscription; choose a plan by a checkout")
}
