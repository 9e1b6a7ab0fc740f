//! Tests of the commands `saas webhooks …`, and of the sources that other modules have.

#![cfg(test)]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use http::{HeaderMap, Method};
use omnistack::{
    clock::Clock,
    id::Id,
    identity::TenantId,
    webhook::{WebhookRequest, WebhookSources},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A public key in the form in which SendGrid shows it.
const SENDGRID_KEY: &str = concat!(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfY",
    "Et6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==",
);

const SETTINGS: [(&str, &str); 16] = [
    ("WEBHOOKS_STRIPE_SECRETS", SECRET),
    ("WEBHOOKS_GITHUB_SECRETS", SECRET),
    ("WEBHOOKS_RAZORPAY_SECRETS", SECRET),
    ("WEBHOOKS_CLERK_SECRETS", SECRET),
    ("WEBHOOKS_SUPABASE_AUTH_SECRETS", SECRET),
    ("WEBHOOKS_STANDARD_SECRETS", SECRET),
    ("WEBHOOKS_SUPABASE_DATABASE_SECRETS", SECRET),
    ("WEBHOOKS_GENERIC_SECRETS", SECRET),
    ("WEBHOOKS_APPLE_BUNDLE_ID", "com.example.app"),
    ("WEBHOOKS_GOOGLE_PACKAGE", "com.example.app"),
    ("WEBHOOKS_GOOGLE_SERVICE_ACCOUNT", "push@example.iam.gserviceaccount.com"),
    ("WEBHOOKS_PAYPAL_WEBHOOK_ID", "1JE4291016473214C"),
    ("RESEND_WEBHOOK_SECRET", SECRET),
    ("SENDGRID_WEBHOOK_KEY", SENDGRID_KEY),
    ("TWILIO_AUTH_TOKEN", "12345"),
    ("TWILIO_WEBHOOK_URL", "https://app.example.com/api/v1/public/sms/webhooks/twilio"),
];

/// A notification of the App Store of the type `TEST`, which Apple has not signed.
const APPLE: &str = concat!(
    r#"{"signedPayload":"e30.eyJub3RpZmljYXRpb25UeXBlIjoiVEVTVCIsIm5vdGlmaWNhdGlvblVVSUQiOiJuLTEiLCJkYXRhIjp7"#,
    r#"ImJ1bmRsZUlkIjoiY29tLmV4YW1wbGUuYXBwIiwiZW52aXJvbm1lbnQiOiJTYW5kYm94In19.c2ln"}"#,
);
/// A test notification of Google Play.
const GOOGLE: &str = concat!(
    r#"{"message":{"messageId":"7","data":"eyJwYWNrYWdlTmFtZSI6ImNvbS5leGFtcGxlLmFwcCIsImV2ZW50VGltZU1pbGxpcyI6"#,
    r#"IjE4OTM0NTYwMDAwMDAiLCJ0ZXN0Tm90aWZpY2F0aW9uIjp7InZlcnNpb24iOiIxLjAifX0="}}"#,
);

/// The sources, each with a body and the type of its event. Those of tenants' accounts end with `-account`.
const SAMPLES: [(&str, &str, &str); 17] = [
    ("stripe", r#"{"id":"evt_1","type":"invoice.paid"}"#, "invoice.paid"),
    ("github", r#"{"action":"opened"}"#, "issues.opened"),
    ("razorpay", r#"{"event":"order.paid"}"#, "order.paid"),
    ("clerk", r#"{"type":"user.created"}"#, "user.created"),
    ("supabase-auth", r#"{"sms":{"otp":"1"}}"#, "send-sms"),
    ("standard", r#"{"type":"project.created"}"#, "project.created"),
    ("supabase-database", r#"{"type":"INSERT","schema":"public","table":"orders"}"#, "public.orders.insert"),
    ("generic", r#"{"type":"parcel.sent"}"#, "parcel.sent"),
    ("apple", APPLE, "TEST"),
    ("google-play", GOOGLE, "test"),
    ("paypal", r#"{"id":"WH-1","event_type":"CHECKOUT.ORDER.APPROVED"}"#, "CHECKOUT.ORDER.APPROVED"),
    ("resend", r#"{"type":"email.delivered","data":{"email_id":"m1"}}"#, "email.delivered"),
    ("sendgrid", "[]", "batch"),
    ("twilio", "SmsSid=SM1&Body=Hello", "message.received"),
    ("stripe-account", r#"{"id":"evt_1","type":"invoice.paid"}"#, "invoice.paid"),
    ("paypal-account", r#"{"id":"WH-1","event_type":"CHECKOUT.ORDER.APPROVED"}"#, "CHECKOUT.ORDER.APPROVED"),
    ("razorpay-account", r#"{"event":"order.paid"}"#, "order.paid"),
];

/// The program with the settings of the app, in a temporary working directory.
struct Program {
    url: String,
    folder: PathBuf,
}

impl Program {
    fn new(database: &TestDatabase) -> Self {
        let id = Id::<Self>::new(Clock::system().now());
        let folder = std::env::temp_dir().join(format!("omnistack-webhooks-{id}"));
        std::fs::create_dir_all(&folder).unwrap();
        Self { url: database.url().to_owned(), folder }
    }

    fn write(&self, file: &str, content: &str) {
        std::fs::write(self.folder.join(file), content).unwrap();
    }

    /// Runs `webhooks` with these arguments and further settings. Returns whether it has succeeded, and its output.
    async fn run(&self, args: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
        command.current_dir(&self.folder).arg("webhooks").args(args);
        command.env("DATABASE_URL", &self.url).env("APP_ENV", "test").env("LOG_LEVEL", "error");
        command.envs(SETTINGS).envs(settings.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let Output { status, stdout, stderr } = output;
        (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts the app on the system clock, since the program signs with it.
async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, |app| {
        let app = saas::app(app).clock(Clock::system());
        SETTINGS.iter().fold(app, |app, (name, value)| app.set(*name, *value))
    })
    .await
}

/// Returns the only stored webhook of a source.
async fn stored(app: &TestApp, source: &str) -> Value {
    let page = app.operator().get(format!("/api/v1/admin/webhooks/events?source={source}")).await.expect(200).json();
    let [webhook] = page["items"].as_array().unwrap().as_slice() else { panic!("{source}: {page}") };
    webhook.clone()
}

on_each_database! {
    async fn samples_of_every_source_are_accepted_and_processed(database: TestDatabase) {
        let program = Program::new(&database);
        let app = start(database).await;
        let server = app.listen_with_defaults().await;
        let address = server.address.to_string();
        let all: WebhookSources = app.app().context().get().unwrap();
        for name in all.names() {
            let has_sample = SAMPLES.iter().any(|(source, ..)| *source == name);
            assert!(has_sample || name.starts_with("fake"), "add a sample of `{name}`");
        }
        let (listed, sources) = program.run(&["sources"], &[]).await;
        assert!(listed, "{sources}");
        let tenant = TenantId::new(Clock::system().now()).to_string();
        for (source, body, kind) in SAMPLES {
            assert!(sources.contains(&format!("/api/v1/public/webhooks/{source}\n")), "{sources}");
            program.write("sample.json", body);
            let mut args = vec!["send", source, "sample.json", "--address", &address];
            if source == "github" {
                args.extend(["--header", "X-GitHub-Event: issues"]);
            }
            if source.ends_with("-account") {
                args.extend(["--tenant", &tenant]);
            }
            let (sent, output) = program.run(&args, &[]).await;
            assert!(sent && output.starts_with("200 ") && output.contains("received"), "{source}: {output}");
            assert_eq!(stored(&app, source).await["type"], kind, "{source}");
        }
        app.run_events().await;
        for (source, ..) in SAMPLES {
            assert_eq!(stored(&app, source).await["status"], "ignored", "{source}: no handler wants it");
        }
        // The secret of the fake is that of the process, so its samples are signed with SECRET_KEYS.
        let payment = json!({
            "id": "fake_event_1", "type": "payment.succeeded", "created": Clock::system().now(), "environment": "test",
            "object": { "payment": "fake_payment_1" }, "reference": null,
        });
        program.write("sample.json", &payment.to_string());
        let (sent, output) = program.run(&["send", "fake", "sample.json", "--address", &address], &[]).await;
        assert!(sent && output.contains("received"), "{output}");
    }

    /// The paths of accounts, mail and text messages lead to the same inbox as `/webhooks/{source}`.
    async fn webhooks_at_the_paths_of_other_modules_are_in_the_inbox(database: TestDatabase) {
        let settings = [
            ("RESEND_WEBHOOK_SECRET", SECRET),
            ("TWILIO_AUTH_TOKEN", "12345"),
            ("TWILIO_WEBHOOK_URL", "https://app.example.com/api/v1/public/sms/webhooks/twilio"),
            ("AUTH_ISSUERS", "clerk=https://clerk.example.com"),
            ("AUTH_AUTHORIZED_PARTIES", "https://app.example.com"),
            ("AUTH_WEBHOOK_SECRET", SECRET),
        ];
        let app = TestApp::start(database, |app| {
            settings.iter().fold(saas::app(app), |app, (name, value)| app.set(*name, *value))
        })
        .await;
        let sources: WebhookSources = app.app().context().get().unwrap();
        let session = r#"{"object":"event","type":"session.ended","data":{"id":"sess_1"},"timestamp":1893456000000}"#;
        let sent = [
            ("resend", "email", r#"{"type":"email.delivered","data":{"email_id":"m1"}}"#, "email.delivered"),
            ("twilio", "sms", "SmsSid=SM1&Body=Hello", "message.received"),
            ("clerk", "auth", session, "session.ended"),
        ];
        for (source, module, body, kind) in sent {
            let path = format!("/api/v1/public/{module}/webhooks/{source}");
            let (url, headers, now) = (format!("http://127.0.0.1:8080{path}"), HeaderMap::new(), app.clock().clock().now());
            let request = WebhookRequest { url: &url, headers: &headers, body: body.as_bytes(), now };
            let signed = sources.get(source).unwrap().1.sign(&request).unwrap();
            let send = |body: &str| {
                let request = app.anonymous().request(Method::POST, &path).body(body.to_owned());
                signed.iter().fold(request, |request, (name, value)| request.header(name.as_str(), value))
            };
            send(body).await.expect(204);
            send(body).await.expect(204);
            send("{}").await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
            let webhook = stored(&app, source).await;
            assert_eq!((&webhook["type"], &webhook["status"]), (&json!(kind), &json!("received")), "{source}");
            assert_eq!(webhook["duplicates"], 1, "{source}");
        }
        app.run_events().await;
        let operator = app.operator();
        for (source, _, body, _) in sent {
            let webhook = stored(&app, source).await;
            assert_eq!((&webhook["status"], &webhook["attempts"]), (&json!("ignored"), &json!(1)), "{source}");
            let path = format!("/api/v1/admin/webhooks/events/{}", webhook["id"].as_str().unwrap());
            assert_eq!(operator.get(&path).await.expect(200).json()["body"], body, "{source}");
            operator.post(format!("{path}/replay"), json!({})).await.expect(200);
        }
        app.run_events().await;
        for (source, ..) in sent {
            let webhook = stored(&app, source).await;
            assert_eq!((&webhook["status"], &webhook["attempts"]), (&json!("ignored"), &json!(2)), "{source}");
        }
    }
}

#[tokio::test]
async fn a_sample_is_for_a_tenant_and_can_be_sent_again() {
    let database = TestDatabase::sqlite();
    let program = Program::new(&database);
    let app = start(database).await;
    let server = app.listen_with_defaults().await;
    let (address, tenant) = (server.address.to_string(), TenantId::new(Clock::system().now()).to_string());
    program.write("sample.json", r#"{"id":"evt_1","type":"invoice.paid"}"#);
    let args = ["send", "stripe", "sample.json", "--address", &address, "--tenant", &tenant];
    for status in ["received", "duplicate"] {
        let (sent, output) = program.run(&args, &[]).await;
        assert!(sent && output.contains(status), "{output}");
    }
    let webhook = stored(&app, "stripe").await;
    assert_eq!((&webhook["tenant"], &webhook["duplicates"]), (&json!(tenant), &json!(1)));
}

#[tokio::test]
async fn the_reason_of_a_failure_is_printed() {
    let database = TestDatabase::sqlite();
    let program = Program::new(&database);
    let app = start(database).await;
    let server = app.listen_with_defaults().await;
    let address = server.address.to_string();
    let address = address.as_str();
    program.write("sample.json", r#"{"id":"evt_1","type":"invoice.paid"}"#);
    let none: &[(&str, &str)] = &[];
    let other: &[(&str, &str)] = &[("WEBHOOKS_STRIPE_SECRETS", "whsec_other")];
    // The keys for development are public.
    let public_keys: &[(&str, &str)] = &[("HOST", "0.0.0.0")];
    for (args, settings, reason) in [
        (vec!["unknown", "sample.json"], none, "there is no source `unknown`: known: "),
        (vec!["stripe", "missing.json"], none, "missing.json"),
        (vec!["stripe", "sample.json", "--tenant", "7"], none, "--tenant: `7` is not the id of a tenant"),
        (vec!["github", "sample.json", "--header", "no header"], none, "--header: `no header`"),
        (vec!["stripe", "sample.json", "--address", "127.0.0.1:1"], none, "start the app, or set --address"),
        (vec!["stripe", "sample.json", "--address", address], other, "WEBHOOK_SIGNATURE_INVALID"),
        (vec!["apple", "sample.json", "--address", address], public_keys, "set SECRET_KEYS"),
        (vec!["apple", "sample.json", "--address", address], none, "WEBHOOK_MALFORMED"),
    ] {
        let all: Vec<&str> = std::iter::once("send").chain(args).collect();
        let (sent, output) = program.run(&all, settings).await;
        assert!(!sent && output.contains(reason), "{all:?}: {output}");
    }
    let page = app.operator().get("/api/v1/admin/webhooks/events").await.expect(200).json();
    assert_eq!(page["items"], json!([]));
}
