//! Tests of JSON and multipart bodies: parsing, limits and errors.

mod multipart;

use axum::{body::Body, routing::post};
use garde::Validate;
use omnistack_core::{
    http::{Error, Json, Method, Multipart, Patch},
    module::{Api, Mount},
};
use omnistack_testkit::{TestApp, TestClient, TestResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::support::{pieces, routes, start};

#[derive(Deserialize, Validate)]
struct Order {
    #[garde(length(chars, min = 1, max = 10))]
    name: String,
    #[serde(default)]
    #[garde(dive)]
    lines: Vec<Line>,
    #[serde(default)]
    #[garde(dive)]
    note: Patch<Note>,
    #[serde(default)]
    #[garde(inner(length(chars, max = 5)))]
    label: Patch<String>,
    #[serde(default)]
    #[garde(skip)]
    free: Value,
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Line {
    #[garde(range(min = 1, max = 9))]
    count: u8,
}

#[derive(Deserialize, Validate)]
#[serde(transparent)]
#[garde(transparent)]
struct Note(#[garde(length(chars, max = 5))] String);

async fn order(Json(order): Json<Order>) -> Json<Value> {
    let note = match order.note {
        Patch::Absent => "absent".to_owned(),
        Patch::Null => "null".to_owned(),
        Patch::Value(Note(text)) => format!("value {text}"),
    };
    let counts: Vec<_> = order.lines.iter().map(|line| line.count).collect();
    Json(json!({"name": order.name, "counts": counts, "note": note, "free": order.free}))
}

async fn form(mut form: Multipart) -> Result<Json<Vec<Value>>, Error> {
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await? {
        let (name, file) = (field.name().map(str::to_owned), field.file_name().map(str::to_owned));
        fields.push(json!([name, file, field.content_type(), field.text().await?]));
    }
    Ok(Json(fields))
}

/// Starts an app that accepts orders and forms of at most a thousand bytes.
async fn app() -> TestApp {
    let api = Api::new().hidden("/orders", post(order)).hidden("/forms", post(form));
    start(|app| app.with(routes(Mount::public("").body_limit(1000), api))).await
}

async fn send(client: &TestClient, body: impl Into<Body>) -> TestResponse {
    client.request(Method::POST, "/api/v1/public/orders").header("content-type", "application/json").body(body).await
}

#[tokio::test]
async fn json_is_read() {
    let client = app().await.anonymous();
    let answer =
        send(&client, r#"{"name":"héllo","lines":[{"count":2}],"free":{"a":null},"unknown":1}"#).await.expect(200);
    let expected = json!({"name": "héllo", "counts": [2], "note": "absent", "free": {"a": null}});
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    send(&client, pieces([b"{\"na", b"me\":\"a\"", b"}"])).await.expect(200);
}

#[tokio::test]
async fn a_patch_tells_absent_from_null() {
    let client = app().await.anonymous();
    for (text, note) in [("{}", "absent"), (r#"{"note":null}"#, "null"), (r#"{"note":"hi"}"#, "value hi")] {
        let mut body: Value = serde_json::from_str(text).unwrap();
        body["name"] = json!("a");
        assert_eq!(send(&client, body.to_string()).await.expect(200).json()["note"], note);
    }
}

#[tokio::test]
async fn what_is_no_json_is_400() {
    let client = app().await.anonymous();
    let cases: &[(&str, &[u8])] = &[
        ("empty", b""),
        ("blank", b"  \n"),
        ("truncated object", b"{\"name\":\"a\""),
        ("truncated string", b"{\"name\":\"a"),
        ("two values", b"{\"name\":\"a\"} {}"),
        ("a comment", b"{\"name\":\"a\"} // so"),
        ("a trailing comma", b"{\"name\":\"a\",}"),
        ("not a number", b"{\"name\":\"a\",\"free\":NaN}"),
        ("a number beyond every range", b"{\"name\":\"a\",\"free\":1e999}"),
        ("a lone surrogate", br#"{"name":"\ud800"}"#),
        ("a raw NUL", b"{\"name\":\"a\0\"}"),
        ("a raw newline", b"{\"name\":\"a\n\"}"),
        ("a string that is not UTF-8", b"{\"name\":\"\xff\"}"),
        ("a key that is not UTF-8", b"{\"\xff\":1}"),
        ("a byte order mark", b"\xef\xbb\xbf{\"name\":\"a\"}"),
    ];
    for (name, body) in cases {
        let answer = send(&client, *body).await;
        println!("{name}: {}", answer.text());
        answer.expect_error(400, "MALFORMED_JSON");
    }
}

#[tokio::test]
async fn deep_nesting_is_refused_and_never_overflows_the_stack() {
    let api = Api::new().hidden("/orders", post(order));
    let app = start(|app| app.with(routes(Mount::public("").body_limit(1 << 20), api))).await;
    let client = app.anonymous();
    for body in ["{\"a\":".repeat(100_000), format!(r#"{{"name":"a","free":{}"#, "[".repeat(100_000))] {
        send(&client, body).await.expect_error(400, "MALFORMED_JSON");
    }
    // The shape is wrong before the nesting is too deep.
    send(&client, "[".repeat(100_000)).await.expect_error(422, "VALIDATION_FAILED");
    let balanced = format!(r#"{{"name":"a","free":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    send(&client, balanced).await.expect_error(400, "MALFORMED_JSON");
    // Unknown fields are skipped without recursion, at any depth.
    let unread = format!(r#"{{"name":"a","unread":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let answer = send(&client, unread).await;
    assert!(answer.status.as_u16() < 500, "{}", answer.text());
}

#[tokio::test]
async fn json_of_another_shape_is_422_and_names_the_field() {
    let client = app().await.anonymous();
    for (body, field, message) in [
        ("[]", "body", "invalid type: sequence, expected struct Order"),
        ("7", "body", "invalid type: integer `7`, expected struct Order"),
        ("{}", "name", "is required"),
        (r#"{"name":"a","lines":[{"count":1},{}]}"#, "lines[1].count", "is required"),
        (r#"{"name":null}"#, "name", "invalid type: null, expected a string"),
        (r#"{"name":"a","name":"b"}"#, "name", "is given more than once"),
        (r#"{"name":"a","lines":[{"count":1,"count":1}]}"#, "lines[0].count", "is given more than once"),
        (
            r#"{"name":"a","lines":[{"count":1,"cuont":1}]}"#,
            "lines[0].cuont",
            "unknown field `cuont`, expected `count`",
        ),
        (
            r#"{"name":"a","lines":[{"count":1},{"count":300}]}"#,
            "lines[1].count",
            "invalid value: integer `300`, expected u8",
        ),
        (r#"{"name":"a","note":5}"#, "note", "invalid type: integer `5`, expected a string"),
        (r#"{"name":""}"#, "name", "length is lower than 1"),
        (r#"{"name":"a","lines":[{"count":1},{"count":0}]}"#, "lines[1].count", "lower than 1"),
        (r#"{"name":"a","note":"longer"}"#, "note", "length is greater than 5"),
        (r#"{"name":"a","label":"longer"}"#, "label", "length is greater than 5"),
        (r#"{"name":"a\u0000"}"#, "body", "contains the character NUL (\\u0000), which can't be stored"),
        (r#"{"name":"a","free":{"\u0000":1}}"#, "body", "contains the character NUL (\\u0000), which can't be stored"),
    ] {
        let answer = send(&client, body).await;
        println!("{body}: {}", answer.text());
        let problems = answer.expect_error(422, "VALIDATION_FAILED").json()["error"]["details"]["fields"].clone();
        assert_eq!(problems, json!([{"field": field, "message": message}]), "{body}");
    }
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let client = app().await.anonymous();
    let answer = send(&client, r#"{"name":"","lines":[{"count":0},{"count":10}],"note":"longer"}"#).await;
    let answer = answer.expect_error(422, "VALIDATION_FAILED").json();
    let problems = answer["error"]["details"]["fields"].as_array().unwrap();
    let mut fields: Vec<_> = problems.iter().map(|problem| problem["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["lines[0].count", "lines[1].count", "name", "note"]);
    assert_eq!(answer["error"]["message"], "4 values are invalid");
}

#[tokio::test]
async fn json_must_say_that_it_is() {
    let client = app().await.anonymous();
    for (content_type, status) in [
        (Some("application/json"), 200),
        (Some("Application/JSON ; charset=utf-8"), 200),
        (Some("application/merge-patch+json"), 200),
        (Some("application/json; note=Köln"), 200),
        (Some("text/plain"), 415),
        (Some("application/jsonp"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("text/x+json"), 415),
        (Some(""), 415),
        (None, 415),
    ] {
        let request = client.request(Method::POST, "/api/v1/public/orders").body(r#"{"name":"a"}"#);
        let answer = match content_type {
            Some(content_type) => request.header("content-type", content_type).await,
            None => request.await,
        };
        let answer = answer.expect(status);
        if status == 415 {
            answer.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_read() {
    let client = app().await.anonymous();
    let never_read = futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Vec<u8>, std::io::Error>>> {
        panic!("the body was read")
    });
    let request = client.request(Method::POST, "/api/v1/public/orders").header("content-type", "application/json");
    let request = request.header("content-length", "1001").body(Body::from_stream(never_read));
    request.await.expect_error(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn the_limit_is_exact_whether_announced_or_counted() {
    let client = app().await.anonymous();
    for (length, status) in [(999, 200), (1000, 200), (1001, 413), (100_000, 413)] {
        let frame = r#"{"name":"a","free":""}"#.len();
        let body = format!(r#"{{"name":"a","free":"{}"}}"#, "x".repeat(length - frame));
        let announced =
            client.request(Method::POST, "/api/v1/public/orders").header("content-type", "application/json");
        announced.header("content-length", length.to_string()).body(body.clone()).await.expect(status);
        let halves = [body[..length / 2].to_owned(), body[length / 2..].to_owned()];
        let counted = Body::from_stream(futures_util::stream::iter(halves.map(Ok::<_, std::io::Error>)));
        let answer = send(&client, counted).await.expect(status);
        if status == 413 {
            answer.expect_error(413, "PAYLOAD_TOO_LARGE");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let client = app().await.anonymous();
    let broken = || {
        let pieces = [Ok(&b"{\"name\":"[..]), Err(std::io::Error::other("the client is gone"))];
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    send(&client, broken()).await.expect_error(400, "INCOMPLETE_BODY");
    let form =
        client.request(Method::POST, "/api/v1/public/forms").header("content-type", "multipart/form-data; boundary=x");
    form.body(broken()).await.expect_error(400, "MALFORMED_MULTIPART");
}

#[tokio::test]
async fn an_encoded_body_is_refused() {
    let client = app().await.anonymous();
    for (coding, good) in [
        ("identity", true),
        ("", true),
        ("gzip", false),
        ("GZIP", false),
        ("identity, br", false),
        ("aes128gcm", false),
        ("\u{e9}", false),
    ] {
        let request = client.request(Method::POST, "/api/v1/public/orders").json(json!({"name": "a"}));
        let answer = request.header("content-encoding", coding).await;
        if good {
            answer.expect(200);
        } else {
            let answer = answer.expect_error(415, "UNSUPPORTED_CONTENT_ENCODING");
            assert_eq!(answer.header("accept-encoding"), Some("identity"), "{coding}");
        }
    }
    // Without a body, the encoding is ignored.
    client.get("/health").header("content-encoding", "gzip").await.expect(200);
}
