//! Pages of Stripe on which customers pay.

use omnistack_core::{
    money::{Currency, Money},
    payment::{
        CaptureMode, CheckoutKind, CheckoutStatus, NewCheckout, NewPayment, PaymentError, PaymentStatus,
        ProviderCheckout, ProviderPayment, TrialEndBehavior,
    },
};
use serde_json::{Value, json};

use super::{
    api::{StripeApi, StripeReply, id_segment},
    error::not_charged,
    object::{StripeObject, currency_code, metadata},
    payment::{PAYMENT, page_metadata, payment_of},
};
use crate::wire::{WireForm, to_minor_units};

const CHECKOUT: &str = "checkout";
/// The key of a payment's metadata that says that the payer pays on a page.
pub(super) const PAGE_MARK: &str = "omnistack_page";

/// Returns whether an id is that of a checkout.
pub(super) fn is_checkout(id: &str) -> bool {
    id.starts_with("cs_")
}

impl StripeApi {
    /// Creates a checkout.
    pub(super) async fn create_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        let metadata = metadata(&new.reference, &new.metadata);
        let mut form = json!({
            "customer": new.customer,
            "client_reference_id": new.reference,
            "success_url": new.success_url,
            "cancel_url": new.cancel_url,
            "expires_at": new.expires_at.as_seconds(),
            "metadata": metadata,
        });
        match &new.kind {
            CheckoutKind::Subscription { price, quantity, trial_end, trial_end_behavior, coupon } => {
                form["mode"] = json!("subscription");
                form["line_items"] = json!([{ "price": price, "quantity": quantity }]);
                form["discounts"] = discounts(coupon.as_deref());
                let without_card = trial_end.and(*trial_end_behavior);
                form["payment_method_collection"] = json!(without_card.map(|_| "if_required"));
                form["subscription_data"] = json!({
                    "metadata": metadata,
                    "billing_mode": { "type": "flexible" },
                    "trial_end": trial_end.map(|end| end.as_seconds()),
                    "trial_settings": without_card.map(trial_settings),
                });
            }
            CheckoutKind::Payment { amount, description } => {
                form["mode"] = json!("payment");
                let minor = to_minor_units(WireForm::Stripe, *amount)?;
                form["line_items"] = line_items(minor, amount.currency(), description);
                form["payment_intent_data"] = json!({ "metadata": metadata, "description": description });
            }
            CheckoutKind::PaymentMethod => {
                form["mode"] = json!("setup");
                form["payment_method_types"] = json!(["card"]);
                form["setup_intent_data"] = json!({ "metadata": metadata });
            }
        }
        self.post(CHECKOUT, "/checkout/sessions", form, Some(&new.idempotency_key)).await?.read(checkout_of)
    }

    /// Returns a checkout.
    pub(super) async fn checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        let path = format!("/checkout/sessions/{}", id_segment(CHECKOUT, id)?);
        let reply = self.get(CHECKOUT, &path, json!({})).await?;
        let mut checkout = reply.read(checkout_of)?;
        // The page of a subscription names the first invoice, and not its payment.
        if let Some(invoice) = reply.object().id_at("/invoice").filter(|_| checkout.payment.is_none()) {
            checkout.payment = self.payment_of_invoice(invoice).await?;
        }
        Ok(checkout)
    }

    /// Closes an open checkout.
    pub(super) async fn expire_checkout(&self, id: &str) -> Result<(), PaymentError> {
        let path = format!("/checkout/sessions/{}/expire", id_segment(CHECKOUT, id)?);
        match self.post(CHECKOUT, &path, json!({}), None).await {
            Ok(_) => Ok(()),
            // Stripe rejects it also if it has expired already.
            Err(PaymentError::Rejected { code, message }) => match self.checkout(id).await?.status {
                CheckoutStatus::Expired => Ok(()),
                CheckoutStatus::Open | CheckoutStatus::Complete => Err(PaymentError::Rejected { code, message }),
            },
            Err(error) => Err(error),
        }
    }

    /// Creates a page on which the payer chooses the payment method. The app gets its URL from the response only, so
    /// nothing is charged if that is lost.
    pub(super) async fn create_payment_page(
        &self,
        new: &NewPayment,
        minor: i64,
        key: &str,
    ) -> Result<ProviderPayment, PaymentError> {
        let Some(return_url) = &new.return_url else {
            return Err(PaymentError::Rejected {
                code: Some("return_url_missing".to_owned()),
                message: "a payment whose payer chooses the payment method needs a `return_url`".to_owned(),
            });
        };
        let description = new.description.as_deref().unwrap_or("Payment");
        let metadata = page_metadata(new);
        let form = json!({
            "mode": "payment",
            "customer": new.customer,
            "customer_email": if new.customer.is_none() { new.email.clone() } else { None },
            "client_reference_id": new.reference,
            "success_url": return_url,
            "cancel_url": return_url,
            "line_items": line_items(minor, new.amount.currency(), description),
            "payment_intent_data": {
                "metadata": metadata,
                "description": description,
                "capture_method": match new.capture {
                    CaptureMode::Automatic => "automatic",
                    CaptureMode::Manual => "manual",
                },
            },
            "metadata": metadata,
        });
        let page = self.post(PAYMENT, "/checkout/sessions", form, Some(key)).await.map_err(not_charged)?;
        page.read(page_payment_of).map_err(not_charged)
    }

    async fn page(&self, id: &str) -> Result<StripeReply, PaymentError> {
        let path = format!("/checkout/sessions/{}", id_segment(PAYMENT, id)?);
        self.get(PAYMENT, &path, json!({ "expand": ["payment_intent.latest_charge.balance_transaction"] })).await
    }

    /// Returns the payment of a page. Its id stays that of the page.
    pub(super) async fn payment_of_page(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        self.page(id).await?.read(page_payment_of)
    }

    /// Returns the id of the payment intent of a page.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the payer has not paid yet.
    pub(super) async fn intent_of_page(&self, id: &str) -> Result<String, PaymentError> {
        let page = self.page(id).await?;
        let intent = page.object().id_at("/payment_intent").map(str::to_owned);
        intent.ok_or_else(|| PaymentError::Rejected {
            code: Some("payment_not_begun".to_owned()),
            message: "the payer has not paid yet".to_owned(),
        })
    }
}

