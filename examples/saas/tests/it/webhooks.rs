//! Tests of the commands `saas webhooks …`.

#![cfg(test)]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use omnistack::{clock::Clock, id::Id, identity::TenantId};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

const SETTINGS: [(&str, &str); 11] = [
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

/// The sources, each with a body and the type of its event.
const SAMPLES: [(&str, &str, &str); 10] = [
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
        let (listed, sources) = program.run(&["sources"], &[]).await;
        assert!(listed, "{sources}");
        for (source, body, kind) in SAMPLES {
            assert!(sources.contains(&format!("/api/v1/public/webhooks/{source}\n")), "{sources}");
            program.write("sample.json", body);
            let mut args = vec!["send", source, "sample.json", "--address", &address];
            if source == "github" {
                args.extend(["--header", "X-GitHub-Event: issues"]);
            }
            let (sent, output) = program.run(&args, &[]).await;
            assert!(sent && output.starts_with("200 ") && output.contains("received"), "{source}: {output}");
            assert_eq!(stored(&app, source).await["type"], kind, "{source}");
        }
        app.run_events().await;
        for (source, ..) in SAMPLES {
            assert_eq!(stored(&app, source).await["status"], "ignored", "{source}: no handler wants it");
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
