//! Payments by orders.

use std::{slice, time::Duration};

use omnistack_core::{
    money::{Currency, Money},
    payment::{
        CaptureMode, CardExpiry, DeclineReason, NewPayment, PaymentError, PaymentMethodKind, PaymentMethodSource,
        PaymentStatus, ProviderPayment, StoredPaymentMethod,
    },
};
use serde_json::json;

use super::{
    NAME,
    api::{RazorpayApi, amount_at, amount_fields, notes, receipt, reference_of},
};
use crate::{
    provider_api::{ApiObject, CallEffect, lost_response, path_id},
    wire::{WireForm, from_minor_units},
};

/// The type of object in errors.
pub(super) const PAYMENT: &str = "payment";
/// Time after which a charge that has left no trace at its order was certainly not processed.
const CHARGE_PERIOD: Duration = Duration::from_secs(10 * 60);

/// The totals of the payments of an order or of a link.
#[derive(Debug)]
pub(super) struct RazorpayTotals {
    pub(super) captured: Money,
    pub(super) refunded: Money,
    pub(super) fee: Option<Money>,
    pub(super) is_captured: bool,
    pub(super) is_authorized: bool,
    /// Whether a payment is neither captured nor failed.
    pub(super) is_open: bool,
    /// The description of a failed payment.
    pub(super) failure: Option<String>,
    pub(super) subscription: Option<String>,
}

impl RazorpayTotals {
    pub(super) fn of(payments: &[ApiObject], currency: Currency) -> Self {
        let is = |payment: &ApiObject, statuses: &[&str]| {
            payment.text("/status").is_some_and(|status| statuses.contains(&status.as_str()))
        };
        let taken: Vec<_> = payments.iter().filter(|payment| is(payment, &["captured", "refunded"])).collect();
        let total = |pointer: &str| {
            let amounts = taken.iter().filter_map(|payment| amount_at(payment, pointer));
            let same = amounts.filter(|amount| amount.currency() == currency);
            Money::new(same.fold(0_i64, |sum, amount| sum.saturating_add(amount.minor())), currency)
        };
        let failed = payments.iter().find(|payment| is(payment, &["failed"]));
        Self {
            captured: total("/amount"),
            refunded: total("/amount_refunded"),
            fee: fee_of(&taken),
            is_captured: !taken.is_empty(),
            is_authorized: payments.iter().any(|payment| is(payment, &["authorized"])),
            is_open: payments.iter().any(|payment| is(payment, &["created", "authorized"])),
            failure: failed
                .map(|payment| payment.text("/error_description").unwrap_or_else(|| "the payment failed".to_owned())),
            subscription: payments.iter().find_map(|payment| payment.text("/subscription_id")),
        }
    }
}

