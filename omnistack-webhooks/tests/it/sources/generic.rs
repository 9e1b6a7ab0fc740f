//! Tests of the generic source.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use omnistack_core::webhook::{WebhookRequest, WebhookSource as _};
use omnistack_testkit::{TestDatabase, on_each_database};
use omnistack_webhooks::{GenericSource, HmacAlgorithm, SignatureEncoding};

use super::{START, accepted, hex_mac, rejected, source, start};

const BODY: &str = r#"{"delivery":{"id":"d-1","parcel":7},"event":"parcel.sent","at":1893456000000,
    "tenant":"0197a1b0-0000-7000-8000-000000000001"}"#;

on_each_database! {
    async fn a_source_is_set_up_by_settings(database: TestDatabase) {
        let app = start(database, &[
            ("WEBHOOKS_GENERIC_NAME", "courier"),
            ("WEBHOOKS_GENERIC_SECRETS", "secret,previous"),
            ("WEBHOOKS_GENERIC_HEADER", "X-Courier-Signature"),
            ("WEBHOOKS_GENERIC_PREFIX", "v1="),
            ("WEBHOOKS_GENERIC_TIMESTAMP_HEADER", "x-courier-time"),
            ("WEBHOOKS_GENERIC_TEMPLATE", "v1:{timestamp}:{body}"),
            ("WEBHOOKS_GENERIC_ID_PATH", "delivery.id"),
            ("WEBHOOKS_GENERIC_TYPE_PATH", "event"),
            ("WEBHOOKS_GENERIC_OBJECT_PATH", "delivery.parcel"),
            ("WEBHOOKS_GENERIC_TIME_PATH", "at"),
            ("WEBHOOKS_GENERIC_TENANT_PATH", "tenant"),
        ]).await;
        let sign = |secret: &str, time: i64| format!("v1={}", hex_mac(secret, format!("v1:{time}:{BODY}")));
        let wrong = sign("other", START);
        for (time, signature) in [
            (START, sign("secret", START)),
            (START, sign("previous", START)),
            (START - 300, sign("secret", START - 300)),
            // In milliseconds.
            (START * 1000 + 1, sign("secret", START * 1000 + 1)),
            (START, format!("t=1, {wrong}, {}", sign("secret", START))),
        ] {
            let time = time.to_string();
            let headers = [("x-courier-signature", signature.as_str()), ("x-courier-time", time.as_str())];
            accepted(&app, "courier", &headers, BODY).await;
        }
        let right = sign("secret", START);
        for (time, signature) in [
            (START.to_string(), wrong),
            (START.to_string(), right[3..].to_owned()),
            ((START + 1).to_string(), right.clone()),
            ((START - 301).to_string(), sign("secret", START - 301)),
            (format!("+{START}"), format!("v1={}", hex_mac("secret", format!("v1:+{START}:{BODY}")))),
        ] {
            let headers = [("x-courier-signature", signature.as_str()), ("x-courier-time", time.as_str())];
            rejected(&app, "courier", &headers, BODY).await;
        }
        rejected(&app, "courier", &[("x-courier-signature", &right)], BODY).await;

        let now = app.clock().clock().now();
        let request = WebhookRequest { url: "", headers: &HeaderMap::new(), body: BODY.as_bytes(), now };
        let event = source(&app, "courier").describe(&request).unwrap();
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("d-1", "parcel.sent"));
        assert_eq!(event.object.as_deref(), Some("7"));
        assert_eq!(event.occurred_at, Some(now));
        assert_eq!(event.tenant.unwrap().to_string(), "0197a1b0-0000-7000-8000-000000000001");
    }
}

#[tokio::test]
async fn a_source_is_set_up_in_code() {
    let id = HeaderName::from_static("x-id");
    let source = GenericSource::new(HeaderName::from_static("x-signature"), ["Jefe".into()])
        .unwrap()
        .algorithm(HmacAlgorithm::Sha1)
        .encoding(SignatureEncoding::Base64)
        .id_header(id.clone())
        .kind_header(HeaderName::from_static("x-event"))
        .template("what do {id} {body}")
        .unwrap();
    // RFC 2202, test case 2, whose message is `what do ya want for nothing?`.
    let signature = STANDARD.encode(hex::decode("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79").unwrap());
    let mut headers = HeaderMap::new();
    headers.insert("x-signature", HeaderValue::try_from(signature).unwrap());
    let now = "2030-01-01T00:00:00Z".parse().unwrap();
    let body = b"want for nothing?";
    assert!(source.verify(&WebhookRequest { url: "", headers: &headers, body, now }).await.is_err());
    headers.insert(&id, HeaderValue::from_static("ya"));
    source.verify(&WebhookRequest { url: "", headers: &headers, body, now }).await.unwrap();
    headers.insert(&id, HeaderValue::from_static("yo"));
    assert!(source.verify(&WebhookRequest { url: "", headers: &headers, body, now }).await.is_err());

    headers.insert("x-event", HeaderValue::from_static("greeting"));
    let event = source.describe(&WebhookRequest { url: "", headers: &headers, body: b"{}", now }).unwrap();
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("yo", "greeting"));
}

#[tokio::test]
async fn an_id_that_is_signed_comes_first() {
    let id = HeaderName::from_static("x-id");
    let source = GenericSource::new(HeaderName::from_static("x-signature"), ["secret".into()]).unwrap();
    let source = source.id_header(id.clone()).id_path("id");
    let headers = HeaderMap::from_iter([(id, HeaderValue::from_static("from the header"))]);
    let now = "2030-01-01T00:00:00Z".parse().unwrap();
    for (body, expected) in
        [(r#"{"id":"from the body","type":"a"}"#, "from the body"), (r#"{"type":"a"}"#, "from the header")]
    {
        let request = WebhookRequest { url: "", headers: &headers, body: body.as_bytes(), now };
        assert_eq!(source.describe(&request).unwrap().id, expected);
    }
}

#[tokio::test]
async fn a_time_that_is_added_later_is_signed() {
    let source = GenericSource::new(HeaderName::from_static("x-signature"), ["secret".into()]).unwrap();
    let source = source.template("{body}").unwrap().timestamp_header(HeaderName::from_static("x-time"));
    let mut headers = HeaderMap::new();
    headers.insert("x-signature", HeaderValue::try_from(hex_mac("secret", "{}")).unwrap());
    headers.insert("x-time", HeaderValue::from(START));
    let request =
        WebhookRequest { url: "", headers: &headers, body: b"{}", now: "2030-01-01T00:00:00Z".parse().unwrap() };
    assert!(source.verify(&request).await.is_err());
}
