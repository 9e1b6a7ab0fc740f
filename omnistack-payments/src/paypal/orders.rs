//! Payments: orders, and the captures, authorisations and refunds in them.

use omnistack_core::{
    clock::Timestamp,
    money::{Currency, Money},
    payment::{
        CaptureMode, DeclineReason, NewPayment, NewRefund, PaymentError, PaymentMethodKind, PaymentMethodSource,
        PaymentStatus, ProviderPayment, ProviderRefund, RefundStatus,
    },
};
use serde_json::{Value, json};

use super::{
    api::{PayPalApi, of_used_reference},
    custom_id::{CustomId, CustomMark},
};
use crate::{
    provider_api::{ApiObject, CallEffect, lost_response, path_id},
    wire::{WireForm, from_decimal, to_decimal},
};

/// The type of object in errors.
const PAYMENT: &str = "payment";
/// Largest length of a description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 127;

/// An order to create, for a payment or for a checkout.
#[derive(Debug)]
pub(super) struct NewOrder<'a> {
    pub(super) custom: &'a CustomId,
    pub(super) amount: Money,
    pub(super) capture: CaptureMode,
    pub(super) description: Option<&'a str>,
    pub(super) source: Value,
    /// Whether PayPal charges the payment method at once, because the payer needs not approve the order.
    pub(super) is_charged_at_once: bool,
    pub(super) key: &'a str,
}

/// Returns an amount in PayPal's form.
pub(super) fn amount_json(amount: Money) -> Result<Value, PaymentError> {
    let value = to_decimal(WireForm::PayPal, amount)?;
    Ok(json!({ "currency_code": amount.currency().code(), "value": value }))
}

/// Returns the amount at a pointer.
pub(super) fn amount_at(object: &ApiObject, pointer: &str) -> Option<Money> {
    let amount = object.get(pointer)?;
    from_decimal(WireForm::PayPal, &amount.text("/value")?, &amount.text("/currency_code")?)
}

/// Returns the error of an order that has not the documented form.
fn malformed(effect: CallEffect) -> PaymentError {
    lost_response(effect, "the order has not the documented form")
}

/// Returns the payment source of an order that the payer approves on PayPal's page.
pub(super) fn page_source(success_url: Option<&str>, cancel_url: Option<&str>) -> Value {
    let mut context = json!({ "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING" });
    for (name, url) in [("return_url", success_url), ("cancel_url", cancel_url)] {
        if let Some(url) = url {
            context[name] = url.into();
        }
    }
    json!({ "paypal": { "experience_context": context } })
}

