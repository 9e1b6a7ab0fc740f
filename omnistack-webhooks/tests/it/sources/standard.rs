//! Tests of Standard Webhooks: the published examples, and the forms of secrets.

use omnistack_core::{clock::Timestamp, webhook::StandardSecret};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{START, accepted, rejected, start};

const KEY: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY: &str = r#"{"email":"test@example.com","username":"test_user"}"#;
const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
const SECONDS: i64 = 1_649_367_553;
const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

fn headers<'a>(prefix: &str, seconds: &'a str, signature: &'a str) -> [(String, &'a str); 3] {
    let name = |name: &str| format!("{prefix}-{name}");
    [(name("id"), ID), (name("timestamp"), seconds), (name("signature"), signature)]
}

on_each_database! {
    // Case 42.
    async fn secrets_have_several_forms(database: TestDatabase) {
        let supabase = format!("v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw|v1,whsec_{KEY}");
        let app = start(database, &[
            ("WEBHOOKS_CLERK_SECRETS", &format!("whsec_{KEY}")),
            ("WEBHOOKS_STANDARD_SECRETS", KEY),
            ("WEBHOOKS_SUPABASE_AUTH_SECRETS", &supabase),
        ]).await;
        app.clock().set(Timestamp::from_micros(SECONDS * 1_000_000));
        let seconds = SECONDS.to_string();
        for source in ["clerk", "standard", "supabase-auth"] {
            for prefix in ["webhook", "svix"] {
                let sent = headers(prefix, &seconds, SIGNATURE);
                let sent = sent.each_ref().map(|(name, value)| (name.as_str(), *value));
                accepted(&app, source, &sent, BODY).await;
                rejected(&app, source, &sent, BODY.replace(':', ": ")).await;
                rejected(&app, source, &sent[..2], BODY).await;
            }
            let several = format!("v1a,AAAA v1,AAAA {SIGNATURE}");
            let other_version = SIGNATURE.replace("v1,", "v2,");
            for (signature, is_right) in
                [(several.as_str(), true), (other_version.as_str(), false), ("v1,AAAA", false), ("v1", false)]
            {
                let sent = headers("webhook", &seconds, signature);
                let sent = sent.each_ref().map(|(name, value)| (name.as_str(), *value));
                if is_right {
                    accepted(&app, source, &sent, BODY).await;
                } else {
                    rejected(&app, source, &sent, BODY).await;
                }
            }
        }
        app.clock().set(Timestamp::from_micros((SECONDS + 301) * 1_000_000));
        let sent = headers("webhook", &seconds, SIGNATURE);
        let sent = sent.each_ref().map(|(name, value)| (name.as_str(), *value));
        rejected(&app, "standard", &sent, BODY).await;
    }

    async fn raw_text_is_a_key_by_setting_only(database: TestDatabase) {
        // It is valid base64 too, of another key.
        let text = "abcdefghijklmnopqrstuvwxyz012345";
        let sign = |secret: &StandardSecret| secret.sign(ID, START, BODY.as_bytes());
        let raw = sign(&StandardSecret::from_bytes(text.as_bytes()).unwrap());
        let decoded = sign(&StandardSecret::parse(text).unwrap());
        let seconds = START.to_string();
        let app = start(database, &[
            ("WEBHOOKS_STANDARD_SECRETS", text),
            ("WEBHOOKS_STANDARD_RAW_SECRETS", "true"),
            ("WEBHOOKS_CLERK_SECRETS", text),
        ]).await;
        for (source, signature, is_right) in
            [("standard", &raw, true), ("standard", &decoded, false), ("clerk", &decoded, true), ("clerk", &raw, false)]
        {
            let sent = headers("webhook", &seconds, signature);
            let sent = sent.each_ref().map(|(name, value)| (name.as_str(), *value));
            if is_right {
                accepted(&app, source, &sent, BODY).await;
            } else {
                rejected(&app, source, &sent, BODY).await;
            }
        }
    }
}
