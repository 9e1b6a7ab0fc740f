//! Tests of Razorpay's list of disputes, against a scripted server.

use omnistack_core::{clock::Timestamp, payment::DisputePage};

use super::*;

/// Starts a server, and a provider that asks it.
async fn start() -> (MockServer, Arc<dyn PaymentProvider>) {
    let upstream = MockServer::start().await;
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let provider = connect(upstream.url(), &clock, KEY_SECRET);
    (upstream, provider)
}

fn since() -> Timestamp {
    "2029-12-01T00:00:00Z".parse().unwrap()
}

fn list(items: &[Value]) -> MockResponse {
    let list = json!({ "entity": "collection", "count": items.len(), "items": items });
    MockResponse::json(200, list.to_string())
}

#[tokio::test]
async fn disputes_are_listed_by_pages() {
    let (upstream, provider) = start().await;
    let dispute = |number: usize| {
        json!({
            "id": format!("disp_{number}"), "entity": "dispute", "payment_id": format!("pay_{number}"),
            "amount": 10_000, "amount_deducted": 0, "currency": "INR", "status": "open", "field_of_next_year": [1],
        })
    };
    let mut items: Vec<_> = (0..100).map(dispute).collect();
    // One of an unknown form is left out, and counts for the next page.
    items[7] = json!({ "id": "disp_new" });
    let from = since().as_seconds().to_string();
    let page = |skip: &str| {
        let list = upstream.expect("GET", "/v1/disputes").query("from", &from).query("count", "100");
        list.query("skip", skip)
    };
    page("0").reply(list(&items));
    page("100").reply(list(&[dispute(100)]));
    let first = provider.disputes(since(), None).await.unwrap();
    assert_eq!((first.disputes.len(), first.next.as_deref()), (99, Some("100")));
    let second = provider.disputes(since(), first.next.as_deref()).await.unwrap();
    let [last] = second.disputes.as_slice() else { panic!("{second:?}") };
    assert_eq!((last.id.as_str(), last.payment.as_deref(), last.won), ("disp_100", Some("pay_100"), None));
    assert_eq!((last.amount.to_string(), second.next), ("100.00 INR".to_owned(), None));
    upstream.verify();
}

#[tokio::test]
async fn a_list_that_can_not_be_read_is_no_empty_list() {
    let unavailable: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Unavailable { .. });
    let rejected: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Rejected { .. });
    let unauthorized: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Unauthorized { .. });
    let refusal = r#"{"error":{"code":"BAD_REQUEST_ERROR","description":"no"}}"#;
    for (status, body, is_expected) in [
        (200, "{}", unavailable),
        (200, r#"{"items":{}}"#, unavailable),
        (200, "[]", unavailable),
        (200, "no JSON", unavailable),
        (400, refusal, rejected),
        (401, refusal, unauthorized),
        (429, refusal, unavailable),
        (500, refusal, unavailable),
    ] {
        let (upstream, provider) = start().await;
        upstream.expect("GET", "/v1/disputes").reply(MockResponse::json(status, body));
        let error = provider.disputes(since(), Some("100")).await.unwrap_err();
        assert!(is_expected(&error), "{status} {body}: {error}");
    }
    let (upstream, provider) = start().await;
    assert!(rejected(&provider.disputes(since(), Some("du_9")).await.unwrap_err()));
    upstream.expect("GET", "/v1/disputes").reply(list(&[]));
    assert_eq!(provider.disputes(since(), None).await, Ok(DisputePage::default()));
}
