//! Tests of passkeys: adding, removing, sign-in, second factors and errors.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_auth::{
    session::{NewSession, Sessions},
    users::{NewUser, Users},
};
use omnistack_core::{ExposeSecret as _, crypto::Sha256, identity::UserId};
use omnistack_testkit::on_each_database;

use super::{second_factors::AuthenticatorApp, *};

mod attacks;
mod peer;

const ADA: &str = "ada@example.com";
const PASSKEYS: &str = "/api/v1/app/auth/passkeys";
const HOME: &str = "https://app.example.com";

/// Flags of the authenticator data (WebAuthn, section 6.1): user present, user verified, attested credential data
/// included.
const PRESENT: u8 = 1;
const VERIFIED: u8 = 4;
const WITH_KEY: u8 = 64;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An authenticator with one passkey, and its browser.
struct TestAuthenticator {
    pair: EcdsaKeyPair,
    id: Vec<u8>,
    /// The user handle that the app sent at the creation of the passkey.
    user: String,
    counter: u32,
    domain: String,
    origin: String,
    flags: u8,
    /// Whether it signs other data than it should.
    signs_wrong_data: bool,
}

impl TestAuthenticator {
    fn new() -> Self {
        Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            id: rand::random::<[u8; 32]>().to_vec(),
            user: String::new(),
            counter: 0,
            domain: "app.example.com".into(),
            origin: HOME.into(),
            flags: PRESENT | VERIFIED,
            signs_wrong_data: false,
        }
    }

    /// Returns the client data (WebAuthn, section 5.8.1).
    fn client_data(&self, kind: &str, options: &Value) -> String {
        json!({ "type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false })
            .to_string()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(&self.domain).as_bytes().to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// Returns the public key in COSE format (WebAuthn, section 6.5.1; RFC 9053, section 7.1).
    fn public_key(&self) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let head = [0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32];
        [&head, &point[1..33], &[0x22, 0x58, 32], &point[33..]].concat()
    }

    /// Creates a passkey and returns the result of `navigator.credentials.create`.
    fn create(&mut self, body: &Value) -> Value {
        let options = &body["options"];
        options["user"]["id"].as_str().unwrap().clone_into(&mut self.user);
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let data = [&self.data(self.flags | WITH_KEY)[..], &[0; 16], &length, &self.id, &self.public_key()].concat();
        // The CBOR of {"fmt": "none", "attStmt": {}, "authData": …}.
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        object.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        object.extend(data);
        json!({
            "id": base64(&self.id), "rawId": base64(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64(self.client_data("webauthn.create", options)),
                "attestationObject": base64(object), "transports": ["internal"],
            },
        })
    }

    /// Signs a challenge and returns the result of `navigator.credentials.get`.
    fn get(&mut self, body: &Value) -> Value {
        self.counter += 1;
        self.sign(body)
    }

    fn sign(&self, body: &Value) -> Value {
        let client_data = self.client_data("webauthn.get", &body["options"]);
        let data = self.data(self.flags);
        let mut signed = [&data[..], Sha256::digest(&client_data).as_bytes()].concat();
        if self.signs_wrong_data {
            signed[40] ^= 1;
        }
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": base64(&self.id), "rawId": base64(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64(client_data), "authenticatorData": base64(data),
                "signature": base64(signature), "userHandle": self.user,
            },
        })
    }
}

impl AccountsApp {
    /// Adds a passkey to a user.
    async fn add(&self, signed: &SignedInUser, device: &mut TestAuthenticator) -> TestResponse {
        let body = self.client(signed).post(format!("{PASSKEYS}/start"), json!({})).await.expect(200).json();
        let made = device.create(&body);
        let body = json!({ "ceremony": body["ceremony"], "credential": made, "name": " Laptop " });
        self.client(signed).post(format!("{PASSKEYS}/finish"), body).await
    }

    /// Creates a signed-in user with a passkey.
    async fn with_passkey(&self, email: &str) -> (SignedInUser, TestAuthenticator) {
        self.registered(email).await;
        let (signed, mut device) = (self.signed_in(email).await, TestAuthenticator::new());
        self.add(&signed, &mut device).await.expect(201);
        _ = self.take_mails().await;
        (signed, device)
    }

