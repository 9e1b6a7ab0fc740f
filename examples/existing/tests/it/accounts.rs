//! Tests of the customers of the shop with accounts.

use existing::{customers, with_accounts};
use omnistack::{auth::users::Users, identity::UserId};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{PASSWORD, shop};

on_each_database! {
    async fn customers_keep_their_ids_their_passwords_and_their_orders(database: TestDatabase) {
        let pool = shop(&database).await;
        let app = TestApp::start_with_auth(database, |app| {
            with_accounts(app, &pool).set("AUTH_ARGON2_MEMORY", "64").set("AUTH_ARGON2_PASSES", "1")
        })
        .await;
        let users: Users = app.app().context().get().unwrap();
        assert_eq!(customers::import(&users, &pool).await.unwrap(), 0, "the start has imported them");
        let login = |password: &str| json!({ "email": "ada@example.com", "password": password });
        let anonymous = app.anonymous();
        anonymous.post("/api/v1/public/auth/login", login("correct horse")).await.expect(401);
        let tokens = anonymous.post("/api/v1/public/auth/login", login(PASSWORD)).await.expect(200).json();
        let ada = app.client_with_token(tokens["access_token"].as_str().unwrap());
        let me = ada.get("/api/v1/app/users/me").await.expect(200).json();
        assert_eq!(me["id"], json!(UserId::from_number(1)));

        let select = app.db().query("select password_hash from omni_users where id = $1").bind(UserId::from_number(1));
        let (hash,): (String,) = select.fetch_one().await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");

        // The sessions of the shop are still valid for its old routes.
        let old = app.client_with_token("ada");
        old.request(omnistack::http::Method::POST, "/orders").body("tea").await.expect(201);
        ada.post("/api/v1/app/orders", json!({ "item": "coffee" })).await.expect(201);
        let orders = ada.get("/api/v1/app/orders").await.expect(200).json();
        assert_eq!((&orders[0]["item"], &orders[1]["item"]), (&json!("tea"), &json!("coffee")));
    }
}
