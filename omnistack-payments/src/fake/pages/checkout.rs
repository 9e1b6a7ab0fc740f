//! The pages on which a payer pays a checkout, confirms a payment and pays an invoice.

use axum::{body::Bytes, extract::State, response::Response};
use http::StatusCode;
use omnistack_core::{
    http::{Error, Path},
    payment::{CheckoutStatus, PaymentStatus, ProviderInvoiceStatus},
};

use super::{alert, button, card_field, escape, failed, fields, page, see_other};
use crate::fake::{
    FakeBank,
    checkout::CheckoutStep,
    objects::{CheckoutSubject, FakeCheckout, FakeInvoice, FakePayment},
    subscriptions::check_terms,
};

/// The test card of the button that declines.
const DECLINED_CARD: &str = "tok_declined";

/// Shows the page of a checkout.
pub(super) async fn show_checkout(State(bank): State<FakeBank>, Path(id): Path<String>) -> Result<Response, Error> {
    checkout_page(&bank, &id, StatusCode::OK, "").await
}

async fn checkout_page(bank: &FakeBank, id: &str, status: StatusCode, alert: &str) -> Result<Response, Error> {
    let mut tx = bank.begin_of::<FakeCheckout>(id).await.map_err(failed)?;
    let checkout: FakeCheckout = tx.get(id).await.map_err(failed)?;
    let targets = [checkout.success_url.as_str(), checkout.cancel_url.as_str()];
    if checkout.status != CheckoutStatus::Open || checkout.expires_at <= tx.now {
        let message = match checkout.status {
            CheckoutStatus::Complete => "<p>This checkout is paid.</p>",
            _ => "<p>This checkout has expired. Go back to the app and start again.</p>",
        };
        return Ok(page(StatusCode::GONE, "Checkout", message, &targets));
    }
    let mut without_card = String::new();
    let (subject, label) = match &checkout.subject {
        CheckoutSubject::Payment { amount, description } => (escape(description), format!("Pay {amount}")),
        CheckoutSubject::PaymentMethod => ("Add a card for later payments.".into(), "Add the card".into()),
        CheckoutSubject::Subscription { price, quantity, trial_end, trial_end_behavior, coupon } => {
            if trial_end.is_some() && trial_end_behavior.is_some() {
                without_card = button("without_card", "Start the trial without a card");
            }
            let terms = check_terms(price, *quantity, coupon.as_deref()).map_err(failed)?;
            let total = terms.total(*quantity, coupon.as_deref());
            let plan = price.split(':').next().unwrap_or_default();
            let plan = format!("Subscription to {}, {quantity} × {}", escape(plan), terms.amount);
            match trial_end {
                Some(end) => {
                    (format!("{plan}. The trial ends on {}.", end.to_readable()), "Start the trial".to_owned())
                }
                None => (plan, format!("Subscribe for {total}")),
            }
        }
    };
    let body = format!(
        "<p>{subject}</p>\n{alert}<form method=\"post\">\n{}<br>\n{}{without_card}{}{}\n</form>",
        card_field(),
        button("pay", &label),
        button("decline", "Decline"),
        button("cancel", "Cancel"),
    );
    Ok(page(status, "Checkout", &body, &targets))
}

/// Receives the form of a checkout.
pub(super) async fn submit_checkout(
    State(bank): State<FakeBank>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let form = fields(&body);
    let mut tx = bank.begin_of::<FakeCheckout>(&id).await.map_err(failed)?;
    let card = match form.get("action").map(String::as_str) {
        Some("cancel") => {
            let checkout: FakeCheckout = tx.get(&id).await.map_err(failed)?;
            return see_other(&checkout.cancel_url);
        }
        Some("without_card") => {
            let url = tx.start_trial_without_card(&id).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            return see_other(&url);
        }
        Some("decline") => DECLINED_CARD,
        _ => form.get("card").map_or("tok_ok", String::as_str),
    };
    let step = tx.pay_checkout(&id, card).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    match step {
        Ok(CheckoutStep::Done(url)) => see_other(&url),
        Ok(CheckoutStep::Authenticate(payment)) => see_other(&bank.page_url("payment", &payment)),
        Err(declined) => checkout_page(&bank, &id, StatusCode::PAYMENT_REQUIRED, &alert(&declined.to_string())).await,
    }
}