    /// Returns the options of a sign-in by passkey.
    async fn sign_in_options(&self) -> Value {
        self.post("passkeys/start", json!({})).await.expect(200).json()
    }

    async fn show(&self, body: &Value, shown: Value) -> TestResponse {
        self.post("passkeys/finish", json!({ "ceremony": body["ceremony"], "credential": shown })).await
    }

    async fn sign_in_with(&self, device: &mut TestAuthenticator) -> TestResponse {
        let body = self.sign_in_options().await;
        let shown = device.get(&body);
        self.show(&body, shown).await
    }

    /// Returns whether the session has two factors: then the route returns 409, because the user has no TOTP.
    async fn is_two_factors(&self, signed: &SignedInUser) -> bool {
        match self.client(signed).post(format!("{APP}/mfa/recovery-codes"), json!({})).await.status.as_u16() {
            409 => true,
            status => {
                assert_eq!(status, 401);
                false
            }
        }
    }

    async fn list(&self, signed: &SignedInUser) -> Vec<Value> {
        let body = self.client(signed).get(PASSKEYS).await.expect(200).json();
        body["items"].as_array().unwrap().clone()
    }

    async fn id_of_me(&self, signed: &SignedInUser) -> UserId {
        self.client(signed).get(ME).await.expect(200).json()["id"].as_str().unwrap().parse().unwrap()
    }
}

