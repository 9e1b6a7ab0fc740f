//! Payments and refunds.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        CaptureMode, NewPayment, NewRefund, PaymentError, PaymentMethodSource, PaymentStatus, ProviderPayment,
        ProviderRefund, RefundStatus,
    },
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    REFERENCE,
    api::{StripeApi, StripeReply, id_segment},
    checkout::{PAGE_MARK, is_checkout, with_page},
    error::{not_charged, unreadable},
    object::{StripeObject, currency_code, metadata},
};
use crate::wire::{WireForm, to_minor_units};

/// The type of object in errors.
pub(super) const PAYMENT: &str = "payment";
const REFUND: &str = "refund";
/// The object from which the fee is read, as Stripe names it in `expand`.
const FEE: &str = "latest_charge.balance_transaction";
/// Number of objects on a page, the largest that Stripe allows.
pub(super) const PAGE_SIZE: u32 = 100;
/// Largest number of pages that are searched for a reference.
const MAX_PAGES: u32 = 20;
/// Largest difference between the app's clock and Stripe's.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(10 * 60);

impl StripeApi {
    /// Creates a payment and confirms it. See [`super`] for the reason why these are two calls.
    pub(super) async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        let minor = to_minor_units(WireForm::Stripe, new.amount)?;
        let [create_key, confirm_key] = ["create", "confirm"].map(|step| format!("{}:{step}", new.idempotency_key));
        let mut form = json!({
            "amount": minor,
            "currency": currency_code(new.amount.currency()),
            "customer": new.customer,
            "capture_method": match new.capture {
                CaptureMode::Automatic => "automatic",
                CaptureMode::Manual => "manual",
            },
            "description": new.description,
            "receipt_email": new.email,
            "metadata": metadata(&new.reference, &new.metadata),
            "automatic_payment_methods": {
                "enabled": true,
                "allow_redirects": if new.return_url.is_some() { "always" } else { "never" },
            },
        });
        let mut confirmation = json!({ "return_url": new.return_url, "expand": [FEE] });
        match &new.source {
            PaymentMethodSource::ChosenByPayer => return self.create_payment_page(new, minor, &create_key).await,
            PaymentMethodSource::CustomerDefault => {
                form["payment_method"] = json!(self.default_method(new.customer.as_deref()).await?);
                confirmation["off_session"] = json!(true);
            }
            PaymentMethodSource::Token(token) if token.starts_with("ctoken_") => {
                confirmation["confirmation_token"] = json!(token);
            }
            PaymentMethodSource::Token(token) if token.starts_with("tok_") => {
                form["payment_method_data"] = json!({ "type": "card", "card": { "token": token } });
            }
            PaymentMethodSource::Token(token) => form["payment_method"] = json!(token),
        }
        let created = self.post(PAYMENT, "/payment_intents", form, Some(&create_key)).await.map_err(not_charged)?;
        let id = created.read(|intent| intent.owned("/id")).map_err(not_charged)?;
        let path = format!("/payment_intents/{}/confirm", id_segment(PAYMENT, &id)?);
        self.post(PAYMENT, &path, confirmation, Some(&confirm_key)).await?.read(payment_of)
    }

    async fn default_method(&self, customer: Option<&str>) -> Result<String, PaymentError> {
        let missing = || PaymentError::Rejected {
            code: Some("no_payment_method".to_owned()),
            message: "the customer has no default payment method; let the customer add one".to_owned(),
        };
        let customer = self.customer(customer.ok_or_else(missing)?).await?;
        let customer = customer.object();
        let method = customer.id_at("/invoice_settings/default_payment_method");
        method.or_else(|| customer.id_at("/default_source")).map(str::to_owned).ok_or_else(missing)
    }

    /// Returns a payment.
    pub(super) async fn payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        if is_checkout(id) {
            return self.payment_of_page(id).await;
        }
        let reply = self.intent(id).await?;
        let mut payment = reply.read(payment_of)?;
        // Whether another attempt is possible says the page.
        if payment.status == PaymentStatus::RequiresAction && is_of_page(reply.object()) {
            let query = json!({ "payment_intent": id, "limit": 1 });
            // A restricted key may lack the permission for pages.
            let pages = self.get(PAYMENT, "/checkout/sessions", query).await.ok();
            let page = pages.as_ref().and_then(|pages| pages.object().items("/data").next());
            payment = page.and_then(|page| with_page(page, payment.clone())).unwrap_or(payment);
        }
        // A payment that this app has begun by itself is for no subscription.
        if payment.reference.is_none() {
            payment.subscription = self.paid_subscription(reply.object(), id).await?;
        }
        Ok(payment)
    }

    async fn intent(&self, id: &str) -> Result<StripeReply, PaymentError> {
        let path = format!("/payment_intents/{}", id_segment(PAYMENT, id)?);
        self.get(PAYMENT, &path, json!({ "expand": [FEE] })).await
    }

    /// Returns the subscription whose invoice a payment has paid.
    async fn paid_subscription(&self, intent: StripeObject<'_>, id: &str) -> Result<Option<String>, PaymentError> {
        // Before API 2025-03-31, the payment names its invoice.
        if let Some(invoice) = intent.id_at("/invoice") {
            let path = format!("/invoices/{}", id_segment("invoice", invoice)?);
            let invoice = self.get("invoice", &path, json!({})).await?;
            return Ok(invoice.object().billed_subscription().map(str::to_owned));
        }
        let query = json!({
            "payment": { "type": "payment_intent", "payment_intent": id },
            "expand": ["data.invoice"],
            "limit": 1,
        });
        match self.get("invoice", "/invoice_payments", query).await {
            Ok(found) => {
                let invoice = found.object().items("/data").next().and_then(|payment| payment.object("/invoice"));
                Ok(invoice.and_then(|invoice| invoice.billed_subscription()).map(str::to_owned))
            }
            Err(PaymentError::NotFound { .. } | PaymentError::Rejected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the payment of an invoice. Returns `None` if there is none, as for the invoice of a trial.
    pub(super) async fn payment_of_invoice(&self, invoice: &str) -> Result<Option<String>, PaymentError> {
        let query = json!({ "invoice": invoice, "limit": PAGE_SIZE });
        let found = self.get("invoice", "/invoice_payments", query).await?;
        let payments = found.object().items("/data").filter(|payment| payment.text("/status") != Some("canceled"));
        let payment = payments.max_by_key(|payment| payment.text("/status") == Some("paid"));
        Ok(payment.and_then(|payment| payment.id_at("/payment/payment_intent")).map(str::to_owned))
    }

    /// Finds the payment with a reference. If there are several attempts, it returns the one that came furthest. A
    /// payment that was never confirmed is canceled, so that it can't take money later.
    pub(super) async fn find_payment(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        // The search is quick and lags behind, so only a payment that it finds counts.
        let searched = self.search_payment(reference).await;
        if let Some(id) = searched {
            let payment = self.payment(&id).await?;
            if matches!(payment.status, PaymentStatus::Succeeded | PaymentStatus::Authorized) {
                return Ok(Some(payment));
            }
        }
        let Some(id) = self.listed_payment(reference).await? else { return Ok(None) };
        let reply = self.intent(&id).await?;
        let intent = reply.object();
        let unconfirmed = intent.text("/status") == Some("requires_confirmation")
            || (intent.text("/status") == Some("requires_payment_method") && !is_of_page(intent));
        if !unconfirmed || intent.object("/last_payment_error").is_some() {
            return reply.read(payment_of).map(Some);
        }
        match self.cancel_payment(&id, &format!("{id}:unconfirmed")).await {
            // The confirmation arrived first.
            Err(PaymentError::Rejected { .. }) => self.payment(&id).await.map(Some),
            canceled => canceled.map(Some),
        }
    }

    async fn search_payment(&self, reference: &str) -> Option<String> {
        let quoted = reference.replace('\\', "\\\\").replace('\'', "\\'");
        let query = json!({ "query": format!("metadata['{REFERENCE}']:'{quoted}'"), "limit": PAGE_SIZE });
        // Accounts in some countries have no search.
        let found = self.get(PAYMENT, "/payment_intents/search", query).await.ok()?;
        let best = found.object().items("/data").max_by_key(|intent| progress(*intent))?;
        best.owned("/id")
    }

    async fn listed_payment(&self, reference: &str) -> Result<Option<String>, PaymentError> {
        let mut best: Option<(u8, String)> = None;
        self.each_since(PAYMENT, "/payment_intents", json!({}), reference, |intent| {
            let (Some(id), rank) = (intent.owned("/id"), progress(intent)) else { return };
            // The newest is first in the list.
            if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                best = Some((rank, id));
            }
        })
        .await?;
        Ok(best.map(|(_, id)| id))
    }

    /// Calls `found` with each object of a list that has the reference, the newest first.
    ///
    /// # Errors
    /// Fails if the list is longer than 2,000 objects, so that a missing object is certainly not in it.
    pub(super) async fn each_since(
        &self,
        object: &'static str,
        path: &str,
        mut query: Value,
        reference: &str,
        mut found: impl FnMut(StripeObject<'_>) + Send,
    ) -> Result<(), PaymentError> {
        query["limit"] = json!(PAGE_SIZE);
        if let Some(earliest) = reference_time(reference) {
            query["created"] = json!({ "gte": (earliest - MAX_CLOCK_DIFFERENCE).as_seconds() });
        }
        for _ in 0..MAX_PAGES {
            let page = self.get(object, path, query.clone()).await?;
            let page = page.object();
            if !page.is_array("/data") {
                return Err(unreadable(false, "no list"));
            }
            let mut last = None;
            for item in page.items("/data") {
                last = item.owned("/id");
                if item.reference_in("/metadata") == Some(reference) {
                    found(item);
                }
            }
            match last.filter(|_| page.flag("/has_more")) {
                Some(last) => query["starting_after"] = json!(last),
                None => return Ok(()),
            }
        }
        let message = "Stripe's list since the time of the reference is too long to be searched".to_owned();
        Err(PaymentError::Unavailable { message, retry_after: None })
    }

    /// Takes the money of an authorised payment.
    pub(super) async fn capture_payment(
        &self,
        id: &str,
        amount: Money,
        key: &str,
    ) -> Result<ProviderPayment, PaymentError> {
        let minor = to_minor_units(WireForm::Stripe, amount)?;
        let path = format!("/payment_intents/{}/capture", self.intent_id(id).await?);
        let form = json!({ "amount_to_capture": minor, "expand": [FEE] });
        self.post(PAYMENT, &path, form, Some(key)).await?.read(payment_of)
    }

    /// Cancels a payment whose money was not taken.
    pub(super) async fn cancel_payment(&self, id: &str, key: &str) -> Result<ProviderPayment, PaymentError> {
        if is_checkout(id) {
            let page = self.payment_of_page(id).await?;
            match page.status {
                PaymentStatus::Canceled => return Ok(page),
                PaymentStatus::RequiresAction => {
                    self.expire_checkout(id).await?;
                    return self.payment_of_page(id).await;
                }
                _ => {}
            }
        }
        let path = format!("/payment_intents/{}/cancel", self.intent_id(id).await?);
        self.post(PAYMENT, &path, json!({ "expand": [FEE] }), Some(key)).await?.read(payment_of)
    }

    /// Sends the money of a payment back.
    pub(super) async fn refund_payment(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        let minor = to_minor_units(WireForm::Stripe, new.amount)?;
        // Stripe's own reasons are three; a further text belongs into the metadata.
        let further: BTreeMap<_, _> = new.reason.iter().map(|reason| ("reason".to_owned(), reason.clone())).collect();
        let form = json!({
            "payment_intent": self.intent_id(id).await?,
            "amount": minor,
            "metadata": metadata(&new.reference, &further),
        });
        self.post(REFUND, "/refunds", form, Some(&new.idempotency_key)).await?.read(refund_of)
    }

    /// Returns the refunds of a payment.
    pub(super) async fn refunds(&self, id: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        let mut query = json!({ "payment_intent": self.intent_id(id).await?, "limit": PAGE_SIZE });
        let mut refunds = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.get(PAYMENT, "/refunds", query.clone()).await?;
            refunds.extend(page.object().items("/data").filter_map(refund_of));
            let last = page.object().items("/data").last().and_then(|refund| refund.owned("/id"));
            match last.filter(|_| page.object().flag("/has_more")) {
                Some(last) => query["starting_after"] = json!(last),
                None => break,
            }
        }
        Ok(refunds)
    }

    /// Returns the id of the payment intent of a payment.
    async fn intent_id(&self, id: &str) -> Result<String, PaymentError> {
        if is_checkout(id) { self.intent_of_page(id).await } else { id_segment(PAYMENT, id).map(str::to_owned) }
    }
}

/// Returns when a reference was made: the time in the UUIDv7 at its end. Returns `None` if it has none.
pub(super) fn reference_time(reference: &str) -> Option<Timestamp> {
    let id = reference.rsplit_once('_').map_or(reference, |(_, id)| id);
    let (seconds, nanoseconds) = Uuid::try_parse(id).ok()?.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanoseconds / 1_000))?;
    Some(Timestamp::from_micros(micros))
}

