//! Tests of second factors that are added during a sign-in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use omnistack_auth::{
    account::{SecondFactorSource, SecondFactors},
    users::{NewUser, Users},
};
use omnistack_core::{ExposeSecret as _, async_trait, db::Dialect, identity::UserId};
use omnistack_testkit::on_each_database;
use tokio::sync::Notify;

use super::{second_factors::AuthenticatorApp, *};
use crate::support;

const ADA: &str = "ada@example.com";

/// Holds a sign-in after it has read the user's second factors.
#[derive(Clone, Default)]
pub(crate) struct SignInGate {
    closed: Arc<AtomicBool>,
    reached: Arc<Notify>,
    opened: Arc<Notify>,
}

impl SignInGate {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Waits until a sign-in is held.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn open(&self) {
        self.opened.notify_one();
    }
}

#[async_trait]
impl SecondFactorSource for SignInGate {
    async fn of(&self, _: UserId) -> Result<Vec<String>, omnistack_auth::Error> {
        if self.closed.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
            self.opened.notified().await;
        }
        Ok(Vec::new())
    }
}

on_each_database! {
    async fn a_factor_that_is_confirmed_meanwhile_is_asked_for(database: TestDatabase) {
        let gate = SignInGate::default();
        let factors = SecondFactors::new(gate.clone());
        let post = start_with(database, |app| app.replace(factors)).await;
        for (email, by_link) in [(ADA, false), ("eve@example.com", true)] {
            post.registered(email).await;
            let signed = post.signed_in(email).await;
            let begun = post.client(&signed).post(format!("{APP}/mfa/totp"), json!({})).await.expect(200).json();
            let phone = AuthenticatorApp::new(&begun);
            let link = if by_link {
                post.post("magic-link", json!({ "email": email })).await.expect(202);
                Some(post.token().await)
            } else {
                None
            };
            let sign_in = async {
                match &link {
                    Some(token) => post.post("magic-link/verify", json!({ "token": token })).await,
                    None => post.login(email, PASSWORD).await,
                }
            };
            let confirm = async {
                gate.reached().await;
                let code = json!({ "code": phone.code(&post) });
                post.client(&signed).post(format!("{APP}/mfa/totp/confirm"), code).await.expect(204);
                gate.open();
            };
            gate.close();
            let (answer, ()) = tokio::join!(sign_in, confirm);
            assert_eq!(answer.expect(202).json()["methods"], json!(["totp"]), "{email}");
            _ = post.take_mails().await;
        }
        let (sessions,) = post.app.db().query("select count(*) from omni_sessions where ended_at is null")
            .fetch_one::<(i64,)>().await.unwrap();
        assert_eq!(sessions, 2, "those that have confirmed");
    }

    async fn a_factor_that_was_not_there_when_a_sign_in_looked_is_asked_for(database: TestDatabase) {
        let post = start(database).await;
        if post.app.db().dialect() != Dialect::Postgres {
            // On SQLite a write transaction waits for the previous one, and the test can't observe that.
            return;
        }
        post.registered(ADA).await;
        post.post("magic-link", json!({ "email": ADA })).await.expect(202);
        let token = post.token().await;
        // Locks the user's row, for which a sign-in waits once it has read the factors.
        let mut tx = post.app.db().begin().await.unwrap();
        let (holder,): (i32,) = tx.query("select pg_backend_pid()").fetch_one().await.unwrap();
        tx.query("select id from omni_users where email = $1 for update").bind(ADA).execute().await.unwrap();
        let confirm = async {
            let waiting = "select count(*) from pg_stat_activity where $1 = any(pg_blocking_pids(pid))";
            let it_waits = async {
                while post.app.db().query(waiting).bind(holder).fetch_one::<(i64,)>().await.unwrap().0 == 0 {}
            };
            tokio::time::timeout(MINUTE, it_waits).await.unwrap();
            let insert = "insert into omni_totp_secrets (user_id, secret, confirmed_at, last_step, created_at) \
                          select id, '', created_at, 0, created_at from omni_users where email = $1";
            tx.query(insert).bind(ADA).execute().await.unwrap();
            tx.commit().await.unwrap();
        };
        let sign_in = post.post("magic-link/verify", json!({ "token": token }));
        let (answer, ()) = tokio::join!(sign_in, confirm);
        assert_eq!(answer.expect(202).json()["methods"], json!(["totp"]));
    }

    async fn an_operator_takes_lost_factors_away(database: TestDatabase) {
        let post = start(database).await;
        post.registered(ADA).await;
        let ada = post.signed_in(ADA).await;
        let users: Users = post.app.app().context().get().unwrap();
        let mut new = NewUser::with_email("boss@example.com");
        new.operator = true;
        let boss = users.create(new).await.unwrap();
        let tokens = support::sign_in(&post.app, boss).await;
        let operator = support::client(&post.app, &tokens);
        let me = post.client(&ada).get(ME).await.expect(200).json()["id"].as_str().unwrap().to_owned();
        let reset = |who: &str| operator.post(format!("/api/v1/admin/users/{who}/reset-factors"), json!({}));
        reset(&me).await.expect_error(409, "NO_SECOND_FACTOR");
        reset(&boss.user.to_string()).await.expect_error(409, "OWN_ACCOUNT");
        reset("01900000-0000-7000-8000-00000000000a").await.expect_error(404, "NOT_FOUND");

        let begun = post.client(&ada).post(format!("{APP}/mfa/totp"), json!({})).await.expect(200).json();
        let phone = AuthenticatorApp::new(&begun);
        let code = json!({ "code": phone.code(&post) });
        post.client(&ada).post(format!("{APP}/mfa/totp/confirm"), code).await.expect(204);
        post.client(&ada).post(format!("{APP}/mfa/recovery-codes"), json!({})).await.expect(200);
        let challenge = post.login(ADA, PASSWORD).await.expect(202).json()["challenge"].clone();
        _ = post.take_mails().await;
        post.client(&ada).post(format!("/api/v1/admin/users/{me}/reset-factors"), json!({})).await.expect(403);
        let done = reset(&me).await.expect(200).json();
        assert_eq!((&done["totp"], &done["sessions"]), (&json!(true), &json!(1)));
        post.client(&ada).get(ME).await.expect(401);
        let told = post.take_mails().await;
        assert!(told.iter().any(|mail| to(mail) == ADA && text(mail).contains("An operator has removed")), "{told:?}");
        assert!(post.audit_actions().await.contains(&"user.factors_reset".to_owned()));
        // A sign-in that was started with the factor fails, and the password is enough.
        let body = json!({ "challenge": challenge, "code": phone.code(&post) });
        post.post("mfa", body).await.expect_error(400, "TOKEN_INVALID");
        SignedInUser::of(post.login(ADA, PASSWORD).await);

        post.app.clock().advance(16 * MINUTE);
        let next = support::sessions(&post.app).refresh(tokens.refresh.expose_secret()).await.unwrap();
        let later = support::client(&post.app, &next);
        let again = later.post(format!("/api/v1/admin/users/{me}/reset-factors"), json!({})).await;
        again.expect_error(401, "REAUTHENTICATION_REQUIRED");
    }
}