impl PayPalApi {
    /// Creates the order of a payment.
    pub(super) async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        let custom = CustomId::new(&new.reference, new.customer.as_deref())?;
        let token = match &new.source {
            PaymentMethodSource::ChosenByPayer => None,
            PaymentMethodSource::Token(token) => Some(token.clone()),
            PaymentMethodSource::CustomerDefault => Some(self.default_token(new.customer.as_deref()).await?),
        };
        let source = match &token {
            None => page_source(new.return_url.as_deref(), new.return_url.as_deref()),
            Some(token) if new.method == PaymentMethodKind::Card => json!({ "card": { "vault_id": token } }),
            Some(token) => json!({ "paypal": { "vault_id": token } }),
        };
        let order = self
            .create_order(NewOrder {
                custom: &custom,
                amount: new.amount,
                capture: new.capture,
                description: new.description.as_deref(),
                source,
                is_charged_at_once: token.is_some(),
                key: &new.idempotency_key,
            })
            .await?;
        let payment = self.payment_of(&order).ok_or_else(|| malformed(CallEffect::Changes))?;
        match payment.status {
            PaymentStatus::Failed => Err(decline(&order)),
            _ => Ok(payment),
        }
    }

    /// Creates an order.
    pub(super) async fn create_order(&self, new: NewOrder<'_>) -> Result<ApiObject, PaymentError> {
        let mut unit = json!({
            "custom_id": new.custom.to_text(),
            // PayPal refuses a second payment with the same one.
            "invoice_id": new.custom.reference,
            "amount": amount_json(new.amount)?,
        });
        if let Some(description) = new.description {
            unit["description"] = description.chars().take(MAX_DESCRIPTION_CHARS).collect::<String>().into();
        }
        let intent = match new.capture {
            CaptureMode::Automatic => "CAPTURE",
            CaptureMode::Manual => "AUTHORIZE",
        };
        let body = json!({ "intent": intent, "purchase_units": [unit], "payment_source": new.source });
        let created = self.post("/v2/checkout/orders", &body, new.key, PAYMENT).await;
        match created {
            // Only the lost response has the page on which the payer approves the order, so it can never be paid.
            Err(PaymentError::Unknown { message }) if !new.is_charged_at_once => {
                Err(PaymentError::Unavailable { message, retry_after: None })
            }
            created => created.map_err(of_used_reference),
        }
    }

    async fn default_token(&self, customer: Option<&str>) -> Result<String, PaymentError> {
        let methods = match customer {
            Some(customer) => self.payment_methods(customer).await?,
            None => Vec::new(),
        };
        methods.into_iter().next().map(|method| method.id).ok_or_else(|| PaymentError::Rejected {
            code: Some("no_payment_method".to_owned()),
            message: "the customer has no stored payment method; let the payer choose one".to_owned(),
        })
    }

    /// Returns the payment of an order. Takes the money if the payer has approved it.
    pub(super) async fn order_payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        let order = self.order(id).await?;
        // Other software with the same credentials takes the money of its orders itself.
        let is_wanted = custom_id(&order).is_some_and(|custom| custom.mark != Some(CustomMark::Canceled));
        let payment = self.payment_of(&order).ok_or_else(|| malformed(CallEffect::Reads))?;
        if !is_wanted || order.text("/status").as_deref() != Some("APPROVED") {
            return Ok(payment);
        }
        let action = if is_manual(&order) { "authorize" } else { "capture" };
        // The payer may approve the order again with another payment method: that is another attempt.
        let approved_at = order.text("/update_time").or_else(|| order.text("/create_time")).unwrap_or_default();
        let path = format!("/v2/checkout/orders/{}/{action}", path_id(id, PAYMENT)?);
        match self.post(&path, &json!({}), &format!("{action}-{id}-{approved_at}"), PAYMENT).await {
            Ok(_) => {}
            Err(PaymentError::Rejected { code: Some(code), .. })
                if code == "ORDER_ALREADY_CAPTURED" || code == "ORDER_ALREADY_AUTHORIZED" => {}
            // The order stays open: the payer can choose another payment method on the same page.
            Err(PaymentError::Declined { message, .. }) => {
                return Ok(ProviderPayment {
                    status: PaymentStatus::RequiresAction,
                    action_url: page_of(&order),
                    failure: Some(message),
                    ..payment
                });
            }
            Err(error) => return Err(error),
        }
        // The response of a capture has not all fields of the order.
        let order = self.order(id).await?;
        self.payment_of(&order).ok_or_else(|| malformed(CallEffect::Reads))
    }

    /// Returns an order as it is.
    pub(super) async fn order(&self, id: &str) -> Result<ApiObject, PaymentError> {
        self.get(&format!("/v2/checkout/orders/{}", path_id(id, PAYMENT)?), &[], PAYMENT).await
    }

    /// Takes the money of an authorised order.
    pub(super) async fn capture_order(
        &self,
        id: &str,
        amount: Money,
        key: &str,
    ) -> Result<ProviderPayment, PaymentError> {
        let order = self.order(id).await?;
        let Some(authorization) = order.text("/purchase_units/0/payments/authorizations/0/id") else {
            return Err(PaymentError::Rejected {
                code: Some("not_authorized".to_owned()),
                message: "the payment is not authorised; capture one with the status `authorized`".to_owned(),
            });
        };
        let path = format!("/v2/payments/authorizations/{}/capture", path_id(&authorization, PAYMENT)?);
        // What is not captured is released.
        let body = json!({ "amount": amount_json(amount)?, "final_capture": true });
        self.post(&path, &body, key, PAYMENT).await?;
        let order = self.order(id).await.map_err(read_after_change)?;
        self.payment_of(&order).ok_or_else(|| malformed(CallEffect::Changes))
    }

    /// Cancels an order whose money was not taken.
    pub(super) async fn cancel_order(&self, id: &str, key: &str) -> Result<ProviderPayment, PaymentError> {
        let order = self.order(id).await?;
        let payment = self.payment_of(&order).ok_or_else(|| malformed(CallEffect::Reads))?;
        match payment.status {
            PaymentStatus::Canceled | PaymentStatus::Failed => return Ok(payment),
            PaymentStatus::Succeeded | PaymentStatus::Processing => {
                return Err(PaymentError::Rejected {
                    code: Some("already_captured".to_owned()),
                    message: "the money was taken; refund the payment".to_owned(),
                });
            }
            PaymentStatus::Authorized => {
                let authorization = order.text("/purchase_units/0/payments/authorizations/0/id").unwrap_or_default();
                let path = format!("/v2/payments/authorizations/{}/void", path_id(&authorization, PAYMENT)?);
                self.post(&path, &json!({}), key, PAYMENT).await?;
            }
            PaymentStatus::RequiresAction => {
                let custom = custom_id(&order).unwrap_or_else(|| CustomId::parse(""));
                let unit = order.text("/purchase_units/0/reference_id").unwrap_or_else(|| "default".to_owned());
                let change = json!([{
                    "op": "add",
                    "path": format!("/purchase_units/@reference_id=='{unit}'/custom_id"),
                    "value": custom.marked(Some(CustomMark::Canceled)).to_text(),
                }]);
                self.patch(&format!("/v2/checkout/orders/{}", path_id(id, PAYMENT)?), &change, PAYMENT).await?;
                // The payer may have approved it, and its money be taken, before it was marked.
                let order = self.order(id).await.map_err(read_after_change)?;
                return self.payment_of(&order).ok_or_else(|| malformed(CallEffect::Changes));
            }
        }
        Ok(ProviderPayment { status: PaymentStatus::Canceled, action_url: None, ..payment })
    }

    /// Sends money of an order back.
    pub(super) async fn refund_order(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        let order = self.order(id).await?;
        let refunds = order.list("/purchase_units/0/payments/refunds");
        // The key finds a repetition too, but only for some weeks.
        let is_same = |refund: &ProviderRefund| refund.reference.as_deref() == Some(new.reference.as_str());
        if let Some(refund) = refunds.iter().filter_map(refund_of).find(is_same) {
            return Ok(refund);
        }
        // An order can have several captures. A refund is of one.
        let capture = captures(&order).into_iter().find_map(|capture| {
            let id = capture.text("/id")?;
            let taken = amount_at(&capture, "/amount").filter(|_| is_taken(&capture))?;
            let returned = refunds.iter().filter(|refund| refunded_capture(refund).as_deref() == Some(&*id));
            let returned = sum(taken.currency(), returned.filter_map(returned_amount));
            let fits = taken.currency() == new.amount.currency()
                && taken.minor().saturating_sub(returned.minor()) >= new.amount.minor();
            fits.then_some(id)
        });
        let Some(capture) = capture else {
            return Err(PaymentError::Rejected {
                code: Some("refund_too_large".to_owned()),
                message: "more would be sent back than was taken; refund at most the rest".to_owned(),
            });
        };
        let path = format!("/v2/payments/captures/{}/refund", path_id(&capture, PAYMENT)?);
        let custom = CustomId::new(&new.reference, None)?;
        let mut body = json!({
            "amount": amount_json(new.amount)?,
            "invoice_id": custom.reference,
            "custom_id": custom.to_text(),
        });
        if let Some(reason) = &new.reason {
            body["note_to_payer"] = reason.chars().take(255).collect::<String>().into();
        }
        let refund = self.post(&path, &body, &new.idempotency_key, PAYMENT).await.map_err(of_used_reference)?;
        refund_of(&refund).ok_or_else(|| lost_response(CallEffect::Changes, "the refund has no id"))
    }

    /// Returns the refunds of an order.
    pub(super) async fn order_refunds(&self, id: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        let order = self.order(id).await?;
        Ok(order.list("/purchase_units/0/payments/refunds").iter().filter_map(refund_of).collect())
    }

    /// Returns the payment of an order. Returns `None` if a field that each order has is missing.
    pub(super) fn payment_of(&self, order: &ApiObject) -> Option<ProviderPayment> {
        let amount = amount_at(order, "/purchase_units/0/amount")?;
        let captures = captures(order);
        let taken = captures.iter().filter(|capture| is_taken(capture));
        let captured = sum(amount.currency(), taken.filter_map(|capture| amount_at(capture, "/amount")));
        let refunds = order.list("/purchase_units/0/payments/refunds");
        let refunded = sum(amount.currency(), refunds.iter().filter_map(returned_amount));
        let fees: Vec<_> = captures
            .iter()
            .filter_map(|capture| amount_at(capture, "/seller_receivable_breakdown/paypal_fee"))
            .collect();
        let status = status_of(order, &captures);
        let custom = custom_id(order);
        Some(ProviderPayment {
            id: order.text("/id")?,
            reference: custom.map(|custom| custom.reference),
            status,
            amount,
            captured,
            refunded,
            fee: fees.first().map(|fee| sum(fee.currency(), fees.iter().copied())),
            action_url: page_of(order).filter(|_| status == PaymentStatus::RequiresAction),
            failure: (status == PaymentStatus::Failed).then(|| decline_text(order)),
            subscription: None,
            created_at: order.time("/create_time").unwrap_or_else(|| self.now()),
        })
    }
}

