//! Refunds.

use omnistack_core::payment::{NewRefund, PaymentError, ProviderRefund, RefundStatus};
use serde_json::json;

use super::{
    api::{MAX_NOTE_CHARS, RazorpayApi, amount_at, amount_fields, notes, receipt, reference_of},
    payments::PAYMENT,
};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

impl RazorpayApi {
    /// Sends money back, or returns the refund with the same reference. Razorpay refuses a second one with its receipt.
    pub(super) async fn refund(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        let payments = self.raw_payments(id).await?;
        let refunds = self.refunds_of(&payments).await?;
        let is_same = |refund: &ProviderRefund| refund.reference.as_deref() == Some(new.reference.as_str());
        if let Some(refund) = refunds.into_iter().find(is_same) {
            return Ok(refund);
        }
        let payment = payments.iter().find_map(|payment| {
            let taken = amount_at(payment, "/amount").filter(|_| is_taken(payment))?;
            let returned = payment.integer("/amount_refunded").unwrap_or(0);
            let (wanted, currency) = amount_fields(new.amount).ok()?;
            let (taken, taken_currency) = amount_fields(taken).ok()?;
            let fits = currency == taken_currency && taken.saturating_sub(returned) >= wanted;
            payment.text("/id").filter(|_| fits)
        });
        let Some(payment) = payment else {
            return Err(PaymentError::Rejected {
                code: Some("refund_too_large".to_owned()),
                message: "more would be sent back than was taken; refund at most the rest".to_owned(),
            });
        };
        let (amount, _) = amount_fields(new.amount)?;
        let mut notes = notes(&new.reference, None)?;
        if let Some(reason) = &new.reason {
            notes["reason"] = reason.chars().take(MAX_NOTE_CHARS).collect::<String>().into();
        }
        let body = json!({ "amount": amount, "speed": "normal", "receipt": receipt(&new.reference), "notes": notes });
        let path = format!("/v1/payments/{}/refund", path_id(&payment, PAYMENT)?);
        let refund = self.post(&path, &body, PAYMENT).await?;
        refund_of(&refund).ok_or_else(|| lost_response(CallEffect::Changes, "the refund has not the documented form"))
    }

    /// Returns the refunds of an order, a link or a payment.
    pub(super) async fn refunds(&self, id: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        let payments = self.raw_payments(id).await?;
        self.refunds_of(&payments).await
    }

    async fn refunds_of(&self, payments: &[ApiObject]) -> Result<Vec<ProviderRefund>, PaymentError> {
        let mut refunds = Vec::new();
        for payment in payments.iter().filter(|payment| is_taken(payment)) {
            let Some(id) = payment.text("/id") else { continue };
            let path = format!("/v1/payments/{}/refunds", path_id(&id, PAYMENT)?);
            let found = self.get(&path, &[("count", "100")], PAYMENT).await?;
            let missing = || lost_response(CallEffect::Reads, "the response has no list of refunds");
            refunds.extend(found.stated_list("/items").ok_or_else(missing)?.iter().filter_map(refund_of));
        }
        Ok(refunds)
    }
}

fn is_taken(payment: &ApiObject) -> bool {
    matches!(payment.text("/status").as_deref(), Some("captured" | "refunded"))
}

fn refund_of(refund: &ApiObject) -> Option<ProviderRefund> {
    Some(ProviderRefund {
        id: refund.text("/id")?,
        reference: reference_of(refund).or_else(|| refund.text("/receipt")),
        status: match refund.text("/status").as_deref() {
            Some("processed") => RefundStatus::Succeeded,
            Some("failed") => RefundStatus::Failed,
            _ => RefundStatus::Pending,
        },
        amount: amount_at(refund, "/amount")?,
    })
}
