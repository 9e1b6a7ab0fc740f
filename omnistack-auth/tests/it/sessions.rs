//! Tests of access tokens, refresh tokens and the end of sessions.

use std::time::Duration;

use futures_util::future::join_all;
use omnistack_auth::{
    Auth,
    model::Device,
    session::{NewSession, Sessions},
};
use omnistack_core::{
    ExposeSecret as _,
    app::App,
    async_trait,
    identity::Authenticator,
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::support::{client, sessions, sign_in, start, user};

const ME: &str = "/api/v1/app/users/me";

async fn refresh(app: &TestApp, token: &str) -> Result<(String, String), u16> {
    let answer = app.anonymous().post("/api/v1/public/auth/refresh", json!({ "refresh_token": token })).await;
    let body: Value = answer.json();
    match answer.status.as_u16() {
        200 => {
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            Ok((text("access_token"), text("refresh_token")))
        }
        status => Err(status),
    }
}

/// The module's own job, as its cron enqueues it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MaintenanceJob {}

#[async_trait]
impl Job for MaintenanceJob {
    const NAME: &'static str = "auth.run_maintenance";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

on_each_database! {
    async fn a_session_lets_its_user_in(database: TestDatabase) {
        let app = start(database).await;
        let ada = user(&app, "Ada@Example.com").await;
        let tokens = sign_in(&app, ada).await;
        let me = client(&app, &tokens).get(ME).await.expect(200).json();
        assert_eq!(me["email"], "ada@example.com");
        assert_eq!(me["name"], "ada");
        assert_eq!(me["tenant_id"], ada.tenant.to_string());
        assert_eq!(me["permissions"], json!(["*"]));
        assert!(me.get("password_hash").is_none());
        app.anonymous().get(ME).await.expect(401);

        let changed = client(&app, &tokens).patch(ME, json!({ "name": "Ada L.", "locale": "de-AT" })).await;
        assert_eq!(changed.expect(200).json()["locale"], "de-AT");
        client(&app, &tokens).patch(ME, json!({ "operator": true })).await.expect(422);
    }

    async fn an_access_token_ends_and_is_refreshed(database: TestDatabase) {
        let app = start(database).await;
        let tokens = sign_in(&app, user(&app, "ada@example.com").await).await;
        client(&app, &tokens).get(ME).await.expect(200);
        app.clock().advance(Duration::from_secs(10 * 60));
        client(&app, &tokens).get(ME).await.expect(401);
        let (access, next) = refresh(&app, tokens.refresh.expose_secret()).await.unwrap();
        app.client_with_token(&access).get(ME).await.expect(200);
        assert_ne!(next, tokens.refresh.expose_secret());
    }

    async fn two_tabs_get_the_same_successor_and_a_thief_ends_the_session(database: TestDatabase) {
        let app = start(database).await;
        let tokens = sign_in(&app, user(&app, "ada@example.com").await).await;
        let first = tokens.refresh.expose_secret();
        let (one, two) = tokio::join!(refresh(&app, first), refresh(&app, first));
        let ((_, one), (access, two)) = (one.unwrap(), two.unwrap());
        assert_eq!(one, two);
        app.client_with_token(&access).get(ME).await.expect(200);

        // After the grace period, use of the old token is refresh token reuse.
        app.clock().advance(Duration::from_secs(21));
        assert_eq!(refresh(&app, first).await, Err(401));
        assert_eq!(refresh(&app, &one).await, Err(401), "the family is revoked");
        app.client_with_token(&access).get(ME).await.expect(401);
    }

    async fn however_many_come_with_one_token_there_is_one_successor(database: TestDatabase) {
        let app = start(database).await;
        let tokens = sign_in(&app, user(&app, "ada@example.com").await).await;
        let first = tokens.refresh.expose_secret();
        let answers = join_all((0..20).map(|_| refresh(&app, first))).await;
        let next: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().1).collect();
        assert!(next.iter().all(|token| *token == next[0]), "{next:?}");

        // A thief with a copy of an old token and the owner refresh at once: in any order, the session ends for both.
        for turn in 0..10 {
            let tokens = sign_in(&app, user(&app, &format!("ada{turn}@example.com")).await).await;
            let (_, own) = refresh(&app, tokens.refresh.expose_secret()).await.unwrap();
            app.clock().advance(Duration::from_secs(21));
            let (stolen, owners) = tokio::join!(refresh(&app, tokens.refresh.expose_secret()), refresh(&app, &own));
            assert_eq!(stolen, Err(401));
            if let Ok((access, next)) = &owners {
                app.client_with_token(access).get(ME).await.expect(401);
                assert_eq!(refresh(&app, next).await, Err(401));
            }
            assert_eq!(refresh(&app, &own).await, Err(401));
        }
    }

    async fn a_made_up_token_ends_nothing(database: TestDatabase) {
        let app = start(database).await;
        let tokens = sign_in(&app, user(&app, "ada@example.com").await).await;
        let real = tokens.refresh.expose_secret();
        let last = if real.ends_with('A') { "B" } else { "A" };
        let forged = format!("{}{last}", &real[..real.len() - 1]);
        for wrong in ["", "omr_", "hello", &forged, &real.replace("omr_", "")] {
            assert_eq!(refresh(&app, wrong).await, Err(401), "{wrong}");
        }
        refresh(&app, real).await.unwrap();
    }

    async fn sessions_are_listed_and_ended_at_once(database: TestDatabase) {
        let app = start(database).await;
        let (ada, eve) = (user(&app, "ada@example.com").await, user(&app, "eve@example.com").await);
        let (phone, laptop, other) = (sign_in(&app, ada).await, sign_in(&app, ada).await, sign_in(&app, eve).await);
        let list = client(&app, &laptop).get("/api/v1/app/auth/sessions").await.expect(200).json();
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 2);
        let current: Vec<_> = items.iter().filter(|item| item["current"] == true).collect();
        assert_eq!(current[0]["id"], laptop.session.to_string());

        // The phone's session is cached now.
        client(&app, &phone).get(ME).await.expect(200);
        let path = |tokens: &omnistack_auth::session::TokenPair| format!("/api/v1/app/auth/sessions/{}", tokens.session);
        client(&app, &laptop).delete(path(&other)).await.expect(404);
        client(&app, &laptop).delete(path(&phone)).await.expect(204);
        client(&app, &laptop).delete(path(&phone)).await.expect(404);
        client(&app, &phone).get(ME).await.expect(401);
        assert_eq!(refresh(&app, phone.refresh.expose_secret()).await, Err(401));
        client(&app, &other).get(ME).await.expect(200);
    }

    async fn a_session_that_rests_or_grows_old_ends(database: TestDatabase) {
        let app = start(database).await;
        let ada = user(&app, "ada@example.com").await;
        let (resting, busy) = (sign_in(&app, ada).await, sign_in(&app, ada).await);
        let mut token = busy.refresh.expose_secret().to_owned();
        for _ in 0..4 {
            app.clock().advance(Duration::from_secs(22 * 24 * 60 * 60));
            token = refresh(&app, &token).await.unwrap().1;
        }
        assert_eq!(refresh(&app, resting.refresh.expose_secret()).await, Err(401), "30 days idle");
        app.clock().advance(Duration::from_secs(3 * 24 * 60 * 60));
        assert_eq!(refresh(&app, &token).await, Err(401), "90 days in all");
        assert!(sessions(&app).list(ada.user).await.unwrap().is_empty());
    }

    async fn a_tenant_is_chosen_by_header_among_ones_own(database: TestDatabase) {
        let app = start(database).await;
        let (ada, eve) = (user(&app, "ada@example.com").await, user(&app, "eve@example.com").await);
        let tokens = sign_in(&app, ada).await;
        for (tenant, status) in [
            (ada.tenant.to_string(), 200),
            (eve.tenant.to_string(), 403),
            ("01900000-0000-7000-8000-000000000000".into(), 403),
            ("acme".into(), 400),
        ] {
            let answer = client(&app, &tokens).get(ME).header("x-tenant-id", &tenant).await;
            assert_eq!(answer.status.as_u16(), status, "{tenant}");
        }
    }

    async fn the_key_set_verifies_and_rotates(database: TestDatabase) {
        let app = start(database).await;
        let tokens = sign_in(&app, user(&app, "ada@example.com").await).await;
        let keys = app.anonymous().get("/.well-known/jwks.json").await.expect(200).json();
        assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
        assert_eq!(keys["keys"][0]["kty"], "EC");
        assert!(keys["keys"][0].get("d").is_none());

        // A replica that starts later signs and verifies with the same key.
        let replica = replica(&app).await;
        let token = format!("Bearer {}", tokens.access.expose_secret());
        let (request, ()) = http::Request::builder().header("authorization", token).body(()).unwrap().into_parts();
        let authenticator: Authenticator = replica.context().get().unwrap();
        assert!(authenticator.authenticate(&request).await.unwrap().is_some());

        // The next key is published before it signs, and the old one stays published for the tokens it has signed.
        for (days, published) in [(91, 2), (0, 2), (1, 1)] {
            app.clock().advance(Duration::from_secs(days * 24 * 60 * 60));
            app.jobs().enqueue(MaintenanceJob {}).await.unwrap();
            app.run_jobs().await;
            let keys = app.anonymous().get("/.well-known/jwks.json").await.json();
            assert_eq!(keys["keys"].as_array().unwrap().len(), published, "after {days} days more");
        }
    }

    /// The hourly job runs in one process. The other processes run no jobs.
    async fn a_rotation_reaches_processes_that_run_no_jobs(database: TestDatabase) {
        let app = start(database).await;
        let ada = user(&app, "ada@example.com").await;
        let (one, two) = (replica(&app).await, replica(&app).await);
        let signing_key = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let sign_in_at = async |replica: &App| {
            let sessions: Sessions = replica.context().get().unwrap();
            let mut tx = replica.db().begin().await.unwrap();
            let tokens = sessions.create_in(&mut tx, NewSession::new(ada.user, Device::default())).await.unwrap();
            tx.commit().await.unwrap();
            tokens.access.expose_secret().to_owned()
        };
        let is_good_at = async |replica: &App, token: &str| {
            let bearer = format!("Bearer {token}");
            let (request, ()) = http::Request::builder().header("authorization", bearer).body(()).unwrap().into_parts();
            let authenticator: Authenticator = replica.context().get().unwrap();
            authenticator.authenticate(&request).await.is_ok_and(|caller| caller.is_some())
        };
        let first = signing_key(&sign_in_at(&one).await);
        // After the key's lifetime the next key is created. It signs an hour later, and an hour and a token's
        // lifetime after that the first key is deleted. A process that starts then has only the next key.
        for hours in [91 * 24, 2, 2] {
            app.clock().advance(Duration::from_secs(hours * 60 * 60));
            app.jobs().enqueue(MaintenanceJob {}).await.unwrap();
            app.run_jobs().await;
        }
        let late = replica(&app).await;
        for signs in [&one, &two, &late] {
            let token = sign_in_at(signs).await;
            assert_ne!(signing_key(&token), first, "a deleted key signs");
            for verifies in [&one, &two, &late] {
                assert!(is_good_at(verifies, &token).await);
            }
        }
    }

    async fn processes_that_start_first_at_once_make_one_signing_key(database: TestDatabase) {
        let app = start(database).await;
        for _ in 0..5 {
            app.db().query("delete from omni_signing_keys").execute().await.unwrap();
            join_all((0..4).map(|_| replica(&app))).await;
            let (keys,): (i64,) = app.db().query("select count(*) from omni_signing_keys").fetch_one().await.unwrap();
            assert_eq!(keys, 1);
        }
    }
}

/// Starts another process of the app, which runs no jobs.
async fn replica(app: &TestApp) -> App {
    let replica = App::builder(app.database().config()).clock(app.clock().clock()).with(Auth::built_in()).build();
    let replica = replica.unwrap();
    replica.start().await.unwrap();
    replica
}
