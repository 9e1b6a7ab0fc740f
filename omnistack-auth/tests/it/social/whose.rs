//! Tests of the account an identity is matched with.

use omnistack_auth::{
    Error,
    account::{SecondFactorSource, SecondFactors},
};
use omnistack_core::{
    ExposeSecret as _,
    identity::UserId,
    module::{Module, Registry},
};
use omnistack_testkit::on_each_database;

use super::*;
use crate::support;

on_each_database! {
    async fn nobody_gets_an_account_by_naming_its_address(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let app = start(database, acme.auth()).await;
        verified_user(&app, "ada@example.com").await;
        acme.sign_in(&app, json!({})).await.expect_error(409, "ACCOUNT_EXISTS");
        assert_eq!(count(&app, "select count(*) from omni_identities").await, 0);
        // An unverified address is neither matched nor stored.
        let back = acme.sign_in(&app, json!({ "email_verified": false })).await.expect(303);
        let ada = signed_in_user(&app, &back).await;
        assert_eq!(ada["email"], json!(null));
        assert_eq!(count(&app, "select count(*) from omni_users").await, 2);
    }

    async fn an_account_is_linked_where_both_sides_have_verified_the_address(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let auth = Auth::built_in().sign_in_with(acme.provider().link_verified_emails());
        let app = start(database, auth).await;
        // The user who registered the address has not verified it.
        let users: Users = app.app().context().get().unwrap();
        users.create(NewUser::with_email("eve@example.com")).await.unwrap();
        let eve = json!({ "sub": "eve", "email": "eve@example.com" });
        acme.sign_in(&app, eve).await.expect_error(409, "ACCOUNT_EXISTS");

        let made = verified_user(&app, "ada@example.com").await;
        let unsure = json!({ "email_verified": false, "sub": "unsure" });
        let other = acme.sign_in(&app, unsure).await.expect(303);
        assert_ne!(signed_in_user(&app, &other).await["id"], made.user.to_string());
        for _ in 0..2 {
            let back = acme.sign_in(&app, json!({})).await.expect(303);
            assert_eq!(signed_in_user(&app, &back).await["id"], made.user.to_string());
        }
        assert_eq!(audited(&app).await.iter().filter(|action| *action == "account.identity_linked").count(), 1);
    }

    async fn a_second_subject_with_a_linked_address_is_refused(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let auth = Auth::built_in().sign_in_with(acme.provider().link_verified_emails());
        let app = start(database, auth).await;
        let ada = verified_user(&app, "ada@example.com").await;
        let back = acme.sign_in(&app, json!({})).await.expect(303);
        assert_eq!(signed_in_user(&app, &back).await["id"], ada.user.to_string());
        // The provider has given the address to another user.
        let refused = acme.sign_in(&app, json!({ "sub": "the next user" })).await.expect_error(409, "ACCOUNT_EXISTS");
        assert!(jar(&refused).is_empty());
        assert_eq!(count(&app, "select count(*) from omni_identities").await, 1);
        assert_eq!(count(&app, "select count(*) from omni_users").await, 1);
    }

    async fn a_first_sign_in_needs_open_registration(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let auth = Auth::built_in().sign_in_with(acme.provider().link_verified_emails());
        let app = start_with(database, auth, |app| app.set("AUTH_REGISTRATION", "false")).await;
        acme.sign_in(&app, json!({})).await.expect_error(403, "FORBIDDEN");
        assert_eq!(count(&app, "select count(*) from omni_users").await, 0);
        // An account that exists is linked.
        let ada = verified_user(&app, "ada@example.com").await;
        let back = acme.sign_in(&app, json!({})).await.expect(303);
        assert_eq!(signed_in_user(&app, &back).await["id"], ada.user.to_string());
        assert_eq!(count(&app, "select count(*) from omni_users").await, 1);
    }

    async fn who_may_not_come_in_does_not(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let app = start(database, acme.auth()).await;
        acme.sign_in(&app, json!({})).await.expect(303);
        let locked = "update omni_users set disabled_at = created_at";
        app.db().query(locked).execute().await.unwrap();
        let answer = acme.sign_in(&app, json!({})).await.expect_error(403, "ACCOUNT_DISABLED");
        assert!(jar(&answer).is_empty());
    }

    async fn a_second_factor_is_asked_for_all_the_same(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let auth = Auth::built_in().sign_in_with(acme.provider().link_verified_emails());
        let app = start_with(database, auth, |app| app.with(TwoFactorSource)).await;
        verified_user(&app, "ada@example.com").await;
        for path in ["", "?return_to=%2Fa%26b"] {
            let away = depart_to(&app, "acme", path).await;
            acme.set_token(&away, &acme.pair.token("k", &acme.claims(&away, json!({ "amr": ["mfa"] }))));
            // The browser is signed in as another user.
            let eve = verified_user(&app, &format!("eve{}@example.com", path.len())).await;
            let before = support::sign_in(&app, eve).await;
            let eve = support::client(&app, &before);
            eve.get(ME).await.expect(200);
            let cookie = format!("{}; __Host-omnistack-refresh={}", away.cookie, before.refresh.expose_secret());
            let query = format!("state={}&code=good+code", away.get("state"));
            let back = away.back_with(&app, &query, &cookie).await.expect(303);
            eve.get(ME).await.expect(401);
            let taken = back.headers.get_all("set-cookie").iter().filter(|it| it.to_str().unwrap().contains("Max-Age=0"));
            assert_eq!(taken.count(), 3, "the way's, and both of the session before");
            assert!(jar(&back).is_empty() && clears_flow_cookie(&back), "the user is not signed in yet");
            let (page, parts) = location(&back).split_once('#').unwrap();
            assert_eq!(page, format!("{HOME}/auth/second-factor"));
            let part = |name: &str| {
                let mut parts = form_urlencoded::parse(parts.as_bytes());
                parts.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
            };
            assert_eq!(part("methods").as_deref(), Some("totp,passkey"));
            assert_eq!(part("return_to"), (!path.is_empty()).then(|| "/a&b".to_owned()));
            assert_eq!(part("expires_in").as_deref(), Some("300"));
            let accounts: omnistack_auth::account::Accounts = app.app().context().get().unwrap();
            let challenge = part("challenge").unwrap();
            let visitor = omnistack_auth::account::ClientInfo::default();
            accounts.complete_mfa(&challenge, &visitor, |_| async { Ok(true) }).await.unwrap();
            accounts.complete_mfa(&challenge, &visitor, |_| async { Ok(true) }).await.unwrap_err();
        }
        assert_eq!(count(&app, "select count(*) from omni_sessions where ended_at is null").await, 2);
    }
}

/// A second factor source with a factor for every user.
struct TwoFactorSource;

#[async_trait::async_trait]
impl SecondFactorSource for TwoFactorSource {
    async fn of(&self, _: UserId) -> Result<Vec<String>, Error> {
        Ok(vec!["totp".into(), "passkey".into()])
    }
}

impl Module for TwoFactorSource {
    fn name(&self) -> &'static str {
        "factors"
    }

    fn register(&self, registry: &mut Registry) {
        registry.provide(SecondFactors::new(TwoFactorSource));
    }
}
