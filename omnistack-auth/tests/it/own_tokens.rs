//! Tests of attacks on the verification of the app's own access tokens.

use std::time::Duration;

use omnistack_core::ExposeSecret as _;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{
    issuers::{ME, NOW, TestKeyPair, base64, me, shared, with},
    support::{client, sessions, sign_in, start, user},
};

/// Returns the header and the claims of a token.
fn parts(token: &str) -> (Value, Value) {
    use ::base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

on_each_database! {
    async fn nobody_writes_one_of_their_own(database: TestDatabase) {
        let app = start(database).await;
        let (ada, eve) = (user(&app, "ada@example.com").await, user(&app, "eve@example.com").await);
        let (tokens, other) = (sign_in(&app, ada).await, sign_in(&app, eve).await);
        let good = tokens.access.expose_secret();
        me(&app, good).await.expect(200);
        let (header, claims) = parts(good);
        assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("at+jwt")));
        let (text, signature) = good.rsplit_once('.').unwrap();
        let (first, _) = text.split_once('.').unwrap();

        // Changed claims with the signature of a valid token.
        let mut attacks = Vec::new();
        for changes in [
            json!({ "sub": eve.user }),
            json!({ "sid": other.session }),
            json!({ "tenant": eve.tenant }),
            json!({ "exp": NOW + 1_000_000 }),
            json!({ "amr": ["mfa"] }),
            json!({ "act": { "sub": eve.user } }),
        ] {
            let changed = base64(with(claims.clone(), changes.clone()).to_string());
            attacks.push((format!("changed {changes}"), format!("{first}.{changed}.{signature}")));
        }
        // No signature, or the algorithm `none`.
        for alg in ["none", "None", "NONE", ""] {
            let unsigned = base64(with(header.clone(), json!({ "alg": alg })).to_string());
            let claims = base64(claims.to_string());
            attacks.push((format!("alg {alg}"), format!("{unsigned}.{claims}.")));
            attacks.push((format!("alg {alg}, signed"), format!("{unsigned}.{claims}.{signature}")));
        }
        for (what, signature) in [
            ("empty", String::new()),
            ("nothing but zeros", base64([0; 64])),
            ("cut short", signature[..signature.len() - 2].to_owned()),
            ("another's", other.access.expose_secret().rsplit_once('.').unwrap().1.to_owned()),
        ] {
            attacks.push((format!("a signature that is {what}"), format!("{text}.{signature}")));
        }
        // The public key used as a shared secret, in each of its encodings.
        let keys = app.anonymous().get("/.well-known/jwks.json").await.expect(200);
        let key = keys.json()["keys"][0].clone();
        let coordinate = |name: &str| key[name].as_str().unwrap().as_bytes().to_vec();
        let (x, y) = (coordinate("x"), coordinate("y"));
        for secret in [keys.text().as_bytes().to_vec(), key.to_string().into_bytes(), x.clone(), [x, y].concat()] {
            for alg in ["HS256", "HS512", "ES256"] {
                attacks.push((format!("the public key as a secret, {alg}"), shared(&secret, &with(header.clone(), json!({ "alg": alg })), &claims)));
            }
        }
        // Other keys, of the right and of other types, with any key id.
        for pair in [TestKeyPair::ec(), TestKeyPair::ed(), TestKeyPair::rsa()] {
            let kid = header["kid"].as_str().unwrap();
            attacks.push(("another's key".into(), pair.token(kid, &claims)));
            let own = with(header.clone(), json!({ "alg": pair.algorithm(), "jwk": pair.jwk(kid) }));
            attacks.push(("another's key in jwk".into(), pair.raw(&own.to_string(), &claims.to_string())));
            attacks.push(("another's key as ES256".into(), pair.raw(&header.to_string(), &claims.to_string())));
            for kid in ["../../../../dev/null", "' or '1'='1", "", "\u{0}", "http://127.0.0.1/keys"] {
                attacks.push((format!("kid {kid:?}"), pair.token(kid, &claims)));
            }
        }
        // Tokens that are valid for another purpose.
        attacks.push(("a refresh token".into(), tokens.refresh.expose_secret().to_owned()));
        attacks.push(("a session's id".into(), tokens.session.to_string()));
        for (what, token) in &attacks {
            let answer = me(&app, token).await;
            assert_eq!(answer.status.as_u16(), 401, "{what}: {}", answer.text());
        }
        assert!(attacks.len() > 50, "{}", attacks.len());
        // A token in the URL is not accepted, because logs could contain it (RFC 9700, section 4.3.2).
        app.anonymous().get(format!("{ME}?access_token={good}")).await.expect(401);
        me(&app, good).await.expect(200);
    }

    async fn one_is_good_in_its_own_app_for_its_own_time(database: TestDatabase) {
        let (app, neighbour) = (start(database).await, start(TestDatabase::sqlite()).await);
        let tokens = sign_in(&app, user(&app, "ada@example.com").await).await;
        let elsewhere = sign_in(&neighbour, user(&neighbour, "ada@example.com").await).await;
        me(&app, elsewhere.access.expose_secret()).await.expect(401);
        me(&neighbour, tokens.access.expose_secret()).await.expect(401);
        app.clock().advance(Duration::from_secs(10 * 60 - 1));
        client(&app, &tokens).get(ME).await.expect(200);
        app.clock().advance(Duration::from_secs(1));
        client(&app, &tokens).get(ME).await.expect(401);
        // A token is rejected after its session has ended, even before it expires.
        let next = sessions(&app).refresh(tokens.refresh.expose_secret()).await.unwrap();
        client(&app, &next).get(ME).await.expect(200);
        let body = json!({ "refresh_token": next.refresh.expose_secret() });
        app.anonymous().post("/api/v1/public/auth/logout", body).await.expect(204);
        client(&app, &next).get(ME).await.expect(401);
    }
}
