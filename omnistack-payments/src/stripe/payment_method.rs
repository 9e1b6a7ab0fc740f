//! Customers and their payment methods.

use std::collections::BTreeMap;

use omnistack_core::payment::{
    CardExpiry, MeterReport, MeterReportOutcome, NewCustomer, PaymentError, PaymentMethodKind, ProviderCustomer,
    StoredPaymentMethod,
};
use serde_json::json;

use super::{
    api::{StripeApi, StripeReply, id_segment},
    object::{StripeObject, metadata},
    payment::PAGE_SIZE,
};

/// The type of object in errors.
pub(super) const CUSTOMER: &str = "customer";

impl StripeApi {
    /// Creates a customer.
    pub(super) async fn create_customer(&self, new: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        let form = json!({
            "name": new.name,
            "email": new.email,
            "metadata": metadata(&new.reference, &BTreeMap::new()),
        });
        let reply = self.post(CUSTOMER, "/customers", form, Some(&new.idempotency_key)).await?;
        reply.read(|customer| customer.owned("/id")).map(|id| ProviderCustomer { id })
    }

    /// Returns a customer.
    pub(super) async fn customer(&self, id: &str) -> Result<StripeReply, PaymentError> {
        let customer = self.get(CUSTOMER, &format!("/customers/{}", id_segment(CUSTOMER, id)?), json!({})).await?;
        if customer.object().flag("/deleted") {
            return Err(PaymentError::NotFound { object: CUSTOMER });
        }
        Ok(customer)
    }

    /// Returns the stored payment methods of a customer.
    pub(super) async fn payment_methods(&self, customer: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        let owner = self.customer(customer).await?;
        let owner = owner.object();
        let default = owner.id_at("/invoice_settings/default_payment_method");
        let default = default.or_else(|| owner.id_at("/default_source"));
        let path = format!("/customers/{}/payment_methods", id_segment(CUSTOMER, customer)?);
        let methods = self.get(CUSTOMER, &path, json!({ "limit": PAGE_SIZE })).await?;
        Ok(methods.object().items("/data").filter_map(|method| stored_method(method, default)).collect())
    }

    /// Creates a session of the page on which a customer manages payment methods, and returns its URL.
    pub(super) async fn create_portal(&self, customer: &str, return_url: &str) -> Result<String, PaymentError> {
        let form = json!({ "customer": customer, "return_url": return_url });
        // Each visit has a session of its own, and a session that is not used ends by itself.
        self.post("page for customers", "/billing_portal/sessions", form, None).await?.read(|page| page.owned("/url"))
    }

    /// Reports usage. Stripe counts an identifier once, so the request needs no idempotency key, which would repeat the
    /// response of a failure for a day.
    pub(super) async fn report_usage(&self, report: &MeterReport) -> Result<MeterReportOutcome, PaymentError> {
        let form = json!({
            "event_name": report.meter,
            "payload": { "stripe_customer_id": report.customer, "value": report.value },
            "identifier": report.identifier,
            "timestamp": report.at.as_seconds(),
        });
        match self.post("meter", "/billing/meter_events", form, None).await {
            Ok(_) => Ok(MeterReportOutcome::Counted),
            Err(PaymentError::Rejected { message, .. }) if message.contains("already exists") => {
                Ok(MeterReportOutcome::AlreadyCounted)
            }
            Err(error) => Err(error),
        }
    }
}

fn stored_method(method: StripeObject<'_>, default: Option<&str>) -> Option<StoredPaymentMethod> {
    let id = method.text("/id")?;
    let last4 = |path| method.text(path).unwrap_or("????");
    let (kind, label) = match method.text("/type").unwrap_or("card") {
        "card" => {
            let brand = brand(method.text("/card/display_brand").or_else(|| method.text("/card/brand")));
            let kind = method.object("/card/wallet").map_or(PaymentMethodKind::Card, |_| PaymentMethodKind::Wallet);
            (kind, format!("{brand} …{}", last4("/card/last4")))
        }
        "sepa_debit" => (PaymentMethodKind::SepaDebit, format!("SEPA …{}", last4("/sepa_debit/last4"))),
        "us_bank_account" => (PaymentMethodKind::Other, format!("Bank account …{}", last4("/us_bank_account/last4"))),
        "customer_balance" => (PaymentMethodKind::BankTransfer, "Bank transfer".to_owned()),
        "paypal" => (PaymentMethodKind::Paypal, "PayPal".to_owned()),
        "link" => (PaymentMethodKind::Wallet, "Link".to_owned()),
        other => (PaymentMethodKind::Other, other.replace('_', " ")),
    };
    let month = method.integer("/card/exp_month").and_then(|month| u8::try_from(month).ok());
    let year = method.integer("/card/exp_year").and_then(|year| u16::try_from(year).ok());
    Some(StoredPaymentMethod {
        id: id.to_owned(),
        kind,
        label,
        expires: month.zip(year).map(|(month, year)| CardExpiry { month, year }),
        is_default: default == Some(id),
    })
}

fn brand(name: Option<&str>) -> String {
    match name.unwrap_or("card") {
        "amex" | "american_express" => "American Express".to_owned(),
        "mastercard" => "Mastercard".to_owned(),
        "jcb" => "JCB".to_owned(),
        "unionpay" => "UnionPay".to_owned(),
        other => {
            let mut letters = other.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    }
}
