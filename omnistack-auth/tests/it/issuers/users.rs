//! Tests of the user of a token: provisioning, updates and linking.

use std::time::Duration;

use omnistack_auth::{
    Auth,
    issuer::Issuer,
    session::Sessions,
    users::{NewUser, Users},
};
use omnistack_core::{
    audit::{AuditFilter, AuditStore},
    db::{QueryEvent, QueryObserver},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{ME, NOW, TestKeyPair, claims, issuer, me, start, with};
use crate::support;

async fn count(app: &TestApp, table: &'static str) -> i64 {
    let sql = match table {
        "omni_users" => "select count(*) from omni_users",
        "omni_identities" => "select count(*) from omni_identities",
        "omni_tenants" => "select count(*) from omni_tenants",
        _ => unreachable!(),
    };
    app.db().query(sql).fetch_one::<(i64,)>().await.unwrap().0
}

/// Creates a user with a verified address. Returns the id.
async fn verified_user(app: &TestApp, email: &str) -> String {
    let users: Users = app.app().context().get().unwrap();
    let mut new = NewUser::with_email(email);
    new.email_verified = true;
    users.create(new).await.unwrap().user.to_string()
}

fn verified(issuer: &str, email: &str) -> Value {
    with(claims(issuer), json!({ "email": email, "email_verified": true, "name": "Ada Lovelace" }))
}

on_each_database! {
    async fn the_first_token_makes_the_user(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::jwks(upstream.url())).await;
        let first = with(verified(upstream.url(), " Ada@Example.com "), json!({
            "picture": "https://pictures.example.com/ada.png", "locale": "de_AT",
        }));
        let ada = me(&app, &pair.token("k", &first)).await.expect(200).json();
        assert_eq!(ada["email"], "ada@example.com");
        assert!(ada["email_verified_at"].is_string());
        assert_eq!((&ada["name"], &ada["locale"]), (&json!("Ada Lovelace"), &json!("de-AT")));
        assert_eq!(ada["permissions"], json!(["*"]));
        assert_eq!(ada["operator"], false);
        let same = me(&app, &pair.token("k", &with(first.clone(), json!({ "jti": "2" })))).await.expect(200).json();
        assert_eq!(same, ada);
        assert_eq!((count(&app, "omni_users").await, count(&app, "omni_tenants").await), (1, 1));

        // The same subject of another issuer is another user, and so is another subject of the same issuer.
        let other = with(claims(upstream.url()), json!({ "name": "\u{7}Eve\n", "email": "no address", "email_verified": true }));
        let eve = me(&app, &pair.token("k", &other)).await.expect(200).json();
        assert_ne!(eve["id"], ada["id"]);
        assert_eq!((&eve["name"], &eve["email"]), (&json!("Eve"), &json!(null)));

        let audit: AuditStore = app.app().context().get().unwrap();
        let tenant: omnistack_core::identity::TenantId = ada["tenant_id"].as_str().unwrap().parse().unwrap();
        let log = audit.list(&AuditFilter::for_chain(tenant), 10, None).await.unwrap();
        assert_eq!(log.items[0].action, "account.registered");
        assert_eq!(log.items[0].details.as_ref().unwrap()["issuer"], upstream.url());
    }

    async fn a_second_subject_with_a_linked_address_is_another_user(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::built_in().issuer(Issuer::jwks(upstream.url()).link_verified_emails())).await;
        let ada = verified_user(&app, "ada@example.com").await;
        let linked = me(&app, &pair.token("k", &verified(upstream.url(), "ada@example.com"))).await.expect(200).json();
        assert_eq!(linked["id"], ada);

        // The provider has given the address to another user.
        let recycled = me(&app, &pair.token("k", &verified(upstream.url(), "ada@example.com"))).await.expect(200).json();
        assert_ne!(recycled["id"], ada);
        assert_eq!(recycled["email"], json!(null));
        assert_eq!((count(&app, "omni_users").await, count(&app, "omni_identities").await), (2, 2));
        let audit: AuditStore = app.app().context().get().unwrap();
        for (user, action) in [(&linked, "account.identity_linked"), (&recycled, "account.registered")] {
            let tenant: omnistack_core::identity::TenantId = user["tenant_id"].as_str().unwrap().parse().unwrap();
            let log = audit.list(&AuditFilter::for_chain(tenant), 10, None).await.unwrap();
            assert_eq!(log.items[0].action, action);
        }
    }

    async fn a_first_token_needs_open_registration(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let auth = Auth::built_in().issuer(Issuer::jwks(upstream.url()).link_verified_emails());
        let app = TestApp::start_with_auth(database, |app| app.with(auth).set("AUTH_REGISTRATION", "false")).await;
        let token = pair.token("k", &verified(upstream.url(), "ada@example.com"));
        me(&app, &token).await.expect_error(403, "FORBIDDEN");
        assert_eq!((count(&app, "omni_users").await, count(&app, "omni_tenants").await), (0, 0));

        // An account that exists is linked.
        let ada = verified_user(&app, "ada@example.com").await;
        assert_eq!(me(&app, &token).await.expect(200).json()["id"], ada);
        me(&app, &pair.token("k", &verified(upstream.url(), "eve@example.com"))).await.expect_error(403, "FORBIDDEN");
        assert_eq!(count(&app, "omni_users").await, 1);
    }

    async fn what_is_said_later_counts_and_what_is_old_does_not(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::jwks(upstream.url())).await;
        let first = with(verified(upstream.url(), "ada@example.com"), json!({ "iat": NOW - 100 }));
        let said = |at: i64, more: Value| pair.token("k", &with(with(first.clone(), json!({ "iat": at })), more));
        me(&app, &said(NOW - 100, json!({}))).await.expect(200);
        let newer = me(&app, &said(NOW - 50, json!({ "name": "Countess", "email": "countess@example.com" }))).await.json();
        assert_eq!((&newer["name"], &newer["email"]), (&json!("Countess"), &json!("countess@example.com")));
        // An older token, as from another browser tab.
        let older = me(&app, &said(NOW - 80, json!({}))).await.json();
        assert_eq!(older["name"], "Countess");
        // An unverified address changes nothing.
        let unverified = json!({ "email": "eve@example.com", "email_verified": false, "name": "Countess" });
        let unverified = me(&app, &said(NOW - 40, unverified)).await.json();
        assert_eq!(unverified["email"], "countess@example.com");
        // The user's own changes are kept until the issuer sends a new value.
        let newest = said(NOW - 30, json!({ "name": "Countess" }));
        app.client_with_token(&newest).patch(ME, json!({ "name": "Ada" })).await.expect(200);
        let again = me(&app, &said(NOW - 20, json!({ "name": "Countess" }))).await.json();
        assert_eq!(again["name"], "Ada");
        assert_eq!(count(&app, "omni_users").await, 1);
    }

    async fn a_hundred_first_requests_make_one_user(database: TestDatabase) {
        let pair = TestKeyPair::ed();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::jwks(upstream.url())).await;
        for (round, more) in [json!({}), json!({ "email": "ada@example.com", "email_verified": true })].iter().enumerate() {
            let claims = with(claims(upstream.url()), more.clone());
            let requests = (0..100).map(|request| {
                // Each request has another token, so that none is cached.
                let client = app.client_with_token(pair.token("k", &with(claims.clone(), json!({ "jti": request }))));
                tokio::spawn(async move { client.get(ME).await })
            });
            let requests: Vec<_> = requests.collect();
            let mut ids = std::collections::HashSet::new();
            for request in requests {
                ids.insert(request.await.unwrap().expect(200).json()["id"].to_string());
            }
            assert_eq!(ids.len(), 1, "{more}");
            let expected = i64::try_from(round).unwrap() + 1;
            assert_eq!((count(&app, "omni_users").await, count(&app, "omni_tenants").await), (expected, expected));
        }
        // Of many subjects with one address, only one gets it.
        let requests = (0..20).map(|_| {
            let client = app.client_with_token(pair.token("k", &verified(upstream.url(), "shared@example.com")));
            tokio::spawn(async move { client.get(ME).await })
        });
        let requests: Vec<_> = requests.collect();
        let mut with_email = 0;
        for request in requests {
            with_email += usize::from(request.await.unwrap().expect(200).json()["email"] == "shared@example.com");
        }
        assert_eq!((with_email, count(&app, "omni_users").await), (1, 22));
    }

    async fn nobody_gets_an_account_by_its_address(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let (upstream, linking) = (issuer(&[pair.jwk("k")]).await, issuer(&[pair.jwk("k")]).await);
        let auth = Auth::jwks(upstream.url()).issuer(Issuer::jwks(linking.url()).link_verified_emails());
        let app = start(database, auth).await;
        let users: Users = app.app().context().get().unwrap();
        let mut owner = NewUser::with_email("ada@example.com");
        owner.email_verified = true;
        let ada = users.create(owner).await.unwrap();
        let unverified = users.create(NewUser::with_email("unverified@example.com")).await.unwrap();
        let unsaid = json!({ "email_verified": null });
        for (what, token_issuer, email, more, expected) in [
            ("another issuer's word", upstream.url(), "ada@example.com", json!({}), None),
            ("an address it doesn't vouch for", linking.url(), "ada@example.com", json!({ "email_verified": false }), None),
            ("an address it says nothing of", linking.url(), "ada@example.com", unsaid, None),
            ("an account that has not verified it", linking.url(), "unverified@example.com", json!({}), None),
            ("both have verified it", linking.url(), "ADA@example.com", json!({}), Some(ada.user)),
        ] {
            let token = pair.token("k", &with(verified(token_issuer, email), more));
            let me = me(&app, &token).await.expect(200).json();
            match expected {
                Some(user) => assert_eq!(me["id"], user.to_string(), "{what}"),
                None => {
                    assert_ne!(me["id"], ada.user.to_string(), "{what}");
                    assert_ne!(me["id"], unverified.user.to_string(), "{what}");
                    assert_eq!(me["email"], json!(null), "{what}");
                }
            }
        }
        // A later change to the address does not link the account either.
        let stranger = claims(upstream.url());
        me(&app, &pair.token("k", &stranger)).await.expect(200);
        let later = with(stranger, json!({ "email": "ada@example.com", "email_verified": true, "iat": NOW }));
        let stranger = me(&app, &pair.token("k", &later)).await.expect(200).json();
        assert_eq!(stranger["email"], json!(null));
    }

    async fn an_address_nobody_verified_is_not_reserved(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let (upstream, trusted) = (issuer(&[pair.jwk("k")]).await, issuer(&[pair.jwk("k")]).await);
        let auth = Auth::jwks(upstream.url()).issuer(Issuer::jwks(trusted.url()).trust_emails());
        let app = start(database, auth).await;
        let unsaid = |issuer: &str| with(claims(issuer), json!({ "email": "ada@example.com" }));
        let eve = me(&app, &pair.token("k", &unsaid(upstream.url()))).await.expect(200).json();
        assert_eq!(eve["email"], json!(null));
        let ada = me(&app, &pair.token("k", &unsaid(trusted.url()))).await.expect(200).json();
        assert_eq!(ada["email"], "ada@example.com");
        // The address is normalized, whatever spelling the issuer uses.
        let ida = with(claims(trusted.url()), json!({ "sub": "ida", "email": "Ida@exämple.com" }));
        let ida = me(&app, &pair.token("k", &ida)).await.expect(200).json();
        assert_eq!(ida["email"], "ida@xn--exmple-cua.com");
    }

    async fn the_app_s_own_tokens_are_good_beside_them(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::built_in().issuer(Issuer::jwks(upstream.url()))).await;
        let own = support::user(&app, "ada@example.com").await;
        let tokens = support::sign_in(&app, own).await;
        support::client(&app, &tokens).get(ME).await.expect(200);
        me(&app, &pair.token("k", &claims(upstream.url()))).await.expect(200);
    }

    async fn the_tenant_and_the_end_are_the_app_s(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::jwks(upstream.url())).await;
        let other = support::user(&app, "eve@example.com").await;
        let token = pair.token("k", &with(claims(upstream.url()), json!({ "tenant": other.tenant, "operator": true })));
        let ada = me(&app, &token).await.expect(200).json();
        assert_ne!(ada["tenant_id"], other.tenant.to_string());
        app.client_with_token(&token).get("/api/v1/admin/jobs").await.expect(403);
        for (tenant, status) in [
            (ada["tenant_id"].as_str().unwrap().to_owned(), 200),
            (other.tenant.to_string(), 403),
            ("acme".into(), 400),
        ] {
            let answer = app.client_with_token(&token).get(ME).header("x-tenant-id", &tenant).await;
            assert_eq!(answer.status.as_u16(), status, "{tenant}");
        }
        // The user is a viewer in another tenant.
        let user: omnistack_core::identity::UserId = ada["id"].as_str().unwrap().parse().unwrap();
        let mut tx = app.db().all_tenants().begin().await.unwrap();
        let sql = "insert into omni_members (tenant_id, user_id, role, created_at) values ($1, $2, 'viewer', $3)";
        let now = app.clock().clock().now();
        tx.query(sql).bind(other.tenant).bind(user).bind(now).execute().await.unwrap();
        tx.commit().await.unwrap();
        let viewer = app.client_with_token(&token).get(ME).header("x-tenant-id", other.tenant.to_string()).await.expect(200);
        assert_eq!(viewer.json()["permissions"], json!(["*:read"]));

        // The app's own data decides who is an operator and who is disabled. Changes apply once the cache is
        // invalidated.
        let sessions: Sessions = app.app().context().get().unwrap();
        app.db().query("update omni_users set operator = $2 where id = $1").bind(user).bind(true).execute().await.unwrap();
        sessions.invalidate_user(user).await;
        app.client_with_token(&token).get("/api/v1/admin/jobs").await.expect(200);
        app.db().query("update omni_users set disabled_at = $2 where id = $1").bind(user).bind(now).execute().await.unwrap();
        me(&app, &token).await.expect(200);
        sessions.invalidate_user(user).await;
        me(&app, &token).await.expect(401);
    }

    async fn who_is_known_costs_no_query(database: TestDatabase) {
        let pair = TestKeyPair::ec();
        let upstream = issuer(&[pair.jwk("k")]).await;
        let app = start(database, Auth::jwks(upstream.url())).await;
        let token = pair.token("k", &verified(upstream.url(), "ada@example.com"));
        me(&app, &token).await.expect(200);
        let queries = Queries::default();
        app.db().observe(queries.clone());
        let authenticator: omnistack_core::identity::Authenticator = app.app().context().get().unwrap();
        let request = http::Request::builder().header("authorization", format!("Bearer {token}")).body(()).unwrap();
        let (request, ()) = request.into_parts();
        for _ in 0..10 {
            authenticator.authenticate(&request).await.unwrap().unwrap();
        }
        assert_eq!(queries.count(), 0);
        // After a minute the user is read again: one query in its transaction.
        app.clock().advance(Duration::from_secs(60));
        authenticator.authenticate(&request).await.unwrap().unwrap();
        assert!((1..=3).contains(&queries.count()), "{}", queries.count());
    }
}

#[derive(Clone, Debug, Default)]
struct Queries(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Queries {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl QueryObserver for Queries {
    fn observe(&self, _: QueryEvent<'_>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}