on_each_database! {
    async fn an_operator_takes_a_lost_passkey_away(database: TestDatabase) {
        let post = start(database).await;
        let (ada, mut laptop) = post.with_passkey(ADA).await;
        let me = post.id_of_me(&ada).await;
        SignedInUser::of(post.sign_in_with(&mut laptop).await);
        let users: Users = post.app.app().context().get().unwrap();
        let mut new = NewUser::with_email("boss@example.com");
        new.operator = true;
        let boss = crate::support::sign_in(&post.app, users.create(new).await.unwrap()).await;
        let operator = crate::support::client(&post.app, &boss);
        let challenge = post.login(ADA, PASSWORD).await;
        let challenge = if challenge.status == 202 { challenge.json()["challenge"].clone() } else { Value::Null };

        let reset = || operator.post(format!("/api/v1/admin/users/{me}/reset-factors"), json!({}));
        let done = reset().await.expect(200).json();
        assert_eq!((&done["totp"], &done["passkeys"]), (&json!(false), &json!(1)), "{done}");
        post.client(&ada).get(ME).await.expect(401);
        post.sign_in_with(&mut laptop).await.expect(401);
        if !challenge.is_null() {
            post.post("mfa/passkey/start", json!({ "challenge": challenge })).await.expect_error(400, "TOKEN_INVALID");
        }
        // The password is enough, and another passkey can be added.
        let again = post.signed_in(ADA).await;
        assert!(post.list(&again).await.is_empty());
        post.add(&again, &mut TestAuthenticator::new()).await.expect(201);
        let told = post.take_mails().await;
        assert!(told.iter().any(|mail| to(mail) == ADA && text(mail).contains("An operator has removed")), "{told:?}");
        assert!(post.audit_actions().await.contains(&"user.factors_reset".to_owned()));
    }

    async fn a_passkey_signs_in_without_a_name_and_counts_as_two_factors(database: TestDatabase) {
        let post = start(database).await;
        post.registered(ADA).await;
        let (ada, mut laptop) = (post.signed_in(ADA).await, TestAuthenticator::new());
        let body = post.client(&ada).post(format!("{PASSKEYS}/start"), json!({})).await.expect(200).json();
        let options = &body["options"];
        assert_eq!(options["rp"], json!({ "id": "app.example.com", "name": "OmniStack app" }));
        assert_eq!(options["user"]["name"], ADA);
        assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
        assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
        assert_eq!((&options["attestation"], &body["expires_in"]), (&json!("none"), &json!(300)));

        let added = post.add(&ada, &mut laptop).await.expect(201).json();
        assert_eq!((&added["name"], &added["last_used_at"]), (&json!("Laptop"), &json!(null)));
        assert!(!post.is_two_factors(&ada).await, "adding one shows none");
        let told = post.take_mails().await;
        assert!(told.iter().any(|mail| mail.subject.contains("new passkey") && to(mail) == ADA), "{told:?}");

        let body = post.sign_in_options().await;
        assert_eq!(body["options"]["userVerification"], "required");
        assert_eq!(body["options"]["rpId"], "app.example.com");
        assert_eq!(body["options"]["allowCredentials"], json!([]), "nothing tells who there is");
        let signed = SignedInUser::of(post.sign_in_with(&mut laptop).await);
        assert_eq!(post.id_of_me(&signed).await, post.id_of_me(&ada).await);
        assert!(post.is_two_factors(&signed).await);
        let again = SignedInUser::of(post.refresh(&signed).await);
        assert!(post.is_two_factors(&again).await);
        let listed = post.list(&ada).await;
        assert_eq!((listed.len(), &listed[0]["id"]), (1, &added["id"]));
        assert!(listed[0]["last_used_at"].is_string());

        let path = format!("{PASSKEYS}/{}", added["id"].as_str().unwrap());
        let renamed = post.client(&ada).patch(&path, json!({ "name": "Work" })).await.expect(200).json();
        assert_eq!(renamed["name"], "Work");
        post.client(&ada).patch(&path, json!({ "name": "a\nb" })).await.expect(422);
        post.client(&ada).delete(&path).await.expect(204);
        post.client(&ada).delete(&path).await.expect(404);
        post.client(&ada).patch(&path, json!({ "name": "Work" })).await.expect(404);
        post.client(&signed).get(ME).await.expect(401);
        post.client(&ada).get(ME).await.expect(200);
        post.sign_in_with(&mut laptop).await.expect_error(401, "PASSKEY_REFUSED");
        assert!(post.take_mails().await.iter().any(|mail| mail.subject.contains("was removed")));
        let audited = post.audit_actions().await;
        for action in ["passkey_added", "passkey_renamed", "passkey_removed", "signed_in", "passkey_refused"] {
            assert!(audited.contains(&format!("account.{action}")), "{action}: {audited:?}");
        }
    }

    async fn synchronized_devices_have_no_counter_and_a_browser_gets_cookies(database: TestDatabase) {
        let post = start(database).await;
        let (_, mut phone) = post.with_passkey(ADA).await;
        for _ in 0..2 {
            let body = post.sign_in_options().await;
            let shown = phone.sign(&body);
            let body = json!({ "ceremony": body["ceremony"], "credential": shown, "mode": "cookie" });
            let request = || post.app.anonymous().post(format!("{PUBLIC}/passkeys/finish"), body.clone());
            // A request from another site does not use up the challenge.
            request().header("sec-fetch-site", "cross-site").await.expect_error(403, "CROSS_SITE_REQUEST");
            let answer = request().header("sec-fetch-site", "same-origin").await.expect(200);
            assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 3);
            assert!(answer.json().get("access_token").is_none());
        }
        // From here on the passkey is a second factor.
        SignedInUser::of(post.sign_in_with(&mut phone).await);
    }

    async fn a_passkey_is_the_second_factor_where_one_is_asked_for(database: TestDatabase) {
        let post = start(database).await;
        let (_, mut laptop) = post.with_passkey(ADA).await;
        // A passkey alone does not make a second factor required.
        let ada = post.signed_in(ADA).await;
        let phone = AuthenticatorApp::new(&post.client(&ada).post(format!("{APP}/mfa/totp"), json!({})).await.expect(200).json());
        let code = json!({ "code": phone.code(&post) });
        post.client(&ada).post(format!("{APP}/mfa/totp/confirm"), code).await.expect(204);

        let body = post.login(ADA, PASSWORD).await.expect(202).json();
        assert_eq!(body["methods"], json!(["totp", "passkey"]));
        let challenge = body["challenge"].clone();
        let start = |challenge: &Value| post.post("mfa/passkey/start", json!({ "challenge": challenge }));
        let body = start(&challenge).await.expect(200).json();
        let known = json!([{ "type": "public-key", "id": base64(&laptop.id) }]);
        assert_eq!(body["options"]["allowCredentials"], known);
        let finish = |challenge: &Value, body: &Value, shown: Value| {
            let body = json!({ "challenge": challenge, "ceremony": body["ceremony"], "credential": shown });
            post.post("mfa/passkey/finish", body)
        };
        let shown = laptop.get(&body);
        let signed = SignedInUser::of(finish(&challenge, &body, shown.clone()).await);
        post.client(&signed).post(format!("{APP}/mfa/recovery-codes"), json!({})).await.expect(200);
        finish(&challenge, &body, shown.clone()).await.expect_error(400, "TOKEN_INVALID");
        start(&challenge).await.expect_error(400, "TOKEN_INVALID");

        // Another user's passkey is not Ada's second factor, and neither is a response that Ada signed for another
        // purpose.
        _ = post.take_mails().await;
        let (_, mut other) = post.with_passkey("eve@example.com").await;
        let challenge = post.login(ADA, PASSWORD).await.expect(202).json()["challenge"].clone();
        let body = start(&challenge).await.expect(200).json();
        finish(&challenge, &body, other.get(&body)).await.expect_error(401, "SECOND_FACTOR_INVALID");
        let challenge = post.login(ADA, PASSWORD).await.expect(202).json()["challenge"].clone();
        let body = post.sign_in_options().await;
        finish(&challenge, &body, laptop.get(&body)).await.expect_error(400, "TOKEN_INVALID");
        let challenge = post.login(ADA, PASSWORD).await.expect(202).json()["challenge"].clone();
        let body = start(&challenge).await.expect(200).json();
        post.show(&body, laptop.get(&body)).await.expect_error(400, "TOKEN_INVALID");

        // A user with a second factor needs it to add another one.
        let user = post.id_of_me(&signed).await;
        let half = one_factor(&post, user).await;
        for begin in [format!("{PASSKEYS}/start"), format!("{APP}/mfa/totp")] {
            post.client(&half).post(begin, json!({})).await.expect_error(401, "SECOND_FACTOR_REQUIRED");
        }
    }

    async fn a_session_shows_a_passkey_where_more_is_asked(database: TestDatabase) {
        let post = start(database).await;
        let (ada, mut laptop) = post.with_passkey(ADA).await;
        post.app.clock().advance(11 * MINUTE);
        let ada = SignedInUser::of(post.refresh(&ada).await);
        let begin = || post.client(&ada).post(format!("{PASSKEYS}/start"), json!({}));
        begin().await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        let id = post.list(&ada).await[0]["id"].as_str().unwrap().to_owned();
        let remove = post.client(&ada).delete(format!("{PASSKEYS}/{id}"));
        remove.await.expect_error(401, "REAUTHENTICATION_REQUIRED");

        let verify = |step: &str, body: Value| post.client(&ada).post(format!("{PASSKEYS}/verify/{step}"), body);
        let (_, mut other) = post.with_passkey("eve@example.com").await;
        let body = verify("start", json!({})).await.expect(200).json();
        let shown = json!({ "ceremony": body["ceremony"], "credential": other.get(&body) });
        verify("finish", shown).await.expect(422);
        let body = verify("start", json!({})).await.expect(200).json();
        let shown = json!({ "ceremony": body["ceremony"], "credential": laptop.get(&body) });
        verify("finish", shown.clone()).await.expect(204);
        verify("finish", shown).await.expect_error(400, "TOKEN_INVALID");
        assert!(post.is_two_factors(&ada).await);
        let body = begin().await.expect(200).json();
        let excluded = json!([{ "type": "public-key", "id": base64(&laptop.id) }]);
        assert_eq!(body["options"]["excludeCredentials"], excluded);

        post.registered("joe@example.com").await;
        let joe = post.signed_in("joe@example.com").await;
        let start = post.client(&joe).post(format!("{PASSKEYS}/verify/start"), json!({}));
        start.await.expect_error(409, "NO_PASSKEY");
    }

    async fn the_last_way_in_stays(database: TestDatabase) {
        let post = start(database).await;
        // A user with neither password nor address, as created by a provider that returns no address.
        let users: Users = post.app.app().context().get().unwrap();
        let made = users.create(NewUser::default()).await.unwrap();
        let ada = one_factor(&post, made.user).await;
        let (mut laptop, mut phone) = (TestAuthenticator::new(), TestAuthenticator::new());
        let first = post.add(&ada, &mut laptop).await.expect(201).json()["id"].as_str().unwrap().to_owned();
        let remove = |id: &str| post.client(&ada).delete(format!("{PASSKEYS}/{id}"));
        remove(&first).await.expect_error(409, "LAST_SIGN_IN_METHOD");
        assert_eq!(post.list(&ada).await.len(), 1, "nothing has happened");
        let second = post.add(&ada, &mut phone).await.expect(201).json()["id"].as_str().unwrap().to_owned();
        remove(&first).await.expect(204);
        remove(&second).await.expect_error(409, "LAST_SIGN_IN_METHOD");
        SignedInUser::of(post.sign_in_with(&mut phone).await);
    }

    async fn a_user_has_twenty_and_an_address_that_is_theirs(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_VERIFIED_EMAIL", "false")).await;
        post.post("register", json!({ "email": "eve@example.com", "password": PASSWORD })).await.expect(202);
        let stranger = post.signed_in("eve@example.com").await;
        let begin = post.client(&stranger).post(format!("{PASSKEYS}/start"), json!({}));
        begin.await.expect_error(403, "EMAIL_NOT_VERIFIED");
        _ = post.take_mails().await;
        post.registered(ADA).await;
        let ada = post.signed_in(ADA).await;
        for _ in 0..20 {
            post.add(&ada, &mut TestAuthenticator::new()).await.expect(201);
        }
        post.add(&ada, &mut TestAuthenticator::new()).await.expect_error(409, "TOO_MANY_PASSKEYS");
        let export = post.client(&ada).post(format!("{ME}/export"), json!({})).await.expect(200).json();
        assert_eq!(export["passkeys"].as_array().unwrap().len(), 20);
        assert!(!export.to_string().contains("credential"), "{export}");
    }
}

