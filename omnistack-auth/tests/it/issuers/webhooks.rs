//! Tests of the webhooks of Clerk and Supabase.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_auth::{Auth, issuer::Issuer};
use omnistack_core::{
    crypto::HmacKey,
    http::HeaderMap,
    webhook::{SourceEvent, WebhookRequest, WebhookSources},
};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse, mock_server::MockServer, on_each_database};
use serde_json::{Value, json};

use super::{ME, NOW, TestKeyPair, claims, key_set, me, start, with};
use crate::support;

const KEY: &[u8] = b"a key of a webhook, of 32 bytes.";
const ORIGIN: &str = "https://app.example.com";

fn secret(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

fn signature(key: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    format!("v1,{}", HmacKey::new(key).unwrap().sign(format!("{id}.{timestamp}.{body}")).to_base64())
}

/// Sends a message as the provider does, with either set of header names.
async fn send(app: &TestApp, to: &str, names: &str, id: &str, body: &Value) -> TestResponse {
    let (timestamp, body) = (NOW.to_string(), body.to_string());
    let request = app.anonymous().request(http::Method::POST, format!("/api/v1/public/auth/webhooks/{to}"));
    let request = request.header(&format!("{names}-id"), id).header(&format!("{names}-timestamp"), &timestamp);
    let request = request.header(&format!("{names}-signature"), signature(KEY, id, &timestamp, &body));
    request.header("content-type", "application/json").body(body).await
}

fn clerk_user(id: &str, more: Value) -> Value {
    with(
        json!({
            "id": id, "object": "user", "first_name": "Ada", "last_name": "Lovelace", "username": null,
            "image_url": "https://img.clerk.com/ada", "primary_email_address_id": "idn_2", "updated_at": (NOW - 60) * 1000,
            "email_addresses": [
                { "id": "idn_1", "email_address": "old@example.com", "verification": { "status": "verified" } },
                { "id": "idn_2", "email_address": "Ada@example.com", "verification": { "status": "verified" } },
            ],
        }),
        more,
    )
}

fn clerk(kind: &str, data: Value) -> Value {
    json!({ "object": "event", "type": kind, "timestamp": NOW * 1000, "data": data })
}

async fn with_clerk(database: TestDatabase, pair: &TestKeyPair) -> (TestApp, MockServer) {
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/.well-known/jwks.json").times(..).reply(key_set(&[pair.jwk("k")]));
    let trusted = Issuer::clerk(upstream.url(), [ORIGIN]).webhook_secret(secret(b"the secret of before, 32 bytes..."));
    let app = start(database, Auth::built_in().issuer(trusted.webhook_secret(secret(KEY)))).await;
    (app, upstream)
}

fn token(pair: &TestKeyPair, upstream: &MockServer, subject: &str, more: Value) -> String {
    let changes = json!({ "sub": subject, "aud": null, "azp": ORIGIN });
    pair.token("k", &with(with(claims(upstream.url()), changes), more))
}

async fn users(app: &TestApp) -> i64 {
    app.db().query("select count(*) from omni_users").fetch_one::<(i64,)>().await.unwrap().0
}

on_each_database! {
    async fn clerk_tells_of_its_users(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let (app, upstream) = with_clerk(database, &pair).await;
        send(&app, "clerk", "svix", "msg_1", &clerk("user.created", clerk_user("user_1", json!({})))).await.expect(204);
        let ada = token(&pair, &upstream, "user_1", json!({}));
        let known = me(&app, &ada).await.expect(200).json();
        assert_eq!((&known["email"], &known["name"]), (&json!("ada@example.com"), &json!("Ada Lovelace")));
        assert_eq!(known["picture"], "https://img.clerk.com/ada");
        assert_eq!(users(&app).await, 1);

        // A repeated message has no effect, and a late one is outdated.
        let changed = |name: &str, at: i64| clerk("user.updated", clerk_user("user_1", json!({ "first_name": name, "updated_at": at * 1000 })));
        send(&app, "clerk", "webhook", "msg_2", &changed("Augusta", NOW - 10)).await.expect(204);
        send(&app, "clerk", "webhook", "msg_2", &changed("Nobody", NOW - 5)).await.expect(204);
        send(&app, "clerk", "webhook", "msg_3", &changed("Before", NOW - 30)).await.expect(204);
        let fresh = token(&pair, &upstream, "user_1", json!({ "jti": "fresh" }));
        assert_eq!(me(&app, &fresh).await.expect(200).json()["name"], "Augusta Lovelace");

        // An unverified address is not adopted, and no other address of the user replaces it.
        let unverified = json!([{ "id": "idn_2", "email_address": "eve@example.com", "verification": { "status": "unverified" } },
            { "id": "idn_1", "email_address": "old@example.com", "verification": { "status": "verified" } }]);
        let unverified = clerk_user("user_1", json!({ "email_addresses": unverified, "updated_at": NOW * 1000 }));
        send(&app, "clerk", "svix", "msg_4", &clerk("user.updated", unverified)).await.expect(204);
        assert_eq!(me(&app, &fresh).await.json()["email"], "ada@example.com");

        // A deleted user is rejected at once, although the token is still valid.
        send(&app, "clerk", "svix", "msg_5", &clerk("user.deleted", json!({ "id": "user_1", "deleted": true }))).await.expect(204);
        me(&app, &fresh).await.expect(401);
        me(&app, &ada).await.expect(401);
        send(&app, "clerk", "svix", "msg_6", &clerk("user.updated", clerk_user("user_1", json!({})))).await.expect(204);
        me(&app, &fresh).await.expect(401);
        for (id, body) in [
            ("msg_7", clerk("session.ended", json!({ "id": "sess_1" }))),
            ("msg_8", clerk("organization.created", json!({ "id": "org_1" }))),
        ] {
            send(&app, "clerk", "svix", id, &body).await.expect(204);
        }
        assert_eq!(users(&app).await, 1);
    }

    async fn a_body_over_the_limit_is_too_large(database: TestDatabase) {
        let (app, _upstream) = with_clerk(database, &TestKeyPair::ec()).await;
        let body = "x".repeat((1 << 20) + 1);
        let length = body.len().to_string();
        let request = || app.anonymous().request(http::Method::POST, "/api/v1/public/auth/webhooks/clerk");
        let announced = request().header("content-length", length).body(body.clone()).await;
        for answer in [announced, request().body(body).await] {
            answer.expect_error(413, "PAYLOAD_TOO_LARGE");
        }
    }

    async fn who_is_gone_before_they_came_stays_out(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let (app, upstream) = with_clerk(database, &pair).await;
        send(&app, "clerk", "svix", "msg_2", &clerk("user.deleted", json!({ "id": "user_1", "deleted": true }))).await.expect(204);
        send(&app, "clerk", "svix", "msg_1", &clerk("user.created", clerk_user("user_1", json!({})))).await.expect(204);
        me(&app, &token(&pair, &upstream, "user_1", json!({}))).await.expect(401);
    }

    async fn a_user_who_is_gone_loses_their_sessions(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = MockServer::start().await;
        upstream.expect("GET", "/.well-known/jwks.json").times(..).reply(key_set(&[pair.jwk("k")]));
        let trusted = Issuer::clerk(upstream.url(), [ORIGIN]).webhook_secret(secret(KEY)).link_verified_emails();
        let app = start(database, Auth::built_in().issuer(trusted)).await;
        let ada = support::user(&app, "ada@example.com").await;
        let sql = "update omni_users set email_verified_at = $1";
        app.db().query(sql).bind(app.clock().clock().now()).execute().await.unwrap();
        let tokens = support::sign_in(&app, ada).await;
        support::client(&app, &tokens).get(ME).await.expect(200);
        let created = clerk("user.created", clerk_user("user_1", json!({})));
        send(&app, "clerk", "svix", "msg_1", &created).await.expect(204);
        assert_eq!(users(&app).await, 1, "linked");
        send(&app, "clerk", "svix", "msg_2", &clerk("user.deleted", json!({ "id": "user_1" }))).await.expect(204);
        support::client(&app, &tokens).get(ME).await.expect(401);
        assert!(support::sessions(&app).list(ada.user).await.unwrap().is_empty());
    }

    async fn a_message_about_a_new_user_needs_open_registration(database: TestDatabase) {
        let upstream = MockServer::start().await;
        let auth = Auth::built_in().issuer(Issuer::clerk(upstream.url(), [ORIGIN]).webhook_secret(secret(KEY)));
        let app = TestApp::start_with_auth(database, |app| app.with(auth).set("AUTH_REGISTRATION", "false")).await;
        for (id, kind) in [("msg_1", "user.created"), ("msg_2", "user.updated"), ("msg_3", "user.deleted")] {
            send(&app, "clerk", "svix", id, &clerk(kind, clerk_user("user_1", json!({})))).await.expect(204);
        }
        assert_eq!(users(&app).await, 0);
    }

    async fn the_secret_decides_which_issuer_has_sent_it(database: TestDatabase) {
        const OTHER: &[u8] = b"the key of another instance, 32.";
        let [one, other] = ["https://one.example.com", "https://other.example.com"].map(|url| Issuer::clerk(url, [ORIGIN]));
        let auth = Auth::built_in().issuer(one.webhook_secret(secret(KEY))).issuer(other.webhook_secret(secret(OTHER)));
        let app = start(database, auth).await;
        let sources: WebhookSources = app.app().context().get().unwrap();
        assert_eq!(sources.names(), ["clerk"]);
        let now = NOW.to_string();
        for (key, id, subject) in [(KEY, "msg_1", "user_1"), (OTHER, "msg_1", "user_1"), (OTHER, "msg_2", "user_2")] {
            let body = clerk("user.created", clerk_user(subject, json!({}))).to_string();
            let request = app.anonymous().request(http::Method::POST, "/api/v1/public/auth/webhooks/clerk");
            let request = request.header("webhook-id", id).header("webhook-timestamp", &now);
            request.header("webhook-signature", signature(key, id, &now, &body)).body(body).await.expect(204);
        }
        let sql = "select issuer, subject from omni_identities order by issuer, subject";
        let known: Vec<(String, String)> = app.db().query(sql).fetch_all().await.unwrap();
        let expected = [("one", "user_1"), ("other", "user_1"), ("other", "user_2")];
        assert_eq!(known, expected.map(|(host, user)| (format!("https://{host}.example.com"), user.to_owned())));
    }

    async fn webhooks_are_described_by_their_user(database: TestDatabase) {
        let issuers = [
            Issuer::clerk("https://clerk.example.com", [ORIGIN]).webhook_secret(secret(KEY)),
            Issuer::supabase("https://x.supabase.co").webhook_secret(secret(KEY)),
        ];
        let app = start(database, issuers.into_iter().fold(Auth::built_in(), Auth::issuer)).await;
        let sources: WebhookSources = app.app().context().get().unwrap();
        assert_eq!(sources.names(), ["clerk", "supabase"]);
        let now = app.clock().clock().now();
        for (source, body, kind, object, at) in [
            ("clerk", clerk("user.created", clerk_user("user_1", json!({}))), "user.created", Some("user_1"), Some(now)),
            ("clerk", json!({ "type": "new.kind", "data": 5, "timestamp": "2030-01-01T00:00:00Z" }), "new.kind", None, Some(now)),
            ("supabase", json!({ "type": "DELETE", "table": "users", "old_record": { "id": "5f3c" } }), "DELETE", Some("5f3c"), None),
            ("supabase", json!({ "type": "user.created", "data": { "id": "x".repeat(201) } }), "user.created", None, None),
        ] {
            let body = body.to_string();
            let mut headers = HeaderMap::new();
            headers.insert("webhook-id", "msg_1".parse().unwrap());
            let request = WebhookRequest { url: "https://app.example.com", headers: &headers, body: body.as_bytes(), now };
            let source = sources.get(source).unwrap().1;
            assert!(source.verify(&request).await.is_err());
            let signed = source.sign(&request).unwrap();
            let request = WebhookRequest { headers: &signed, ..request };
            source.verify(&request).await.unwrap();
            let expected = SourceEvent::new("msg_1", kind).object(object).occurred_at(at);
            assert_eq!(source.describe(&request).unwrap(), expected, "{body}");
        }
    }

    async fn a_deleted_subject_that_was_never_linked_disables_no_account(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = MockServer::start().await;
        upstream.expect("GET", "/.well-known/jwks.json").times(..).reply(key_set(&[pair.jwk("k")]));
        let trusted = Issuer::clerk(upstream.url(), [ORIGIN]).webhook_secret(secret(KEY)).link_verified_emails();
        let app = start(database, Auth::built_in().issuer(trusted)).await;
        let ada = support::user(&app, "ada@example.com").await;
        let sql = "update omni_users set email_verified_at = $1";
        app.db().query(sql).bind(app.clock().clock().now()).execute().await.unwrap();
        let tokens = support::sign_in(&app, ada).await;
        let deleted = clerk("user.deleted", clerk_user("user_1", json!({})));
        send(&app, "clerk", "svix", "msg_1", &deleted).await.expect(204);
        support::client(&app, &tokens).get(ME).await.expect(200);
        me(&app, &token(&pair, &upstream, "user_1", json!({}))).await.expect(401);
    }

    async fn supabase_tells_of_its_users(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = MockServer::start().await;
        upstream.expect("GET", "/auth/v1/.well-known/jwks.json").times(..).reply(key_set(&[pair.jwk("k")]));
        // Supabase displays its secrets in this form.
        let trusted = Issuer::supabase(upstream.url()).webhook_secret(format!("v1,{}", secret(KEY)));
        let app = start(database, Auth::built_in().issuer(trusted)).await;
        let user = |name: &str, more: Value| with(json!({
            "id": "5f3c", "aud": "authenticated", "email": "ada@example.com", "email_confirmed_at": "2029-12-31T00:00:00Z",
            "raw_user_meta_data": { "full_name": name }, "updated_at": "2029-12-31T10:00:00.5+00:00",
        }), more);
        let change = |kind: &str, new: Value, old: Value| json!({
            "type": kind, "schema": "auth", "table": "users", "record": new, "old_record": old,
        });
        let known = async |jti: &str| {
            let token = pair.token("k", &with(claims(&format!("{}/auth/v1", upstream.url())), json!({
                "sub": "5f3c", "aud": "authenticated", "role": "authenticated", "jti": jti,
            })));
            me(&app, &token).await
        };
        send(&app, "supabase", "webhook", "1", &change("INSERT", user("Ada", json!({})), json!(null))).await.expect(204);
        let ada = known("1").await.expect(200).json();
        assert_eq!((&ada["name"], &ada["email"]), (&json!("Ada"), &json!("ada@example.com")));
        let later = json!({ "updated_at": "2029-12-31T11:00:00Z", "email": "eve@example.com", "email_confirmed_at": null });
        let later = json!({ "type": "user.updated", "data": user("Ada L.", later) });
        send(&app, "supabase", "webhook", "2", &later).await.expect(204);
        let ada = known("2").await.expect(200).json();
        assert_eq!((&ada["name"], &ada["email"]), (&json!("Ada L."), &json!("ada@example.com")));
        let other_table = json!({ "type": "DELETE", "schema": "public", "table": "users", "old_record": { "id": "5f3c" } });
        send(&app, "supabase", "webhook", "3", &other_table).await.expect(204);
        known("3").await.expect(200);
        send(&app, "supabase", "webhook", "4", &change("DELETE", json!(null), user("Ada", json!({})))).await.expect(204);
        known("4").await.expect(401);
    }

    async fn messages_that_are_not_signed_change_nothing(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let (app, _upstream) = with_clerk(database, &pair).await;
        let body = clerk("user.created", clerk_user("user_1", json!({}))).to_string();
        let now = NOW.to_string();
        let good = signature(KEY, "msg", &now, &body);
        let of = |key: &[u8], id: &str, at: &str| (id.to_owned(), at.to_owned(), signature(key, id, at, &body));
        let old = (NOW - 301).to_string();
        let early = (NOW + 301).to_string();
        for (what, (id, timestamp, signature)) in [
            ("no headers", (String::new(), String::new(), String::new())),
            ("no signature", ("msg".into(), now.clone(), String::new())),
            ("another key", of(b"another key, of 32 bytes as well.", "msg", &now)),
            ("another id", ("other".into(), now.clone(), good.clone())),
            ("another time", ("msg".into(), (NOW + 1).to_string(), good.clone())),
            ("too old", of(KEY, "msg", &old)),
            ("too early", of(KEY, "msg", &early)),
            ("no time", of(KEY, "msg", "now")),
            ("a time before there was any", of(KEY, "msg", "-1")),
            ("an empty id", of(KEY, "", &now)),
            ("a long id", of(KEY, &"m".repeat(300), &now)),
            ("another version", ("msg".into(), now.clone(), good.replace("v1,", "v2,"))),
            ("a part of the signature", ("msg".into(), now.clone(), good[..20].into())),
            ("in hexadecimal", ("msg".into(), now.clone(), "v1,00".into())),
            ("the 17th signature", ("msg".into(), now.clone(), format!("{}{good}", "v1,AAAA ".repeat(16)))),
        ] {
            for names in ["webhook", "svix"] {
                let request = app.anonymous().request(http::Method::POST, "/api/v1/public/auth/webhooks/clerk");
                let request = request.header(&format!("{names}-id"), &id).header(&format!("{names}-timestamp"), &timestamp);
                let request = request.header(&format!("{names}-signature"), &signature).body(body.clone());
                let answer = request.await;
                assert_eq!(answer.status, 400, "{what}");
                answer.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
            }
        }
        assert_eq!(users(&app).await, 0);
        // Another body with the same signature.
        let post = |body: String, signature: String| {
            let request = app.anonymous().request(http::Method::POST, "/api/v1/public/auth/webhooks/clerk");
            request.header("svix-id", "msg").header("svix-timestamp", &now).header("svix-signature", signature).body(body)
        };
        post(body.replace("Ada", "Eve"), good.clone()).await.expect(400);
        // Headers of the two sets can't be mixed.
        let mixed = post(body.clone(), good.clone()).header("webhook-id", "msg").await;
        mixed.expect(400);
        post("x".repeat(300 * 1024), good.clone()).await.expect(413);
        // Signed messages with invalid content.
        for (nonsense, code) in [
            ("", "WEBHOOK_MALFORMED"),
            ("{}", "WEBHOOK_MALFORMED"),
            ("[]", "WEBHOOK_MALFORMED"),
            (r#"{"type":"user.created"}"#, "WEBHOOK_UNPROCESSABLE"),
            (r#"{"type":"user.created","data":{"id":""}}"#, "WEBHOOK_UNPROCESSABLE"),
        ] {
            let signed = signature(KEY, "msg", &now, nonsense);
            post(nonsense.into(), signed).await.expect_error(422, code);
        }
        assert_eq!(users(&app).await, 0);
        // Several signatures of which one is valid, and a signature with the previous secret.
        post(body.clone(), format!("v1,AAAA v1a,BBBB {good}")).await.expect(204);
        let before = signature(b"the secret of before, 32 bytes...", "msg", &now, &body);
        post(body, before).await.expect(204);
        assert_eq!(users(&app).await, 1);
        // The route of a provider that is not configured does not exist.
        app.anonymous().post("/api/v1/public/auth/webhooks/supabase", json!({})).await.expect(404);
    }

    async fn a_message_and_a_first_request_at_once_make_one_user(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let (app, upstream) = with_clerk(database, &pair).await;
        let app = std::sync::Arc::new(app);
        let mut tasks = Vec::new();
        for task in 0..40 {
            let (app, token) = (app.clone(), token(&pair, &upstream, "user_1", json!({ "jti": task })));
            tasks.push(tokio::spawn(async move {
                if task % 4 == 0 {
                    let data = clerk_user("user_1", json!({ "updated_at": (NOW - 60 + task) * 1000 }));
                    send(&app, "clerk", "svix", &format!("msg_{}", task % 8), &clerk("user.updated", data)).await.expect(204);
                } else {
                    me(&app, &token).await.expect(200);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(users(&app).await, 1);
        let ada = me(&app, &token(&pair, &upstream, "user_1", json!({}))).await.expect(200).json();
        assert_eq!(ada["email"], "ada@example.com");
    }
}
