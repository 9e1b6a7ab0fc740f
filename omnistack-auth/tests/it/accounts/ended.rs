//! Tests that ending a user's sessions ends impersonations, and API keys if requested.

use omnistack_core::identity::UserId;
use omnistack_testkit::on_each_database;

use super::*;

const KEYS: &str = "/api/v1/app/api-keys";
/// The ways to end all other sessions.
const REVOCATIONS: [&str; 3] = ["sessions", "password", "reset"];

/// An operator with an API key who impersonates a user.
struct Operator {
    email: String,
    here: TestClient,
    key: TestClient,
    acting: TestClient,
    refresh: String,
}

impl AccountsApp {
    async fn user(&self, email: &str) -> UserId {
        let sql = "select id from omni_users where email = $1";
        self.app.db().query(sql).bind(email.to_owned()).fetch_one::<(UserId,)>().await.unwrap().0
    }

    /// Creates an API key for a caller and returns a client with it.
    async fn key(&self, caller: &TestClient) -> TestClient {
        let key = json!({ "name": "robot", "scopes": ["*:read"] });
        let key = caller.post(KEYS, key).await.expect(201).json();
        let key = self.app.client_with_token(key["secret"].as_str().unwrap());
        key.get(ME).await.expect(200);
        key
    }

    /// Creates an operator who impersonates a user.
    async fn operator(&self, name: &str, user: UserId) -> Operator {
        _ = self.take_mails().await;
        let email = format!("{name}@example.com");
        self.registered(&email).await;
        let sql = "update omni_users set operator = $1 where email = $2";
        self.app.db().query(sql).bind(true).bind(email.clone()).execute().await.unwrap();
        let here = self.client(&self.signed_in(&email).await);
        let body = json!({ "user_id": user, "reason": "asked for help in ticket 4711" });
        let tokens = here.post("/api/v1/admin/impersonate", body).await.expect(201).json();
        let acting = self.app.client_with_token(tokens["access_token"].as_str().unwrap());
        acting.get(ME).await.expect(200);
        let key = self.key(&here).await;
        _ = self.take_mails().await;
        Operator { email, here, key, acting, refresh: tokens["refresh_token"].as_str().unwrap().to_owned() }
    }

    /// Ends all other sessions of an operator.
    async fn end(&self, operator: &Operator, way: &str, revoke: bool) -> Value {
        let answer = match way {
            "sessions" => operator.here.delete(format!("{APP}/sessions?api_keys={revoke}")).await,
            "password" => {
                let body = json!({ "current_password": PASSWORD, "new_password": OTHER, "api_keys": revoke });
                operator.here.post(format!("{APP}/password"), body).await
            }
            _ => {
                self.post("forgot-password", json!({ "email": operator.email })).await.expect(202);
                let body = json!({ "token": self.token().await, "password": OTHER, "api_keys": revoke });
                self.post("reset-password", body).await
            }
        };
        answer.expect(200).json()
    }
}

on_each_database! {
    async fn a_sign_out_everywhere_shows_the_keys_and_ends_impersonations(database: TestDatabase) {
        let post = start(database).await;
        post.registered("eve@example.com").await;
        let eve = post.user("eve@example.com").await;
        for way in REVOCATIONS {
            let ada = post.operator(way, eve).await;
            let left = post.end(&ada, way, false).await;
            assert_eq!((&left["api_keys"][0]["name"], &left["api_keys_revoked"]), (&json!("robot"), &json!(0)), "{way}");
            assert_eq!(left["api_keys"].as_array().unwrap().len(), 1, "{way}");
            assert!(left["api_keys"][0].get("secret").is_none(), "{left}");
            ada.key.get(ME).await.expect(200);
            ada.acting.get(ME).await.expect(401);
            post.post("refresh", json!({ "refresh_token": ada.refresh })).await.expect(401);
        }
    }

    async fn a_sign_out_everywhere_revokes_the_keys_where_that_is_asked_for(database: TestDatabase) {
        let post = start(database).await;
        post.registered("eve@example.com").await;
        let eve = post.user("eve@example.com").await;
        let others = post.client(&post.signed_in("eve@example.com").await);
        let others = post.key(&others).await;
        for (turn, way) in REVOCATIONS.into_iter().enumerate() {
            let ada = post.operator(way, eve).await;
            let left = post.end(&ada, way, true).await;
            assert_eq!((&left["api_keys"], &left["api_keys_revoked"]), (&json!([]), &json!(1)), "{way}");
            ada.key.get(ME).await.expect(401);
            let audited = post.audit_actions().await;
            assert_eq!(audited.iter().filter(|action| *action == "api_key.revoked").count(), turn + 1, "{way}");
        }
        others.get(ME).await.expect(200);
    }

    async fn an_operator_signs_a_user_out_with_their_keys(database: TestDatabase) {
        let post = start(database).await;
        post.registered("eve@example.com").await;
        let eve = post.user("eve@example.com").await;
        let key = post.client(&post.signed_in("eve@example.com").await);
        let key = post.key(&key).await;
        let ada = post.operator("ada", eve).await;
        let path = format!("/api/v1/admin/users/{eve}/sessions");
        let left = ada.here.delete(&path).await.expect(200).json();
        assert_eq!((&left["ended"], &left["api_keys"][0]["name"]), (&json!(2), &json!("robot")));
        key.get(ME).await.expect(200);
        assert_eq!(ada.here.delete(format!("{path}?api_keys=true")).await.expect(200).json()["api_keys_revoked"], 1);
        key.get(ME).await.expect(401);
        ada.key.get(ME).await.expect(200);
    }

    async fn what_users_change_about_themselves_is_recorded(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let (here, other) = (post.signed_in("ada@example.com").await, post.signed_in("ada@example.com").await);
        let client = post.client(&here);
        client.patch(ME, json!({ "name": "Ada", "locale": null })).await.expect(200);
        client.delete(format!("{APP}/sessions/{}", other.session)).await.expect(204);
        client.delete(format!("{APP}/sessions/{}", other.session)).await.expect(404);
        let audited = post.audit_actions().await;
        for action in ["account.profile_changed", "account.session_ended"] {
            assert_eq!(audited.iter().filter(|audited| *audited == action).count(), 1, "{action}: {audited:?}");
        }
        let sql = "select details from omni_audit_entries where action = 'account.profile_changed'";
        let mut tx = post.app.db().all_tenants().begin_read().await.unwrap();
        let (details,): (String,) = tx.query(sql).fetch_one().await.unwrap();
        assert!(details.contains("\"name\"") && details.contains("\"locale\"") && !details.contains("picture"), "{details}");
    }
}
