//! Tests of known attacks on token verification, through the router.

use omnistack_auth::{Auth, issuer::Issuer};
use omnistack_testkit::{TestDatabase, mock_server::MockServer, on_each_database};
use serde_json::{Value, json};

use super::{AUDIENCE, ME, NOW, TestKeyPair, base64, claims, fetches, issuer, me, shared, start, with};

const SECRET: &str = "a secret that is shared, of more than 32 bytes";
const SHARED: &str = "https://shared.example.com";

on_each_database! {
    async fn good_tokens_of_each_algorithm_are_good(database: TestDatabase) {
        let pairs = [("rsa", TestKeyPair::rsa()), ("ec", TestKeyPair::ec()), ("ed", TestKeyPair::ed())];
        let keys: Vec<_> = pairs.iter().map(|(kid, pair)| pair.jwk(kid)).collect();
        let upstream = issuer(&keys).await;
        let app = start(database, Auth::jwks(upstream.url()).issuer(Issuer::hs256(SHARED, SECRET))).await;
        for (kid, pair) in &pairs {
            let me = me(&app, &pair.token(kid, &claims(upstream.url()))).await.expect(200).json();
            assert_eq!(me["permissions"], json!(["*"]), "{kid}");
            assert!(me["tenant_id"].is_string());
        }
        me(&app, &shared(SECRET, &json!({ "alg": "HS256", "typ": "JWT" }), &claims(SHARED))).await.expect(200);
        // The algorithm name of RFC 9864, the type of RFC 9068, no type, and several audiences.
        let claims = claims(upstream.url());
        let several = with(claims.clone(), json!({ "aud": ["https://other.example.com", AUDIENCE] }));
        for (pair, header, claims) in [
            (&pairs[2].1, json!({ "alg": "Ed25519", "kid": "ed" }), &claims),
            (&pairs[1].1, json!({ "alg": "ES256", "kid": "ec", "typ": "at+jwt" }), &claims),
            (&pairs[1].1, json!({ "alg": "ES256", "kid": "ec", "typ": "application/at+jwt" }), &several),
            // Without a key id, only one key is possible.
            (&pairs[0].1, json!({ "alg": "RS256" }), &claims),
        ] {
            me(&app, &pair.raw(&header.to_string(), &claims.to_string())).await.expect(200);
        }
        assert_eq!(fetches(&upstream), 1, "one key set for all");
    }
}

