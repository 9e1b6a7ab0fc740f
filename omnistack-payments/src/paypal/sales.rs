//! Payments of subscriptions, which PayPal calls sales, stored payment methods, and the search for transactions.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    money::Money,
    payment::{
        CardExpiry, NewRefund, PaymentError, PaymentMethodKind, PaymentStatus, ProviderInvoice, ProviderInvoiceStatus,
        ProviderPayment, ProviderRefund, RefundStatus, StoredPaymentMethod,
    },
};
use serde_json::json;
use uuid::Uuid;

use super::{
    api::{PayPalApi, of_used_reference},
    custom_id::CustomId,
    orders::{sum, time_text},
};
use crate::{
    provider_api::{ApiObject, CallEffect, lost_response, path_id, reference_time},
    wire::{WireForm, from_decimal, to_decimal},
};

/// The type of object in errors.
const PAYMENT: &str = "payment";
/// The beginning of the id of a sale in this app.
pub(super) const SALE: &str = "sale:";
/// The beginning of the id of a transaction that may be of an order or of a subscription.
pub(super) const CAPTURE: &str = "capture:";
/// Time within which a transaction appears in the search. PayPal names three hours.
const SEARCH_DELAY: Duration = Duration::from_secs(4 * 60 * 60);
/// Difference between the clock of the app and that of PayPal that is tolerated.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);
/// Largest period of a search.
const SEARCH_PERIOD: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Largest number of pages of 500 transactions that a search reads.
const MAX_SEARCH_PAGES: u32 = 20;
/// Largest number of periods in which refunds of a sale are searched: PayPal refunds payments for 180 days.
const MAX_REFUND_PERIODS: u32 = 7;
/// Difference between the time of a refund and that of the change of its sale that is tolerated.
const REFUND_TIME_TOLERANCE: Duration = Duration::from_secs(60);
/// The code of transactions that are refunds of payments.
const REFUND_CODE: &str = "T1107";

impl PayPalApi {
    /// Returns a payment by the id of its capture, or of its sale.
    pub(super) async fn captured_payment(&self, capture: &str) -> Result<ProviderPayment, PaymentError> {
        let path = format!("/v2/payments/captures/{}", path_id(capture, PAYMENT)?);
        match self.get(&path, &[], PAYMENT).await {
            Ok(found) => match found.text("/supplementary_data/related_ids/order_id") {
                Some(order) => self.order_payment(&order).await,
                None => self.sale_payment(capture).await,
            },
            Err(PaymentError::NotFound { .. }) => self.sale_payment(capture).await,
            Err(error) => Err(error),
        }
    }

    /// Returns a payment by the id of its authorisation.
    async fn authorized_payment(&self, authorization: &str) -> Result<ProviderPayment, PaymentError> {
        let path = format!("/v2/payments/authorizations/{}", path_id(authorization, PAYMENT)?);
        let found = self.get(&path, &[], PAYMENT).await?;
        let order = found.text("/supplementary_data/related_ids/order_id");
        self.order_payment(&order.ok_or(PaymentError::NotFound { object: PAYMENT })?).await
    }

    /// Returns a payment of a subscription.
    ///
    /// # Errors
    /// Fails with [`PaymentError::Unavailable`] while PayPal does not list the newest refund of a part.
    pub(super) async fn sale_payment(&self, sale: &str) -> Result<ProviderPayment, PaymentError> {
        let found = self.sale(sale).await?;
        let payment = self.payment_of_sale(sale, &found)?;
        let is_partly_refunded = found.text("/state").as_deref() == Some("partially_refunded");
        // A sale states the sum of its refunds only in some accounts.
        if !is_partly_refunded || sale_amount(&found, "/total_refunded_amount").is_some() {
            return Ok(payment);
        }
        let changed_at = found.time("/update_time").unwrap_or(payment.created_at);
        let refunded = self.refunded_part(sale, &payment, changed_at).await?;
        Ok(ProviderPayment { refunded, ..payment })
    }

