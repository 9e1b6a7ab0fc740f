//! Tests of multipart forms.

use super::*;

async fn send_form(client: &TestClient, body: impl Into<Body>) -> TestResponse {
    let request = client.request(Method::POST, "/api/v1/public/forms");
    request.header("content-type", "multipart/form-data; boundary=x").body(body).await
}

fn field(head: &str, content: &str) -> String {
    format!("--x\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n")
}

#[tokio::test]
async fn it_is_read_field_by_field() {
    let client = app().await.anonymous();
    let file = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"../a.txt\"\r\ncontent-type: text/plain\r\n\r\nhello\r\n";
    let body = format!("{}{file}--x--\r\n", field("name=\"title\"", "Ünïcode"));
    let answer = send_form(&client, body).await.expect(200);
    let expected = json!([["title", null, null, "Ünïcode"], ["file", "../a.txt", "text/plain", "hello"]]);
    assert_eq!(answer.json(), expected);
    assert_eq!(send_form(&client, "--x--\r\n").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn it_is_refused_in_the_one_form() {
    let client = app().await.anonymous();
    let cases: Vec<(&str, Body, u16, &str)> = vec![
        ("truncated", field("name=\"a\"", "b").into(), 400, "MALFORMED_MULTIPART"),
        (
            "truncated in a field",
            "--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nb".into(),
            400,
            "MALFORMED_MULTIPART",
        ),
        ("truncated in a head", "--x\r\ncontent-dis".into(), 400, "MALFORMED_MULTIPART"),
        ("no form at all", "{}".into(), 400, "MALFORMED_MULTIPART"),
        ("empty", "".into(), 400, "MALFORMED_MULTIPART"),
        ("NUL in text", format!("{}--x--\r\n", field("name=\"a\"", "b\0")).into(), 422, "VALIDATION_FAILED"),
        (
            "text that is not UTF-8",
            pieces([b"--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n", b"\xff", b"\r\n--x--\r\n"]),
            422,
            "VALIDATION_FAILED",
        ),
        (
            "too large, counted",
            Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(field(
                "name=\"a\"",
                &"b".repeat(2000),
            ))])),
            413,
            "PAYLOAD_TOO_LARGE",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, body, status, code) in cases {
        let answer = send_form(&client, body).await;
        let got = (answer.status.as_u16(), answer.json()["error"]["code"].clone());
        if got != (status, json!(code)) {
            wrong.push(format!("{name}: {}", answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn it_must_say_that_it_is() {
    let client = app().await.anonymous();
    for content_type in ["multipart/form-data", "multipart/mixed; boundary=x", "application/json"] {
        let request = client.request(Method::POST, "/api/v1/public/forms").header("content-type", content_type);
        request.body("--x--\r\n").await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
}