/// Returns whether the payer pays on a page of Stripe, where another attempt is possible after a decline.
fn is_of_page(intent: StripeObject<'_>) -> bool {
    intent.text(&format!("/metadata/{PAGE_MARK}")).is_some()
}

/// Returns how far a payment came: the more, the more certain it is that money moves.
fn progress(intent: StripeObject<'_>) -> u8 {
    match intent.text("/status") {
        Some("succeeded") => 6,
        Some("requires_capture") => 5,
        Some("processing") => 4,
        Some("requires_action") => 3,
        Some("requires_confirmation") => 2,
        Some("requires_payment_method") => 1,
        _ => 0,
    }
}

/// Reads a payment intent.
pub(super) fn payment_of(intent: StripeObject<'_>) -> Option<ProviderPayment> {
    let amount = intent.money("/amount")?;
    // Before API 2022-11-15, the payment has a list of its charges.
    let charge = intent.object("/latest_charge").or_else(|| intent.items("/charges").next());
    let none = Money::new(0, amount.currency());
    let fee = charge.and_then(|charge| charge.object("/balance_transaction"));
    let failure = intent.text("/last_payment_error/message").or_else(|| intent.text("/last_payment_error/code"));
    Some(ProviderPayment {
        id: intent.owned("/id")?,
        reference: intent.reference(),
        status: payment_status(intent)?,
        amount,
        captured: intent.money("/amount_received").unwrap_or(none),
        refunded: charge.and_then(|charge| charge.money("/amount_refunded")).unwrap_or(none),
        fee: fee.and_then(|transaction| transaction.money("/fee")),
        action_url: action_url(intent),
        failure: failure.map(str::to_owned),
        subscription: None,
        created_at: intent.time("/created")?,
    })
}