    fn payment_of_sale(&self, sale: &str, found: &ApiObject) -> Result<ProviderPayment, PaymentError> {
        let malformed = || lost_response(CallEffect::Reads, "the sale has not the documented form");
        let amount = sale_amount(found, "/amount").ok_or_else(malformed)?;
        let state = found.text("/state");
        let (status, is_refunded) = match state.as_deref() {
            Some("completed" | "partially_refunded") => (PaymentStatus::Succeeded, false),
            Some("refunded" | "reversed") => (PaymentStatus::Succeeded, true),
            Some("denied" | "failed" | "expired") => (PaymentStatus::Failed, false),
            _ => (PaymentStatus::Processing, false),
        };
        let nothing = Money::new(0, amount.currency());
        let custom = found.text("/custom").map(|text| CustomId::parse(&text));
        Ok(ProviderPayment {
            id: format!("{SALE}{sale}"),
            reference: custom.map(|custom| custom.reference),
            status,
            amount,
            captured: if status == PaymentStatus::Succeeded { amount } else { nothing },
            refunded: match sale_amount(found, "/total_refunded_amount") {
                _ if is_refunded => amount,
                Some(refunded) => refunded,
                None => nothing,
            },
            fee: sale_amount(found, "/transaction_fee"),
            action_url: None,
            failure: found.text("/reason_code").filter(|_| status == PaymentStatus::Failed),
            subscription: found.text("/billing_agreement_id"),
            created_at: found.time("/create_time").unwrap_or_else(|| self.now()),
        })
    }

    /// Returns a payment of a subscription as the invoice of its period.
    pub(super) async fn sale_invoice(&self, sale: &str) -> Result<ProviderInvoice, PaymentError> {
        let payment = self.payment_of_sale(sale, &self.sale(sale).await?)?;
        let status = match payment.status {
            PaymentStatus::Succeeded => ProviderInvoiceStatus::Paid,
            PaymentStatus::Failed => ProviderInvoiceStatus::Uncollectible,
            _ => ProviderInvoiceStatus::Open,
        };
        Ok(ProviderInvoice {
            id: payment.id,
            number: None,
            status,
            subscription: payment.subscription,
            total: payment.amount,
            paid: payment.captured,
            period: None,
            attempts: 1,
            next_attempt_at: None,
            hosted_url: None,
            pdf_url: None,
            created_at: payment.created_at,
        })
    }

    /// Sends money of a subscription's payment back.
    pub(super) async fn refund_sale(&self, sale: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        let path = format!("/v1/payments/sale/{}/refund", path_id(sale, PAYMENT)?);
        let total = to_decimal(WireForm::PayPal, new.amount)?;
        let body = json!({
            "amount": { "total": total, "currency": new.amount.currency().code() },
            "invoice_number": new.reference,
        });
        let refund = self.post(&path, &body, &new.idempotency_key, PAYMENT).await.map_err(of_used_reference)?;
        let lost = || lost_response(CallEffect::Changes, "the refund has no id");
        Ok(ProviderRefund {
            id: refund.text("/id").ok_or_else(lost)?,
            reference: Some(new.reference.clone()),
            status: match refund.text("/state").as_deref() {
                Some("completed") => RefundStatus::Succeeded,
                Some("failed" | "cancelled") => RefundStatus::Failed,
                _ => RefundStatus::Pending,
            },
            amount: sale_amount(&refund, "/amount").unwrap_or(new.amount),
        })
    }

    /// Returns the refunds of a subscription's payment, as far as PayPal lists them.
    pub(super) async fn sale_refunds(&self, sale: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        let found = self.sale(sale).await?;
        let created_at = found.time("/create_time").unwrap_or_else(|| self.now() - SEARCH_PERIOD);
        let listed = self.listed_refunds(sale, created_at).await?;
        Ok(listed.into_iter().map(|(_, refund)| refund).collect())
    }

    /// Returns the sum of the refunds of a payment that was refunded in part. Returns what the payment states if PayPal
    /// lists no refund in the end.
    async fn refunded_part(
        &self,
        sale: &str,
        payment: &ProviderPayment,
        changed_at: Timestamp,
    ) -> Result<Money, PaymentError> {
        let listed = match self.listed_refunds(sale, payment.created_at).await {
            Err(PaymentError::Unauthorized { message }) => {
                tracing::warn!(
                    target: "omnistack::payments", sale, error = message.as_str(),
                    "a refund of a part is not counted: allow PayPal's app to search transactions",
                );
                return Ok(payment.refunded);
            }
            listed => listed?,
        };
        let newest = listed.iter().map(|(at, _)| *at).max();
        // The sale was changed by its newest refund, which is listed hours later.
        let is_complete = self.now() >= changed_at + SEARCH_DELAY
            || newest.is_some_and(|newest| changed_at <= newest + REFUND_TIME_TOLERANCE);
        let amounts = listed.iter().map(|(_, refund)| refund);
        let amounts = amounts.filter(|refund| refund.status != RefundStatus::Failed).map(|refund| refund.amount);
        let refunded = sum(payment.amount.currency(), amounts);
        if refunded.minor() == 0 && self.now() >= changed_at + SEARCH_DELAY * 2 {
            // A part that was sent back in another way, such as by a dispute, is never listed as a refund.
            tracing::warn!(
                target: "omnistack::payments", sale,
                "a part of a payment was sent back, and PayPal lists no refund of it; it is not counted",
            );
            return Ok(payment.refunded);
        }
        if !is_complete || refunded.minor() == 0 {
            let message = "PayPal lists a refund of a part up to three hours after it was made".to_owned();
            return Err(PaymentError::Unavailable { message, retry_after: None });
        }
        Ok(refunded)
    }