/// Returns the error of a read that follows a change: the change may have taken effect.
pub(super) fn read_after_change(error: PaymentError) -> PaymentError {
    PaymentError::Unknown { message: format!("the changed object could not be read: {error}") }
}

fn custom_id(order: &ApiObject) -> Option<CustomId> {
    order.text("/purchase_units/0/custom_id").map(|text| CustomId::parse(&text))
}

fn is_manual(order: &ApiObject) -> bool {
    order.text("/intent").as_deref() == Some("AUTHORIZE")
}

fn captures(order: &ApiObject) -> Vec<ApiObject> {
    order.list("/purchase_units/0/payments/captures")
}

/// Returns whether the money of a capture was taken, whatever was sent back later.
fn is_taken(capture: &ApiObject) -> bool {
    matches!(capture.text("/status").as_deref(), Some("COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED"))
}

/// Returns the page on which the payer approves an order.
fn page_of(order: &ApiObject) -> Option<String> {
    let is_page = |link: &ApiObject| matches!(link.text("/rel").as_deref(), Some("payer-action" | "approve"));
    order.list("/links").into_iter().find(is_page)?.text("/href")
}

fn status_of(order: &ApiObject, captures: &[ApiObject]) -> PaymentStatus {
    if captures.iter().any(is_taken) {
        return PaymentStatus::Succeeded;
    }
    if captures.iter().any(|capture| capture.text("/status").as_deref() == Some("PENDING")) {
        return PaymentStatus::Processing;
    }
    let authorization = order.text("/purchase_units/0/payments/authorizations/0/status");
    match (order.text("/status").as_deref(), authorization.as_deref()) {
        (_, Some("VOIDED" | "EXPIRED")) | (Some("VOIDED"), _) => PaymentStatus::Canceled,
        (_, Some("DENIED")) => PaymentStatus::Failed,
        (_, Some("PENDING")) => PaymentStatus::Processing,
        (_, Some("CREATED")) => PaymentStatus::Authorized,
        _ if !captures.is_empty() => PaymentStatus::Failed,
        (Some("COMPLETED"), _) => PaymentStatus::Processing,
        _ => match custom_id(order).and_then(|custom| custom.mark) {
            Some(CustomMark::Canceled) => PaymentStatus::Canceled,
            _ => PaymentStatus::RequiresAction,
        },
    }
}