/// Returns the settings of the end of a trial.
pub(super) fn trial_settings(behavior: TrialEndBehavior) -> Value {
    let behavior = match behavior {
        TrialEndBehavior::Pause => "pause",
        TrialEndBehavior::Cancel => "cancel",
        TrialEndBehavior::CreateInvoice => "create_invoice",
    };
    json!({ "end_behavior": { "missing_payment_method": behavior } })
}

/// Returns the discounts of a coupon, or of a promotion code.
pub(super) fn discounts(coupon: Option<&str>) -> Value {
    match coupon {
        Some(code) if code.starts_with("promo_") => json!([{ "promotion_code": code }]),
        Some(code) => json!([{ "coupon": code }]),
        None => Value::Null,
    }
}

fn line_items(minor: i64, currency: Currency, description: &str) -> Value {
    json!([{
        "quantity": 1,
        "price_data": {
            "currency": currency_code(currency),
            "unit_amount": minor,
            "product_data": { "name": description },
        },
    }])
}

fn checkout_of(session: StripeObject<'_>) -> Option<ProviderCheckout> {
    let status = match session.text("/status")? {
        "open" => CheckoutStatus::Open,
        "complete" => CheckoutStatus::Complete,
        "expired" => CheckoutStatus::Expired,
        _ => return None,
    };
    Some(ProviderCheckout {
        id: session.owned("/id")?,
        url: session.owned("/url").filter(|_| status == CheckoutStatus::Open),
        status,
        reference: session.reference().or_else(|| session.owned("/client_reference_id")),
        subscription: session.id_at("/subscription").map(str::to_owned),
        payment: session.id_at("/payment_intent").map(str::to_owned),
        expires_at: session.time("/expires_at"),
    })
}

fn page_payment_of(session: StripeObject<'_>) -> Option<ProviderPayment> {
    let checkout = checkout_of(session)?;
    let begun = session.object("/payment_intent").and_then(payment_of);
    let amount = session.money("/amount_total")?;
    let none = Money::new(0, amount.currency());
    let begun = begun.unwrap_or_else(|| ProviderPayment {
        id: checkout.id.clone(),
        reference: checkout.reference.clone(),
        status: PaymentStatus::Processing,
        amount,
        captured: none,
        refunded: none,
        fee: None,
        action_url: None,
        failure: None,
        subscription: None,
        created_at: session.time("/created").unwrap_or_default(),
    });
    with_page(session, ProviderPayment { id: checkout.id, ..begun })
}

/// Returns a payment with what its page says of it. A page that is complete takes no further attempt, so a debit that
/// the bank returns days later has failed.
pub(super) fn with_page(session: StripeObject<'_>, begun: ProviderPayment) -> Option<ProviderPayment> {
    let page = checkout_of(session)?;
    let has_failed = begun.failure.is_some() && begun.action_url.is_none();
    let status = match (page.status, begun.status) {
        (CheckoutStatus::Open, _) => PaymentStatus::RequiresAction,
        (CheckoutStatus::Complete, PaymentStatus::RequiresAction) if has_failed => PaymentStatus::Failed,
        (CheckoutStatus::Complete, status) => status,
        (CheckoutStatus::Expired, _) => PaymentStatus::Canceled,
    };
    Some(ProviderPayment {
        reference: page.reference.or(begun.reference),
        status,
        action_url: page.url.or(begun.action_url),
        ..begun
    })
}