impl RazorpayApi {
    /// Creates the order of a payment. Charges a stored payment method, unless the payer chooses one in a checkout of
    /// the app.
    pub(super) async fn create_order_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        let token = match &new.source {
            PaymentMethodSource::ChosenByPayer => None,
            PaymentMethodSource::Token(token) => Some(token.clone()),
            PaymentMethodSource::CustomerDefault => Some(self.default_token(new.customer.as_deref()).await?),
        };
        let order = match self.find_order(&new.reference).await? {
            Some(order) => order,
            None => self.create_order(new, token.is_some()).await?,
        };
        let id = order.text("/id").ok_or_else(|| malformed(CallEffect::Changes))?;
        let Some(token) = token else { return self.order_payment(&id).await };
        // With a payment, this is a repetition. An order takes money only once, so a charge that is still on its way
        // and this one can't both succeed.
        if self.order_payments(&id).await?.is_empty() {
            self.charge(&id, new, &token).await?;
        }
        // Whatever the read says of itself, the charge may have taken effect.
        let unread = |error: PaymentError| PaymentError::Unknown {
            message: format!("the charged order could not be read: {error}"),
        };
        let payment = self.order_payment(&id).await.map_err(unread)?;
        match (payment.status, payment.failure) {
            (PaymentStatus::Failed, message) => Err(PaymentError::Declined {
                reason: DeclineReason::Generic,
                code: None,
                message: message.unwrap_or_else(|| "Razorpay declined the payment".to_owned()),
            }),
            (_, failure) => Ok(ProviderPayment { failure, ..payment }),
        }
    }

    async fn create_order(&self, new: &NewPayment, is_charged: bool) -> Result<ApiObject, PaymentError> {
        let (amount, currency) = amount_fields(new.amount)?;
        let capture = match new.capture {
            CaptureMode::Automatic => "automatic",
            CaptureMode::Manual => "manual",
        };
        let mut notes = notes(&new.reference, new.customer.as_deref())?;
        notes["capture"] = capture.into();
        if is_charged {
            notes["charge"] = "token".into();
        }
        let body = json!({
            "amount": amount,
            "currency": currency,
            "receipt": receipt(&new.reference),
            "payment": { "capture": capture },
            "notes": notes,
        });
        let created = self.post("/v1/orders", &body, PAYMENT).await;
        created.map_err(|error| match error {
            // An order alone takes no money, and is found by its receipt when it is created again.
            PaymentError::Unknown { message } => PaymentError::Unavailable { message, retry_after: None },
            error => error,
        })
    }

    /// Charges a stored payment method for an order.
    async fn charge(&self, order: &str, new: &NewPayment, token: &str) -> Result<(), PaymentError> {
        let Some(customer) = &new.customer else {
            return Err(PaymentError::Rejected {
                code: Some("no_customer".to_owned()),
                message: "a stored payment method is of a customer; name the customer".to_owned(),
            });
        };
        let (amount, currency) = amount_fields(new.amount)?;
        let details = self.get(&format!("/v1/customers/{}", path_id(customer, "customer")?), &[], "customer").await?;
        let mut body = json!({
            "amount": amount,
            "currency": currency,
            "order_id": order,
            "customer_id": customer,
            "token": token,
            "recurring": "1",
            "notes": notes(&new.reference, Some(customer))?,
        });
        let email = new.email.clone().or_else(|| details.text("/email"));
        for (name, value) in
            [("email", email), ("contact", details.text("/contact")), ("description", new.description.clone())]
        {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        self.post("/v1/payments/create/recurring", &body, PAYMENT).await?;
        Ok(())
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

    /// Finds the order with a reference.
    pub(super) async fn find_order(&self, reference: &str) -> Result<Option<ApiObject>, PaymentError> {
        let found = self.get("/v1/orders", &[("receipt", receipt(reference).as_str())], PAYMENT).await?;
        // A response without the list does not say that there is no order.
        let orders = found.stated_list("/items").ok_or_else(|| malformed(CallEffect::Reads))?;
        Ok(orders.into_iter().find(|order| reference_of(order).as_deref() == Some(reference)))
    }

    async fn order_payments(&self, id: &str) -> Result<Vec<ApiObject>, PaymentError> {
        let path = format!("/v1/orders/{}/payments", path_id(id, PAYMENT)?);
        let found = self.get(&path, &[], PAYMENT).await?;
        found.stated_list("/items").ok_or_else(|| malformed(CallEffect::Reads))
    }

    /// Returns the payment of an order.
    pub(super) async fn order_payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        let order = self.get(&format!("/v1/orders/{}", path_id(id, PAYMENT)?), &[], PAYMENT).await?;
        let payments = self.order_payments(id).await?;
        self.payment_of(&order, &payments).ok_or_else(|| malformed(CallEffect::Reads))
    }

    /// Returns the payment of an order by the id of one of its payments at Razorpay.
    pub(super) async fn single_payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        let payment = self.raw_payment(id).await?;
        match payment.text("/order_id") {
            Some(order) => self.order_payment(&order).await,
            None => {
                let found = self.payment_of(&payment, slice::from_ref(&payment));
                found.ok_or_else(|| malformed(CallEffect::Reads))
            }
        }
    }

    /// Returns a payment as Razorpay describes it.
    pub(super) async fn raw_payment(&self, id: &str) -> Result<ApiObject, PaymentError> {
        self.get(&format!("/v1/payments/{}", path_id(id, PAYMENT)?), &[], PAYMENT).await
    }

    /// Returns the payments of an order or of a link as Razorpay describes them.
    pub(super) async fn raw_payments(&self, id: &str) -> Result<Vec<ApiObject>, PaymentError> {
        if id.starts_with("plink_") {
            let link = self.link(id).await?;
            self.link_payments(&link).await
        } else if id.starts_with("pay_") {
            Ok(vec![self.raw_payment(id).await?])
        } else {
            self.order_payments(id).await
        }
    }

    /// Takes the money of an authorised payment. Razorpay takes the whole amount only.
    pub(super) async fn capture_order(&self, id: &str, amount: Money) -> Result<ProviderPayment, PaymentError> {
        let payments = self.raw_payments(id).await?;
        let is = |payment: &&ApiObject, status: &str| payment.text("/status").as_deref() == Some(status);
        if let Some(payment) = payments.iter().find(|payment| is(payment, "authorized")) {
            if amount_at(payment, "/amount") != Some(amount) {
                return Err(PaymentError::NotSupported { provider: NAME, operation: "capturing a part of a payment" });
            }
            let payment = payment.text("/id").ok_or_else(|| malformed(CallEffect::Reads))?;
            let (amount, currency) = amount_fields(amount)?;
            let path = format!("/v1/payments/{}/capture", path_id(&payment, PAYMENT)?);
            self.post(&path, &json!({ "amount": amount, "currency": currency }), PAYMENT).await?;
        } else if !payments.iter().any(|payment| is(&payment, "captured")) {
            return Err(PaymentError::Rejected {
                code: Some("not_authorized".to_owned()),
                message: "the payment is not authorised; capture one with the status `authorized`".to_owned(),
            });
        }
        self.order_payment(id).await.map_err(|error| PaymentError::Unknown {
            message: format!("the captured payment could not be read: {error}"),
        })
    }

    /// Cancels an order without a payment. An order can't be closed, so the decision is stored in its notes.
    pub(super) async fn cancel_order(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        let payment = self.order_payment(id).await?;
        match payment.status {
            PaymentStatus::Canceled | PaymentStatus::Failed => Ok(payment),
            PaymentStatus::RequiresAction => {
                let path = format!("/v1/orders/{}", path_id(id, PAYMENT)?);
                // The change replaces all notes, and the payer may still have the checkout open.
                let order = self.get(&path, &[], PAYMENT).await?;
                let customer = order.text("/notes/customer");
                let mut notes = notes(payment.reference.as_deref().unwrap_or(id), customer.as_deref())?;
                notes["capture"] = order.text("/notes/capture").unwrap_or_else(|| "automatic".to_owned()).into();
                notes["canceled"] = "true".into();
                self.patch(&path, &json!({ "notes": notes }), PAYMENT).await?;
                // The payer may have paid it before it was marked.
                self.order_payment(id).await.map_err(|error| PaymentError::Unknown {
                    message: format!("the canceled order could not be read: {error}"),
                })
            }
            // Razorpay releases the money of a payment that is not captured within five days.
            PaymentStatus::Authorized => {
                Err(PaymentError::NotSupported { provider: NAME, operation: "canceling authorised payments" })
            }
            PaymentStatus::Processing | PaymentStatus::Succeeded => Err(PaymentError::Rejected {
                code: Some("already_captured".to_owned()),
                message: "the money was taken; refund the payment".to_owned(),
            }),
        }
    }

    /// Returns the stored payment methods of a customer.
    pub(super) async fn payment_methods(&self, customer: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        let path = format!("/v1/customers/{}/tokens", path_id(customer, "customer")?);
        let tokens = self.get(&path, &[], "customer").await?.list("/items");
        Ok(tokens.iter().enumerate().filter_map(|(index, token)| stored_method(token, index == 0)).collect())
    }

    fn payment_of(&self, order: &ApiObject, payments: &[ApiObject]) -> Option<ProviderPayment> {
        let amount = amount_at(order, "/amount")?;
        let totals = RazorpayTotals::of(payments, amount.currency());
        let created_at = order.seconds("/created_at").unwrap_or_else(|| self.now());
        let is_charged = order.text("/notes/charge").as_deref() == Some("token");
        let is_manual = order.text("/notes/capture").as_deref() == Some("manual");
        let status = if totals.is_captured {
            PaymentStatus::Succeeded
        } else if totals.is_authorized && is_manual {
            PaymentStatus::Authorized
        } else if totals.is_authorized || (is_charged && totals.is_open) {
            PaymentStatus::Processing
        } else if is_charged {
            // A charge that was sent but is not at the order yet may still arrive.
            let may_arrive = payments.is_empty() && self.now().duration_since(created_at) < CHARGE_PERIOD;
            if may_arrive { PaymentStatus::Processing } else { PaymentStatus::Failed }
        } else if order.text("/notes/canceled").is_some() {
            PaymentStatus::Canceled
        } else {
            PaymentStatus::RequiresAction
        };
        Some(ProviderPayment {
            id: order.text("/id")?,
            reference: reference_of(order).or_else(|| order.text("/receipt")),
            status,
            amount,
            captured: totals.captured,
            refunded: totals.refunded,
            fee: totals.fee,
            action_url: None,
            failure: totals.failure.filter(|_| !totals.is_captured),
            subscription: totals.subscription,
            created_at,
        })
    }
}

