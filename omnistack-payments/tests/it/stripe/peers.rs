//! Tests against programs of others. `cargo xtask test --peers` runs them: they need `TEST_PEERS_PYTHON`, a Python with
//! Stripe's library, `TEST_PEERS_STRIPE`, a script for Node with Stripe's library, and `TEST_PEERS_LOCALSTRIPE`, the
//! program localstripe.

use std::{net::TcpListener, time::Duration};

use omnistack_core::{
    clock::Clock,
    http::client::ClientSettings,
    payment::{CancelTime, NewCustomer, PaymentError, ProviderInvoiceStatus, ProviderSubscriptionStatus},
};
use omnistack_testkit::payments::stripe::StripeServer;
use serde_json::{Value, json};
use tokio::{net::TcpStream, process::Command};

use super::{connect, usd};

const SECRET: &str = "whsec_peer";

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

/// Runs a program of Stripe's library against the fake.
async fn drive(mut command: Command) {
    let server = StripeServer::start(Clock::system()).await;
    let body =
        json!({ "id": "evt_1", "object": "event", "type": "invoice.paid", "data": { "object": {} } }).to_string();
    let header = server.signature(SECRET, &body);
    let run = command.arg(server.url()).args([SECRET, &header, &body]).kill_on_drop(true).output().await.unwrap();
    let (output, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && output.trim() == "ok", "{output}\n{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_fake_serves_the_library_for_python() {
    let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/payments/stripe_client.py"));
    drive(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_fake_serves_the_library_for_node() {
    let mut command = Command::new("node");
    command.arg(setting("TEST_PEERS_STRIPE"));
    drive(command).await;
}

/// Sends a form to localstripe, as another client of the account does.
async fn send(url: &str, path: &str, form: &str) -> Value {
    let client = ClientSettings::default().client().unwrap();
    let request = client.post(format!("{url}/v1{path}")).bearer_auth("sk_test_1");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {body}");
    serde_json::from_str(&body).unwrap()
}

// Localstripe has the layout of older versions of the API: the period is in the subscription.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_client_works_with_localstripe() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(setting("TEST_PEERS_LOCALSTRIPE"));
    let started = command.args(["--port", &address.port().to_string(), "--from-scratch"]).kill_on_drop(true).spawn();
    let _process = started.unwrap();
    let ready = tokio::time::timeout(Duration::from_secs(30), async {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    ready.await.unwrap();
    let url = format!("http://{address}");
    let provider = connect(&url);

    let new = NewCustomer {
        reference: "t1".to_owned(),
        name: Some("Ada".to_owned()),
        email: Some("ada@example.com".to_owned()),
        idempotency_key: "customer-1".to_owned(),
    };
    let customer = provider.create_customer(&new).await.unwrap().id;
    assert_eq!(provider.subscription("sub_9").await, Err(PaymentError::NotFound { object: "subscription" }));
    assert_eq!(provider.invoices(&customer, 10).await, Ok(Vec::new()));

    let card = "type=card&card[number]=4242424242424242&card[exp_month]=12&card[exp_year]=2034&card[cvc]=123";
    let method = send(&url, "/payment_methods", card).await["id"].as_str().unwrap().to_owned();
    send(&url, &format!("/payment_methods/{method}/attach"), &format!("customer={customer}")).await;
    let default = format!("invoice_settings[default_payment_method]={method}");
    send(&url, &format!("/customers/{customer}"), &default).await;
    send(&url, "/plans", "id=team&amount=2900&currency=usd&interval=month&product[name]=Team").await;
    let form = format!("customer={customer}&items[0][plan]=team&metadata[omnistack_reference]=s1");
    let id = send(&url, "/subscriptions", &form).await["id"].as_str().unwrap().to_owned();

    let subscription = provider.subscription(&id).await.unwrap();
    assert_eq!(subscription.status, ProviderSubscriptionStatus::Active);
    assert_eq!((subscription.reference.as_deref(), subscription.items[0].price.as_str()), (Some("s1"), "team"));
    let (start, end) = subscription.period.unwrap();
    assert!(end > start);
    let invoices = provider.invoices(&customer, 10).await.unwrap();
    let [invoice] = invoices.as_slice() else { panic!("{invoices:?}") };
    assert_eq!((invoice.status, invoice.total, invoice.paid), (ProviderInvoiceStatus::Paid, usd(2900), usd(2900)));
    assert_eq!(invoice.subscription.as_deref(), Some(id.as_str()));
    let canceled = provider.cancel_subscription(&id, CancelTime::Now, "cancel").await.unwrap();
    assert_eq!(canceled.status, ProviderSubscriptionStatus::Canceled);
}