/// Signs in a user with one factor.
async fn one_factor(post: &AccountsApp, user: UserId) -> SignedInUser {
    let sessions: Sessions = post.app.app().context().get().unwrap();
    let mut tx = post.app.db().begin().await.unwrap();
    let tokens =
        sessions.create_in(&mut tx, NewSession::new(user, omnistack_auth::model::Device::default())).await.unwrap();
    tx.commit().await.unwrap();
    SignedInUser {
        access: tokens.access.expose_secret().to_owned(),
        refresh: tokens.refresh.expose_secret().to_owned(),
        session: tokens.session.to_string(),
    }
}

#[tokio::test]
async fn without_a_domain_there_are_no_passkeys_and_this_machine_is_localhost() {
    for (url, domain) in [
        ("http://127.0.0.1:8080", Some("localhost")),
        ("http://[::1]:8080", Some("localhost")),
        ("http://localhost:3000", Some("localhost")),
        ("https://192.0.2.7", None),
    ] {
        let post = start_with(TestDatabase::sqlite(), |app| app.set("PUBLIC_URL", url)).await;
        let answer = post.post("passkeys/start", json!({})).await;
        match domain {
            Some(domain) => assert_eq!(answer.expect(200).json()["options"]["rpId"], domain, "{url}"),
            None => _ = answer.expect(404),
        }
    }
    let wider = |app: AppBuilder| app.set("AUTH_PASSKEY_DOMAIN", "example.com");
    let post = start_with(TestDatabase::sqlite(), wider).await;
    assert_eq!(post.sign_in_options().await["options"]["rpId"], "example.com");
}
