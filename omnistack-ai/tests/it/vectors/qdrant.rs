//! The requests to Qdrant and their errors, against a mock server with its API.

#![cfg(test)]

use omnistack_ai::{QdrantIndex, VectorError, VectorIndex as _, VectorPoint, VectorQuery, VectorSpace};
use omnistack_core::{http::client::ClientSettings, id::Id};
use omnistack_testkit::mock_server::{ClosedPort, MockResponse, MockServer};
use serde_json::{Value, json};
use uuid::Uuid;

const COLLECTION: &str = "/collections/omnistack_2";

fn index(url: &str) -> QdrantIndex {
    let client = ClientSettings::default().client().unwrap();
    QdrantIndex::new(client, url, Some("secret".to_owned().into())).unwrap()
}

fn space() -> VectorSpace {
    VectorSpace::new(Id::from_uuid(Uuid::from_u128(1)), Id::from_uuid(Uuid::from_u128(2)), 2)
}

fn result(result: &Value) -> MockResponse {
    MockResponse::json(200, json!({ "result": result, "status": "ok" }).to_string())
}

fn query() -> VectorQuery {
    VectorQuery::nearest(vec![1.0, 0.0], 3)
}

#[tokio::test]
async fn a_collection_is_created_once_with_its_indexes() {
    let qdrant = MockServer::start().await;
    let exists = format!("{COLLECTION}/exists");
    qdrant.expect("GET", &exists).header("api-key", "secret").reply(result(&json!({ "exists": false })));
    qdrant.expect("PUT", COLLECTION).body_contains("\"size\":2").reply(result(&json!(true)));
    let field_index = format!("{COLLECTION}/index");
    qdrant.expect("PUT", &field_index).query("wait", "true").times(3).reply(result(&json!({ "status": "completed" })));
    let index = index(qdrant.url());
    for _ in 0..2 {
        index.create(space()).await.unwrap();
    }
    qdrant.verify();

    // Another process has created it meanwhile.
    let qdrant = MockServer::start().await;
    qdrant.expect("GET", &exists).reply(result(&json!({ "exists": false })));
    let refused = json!({ "status": { "error": "Wrong input: Collection `omnistack_2` already exists!" } });
    qdrant.expect("PUT", COLLECTION).reply(MockResponse::json(400, refused.to_string()));
    qdrant.expect("PUT", &field_index).times(3).reply(result(&json!(null)));
    self::index(qdrant.url()).create(space()).await.unwrap();
}

#[tokio::test]
async fn points_are_sent_in_parts_and_found_in_their_collection_only() {
    let qdrant = MockServer::start().await;
    let points: Vec<_> = (0..65).map(|at| VectorPoint::new(format!("{at}"), vec![0.6, 0.8])).collect();
    let path = format!("{COLLECTION}/points");
    let tenant = space().tenant.to_string();
    qdrant.expect("PUT", &path).query("wait", "true").body_contains(&tenant).times(2).reply(result(&json!(null)));
    let index = index(qdrant.url());
    index.upsert(space(), &points).await.unwrap();
    let sent: Vec<usize> = qdrant
        .requests()
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["points"].as_array().unwrap().len())
        .collect();
    assert_eq!(sent, [64, 1]);

    let payload = json!({ "id": "a", "text": "Hello", "metadata": { "n": 1 } });
    let found = json!({ "points": [{ "id": Uuid::nil(), "score": 0.9, "payload": payload }] });
    qdrant
        .expect("POST", &format!("{COLLECTION}/points/query"))
        .body_contains(space().collection.to_string())
        .body_contains(&tenant)
        .reply(result(&found));
    let matches = index.search(space(), &query()).await.unwrap();
    assert_eq!((matches.len(), matches[0].id.as_str(), matches[0].text.as_deref()), (1, "a", Some("Hello")));
    assert_eq!((matches[0].score.to_string().as_str(), &matches[0].metadata["n"]), ("0.9", &json!(1)));
    qdrant.verify();
}

#[tokio::test]
async fn each_answer_of_qdrant_has_its_error() {
    let message = |error: &VectorError| match error {
        VectorError::UnknownCollection => "unknown".to_owned(),
        VectorError::Unavailable { message } => format!("unavailable: {message}"),
        VectorError::Rejected { message } => format!("rejected: {message}"),
        VectorError::Protocol { .. } => "protocol".to_owned(),
        other => other.to_string(),
    };
    let failed = |text: &str| json!({ "status": { "error": text } }).to_string();
    for (status, body, expected) in [
        (404, failed("Not found"), "unknown"),
        (400, failed("Wrong vector"), "rejected: Wrong vector"),
        (429, failed("slow down"), "unavailable: slow down"),
        (503, "<html>".to_owned(), "unavailable: 503"),
        (200, "no JSON".to_owned(), "protocol"),
        (200, json!({ "result": { "points": [{}] } }).to_string(), "protocol"),
    ] {
        let qdrant = MockServer::start().await;
        qdrant.expect_any().reply(MockResponse::json(status, body));
        let error = index(qdrant.url()).search(space(), &query()).await.unwrap_err();
        assert_eq!(message(&error), expected);
    }
    let closed = ClosedPort::reserve();
    let error = index(&closed.url()).check().await.unwrap_err();
    assert!(error.is_retryable() && !error.to_string().contains("secret"), "{error}");
    assert!(QdrantIndex::new(ClientSettings::default().client().unwrap(), "ftp://example.com", None).is_err());
}