    /// Returns the refunds of a sale in the list of transactions, with their times.
    async fn listed_refunds(
        &self,
        sale: &str,
        created_at: Timestamp,
    ) -> Result<Vec<(Timestamp, ProviderRefund)>, PaymentError> {
        let latest = self.now() + CLOCK_TOLERANCE;
        let mut start = created_at - CLOCK_TOLERANCE;
        let mut refunds = Vec::new();
        for _ in 0..MAX_REFUND_PERIODS {
            let end = (start + SEARCH_PERIOD).min(latest);
            for page in 1..=MAX_SEARCH_PAGES {
                let found = self.transactions(start, end, page, Some(REFUND_CODE)).await?;
                // A response without the list does not say that there is no refund.
                let missing = || lost_response(CallEffect::Reads, "the response has no list of transactions");
                let transactions = found.stated_list("/transaction_details").ok_or_else(missing)?;
                refunds.extend(transactions.iter().filter_map(|one| refund_of_sale(one, sale)));
                if i64::from(page) >= found.integer("/total_pages").unwrap_or(1) {
                    break;
                }
            }
            if end >= latest {
                break;
            }
            start = end;
        }
        // A transaction at the border of two periods is in both.
        refunds.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id));
        refunds.dedup_by(|(_, one), (_, other)| one.id == other.id);
        Ok(refunds)
    }

    /// Returns a page of the list of transactions.
    async fn transactions(
        &self,
        start: Timestamp,
        end: Timestamp,
        page: u32,
        code: Option<&str>,
    ) -> Result<ApiObject, PaymentError> {
        let (start, end, page) = (time_text(start), time_text(end), page.to_string());
        let mut query = vec![
            ("start_date", start.as_str()),
            ("end_date", end.as_str()),
            ("fields", "transaction_info"),
            ("balance_affecting_records_only", "N"),
            ("page_size", "500"),
            ("page", page.as_str()),
        ];
        query.extend(code.map(|code| ("transaction_type", code)));
        self.get("/v1/reporting/transactions", &query, "transaction").await
    }

    async fn sale(&self, sale: &str) -> Result<ApiObject, PaymentError> {
        self.get(&format!("/v1/payments/sale/{}", path_id(sale, PAYMENT)?), &[], PAYMENT).await
    }

    /// Finds the payment with a reference among the transactions.
    ///
    /// Transactions are the only list of PayPal, and one appears there up to three hours after it took place. Until
    /// then nothing is known, unless the payment is in it already. A reference that states no time is never known to
    /// have no payment. The id of the order, which the app stores with the payment, is found at once.
    pub(super) async fn search(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        let now = self.now();
        let created_at = reference_time(reference);
        let start = created_at.map_or(now - SEARCH_PERIOD, |at| at - CLOCK_TOLERANCE);
        let end = (start + SEARCH_PERIOD).min(now + CLOCK_TOLERANCE);
        for page in 1..=MAX_SEARCH_PAGES {
            let found = self.transactions(start, end, page, None).await?;
            // A response without the list does not say that there is no payment.
            let missing = || lost_response(CallEffect::Reads, "the response has no list of transactions");
            let transactions = found.stated_list("/transaction_details").ok_or_else(missing)?;
            if let Some(id) = transactions.iter().find_map(|transaction| id_of_payment(transaction, reference)) {
                let found = match self.captured_payment(&id).await {
                    Err(PaymentError::NotFound { .. }) => self.authorized_payment(&id).await,
                    found => found,
                };
                return found.map(Some);
            }
            if i64::from(page) >= found.integer("/total_pages").unwrap_or(1) {
                return match created_at {
                    Some(at) if now >= at + SEARCH_DELAY => Ok(None),
                    _ => Err(PaymentError::Unknown {
                        message: "PayPal lists payments up to three hours after they took place".to_owned(),
                    }),
                };
            }
        }
        let message = "PayPal lists too many transactions at the time of the payment".to_owned();
        Err(PaymentError::Unknown { message })
    }

    /// Returns the stored payment methods of a customer.
    pub(super) async fn payment_methods(&self, customer: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        let found = self.get("/v3/vault/payment-tokens", &[("customer_id", customer)], "customer").await;
        let found = match found {
            // A customer without a stored payment method does not exist at PayPal.
            Err(PaymentError::NotFound { .. }) => return Ok(Vec::new()),
            found => found?,
        };
        let tokens = found.list("/payment_tokens");
        Ok(tokens.iter().enumerate().filter_map(|(index, token)| stored_method(token, index == 0)).collect())
    }
}

