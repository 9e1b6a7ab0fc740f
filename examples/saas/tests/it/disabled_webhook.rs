//! Tests of webhooks in an app with accounts.

use std::time::Duration;

use omnistack::{
    ExposeSecret as _, ShutdownToken,
    auth::{
        model::Device,
        session::{NewSession, Sessions},
        users::{CreatedUser, NewUser, Users},
    },
    webhook::{WebhookEndpointDisabled, WebhookEvent as _, WebhookPublisher},
    webhooks::PaymentSucceeded,
};
use omnistack_testkit::{
    TestApp, TestClient, TestDatabase,
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use serde_json::json;

const ENDPOINTS: &str = "/api/v1/app/webhooks/endpoints";

/// Creates a user with a verified address.
pub(crate) async fn user(app: &TestApp, email: &str) -> CreatedUser {
    let users: Users = app.app().context().get().unwrap();
    let mut new = NewUser::with_email(email);
    new.email_verified = true;
    users.create(new).await.unwrap()
}

/// Signs a user in, in their own tenant.
pub(crate) async fn sign_in(app: &TestApp, made: CreatedUser) -> TestClient {
    let sessions: Sessions = app.app().context().get().unwrap();
    let mut tx = app.db().begin().await.unwrap();
    let session = NewSession::new(made.user, Device::default()).for_tenant(made.tenant);
    let tokens = sessions.create_in(&mut tx, session).await.unwrap();
    tx.commit().await.unwrap();
    app.client_with_token(tokens.access.expose_secret())
}

on_each_database! {
    async fn owners_get_a_mail_when_a_webhook_endpoint_is_disabled(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, |app| {
            saas::app(app).set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true").set("WEBHOOKS_POLL", "10ms")
        })
        .await;
        let (ada, eva) = (user(&app, "ada@example.com").await, user(&app, "eva@example.com").await);
        let bob = user(&app, "bob@example.com").await;
        let mut tx = app.db().tenant(ada.tenant).begin().await.unwrap();
        for (member, role) in [(eva.user, "owner"), (bob.user, "admin")] {
            let add = "insert into omni_members (tenant_id, user_id, role, created_at) values ($1, $2, $3, $4)";
            let add = tx.query(add).bind(ada.tenant).bind(member).bind(role).bind(app.clock().clock().now());
            add.execute().await.unwrap();
        }
        tx.query("update omni_users set locale = 'de' where id = $1").bind(eva.user).execute().await.unwrap();
        tx.commit().await.unwrap();

        let sink = MockServer::start().await;
        sink.expect_any().times(1).reply(MockResponse::status(410));
        let owner = sign_in(&app, ada).await;
        let url = format!("{}/hook?token=swordfish", sink.url());
        owner.post(ENDPOINTS, json!({ "url": url, "events": ["*"] })).await.expect_ok();
        let publisher: WebhookPublisher = app.app().context().get().unwrap();
        let mut tx = app.db().tenant(ada.tenant).begin().await.unwrap();
        publisher.publish_in(&mut tx, &PaymentSucceeded::example()).await.unwrap();
        tx.commit().await.unwrap();
        let mut disabled = app.events().subscribe::<WebhookEndpointDisabled>();
        let shutdown = ShutdownToken::new();
        let heard = async {
            let event = tokio::time::timeout(Duration::from_secs(20), disabled.recv()).await;
            shutdown.cancel();
            event.unwrap().unwrap()
        };
        let ((), event) = tokio::join!(app.app().run_workers(shutdown.clone()), heard);

        // What the workers have left.
        app.run_events().await;
        app.run_jobs().await;
        let mails = app.sent_mails().template("webhook_disabled");
        assert_eq!(mails.len(), 2);
        // Mail programs find no link in the host, which a member has entered.
        let host = "127. 0. 0. 1";
        let to_ada = mails.clone().to("ada@example.com");
        let mail = to_ada.last();
        let text = mail.text.clone().unwrap();
        assert_eq!(mail.subject, format!("Webhooks to {host} were disabled"));
        let parts = ["responded with the status 410".to_owned(), format!("- Host: {host}"), event.endpoint.to_string()];
        for part in parts.iter().map(String::as_str).chain(["Enable the endpoint"]) {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("swordfish") && !text.contains("/hook"), "{text}");
        let to_eva = mails.to("eva@example.com");
        assert_eq!(to_eva.last().subject, format!("Webhooks an {host} sind deaktiviert"));

        // An endpoint that an operator or its tenant disables causes no mail.
        let path = format!("{ENDPOINTS}/{}", event.endpoint);
        owner.patch(&path, json!({ "status": "enabled" })).await.expect_ok();
        owner.patch(&path, json!({ "status": "paused" })).await.expect_ok();
        app.run_events().await;
        app.run_jobs().await;
        assert_eq!(app.sent_mails().template("webhook_disabled").len(), 2);
    }
}
