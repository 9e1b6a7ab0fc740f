//! Tests of linking identities by signed-in users.

use std::time::Duration;

use omnistack_auth::session::TokenPair;
use omnistack_core::ExposeSecret as _;
use omnistack_testkit::{TestClient, on_each_database};

use super::{sign_in::github, *};
use crate::support;

async fn signed_in(app: &TestApp, email: &str) -> (CreatedUser, TokenPair, TestClient) {
    let made = verified_user(app, email).await;
    let tokens = support::sign_in(app, made).await;
    let client = support::client(app, &tokens);
    (made, tokens, client)
}

async fn depart_linking(client: &TestClient, provider: &str) -> OAuthFlow {
    let path = format!("{IDENTITIES}/{provider}/start?return_to=%2Fsettings");
    let answer = client.post(path, json!({})).await.expect(200);
    OAuthFlow::of(provider, answer.json()["url"].as_str().unwrap(), &answer)
}

impl MockOidcProvider {
    /// Links the client's user with this subject.
    async fn link(&self, app: &TestApp, client: &TestClient, subject: &str) -> TestResponse {
        let away = depart_linking(client, "acme").await;
        let claims = self.claims(&away, json!({ "sub": subject, "email": "somebody@example.com" }));
        self.set_token(&away, &self.pair.token("k", &claims));
        away.callback(app, "code=good+code").await
    }
}

on_each_database! {
    async fn an_account_is_linked_and_unlinked(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let (_upstream, hub) = github(json!([])).await;
        let app = start(database, acme.auth().sign_in_with(hub)).await;
        let (ada, tokens, client) = signed_in(&app, "ada@example.com").await;
        let (_, _, eve) = signed_in(&app, "eve@example.com").await;
        let linked = acme.link(&app, &client, "ada").await.expect(303);
        assert_eq!(location(&linked), format!("{HOME}/settings"));
        assert!(jar(&linked).is_empty() && clears_flow_cookie(&linked), "no session begins");
        acme.link(&app, &client, "ada").await.expect(303);
        acme.link(&app, &client, "ada again").await.expect_error(409, "PROVIDER_LINKED");
        acme.link(&app, &eve, "ada").await.expect_error(409, "IDENTITY_TAKEN");
        let list = client.get(IDENTITIES).await.expect(200).json();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        assert_eq!((&list["items"][0]["provider"], &list["items"][0]["subject"]), (&json!("acme"), &json!("ada")));
        assert_eq!(eve.get(IDENTITIES).await.expect(200).json()["items"], json!([]));
        let back = acme.sign_in(&app, json!({})).await.expect(303);
        let me = signed_in_user(&app, &back).await;
        assert_eq!((&me["id"], &me["email"]), (&json!(ada.user.to_string()), &json!("ada@example.com")));

        client.delete(format!("{IDENTITIES}/github")).await.expect_error(404, "NOT_FOUND");
        client.delete(format!("{IDENTITIES}/nobody")).await.expect_error(404, "NOT_FOUND");
        client.delete(format!("{IDENTITIES}/acme")).await.expect(204);
        // Sessions that the identity had created have ended, and it can't sign in any more.
        app.anonymous().get(ME).header("cookie", jar(&back)).await.expect(401);
        client.get(ME).await.expect(200);
        acme.sign_in(&app, json!({})).await.expect_error(409, "ACCOUNT_EXISTS");
        let actions = audited(&app).await;
        for action in ["account.identity_linked", "account.identity_unlinked"] {
            assert_eq!(actions.iter().filter(|known| *known == action).count(), 1, "{actions:?}");
        }

        // A mail is sent for each change.
        app.run_jobs().await;
        let mails = app.sent_mails().to("ada@example.com").template("notification");
        let subjects: Vec<_> = mails.iter().map(|mail| mail.subject.clone()).collect();
        assert!(subjects.iter().any(|subject| subject.contains("was linked with 127.0.0.1")), "{subjects:?}");
        assert!(subjects.iter().any(|subject| subject.contains("was unlinked from 127.0.0.1")), "{subjects:?}");

        // A thief with an old session can't change anything, because the sign-in is not fresh.
        app.clock().advance(Duration::from_secs(601));
        let old = support::sessions(&app).refresh(tokens.refresh.expose_secret()).await.unwrap();
        let client = support::client(&app, &old);
        let start = format!("{IDENTITIES}/acme/start");
        client.post(&start, json!({})).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        client.delete(format!("{IDENTITIES}/acme")).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        app.anonymous().post(&start, json!({})).await.expect(401);
    }

    async fn the_last_way_in_stays(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let (_upstream, hub) = github(json!([])).await;
        let app = start(database, acme.auth().sign_in_with(hub)).await;
        let cookie = jar(&acme.sign_in(&app, json!({ "email": null })).await.expect(303));
        let own = ("sec-fetch-site", "same-origin");
        let unlink = |provider: &str| {
            let request = app.anonymous().delete(format!("{IDENTITIES}/{provider}"));
            request.header("cookie", &cookie).header(own.0, own.1)
        };
        unlink("acme").await.expect_error(409, "LAST_SIGN_IN_METHOD");
        // Links another identity, with cookies.
        let start = app.anonymous().post(format!("{IDENTITIES}/github/start"), json!({})).header("cookie", &cookie);
        let answer = start.header(own.0, own.1).await.expect(200);
        let away = OAuthFlow::of("github", answer.json()["url"].as_str().unwrap(), &answer);
        away.callback(&app, "code=c").await.expect(303);
        let both = futures_util::future::join_all([unlink("acme").into_future(), unlink("github").into_future()]).await;
        let mut statuses: Vec<_> = both.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409], "one of two at once");
        assert_eq!(count(&app, "select count(*) from omni_identities").await, 1);
    }

    async fn a_way_to_link_ends_with_its_session(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let app = start(database, acme.auth()).await;
        let (made, tokens, client) = signed_in(&app, "ada@example.com").await;
        let away = depart_linking(&client, "acme").await;
        acme.set_token(&away, &acme.pair.token("k", &acme.claims(&away, json!({}))));
        support::sessions(&app).revoke(made.user, tokens.session).await.unwrap();
        away.callback(&app, "code=good+code").await.expect(401);
        assert_eq!(count(&app, "select count(*) from omni_identities").await, 0);
    }
}

#[tokio::test]
async fn nobody_is_linked_from_somebody_elses_page() {
    let acme = MockOidcProvider::start().await;
    let app = start(TestDatabase::sqlite(), acme.auth()).await;
    let cookie = jar(&acme.sign_in(&app, json!({})).await.expect(303));
    for site in ["cross-site", "same-site"] {
        let client = app.anonymous();
        let start = client.post(format!("{IDENTITIES}/acme/start"), json!({})).header("sec-fetch-site", site);
        start.header("cookie", &cookie).await.expect_error(403, "CROSS_SITE_REQUEST");
        let unlink = client.delete(format!("{IDENTITIES}/acme")).header("sec-fetch-site", site);
        unlink.header("cookie", &cookie).await.expect_error(403, "CROSS_SITE_REQUEST");
    }
}
