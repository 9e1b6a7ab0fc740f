//! Tests of users' changes of their own accounts.

use omnistack_auth::{
    model::Device,
    session::{NewSession, Sessions},
};
use omnistack_core::{ExposeSecret as _, identity::UserId};
use omnistack_testkit::on_each_database;

use super::*;

on_each_database! {
    async fn a_changed_password_ends_all_other_sessions(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let (phone, laptop) = (post.signed_in("ada@example.com").await, post.signed_in("ada@example.com").await);
        post.client(&phone).get(ME).await.expect(200);
        _ = post.take_mails().await;
        for (body, field) in [
            (json!({ "current_password": OTHER, "new_password": "a horse of another colour" }), "current_password"),
            (json!({ "new_password": "a horse of another colour" }), "current_password"),
            (json!({ "current_password": PASSWORD, "new_password": "too short" }), "new_password"),
            (json!({ "current_password": PASSWORD, "new_password": "ada@example.com ada" }), "new_password"),
        ] {
            let refused = post.client(&laptop).post(format!("{APP}/password"), &body).await;
            let fields = refused.expect_error(422, "VALIDATION_FAILED").json()["error"]["details"]["fields"].clone();
            assert_eq!(fields[0]["field"], field, "{body}");
        }
        let body = json!({ "current_password": PASSWORD, "new_password": OTHER });
        post.client(&laptop).post(format!("{APP}/password"), body).await.expect(200);
        post.client(&phone).get(ME).await.expect(401);
        post.refresh(&phone).await.expect(401);
        post.client(&laptop).get(ME).await.expect(200);
        post.login("ada@example.com", OTHER).await.expect(200);
        post.login("ada@example.com", PASSWORD).await.expect(401);
        assert!(post.take_mails().await.iter().any(|mail| mail.subject.contains("was changed")));
        assert!(post.audit_actions().await.contains(&"account.password_changed".to_owned()));
    }

    async fn a_stolen_session_has_few_guesses_at_the_password(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let thief = post.signed_in("ada@example.com").await;
        let mut answers = Vec::new();
        for route in ["password", "email", "password", "email", "password", "email", "password"] {
            let body = match route {
                "email" => json!({ "email": "eve@example.com", "password": OTHER }),
                _ => json!({ "current_password": OTHER, "new_password": "a horse of another colour" }),
            };
            answers.push(post.client(&thief).post(format!("{APP}/{route}"), body).await.status.as_u16());
        }
        assert_eq!(answers, [422, 422, 422, 422, 422, 429, 429]);
        assert!(post.take_mails().await.is_empty());
    }

    async fn a_new_address_is_confirmed_and_the_old_one_told(database: TestDatabase) {
        let post = start(database).await;
        for email in ["ada@example.com", "eve@example.com"] {
            post.registered(email).await;
        }
        let ada = post.signed_in("ada@example.com").await;
        let ask = |email: &str, password: &str| {
            let body = json!({ "email": email, "password": password });
            post.client(&ada).post(format!("{APP}/email"), body)
        };
        ask("new@example.com", OTHER).await.expect(422);
        ask("new", PASSWORD).await.expect(422);
        // The response for another user's address is the same as for a free one, and that user is notified.
        let free = comparable(&ask("new@example.com", PASSWORD).await);
        let mails = post.take_mails().await;
        assert_eq!(to(&mails[0]), "new@example.com");
        let token = token_of(&mails[0]);
        let other = ask("eve@example.com", PASSWORD).await;
        assert_eq!((comparable(&other), free.0), (free.clone(), 202));
        let mails = post.take_mails().await;
        assert_eq!((to(&mails[0]), mails[0].subject.contains("have an account")), ("eve@example.com", true));

        post.client(&ada).patch(ME, json!({ "locale": "de" })).await.expect(200);
        // A link that was sent to the old address before is invalid afterwards.
        post.post("magic-link", json!({ "email": "ada@example.com" })).await.expect(202);
        let magic = post.token().await;
        // The link needs the session of the account, because a stranger may have requested the change.
        let confirm = |client: &TestClient| client.post(format!("{APP}/email/confirm"), json!({ "token": token }));
        let eve = post.signed_in("eve@example.com").await;
        post.confirm(&token, PASSWORD).await.expect_error(400, "TOKEN_INVALID");
        confirm(&post.app.anonymous()).await.expect(401);
        confirm(&post.client(&eve)).await.expect_error(403, "LINK_ACCOUNT_MISMATCH");
        confirm(&post.client(&ada)).await.expect(204);
        confirm(&post.client(&ada)).await.expect_error(400, "TOKEN_INVALID");
        post.post("magic-link/verify", json!({ "token": magic })).await.expect_error(400, "TOKEN_INVALID");
        let told = post.take_mails().await;
        assert_eq!(to(&told[0]), "ada@example.com");
        assert!(text(&told[0]).contains("new@example.com"), "{}", text(&told[0]));
        assert!(told[0].html.as_deref().unwrap().contains("lang=\"de\""), "in the user's language");
        assert_eq!(post.client(&ada).get(ME).await.json()["email"], "new@example.com");
        post.login("ada@example.com", PASSWORD).await.expect(401);
        post.login("new@example.com", PASSWORD).await.expect(200);
    }

    async fn an_address_taken_meanwhile_is_not_given_twice(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let ada = post.signed_in("ada@example.com").await;
        let body = json!({ "email": "new@example.com", "password": PASSWORD });
        post.client(&ada).post(format!("{APP}/email"), body).await.expect(202);
        let token = post.token().await;
        post.registered("new@example.com").await;
        let confirm = post.client(&ada).post(format!("{APP}/email/confirm"), json!({ "token": token }));
        confirm.await.expect_error(409, "EMAIL_TAKEN");
        assert_eq!(post.client(&ada).get(ME).await.json()["email"], "ada@example.com");
    }

    async fn every_other_device_is_signed_out_at_once(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let here = post.signed_in("ada@example.com").await;
        let others = [post.signed_in("ada@example.com").await, post.signed_in("ada@example.com").await];
        for other in &others {
            post.client(other).get(ME).await.expect(200);
        }
        let ended = post.client(&here).delete(format!("{APP}/sessions")).await.expect(200).json();
        assert_eq!(ended["ended"], 2);
        for other in &others {
            post.client(other).get(ME).await.expect(401);
            post.refresh(other).await.expect(401);
        }
        let list = post.client(&here).get(format!("{APP}/sessions")).await.expect(200).json();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        assert_eq!(list["items"][0]["id"], here.session.as_str());
    }

    async fn an_operator_who_acts_as_a_user_changes_no_credentials(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        post.registered("root@example.com").await;
        let sql = "select id from omni_users where email = $1";
        let id = |email: &'static str| {
            let db = post.app.db().clone();
            async move { db.query(sql).bind(email).fetch_one::<(UserId,)>().await.unwrap().0 }
        };
        let (ada, root) = (id("ada@example.com").await, id("root@example.com").await);
        let sessions: Sessions = post.app.app().context().get().unwrap();
        let mut tx = post.app.db().begin().await.unwrap();
        let operator = "update omni_users set operator = $2 where id = $1";
        tx.query(operator).bind(root).bind(true).execute().await.unwrap();
        let mut sign_in = NewSession::new(ada, Device::default());
        sign_in.actor = Some((root, "a ticket".into()));
        let tokens = sessions.create_in(&mut tx, sign_in).await.unwrap();
        tx.commit().await.unwrap();
        let acting = post.app.client_with_token(tokens.access.expose_secret());
        acting.get(ME).await.expect(200);
        let password = json!({ "current_password": PASSWORD, "new_password": OTHER });
        let email = json!({ "email": "root2@example.com", "password": PASSWORD });
        acting.post(format!("{APP}/password"), password).await.expect(403);
        acting.post(format!("{APP}/email"), email).await.expect(403);
        acting.post(format!("{APP}/email/confirm"), json!({ "token": "omo_x" })).await.expect(403);
        acting.delete(ME).json(json!({ "password": PASSWORD })).await.expect(403);
        acting.post(format!("{ME}/export"), json!({})).await.expect(403);
        acting.delete(format!("{APP}/sessions")).await.expect(403);
        for path in ["totp", "totp/confirm", "verify"] {
            acting.post(format!("{APP}/mfa/{path}"), json!({ "code": "123456" })).await.expect(403);
        }
        acting.get(format!("{APP}/mfa")).await.expect(403);
    }
}
