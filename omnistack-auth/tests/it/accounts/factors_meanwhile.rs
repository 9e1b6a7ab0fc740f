//! Second factors that are added while somebody signs in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use omnistack_auth::account::{SecondFactorSource, SecondFactors};
use omnistack_core::{async_trait, identity::UserId};
use omnistack_testkit::on_each_database;
use tokio::sync::Notify;

use super::{second_factors::Phone, *};

const ADA: &str = "ada@example.com";

/// Holds a sign-in where it has just asked which second factors there are.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    closed: Arc<AtomicBool>,
    reached: Arc<Notify>,
    opened: Arc<Notify>,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Once somebody waits there.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn open(&self) {
        self.opened.notify_one();
    }
}

#[async_trait]
impl SecondFactorSource for Gate {
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
        let gate = Gate::default();
        let factors = SecondFactors::new(gate.clone());
        let post = start_with(database, |app| app.replace(factors)).await;
        for (email, by_link) in [(ADA, false), ("eve@example.com", true)] {
            post.registered(email).await;
            let signed = post.signed_in(email).await;
            let begun = post.client(&signed).post(format!("{APP}/mfa/totp"), json!({})).await.expect(200).json();
            let phone = Phone::new(&begun);
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
            _ = post.mails().await;
        }
        let (sessions,) = post.app.db().query("select count(*) from sessions where ended_at is null")
            .fetch_one::<(i64,)>().await.unwrap();
        assert_eq!(sessions, 2, "those that have confirmed");
    }
}