/// Shows the page on which a payer confirms a payment.
pub(super) async fn show_payment(State(bank): State<FakeBank>, Path(id): Path<String>) -> Result<Response, Error> {
    let mut tx = bank.begin_of::<FakePayment>(&id).await.map_err(failed)?;
    let payment: FakePayment = tx.get(&id).await.map_err(failed)?;
    let target = payment.return_url.as_deref().unwrap_or_default();
    let back = match target {
        "" => String::new(),
        url => format!("<p><a href=\"{}\">Back to the app</a></p>", escape(url)),
    };
    if payment.status != PaymentStatus::RequiresAction {
        let body = format!("<p>The payment of {} is {}.</p>\n{back}", payment.amount, payment.status.as_str());
        return Ok(page(StatusCode::OK, "Payment", &body, &[target]));
    }
    let card = if payment.token.is_none() { format!("{}<br>\n", card_field()) } else { String::new() };
    let body = format!(
        "<p>Do you confirm the payment of {}?</p>\n<p>{}</p>\n<form method=\"post\">\n{card}{}{}\n</form>",
        payment.amount,
        escape(payment.description.as_deref().unwrap_or_default()),
        button("complete", "Confirm"),
        button("fail", "Fail"),
    );
    Ok(page(StatusCode::OK, "Payment", &body, &[target]))
}

/// Receives the form of a payment.
pub(super) async fn submit_payment(
    State(bank): State<FakeBank>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let form = fields(&body);
    let confirmed = form.get("action").is_none_or(|action| action != "fail");
    let card = form.get("card").map(String::as_str);
    let mut tx = bank.begin_of::<FakePayment>(&id).await.map_err(failed)?;
    let payment = tx.authenticate(&id, card, confirmed).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    let url = payment.return_url.unwrap_or_else(|| bank.page_url("payment", &id));
    see_other(&url)
}

/// Shows the page of an invoice.
pub(super) async fn show_invoice(State(bank): State<FakeBank>, Path(id): Path<String>) -> Result<Response, Error> {
    invoice_page(&bank, &id, StatusCode::OK, "").await
}

async fn invoice_page(bank: &FakeBank, id: &str, status: StatusCode, alert: &str) -> Result<Response, Error> {
    let mut tx = bank.begin_of::<FakeInvoice>(id).await.map_err(failed)?;
    let invoice: FakeInvoice = tx.get(id).await.map_err(failed)?;
    let title = format!("Invoice {}", invoice.number);
    let form = match invoice.status {
        ProviderInvoiceStatus::Open => {
            format!("<form method=\"post\">\n{}<br>\n{}\n</form>", card_field(), button("pay", "Pay the invoice"))
        }
        ProviderInvoiceStatus::Paid => "<p>The invoice is paid.</p>".into(),
        ProviderInvoiceStatus::Draft => "<p>The invoice is a draft.</p>".into(),
        ProviderInvoiceStatus::Void | ProviderInvoiceStatus::Uncollectible => "<p>The invoice is closed.</p>".into(),
    };
    let body = format!("<p>Total: {}</p>\n{alert}{form}", invoice.total);
    Ok(page(status, &title, &body, &[]))
}

/// Receives the form of an invoice.
pub(super) async fn submit_invoice(
    State(bank): State<FakeBank>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let form = fields(&body);
    let card = form.get("card").map_or("tok_ok", String::as_str);
    let mut tx = bank.begin_of::<FakeInvoice>(&id).await.map_err(failed)?;
    let status = tx.pay_invoice(&id, card).await.map_err(failed)?;
    let invoice: FakeInvoice = tx.get(&id).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    match (status, invoice.payment) {
        (PaymentStatus::Failed, _) => {
            let message = alert("The test card is declined. Use another card.");
            invoice_page(&bank, &id, StatusCode::PAYMENT_REQUIRED, &message).await
        }
        (PaymentStatus::RequiresAction, Some(payment)) => see_other(&bank.page_url("payment", &payment)),
        _ => see_other(&bank.page_url("invoice", &id)),
    }
}
