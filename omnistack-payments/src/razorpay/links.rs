//! Payments on Razorpay's page: payment links.

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{PaymentError, PaymentStatus, ProviderPayment},
};
use serde_json::json;

use super::{
    api::{MAX_NOTE_CHARS, RazorpayApi, amount_at, amount_fields, notes, receipt, reference_of},
    payments::{PAYMENT, RazorpayTotals},
};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

/// A payment link to create, for a payment or for a checkout.
#[derive(Debug)]
pub(super) struct NewLink<'a> {
    pub(super) reference: &'a str,
    pub(super) customer: Option<&'a str>,
    pub(super) amount: Money,
    pub(super) description: Option<&'a str>,
    pub(super) email: Option<&'a str>,
    pub(super) return_url: Option<&'a str>,
    pub(super) expires_at: Option<Timestamp>,
}

impl RazorpayApi {
    /// Creates a payment link, or returns the one with the same reference.
    pub(super) async fn create_link(&self, new: NewLink<'_>) -> Result<ProviderPayment, PaymentError> {
        if let Some(link) = self.find_link(new.reference).await? {
            return self.payment_of_link(&link).await;
        }
        let (amount, currency) = amount_fields(new.amount)?;
        let mut body = json!({
            "amount": amount,
            "currency": currency,
            "accept_partial": false,
            "reference_id": receipt(new.reference),
            "notify": { "sms": false, "email": false },
            "reminder_enable": false,
            "notes": notes(new.reference, new.customer)?,
        });
        if let Some(description) = new.description {
            body["description"] = description.chars().take(MAX_NOTE_CHARS).collect::<String>().into();
        }
        if let Some(email) = new.email {
            body["customer"] = json!({ "email": email });
        }
        if let Some(url) = new.return_url {
            body["callback_url"] = url.into();
            body["callback_method"] = "get".into();
        }
        if let Some(at) = new.expires_at {
            body["expire_by"] = at.as_seconds().into();
        }
        let created = self.post("/v1/payment_links", &body, PAYMENT).await;
        let link = created.map_err(|error| match error {
            // Only the lost response has the page, and the link is found when it is created again.
            PaymentError::Unknown { message } => PaymentError::Unavailable { message, retry_after: None },
            error => error,
        })?;
        self.payment_of_link(&link).await
    }

    /// Finds the payment link with a reference.
    pub(super) async fn find_link(&self, reference: &str) -> Result<Option<ApiObject>, PaymentError> {
        let found = self.get("/v1/payment_links", &[("reference_id", receipt(reference).as_str())], PAYMENT).await?;
        let missing = || lost_response(CallEffect::Reads, "the response has no list of payment links");
        let links = found.stated_list("/payment_links").ok_or_else(missing)?;
        Ok(links.into_iter().find(|link| reference_of(link).as_deref() == Some(reference)))
    }

    /// Returns a payment link as Razorpay describes it.
    pub(super) async fn link(&self, id: &str) -> Result<ApiObject, PaymentError> {
        self.get(&format!("/v1/payment_links/{}", path_id(id, PAYMENT)?), &[], PAYMENT).await
    }

    /// Returns the payment of a link.
    pub(super) async fn link_payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        let link = self.link(id).await?;
        self.payment_of_link(&link).await
    }

    /// Closes a payment link.
    pub(super) async fn cancel_link(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        let payment = self.link_payment(id).await?;
        match payment.status {
            PaymentStatus::Canceled | PaymentStatus::Failed => return Ok(payment),
            PaymentStatus::RequiresAction => {}
            _ => {
                return Err(PaymentError::Rejected {
                    code: Some("already_captured".to_owned()),
                    message: "the money was taken; refund the payment".to_owned(),
                });
            }
        }
        let path = format!("/v1/payment_links/{}/cancel", path_id(id, PAYMENT)?);
        self.post(&path, &json!({}), PAYMENT).await?;
        Ok(ProviderPayment { status: PaymentStatus::Canceled, action_url: None, ..payment })
    }

    /// Returns the payments of a link as Razorpay describes them.
    pub(super) async fn link_payments(&self, link: &ApiObject) -> Result<Vec<ApiObject>, PaymentError> {
        let mut payments = Vec::new();
        for payment in link.list("/payments") {
            if let Some(id) = payment.text("/payment_id") {
                payments.push(self.raw_payment(&id).await?);
            }
        }
        Ok(payments)
    }

    /// Returns the payment of a link in the form of the port.
    async fn payment_of_link(&self, link: &ApiObject) -> Result<ProviderPayment, PaymentError> {
        let malformed = || lost_response(CallEffect::Reads, "the payment link has not the documented form");
        let amount = amount_at(link, "/amount").ok_or_else(malformed)?;
        let payments = self.link_payments(link).await?;
        let totals = RazorpayTotals::of(&payments, amount.currency());
        let status = match link.text("/status").as_deref() {
            _ if totals.is_captured => PaymentStatus::Succeeded,
            _ if totals.is_authorized => PaymentStatus::Processing,
            // The payments follow.
            Some("paid" | "partially_paid") => PaymentStatus::Processing,
            Some("cancelled" | "expired") => PaymentStatus::Canceled,
            _ => PaymentStatus::RequiresAction,
        };
        Ok(ProviderPayment {
            id: link.text("/id").ok_or_else(malformed)?,
            reference: reference_of(link).or_else(|| link.text("/reference_id")),
            status,
            amount,
            captured: totals.captured,
            refunded: totals.refunded,
            fee: totals.fee,
            action_url: link.text("/short_url").filter(|_| status == PaymentStatus::RequiresAction),
            failure: totals.failure.filter(|_| !totals.is_captured),
            subscription: None,
            created_at: link.seconds("/created_at").unwrap_or_else(|| self.now()),
        })
    }
}