/// Returns the error of an order whose payment method was charged at once and was declined.
fn decline(order: &ApiObject) -> PaymentError {
    let code = order.text("/purchase_units/0/payments/captures/0/processor_response/response_code");
    let code =
        code.or_else(|| order.text("/purchase_units/0/payments/authorizations/0/processor_response/response_code"));
    // https://developer.paypal.com/api/rest/reference/orders/v2/errors/#processor-response-codes
    let reason = match code.as_deref() {
        Some("5120") => DeclineReason::InsufficientFunds,
        Some("5400" | "1330") => DeclineReason::ExpiredCard,
        Some("5110" | "5180" | "5190") => DeclineReason::IncorrectDetails,
        Some("9500" | "9520") => DeclineReason::Fraud,
        Some("5200" | "5210" | "5930") => DeclineReason::NotSupported,
        Some("9100" | "PPAU") => DeclineReason::TemporarilyUnavailable,
        _ => DeclineReason::Generic,
    };
    PaymentError::Declined { reason, code, message: decline_text(order) }
}

fn decline_text(order: &ApiObject) -> String {
    let code = order.text("/purchase_units/0/payments/captures/0/processor_response/response_code");
    code.map_or_else(|| "PayPal declined the payment".to_owned(), |code| format!("the processor responded {code}"))
}

fn refund_of(refund: &ApiObject) -> Option<ProviderRefund> {
    let reference = refund.text("/custom_id").map(|text| CustomId::parse(&text).reference);
    Some(ProviderRefund {
        id: refund.text("/id")?,
        reference: reference.or_else(|| refund.text("/invoice_id")),
        status: match refund.text("/status").as_deref() {
            Some("COMPLETED") => RefundStatus::Succeeded,
            Some("FAILED" | "CANCELLED") => RefundStatus::Failed,
            _ => RefundStatus::Pending,
        },
        amount: amount_at(refund, "/amount")?,
    })
}

/// Returns the amount of a refund that was, or will be, sent back.
fn returned_amount(refund: &ApiObject) -> Option<Money> {
    refund_of(refund).filter(|refund| refund.status != RefundStatus::Failed).map(|refund| refund.amount)
}

/// Returns the id of the capture that a refund is of: PayPal states it only in a link.
pub(super) fn refunded_capture(refund: &ApiObject) -> Option<String> {
    let up = refund.list("/links").into_iter().find(|link| link.text("/rel").as_deref() == Some("up"))?;
    let link = up.text("/href")?;
    link.rsplit('/').next().filter(|id| !id.is_empty()).map(str::to_owned)
}

/// Returns the sum of the amounts in a currency.
pub(super) fn sum(currency: Currency, amounts: impl IntoIterator<Item = Money>) -> Money {
    let same = amounts.into_iter().filter(|amount| amount.currency() == currency);
    Money::new(same.fold(0_i64, |sum, amount| sum.saturating_add(amount.minor())), currency)
}

/// Returns a time as PayPal accepts it, to the second.
pub(super) fn time_text(time: Timestamp) -> String {
    Timestamp::from_micros(time.as_seconds().saturating_mul(1_000_000)).to_string()
}
