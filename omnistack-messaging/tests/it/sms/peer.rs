//! A test of webhooks signed by Twilio's SDK for Python. `cargo xtask test --peers` runs it: it needs
//! `TEST_PEERS_PYTHON`, a Python with the SDK.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use omnistack_messaging::sms::{MessageState, twilio_signature};
use omnistack_testkit::TestDatabase;
use serde_json::{Value, json};

use super::{message, scripted};

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn signatures(requests: &Value) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/sms.py");
    let mut process = Command::new(std::env::var("TEST_PEERS_PYTHON").unwrap())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(requests.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn twilios_sdk_signs_as_we_read() {
    const URL: &str = "https://app.example.com/api/v1/public/sms/webhooks/twilio";
    let requests = json!([
        { "token": "12345", "url": "https://mycompany.com/myapp.php?foo=1&bar=2", "params": { "Digits": "1234", "To": "+18005551212" } },
        { "token": "a b/ü", "url": URL, "params": { "Body": "Grüße & 10 € = 🎉\n+1", "Empty": "", "b": "1", "B": "2", "a1": "x", "a": "1x" } },
        { "token": "12345", "url": format!("{URL}?message=7&x=%2B%20"), "params": {} },
        { "token": "12345", "url": "https://app.example.com:8443/hook", "params": { "Digits": ["5678", "1234", "1234"], "Sid": "CA1" } },
    ]);
    let signed = signatures(&requests);
    for (request, signature) in requests.as_array().unwrap().iter().zip(&signed) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut parameters = Vec::new();
        for (name, value) in request["params"].as_object().unwrap() {
            match value.as_array() {
                Some(values) => parameters.extend(values.iter().map(|value| (name.clone(), text(value)))),
                None => parameters.push((name.clone(), text(value))),
            }
        }
        let ours = twilio_signature(&text(&request["token"]).into(), &text(&request["url"]), &parameters);
        assert_eq!(ours.as_ref(), Some(signature), "{request}");
    }

    let settings =
        |app: omnistack_core::app::AppBuilder| app.set("TWILIO_AUTH_TOKEN", "12345").set("TWILIO_WEBHOOK_URL", URL);
    let (app, outbox, _) = scripted(TestDatabase::sqlite(), settings).await;
    let id = outbox.send(&message("Hello")).await.unwrap();
    app.run_jobs().await;
    let form =
        [("MessageSid", "1"), ("MessageStatus", "delivered"), ("To", "+15005550006"), ("ApiVersion", "2010-04-01")];
    let params: Value = form.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    let signed = signatures(&json!([{ "token": "12345", "url": format!("{URL}?message={id}"), "params": params }]));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    app.anonymous()
        .post(format!("/api/v1/public/sms/webhooks/twilio?message={id}"), ())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", &signed[0])
        .body(body)
        .await
        .expect(204);
    assert_eq!(outbox.get(id).await.unwrap().unwrap().state, MessageState::Delivered);
}
