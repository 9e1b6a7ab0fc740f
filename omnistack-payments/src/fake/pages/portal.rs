//! The page on which customers manage their cards and subscriptions.

use std::fmt::Write as _;

use axum::{body::Bytes, extract::State, response::Response};
use http::StatusCode;
use omnistack_core::{
    http::{Error, Path},
    payment::{CancelTime, PaymentError, ProviderInvoiceStatus},
};

use super::{button, card_field, escape, failed, fields, page, see_other};
use crate::fake::{
    FakeBank,
    account::{FakeTx, rejected},
    card::TestCard,
    objects::{FakeCustomer, FakeInvoice, FakePortal, FakeSubscription},
};

/// Shows the page of a customer.
pub(super) async fn show(State(bank): State<FakeBank>, Path(id): Path<String>) -> Result<Response, Error> {
    let mut tx = bank.begin_of::<FakePortal>(&id).await.map_err(failed)?;
    let portal: FakePortal = tx.get(&id).await.map_err(failed)?;
    let body = render(&bank, &mut tx, &portal).await.map_err(failed)?;
    Ok(page(StatusCode::OK, "Your billing", &body, &[]))
}

async fn render(bank: &FakeBank, tx: &mut FakeTx, portal: &FakePortal) -> Result<String, PaymentError> {
    let customer: FakeCustomer = tx.get(&portal.customer).await?;
    let subscriptions: Vec<FakeSubscription> = tx.of_parent(&portal.customer).await?;
    let invoices: Vec<FakeInvoice> = tx.of_parent(&portal.customer).await?;
    let mut html = String::from("<h2>Cards</h2>\n");
    for method in &customer.methods {
        let label = escape(&TestCard::find(&method.token)?.stored_label());
        let default = if customer.default_method.as_ref() == Some(&method.id) {
            "(default)".to_owned()
        } else {
            format!("{}{}", hidden("card", &method.token), button("add_card", "Make it the default"))
        };
        _ = writeln!(html, "<form method=\"post\">{label} {default}</form>");
    }
    _ = writeln!(html, "<form method=\"post\">{} {}</form>", card_field(), button("add_card", "Add a card"));
    html.push_str("<h2>Subscriptions</h2>\n");
    for subscription in subscriptions.iter().filter(|subscription| !subscription.status.is_final()) {
        let field = hidden("subscription", &subscription.id);
        let cancel = match subscription.cancel_at {
            Some(at) => format!("ends on {} {}", at.to_readable(), button("resume", "Keep it")),
            None => button("cancel", "Cancel at the end of the period"),
        };
        let (price, status) = (escape(&subscription.price), subscription.status.as_str());
        _ = writeln!(html, "<p>{price}, {status}</p>\n<form method=\"post\">{field}{cancel}</form>");
        _ = writeln!(
            html,
            "<form method=\"post\">{field}<label for=\"quantity\">Quantity</label> <input id=\"quantity\" \
             name=\"quantity\" type=\"number\" min=\"1\" value=\"{}\">{}</form>",
            subscription.quantity,
            button("quantity", "Change"),
        );
    }
    html.push_str("<h2>Open invoices</h2>\n");
    for invoice in invoices.iter().filter(|invoice| invoice.status == ProviderInvoiceStatus::Open) {
        let url = escape(&bank.page_url("invoice", &invoice.id));
        _ = writeln!(html, "<p><a href=\"{url}\">{} of {}</a></p>", escape(&invoice.number), invoice.total);
    }
    _ = writeln!(html, "<p><a href=\"{}\">Back to the app</a></p>", escape(&portal.return_url));
    Ok(html)
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
}

/// Receives a form of the page.
pub(super) async fn submit(
    State(bank): State<FakeBank>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let form = fields(&body);
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let mut tx = bank.begin_of::<FakePortal>(&id).await.map_err(failed)?;
    let portal: FakePortal = tx.get(&id).await.map_err(failed)?;
    if field("action") == "add_card" {
        tx.attach_card(&portal.customer, field("card")).await.map_err(failed)?;
    } else {
        change(&mut tx, &portal, field("action"), field("subscription"), field("quantity")).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)?;
    see_other(&bank.page_url("portal", &id))
}

/// Changes a subscription of the page's customer.
async fn change(
    tx: &mut FakeTx,
    portal: &FakePortal,
    action: &str,
    subscription: &str,
    quantity: &str,
) -> Result<(), PaymentError> {
    let stored: FakeSubscription = tx.get(subscription).await?;
    if stored.customer != portal.customer {
        return Err(PaymentError::NotFound { object: "subscription" });
    }
    // Each click is a request of its own.
    let key = tx.new_id("request");
    match action {
        "cancel" => tx.cancel_subscription(subscription, CancelTime::PeriodEnd, &key).await.map(drop),
        "resume" => tx.resume_subscription(subscription, &key).await.map(drop),
        "quantity" => {
            let invalid = |_| rejected("quantity_invalid", "the quantity must be a whole number, and at least 1");
            tx.set_quantity(subscription, quantity.parse().map_err(invalid)?).await
        }
        _ => Err(rejected("action_unknown", "the page has no such form; reload it and try again")),
    }
}