fn payment_status(intent: StripeObject<'_>) -> Option<PaymentStatus> {
    Some(match intent.text("/status")? {
        "succeeded" => PaymentStatus::Succeeded,
        "requires_capture" => PaymentStatus::Authorized,
        "requires_action" | "requires_source_action" => PaymentStatus::RequiresAction,
        "canceled" => PaymentStatus::Canceled,
        // Its confirmation may be on its way.
        "processing" | "requires_confirmation" => PaymentStatus::Processing,
        "requires_payment_method" | "requires_source" if is_of_page(intent) => PaymentStatus::RequiresAction,
        "requires_payment_method" | "requires_source" if intent.object("/last_payment_error").is_some() => {
            PaymentStatus::Failed
        }
        "requires_payment_method" | "requires_source" => PaymentStatus::Processing,
        _ => return None,
    })
}

fn action_url(intent: StripeObject<'_>) -> Option<String> {
    let paths = [
        "/next_action/redirect_to_url/url",
        "/next_action/display_bank_transfer_instructions/hosted_instructions_url",
        "/next_action/alipay_handle_redirect/url",
    ];
    paths.into_iter().find_map(|path| intent.owned(path))
}

fn refund_of(refund: StripeObject<'_>) -> Option<ProviderRefund> {
    let status = match refund.text("/status")? {
        "succeeded" => RefundStatus::Succeeded,
        "failed" | "canceled" => RefundStatus::Failed,
        _ => RefundStatus::Pending,
    };
    Some(ProviderRefund {
        id: refund.owned("/id")?,
        reference: refund.reference(),
        status,
        amount: refund.money("/amount")?,
    })
}