/// Returns the id of a customer: that of PayPal's vault has at most 22 characters, which is a UUID in base64.
pub(super) fn customer_id(reference: &str) -> String {
    let bytes = match Uuid::try_parse(reference) {
        Ok(id) => id.into_bytes(),
        Err(_) => {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&Sha256::digest(reference).as_bytes()[..16]);
            bytes
        }
    };
    URL_SAFE_NO_PAD.encode(bytes)
}

fn stored_method(token: &ApiObject, is_default: bool) -> Option<StoredPaymentMethod> {
    let id = token.text("/id")?;
    if let Some(card) = token.get("/payment_source/card") {
        let brand = card.text("/brand").unwrap_or_else(|| "Card".to_owned());
        let digits = card.text("/last_digits").unwrap_or_default();
        return Some(StoredPaymentMethod {
            id,
            kind: PaymentMethodKind::Card,
            label: format!("{brand} …{digits}"),
            expires: card.text("/expiry").and_then(|expiry| {
                let (year, month) = expiry.split_once('-')?;
                Some(CardExpiry { month: month.parse().ok()?, year: year.parse().ok()? })
            }),
            is_default,
        });
    }
    let payer = token.text("/payment_source/paypal/email_address");
    Some(StoredPaymentMethod {
        id,
        kind: PaymentMethodKind::Paypal,
        label: payer.map_or_else(|| "PayPal".to_owned(), |payer| format!("PayPal {payer}")),
        expires: None,
        is_default,
    })
}

/// Returns the amount of a sale, whose form is older than that of orders.
fn sale_amount(sale: &ApiObject, pointer: &str) -> Option<Money> {
    let amount = sale.get(pointer)?;
    let value = amount.text("/total").or_else(|| amount.text("/value"))?;
    let currency = amount.text("/currency").or_else(|| amount.text("/currency_code"))?;
    from_decimal(WireForm::PayPal, &value, &currency)
}

/// Returns a transaction that is a refund of a sale, with its time.
fn refund_of_sale(transaction: &ApiObject, sale: &str) -> Option<(Timestamp, ProviderRefund)> {
    let info = transaction.get("/transaction_info")?;
    if info.text("/paypal_reference_id").as_deref() != Some(sale) {
        return None;
    }
    // Money that leaves the account is negative.
    let value = info.text("/transaction_amount/value")?;
    let currency = info.text("/transaction_amount/currency_code")?;
    let refund = ProviderRefund {
        id: info.text("/transaction_id")?,
        reference: info.text("/invoice_id"),
        status: match info.text("/transaction_status").as_deref() {
            Some("S") => RefundStatus::Succeeded,
            Some("P") => RefundStatus::Pending,
            _ => RefundStatus::Failed,
        },
        amount: from_decimal(WireForm::PayPal, value.trim_start_matches('-'), &currency)?,
    };
    Some((info.time("/transaction_initiation_date")?, refund))
}

/// Returns the id of a transaction that is the payment with this reference, and not a refund of it.
fn id_of_payment(transaction: &ApiObject, reference: &str) -> Option<String> {
    let custom = transaction.text("/transaction_info/custom_field").map(|text| CustomId::parse(&text).reference);
    let invoice = transaction.text("/transaction_info/invoice_id");
    let code = transaction.text("/transaction_info/transaction_event_code");
    let is_refund = code.is_some_and(|code| code.starts_with("T11"));
    let matches = custom.as_deref() == Some(reference) || invoice.as_deref() == Some(reference);
    transaction.text("/transaction_info/transaction_id").filter(|_| matches && !is_refund)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_customers_fit_paypals_vault() {
        let id = customer_id("018cc251-f400-7000-8000-000000000000");
        assert_eq!(id, "AYzCUfQAcACAAAAAAAAAAA");
        for reference in ["tenant", "", &"a".repeat(500)] {
            assert_eq!(customer_id(reference).len(), 22);
            assert_eq!(customer_id(reference), customer_id(reference));
        }
        assert_ne!(customer_id("a"), customer_id("b"));
    }
}