/// The name of an attack, and the token.
type Attack = (&'static str, String);

fn header(pair: &TestKeyPair, more: Value) -> String {
    with(json!({ "alg": pair.algorithm(), "kid": "k", "typ": "JWT" }), more).to_string()
}

fn of_headers(pair: &TestKeyPair, other: &TestKeyPair, good: &Value, attacker: &str) -> Vec<Attack> {
    let text = good.to_string();
    let raw = |more: Value| pair.raw(&header(pair, more), &text);
    let own = other.jwk("k");
    let unsigned = |alg: &str| format!("{}.{}.", base64(json!({ "alg": alg, "kid": "k" }).to_string()), base64(&text));
    let jwk = other.raw(&header(other, json!({ "alg": "ES256", "jwk": own })), &text);
    let mut attacks = vec![
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg nOnE", unsigned("nOnE")),
        ("no alg", pair.raw(r#"{"kid":"k"}"#, &text)),
        ("alg of another type", pair.raw(r#"{"alg":["RS256"],"kid":"k"}"#, &text)),
        ("no signature", unsigned("RS256")),
        ("the key of another issuer", other.raw(&header(other, json!({})), &text)),
        ("signed by another, with the right alg", other.raw(&header(pair, json!({})), &text)),
        ("its own key in jwk", jwk),
        ("its own keys at jku", other.raw(&header(other, json!({ "jku": format!("{attacker}/jku") })), &text)),
        ("its own keys at x5u", other.raw(&header(other, json!({ "x5u": format!("{attacker}/x5u") })), &text)),
        ("its own certificate", other.raw(&header(other, json!({ "x5c": ["MIIB"] })), &text)),
        ("crit", raw(json!({ "crit": ["exp"], "exp": 1 }))),
        ("crit b64", raw(json!({ "crit": ["b64"], "b64": false }))),
        ("a logout token", raw(json!({ "typ": "logout+jwt" }))),
        ("a security event", raw(json!({ "typ": "secevent+jwt" }))),
        ("a DPoP proof", raw(json!({ "typ": "dpop+jwt" }))),
        ("typ of another type", raw(json!({ "typ": 1 }))),
        ("alg twice", pair.raw(r#"{"alg":"none","alg":"RS256","kid":"k"}"#, &text)),
        ("kid of another type", raw(json!({ "kid": 7 }))),
        ("kid that is empty", raw(json!({ "kid": "" }))),
        ("kid of 10 KB", raw(json!({ "kid": "k".repeat(10_000) }))),
        ("kid with a line", raw(json!({ "kid": "k\nk" }))),
    ];
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "k' or '1'='1",
        "k'; drop table omni_users; --",
        "http://127.0.0.1/",
        "k\u{0}",
    ] {
        attacks.push(("kid injection", raw(json!({ "kid": kid }))));
    }
    for alg in ["RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "HS256", "HS512", "rs256"] {
        attacks.push(("another alg in the header", raw(json!({ "alg": alg }))));
    }
    attacks
}

fn of_claims(pair: &TestKeyPair, good: &Value) -> Vec<Attack> {
    let token = |claims: &Value| pair.token("k", claims);
    let mut attacks = Vec::new();
    for (what, changes) in [
        ("expired", json!({ "exp": NOW - 10 })),
        ("expired long ago", json!({ "exp": 0 })),
        ("expired before there was time", json!({ "exp": i64::MIN })),
        ("nbf in the future", json!({ "nbf": NOW + 11 })),
        ("made in the future", json!({ "iat": NOW + 11 })),
        ("no exp", json!({ "exp": null })),
        ("no iss", json!({ "iss": null })),
        ("no sub", json!({ "sub": null })),
        ("no aud", json!({ "aud": null })),
        ("an empty sub", json!({ "sub": "" })),
        ("a sub of 300 bytes", json!({ "sub": "s".repeat(300) })),
        ("a sub with NUL", json!({ "sub": "s\u{0}" })),
        ("a sub that is a number", json!({ "sub": 1 })),
        ("another aud", json!({ "aud": "https://other.example.com" })),
        ("aud as a prefix", json!({ "aud": "http://127.0.0.1:80" })),
        ("an empty aud", json!({ "aud": [] })),
        ("an aud that is an object", json!({ "aud": { "0": AUDIENCE } })),
        ("another azp", json!({ "azp": "https://evil.example.com" })),
        ("an azp that is a list", json!({ "azp": ["web"] })),
        ("no azp", json!({ "azp": null })),
        ("another iss", json!({ "iss": "https://evil.example.com" })),
        ("the app as iss", json!({ "iss": AUDIENCE })),
        ("iss with a slash more", json!({ "iss": format!("{}/", good["iss"].as_str().unwrap()) })),
        ("an iss that is a list", json!({ "iss": [good["iss"]] })),
        ("an ID token, by nonce", json!({ "nonce": "n" })),
        ("an ID token, by at_hash", json!({ "at_hash": "h" })),
        ("a program's own token", json!({ "client_id": good["sub"] })),
        ("a program's own token, as Auth0 writes it", json!({ "gty": "client-credentials" })),
        ("an actor in the name of the user", json!({ "act": { "sub": "support" } })),
    ] {
        attacks.push((what, token(&with(good.clone(), changes))));
    }
    // CVE-2026-25537: an `exp` or `nbf` of the wrong type was ignored.
    for wrong in [
        json!("9999999999"),
        json!(9_999_999_999.0),
        json!([9_999_999_999_i64]),
        json!({}),
        json!(true),
        json!(u64::MAX),
    ] {
        attacks.push(("exp of the wrong type", token(&with(good.clone(), json!({ "exp": wrong })))));
        attacks.push(("nbf of the wrong type", token(&with(good.clone(), json!({ "nbf": wrong })))));
    }
    let text = good.to_string();
    let twice = |more: &str| pair.raw(&header(pair, json!({})), &format!("{},{more}}}", text.trim_end_matches('}')));
    attacks.extend([
        ("nbf null", twice(r#""nbf":null"#)),
        ("sub twice", twice(r#""sub":"admin""#)),
        ("exp twice", twice(r#""exp":9999999999"#)),
        ("aud twice", twice(&format!(r#""aud":"{AUDIENCE}""#))),
        ("claims that are a list", pair.raw(&header(pair, json!({})), &format!("[{text}]"))),
        ("claims that are no JSON", pair.raw(&header(pair, json!({})), "sub=admin")),
        ("claims and more", pair.raw(&header(pair, json!({})), &format!("{text} x"))),
        ("17 KB", token(&with(good.clone(), json!({ "padding": "p".repeat(13_000) })))),
        ("nested without end", twice(&format!(r#""deep":{}"#, "[".repeat(5_000)))),
    ]);
    let good = token(good);
    let parts: Vec<_> = good.split('.').collect();
    attacks.extend([
        ("a part too many", format!("{good}.x")),
        ("five parts", format!("{good}.x.y")),
        ("no dots", good.replace('.', "")),
        ("padded", format!("{}=.{}.{}", parts[0], parts[1], parts[2])),
        ("a signature cut short", good[..good.len() - 4].to_owned()),
        ("another's claims", format!("{}.{}.{}", parts[0], base64(text.replace("subject", "tcejbus")), parts[2])),
    ]);
    attacks
}

on_each_database! {
    async fn attacks_are_refused(database: TestDatabase) {
        let (pair, other) = (TestKeyPair::rsa(), TestKeyPair::ec());
        let upstream = issuer(&[pair.jwk("k")]).await;
        // This server must not be called: any request fails the test.
        let attacker = MockServer::start().await;
        let trusted = Issuer::jwks(upstream.url()).authorized_parties(["web"]);
        let app = start(database, Auth::built_in().issuer(trusted).issuer(Issuer::hs256(SHARED, SECRET))).await;
        let good = with(claims(upstream.url()), json!({ "azp": "web" }));
        me(&app, &pair.token("k", &good)).await.expect(200);

        let mut attacks = of_headers(&pair, &other, &good, attacker.url());
        attacks.extend(of_claims(&pair, &good));
        // The public key used as a shared secret, in each of its encodings.
        let jwk = pair.jwk("k");
        let TestKeyPair::Rsa(rsa) = &pair else { unreachable!() };
        let public = aws_lc_rs::signature::KeyPair::public_key(&**rsa).as_ref().to_vec();
        let secrets = [
            jwk.to_string().into_bytes(),
            jwk["n"].as_str().unwrap().as_bytes().to_vec(),
            base64_decoded(jwk["n"].as_str().unwrap()),
            public.clone(),
            pem(&public).into_bytes(),
        ];
        for secret in &secrets {
            attacks.push(("RS/HS confusion", shared(secret, &json!({ "alg": "HS256", "kid": "k", "typ": "JWT" }), &good)));
            attacks.push(("RS/HS confusion", shared(secret, &json!({ "alg": "RS256", "kid": "k", "typ": "JWT" }), &good)));
        }
        // The reverse: an issuer with a shared secret accepts no other algorithm.
        let of_shared = with(good.clone(), json!({ "iss": SHARED }));
        attacks.push(("RS256 where HS256 is meant", pair.token("k", &of_shared)));
        attacks.push(("a wrong secret", shared([7; 40], &json!({ "alg": "HS256" }), &of_shared)));
        attacks.push(("no secret", format!("{}.{}.", base64(r#"{"alg":"HS256"}"#), base64(of_shared.to_string()))));
        for alg in ["HS384", "HS512", "none"] {
            attacks.push(("another alg where HS256 is meant", shared(SECRET, &json!({ "alg": alg }), &of_shared)));
        }
        for (what, token) in &attacks {
            let answer = me(&app, token).await;
            assert_eq!(answer.status.as_u16(), 401, "{what}: {}", answer.text());
            let error = answer.json();
            assert_eq!(error["error"]["code"], "UNAUTHORIZED", "{what}");
            assert!(error["error"]["message"].as_str().unwrap().contains("not valid or has expired"), "{what}: {error}");
        }
        assert!(attacks.len() > 90, "{}", attacks.len());
        assert_eq!(attacker.requests().len(), 0);
        assert!(fetches(&upstream) <= 2, "{}", fetches(&upstream));
        // No user was created, and the valid token still works.
        let count: (i64,) = app.db().query("select count(*) from omni_users").fetch_one().await.unwrap();
        assert_eq!(count.0, 1);
        app.client_with_token(pair.token("k", &good)).get(ME).await.expect(200);
    }

    async fn the_clock_of_the_app_decides(database: TestDatabase) {
        let pair = TestKeyPair::ed();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::jwks(upstream.url())).await;
        let token = pair.token("k", &with(claims(upstream.url()), json!({ "nbf": NOW + 10, "iat": NOW + 10, "exp": NOW + 60 })));
        me(&app, &token).await.expect(200);
        app.clock().advance(std::time::Duration::from_secs(69));
        me(&app, &token).await.expect(200);
        app.clock().advance(std::time::Duration::from_secs(1));
        me(&app, &token).await.expect(401);
    }
}

fn base64_decoded(text: &str) -> Vec<u8> {
    use ::base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn pem(der: &[u8]) -> String {
    use ::base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", lines.join("\n"))
}