/// Returns the metadata of the payment of a page.
pub(super) fn page_metadata(new: &NewPayment) -> Value {
    let mut fields = match metadata(&new.reference, &new.metadata) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.insert(PAGE_MARK.to_owned(), json!("true"));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_reference_is_that_of_its_uuid() {
        let expected: Timestamp = "2025-06-01T00:00:00Z".parse().unwrap();
        let id = Uuid::try_parse("019728c9-c000-7000-8000-000000000001").unwrap();
        for reference in [format!("pay_{id}"), id.to_string(), format!("tenant_pay_{}", id.simple())] {
            assert_eq!(reference_time(&reference), Some(expected), "{reference}");
        }
        for reference in ["", "pay_", "pay_7", "pay_00000000-0000-4000-8000-000000000000"] {
            assert_eq!(reference_time(reference), None, "{reference}");
        }
    }

    #[test]
    fn statuses_say_whether_money_can_move() {
        let status = |value: Value| payment_status(StripeObject::new(&value));
        for (name, expected) in [
            ("succeeded", PaymentStatus::Succeeded),
            ("requires_capture", PaymentStatus::Authorized),
            ("requires_action", PaymentStatus::RequiresAction),
            ("requires_confirmation", PaymentStatus::Processing),
            ("processing", PaymentStatus::Processing),
            ("canceled", PaymentStatus::Canceled),
        ] {
            assert_eq!(status(json!({ "status": name })), Some(expected), "{name}");
        }
        let declined =
            json!({ "status": "requires_payment_method", "last_payment_error": { "code": "card_declined" } });
        assert_eq!(status(declined.clone()), Some(PaymentStatus::Failed));
        let mut of_page = declined;
        of_page["metadata"] = json!({ PAGE_MARK: "true" });
        assert_eq!(status(of_page), Some(PaymentStatus::RequiresAction));
        assert_eq!(status(json!({ "status": "new" })), None);
    }
}
