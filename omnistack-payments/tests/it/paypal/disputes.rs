//! Tests of PayPal's list of disputes, against a scripted server.

use omnistack_core::{clock::Timestamp, payment::DisputePage};

use super::*;

const SINCE: &str = "2029-12-01T00:00:00Z";

/// Starts a server that gives access tokens, and a provider that asks it.
async fn start() -> (MockServer, Arc<dyn PaymentProvider>) {
    let upstream = MockServer::start().await;
    let token = r#"{"access_token":"t","expires_in":100}"#;
    upstream.expect("POST", "/v1/oauth2/token").times(..).reply(MockResponse::json(200, token));
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let provider = connect(upstream.url(), &clock, CLIENT_SECRET);
    (upstream, provider)
}

fn list(ids: &[&str], next: Option<&str>) -> MockResponse {
    let items: Vec<_> = ids.iter().map(|id| json!({ "dispute_id": id, "field_of_next_year": [1] })).collect();
    let links: Vec<_> = next.iter().map(|href| json!({ "rel": "next", "href": href })).collect();
    MockResponse::json(200, json!({ "items": items, "links": links }).to_string())
}

fn detail(id: &str) -> MockResponse {
    let dispute = json!({
        "dispute_id": id, "dispute_amount": { "currency_code": "USD", "value": "5.00" },
        "disputed_transactions": [{ "seller_transaction_id": id }], "field_of_next_year": { "deep": true },
    });
    MockResponse::json(200, dispute.to_string())
}

#[tokio::test]
async fn disputes_are_listed_by_pages() {
    let (upstream, provider) = start().await;
    let first = upstream.expect("GET", "/v1/customer/disputes").query("page_size", "20");
    let first = first.matching("the start", |request| {
        let start = request.query_value("start_time").and_then(|text| text.parse::<Timestamp>().ok());
        start == SINCE.parse().ok() && request.query_value("next_page_token").is_none()
    });
    let next = format!("{}/v1/customer/disputes?start_time=x&next_page_token=two%3D2&page_size=20", upstream.url());
    first.reply(list(&["PP-D-3", "PP-D-2", "PP-D-GONE", "PP-D-NEW"], Some(&next)));
    let second = upstream.expect("GET", "/v1/customer/disputes").query("next_page_token", "two=2");
    second.reply(list(&["PP-D-1"], None));
    for id in ["PP-D-1", "PP-D-2", "PP-D-3"] {
        upstream.expect("GET", &format!("/v1/customer/disputes/{id}")).reply(detail(id));
    }
    // One that is gone, and one of an unknown form, are left out.
    upstream.expect("GET", "/v1/customer/disputes/PP-D-GONE").reply(MockResponse::json(404, "{}"));
    upstream
        .expect("GET", "/v1/customer/disputes/PP-D-NEW")
        .reply(MockResponse::json(200, r#"{"dispute_id":"PP-D-NEW"}"#));
    let mut found = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..2 {
        let page = provider.disputes(SINCE.parse().unwrap(), next.as_deref()).await.unwrap();
        found.extend(page.disputes.into_iter().map(|one| (one.id, one.payment, one.amount.to_string(), one.won)));
        next = page.next;
    }
    let expected = [3, 2, 1].map(|number| {
        let id = format!("PP-D-{number}");
        (id.clone(), Some(format!("capture:{id}")), "5.00 USD".to_owned(), None)
    });
    assert_eq!((found.as_slice(), next), (expected.as_slice(), None));
    upstream.verify();
}

#[tokio::test]
async fn a_list_that_can_not_be_read_is_no_empty_list() {
    let unavailable: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Unavailable { .. });
    let rejected: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Rejected { .. });
    let unauthorized: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Unauthorized { .. });
    let refusal = r#"{"name":"INVALID_REQUEST","message":"the token is not valid"}"#;
    for (status, body, is_expected) in [
        (200, "{}", unavailable),
        (200, r#"{"items":"none"}"#, unavailable),
        (200, "[]", unavailable),
        (200, "no JSON", unavailable),
        (400, refusal, rejected),
        (422, refusal, rejected),
        (403, refusal, unauthorized),
        (429, refusal, unavailable),
        (500, refusal, unavailable),
    ] {
        let (upstream, provider) = start().await;
        upstream.expect("GET", "/v1/customer/disputes").reply(MockResponse::json(status, body));
        let error = provider.disputes(SINCE.parse().unwrap(), Some("two")).await.unwrap_err();
        assert!(is_expected(&error), "{status} {body}: {error}");
    }
    // A dispute that can't be read now is not left out.
    let (upstream, provider) = start().await;
    upstream.expect("GET", "/v1/customer/disputes").reply(list(&["PP-D-1"], None));
    upstream.expect("GET", "/v1/customer/disputes/PP-D-1").reply(MockResponse::json(503, "{}"));
    let error = provider.disputes(SINCE.parse().unwrap(), None).await.unwrap_err();
    assert!(unavailable(&error), "{error}");
    // An account without disputes.
    let (upstream, provider) = start().await;
    upstream.expect("GET", "/v1/customer/disputes").reply(MockResponse::json(200, r#"{"links":[]}"#));
    assert_eq!(provider.disputes(SINCE.parse().unwrap(), None).await, Ok(DisputePage::default()));
}