/// Returns the fee of payments that have taken money. A payment in another currency than that of the account has its
/// fee in the account's.
fn fee_of(taken: &[&ApiObject]) -> Option<Money> {
    let fees = taken.iter().filter_map(|payment| {
        let currency = payment.text("/base_currency").or_else(|| payment.text("/currency"))?;
        from_minor_units(WireForm::Razorpay, payment.integer("/fee")?, &currency)
    });
    let mut sum: Option<Money> = None;
    for fee in fees {
        sum = match sum {
            None => Some(fee),
            Some(sum) if sum.currency() == fee.currency() => {
                Some(Money::new(sum.minor().saturating_add(fee.minor()), sum.currency()))
            }
            other => other,
        };
    }
    sum
}

fn malformed(effect: CallEffect) -> PaymentError {
    lost_response(effect, "the payment has not the documented form")
}

fn stored_method(token: &ApiObject, is_default: bool) -> Option<StoredPaymentMethod> {
    let id = token.text("/id")?;
    let text = |pointer: &str| token.text(pointer).unwrap_or_default();
    let (kind, label) = match token.text("/method").as_deref() {
        Some("card") => (PaymentMethodKind::Card, format!("{} …{}", text("/card/network"), text("/card/last4"))),
        Some("upi") => (PaymentMethodKind::Upi, format!("UPI {}@{}", text("/vpa/username"), text("/vpa/handle"))),
        Some("emandate" | "netbanking") => (PaymentMethodKind::NetBanking, format!("Bank {}", text("/bank"))),
        Some("wallet") => (PaymentMethodKind::Wallet, format!("Wallet {}", text("/wallet"))),
        _ => (PaymentMethodKind::Other, "Payment method".to_owned()),
    };
    let month = token.integer("/card/expiry_month").and_then(|month| u8::try_from(month).ok());
    let year = token.integer("/card/expiry_year").and_then(|year| u16::try_from(year).ok());
    let expires = month.zip(year).map(|(month, year)| CardExpiry { month, year });
    Some(StoredPaymentMethod { id, kind, label, expires, is_default })
}
