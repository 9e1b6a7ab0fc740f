//! Tests of spellings of one mailbox: upper and lower case, and internationalized domains (RFC 5890).

use omnistack_auth::users::{NewUser, Users};
use omnistack_testkit::on_each_database;

use super::*;
use crate::teams::TEAMS;

const SPELLINGS: [&str; 3] = ["Ida@exämple.com", "ida@EXA\u{308}MPLE.com", " IDA@XN--exmple-cua.com "];
const NORMAL: &str = "ida@xn--exmple-cua.com";

on_each_database! {
    async fn one_mailbox_is_one_account(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let ada = post.client(&post.signed_in("ada@example.com").await);
        let team = ada.post(TEAMS, json!({ "name": "Acme" })).await.expect(201).json();
        let invitations = format!("{TEAMS}/{}/invitations", team["id"].as_str().unwrap());
        let invite = |email: &str| ada.post(&invitations, json!({ "email": email, "role": "viewer" }));

        // An invitation in one spelling prevents invitations in the others.
        let invited = invite(SPELLINGS[0]).await.expect(201).json();
        assert_eq!(invited["email"], NORMAL);
        for spelling in SPELLINGS {
            invite(spelling).await.expect_error(409, "ALREADY_INVITED");
        }
        let token = post.token().await;
        let body = json!({ "token": token, "password": PASSWORD, "name": "Ida" });
        post.post("invitation/register", body).await.expect(200);

        for spelling in SPELLINGS {
            post.login(spelling, PASSWORD).await.expect(200);
            for ask in ["forgot-password", "magic-link"] {
                post.post(ask, json!({ "email": spelling })).await.expect(202);
                let mails = post.take_mails().await;
                let sent: Vec<_> = mails.iter().filter(|mail| text(mail).contains("#token=")).map(to).collect();
                assert_eq!(sent, [NORMAL], "{ask} {spelling}");
            }
            post.post("register", json!({ "email": spelling, "password": OTHER })).await.expect(202);
            assert!(post.take_mails().await[0].subject.contains("have an account"), "{spelling}");
            invite(spelling).await.expect_error(409, "ALREADY_MEMBER");
            let users: Users = post.app.app().context().get().unwrap();
            assert!(users.create(NewUser::with_email(spelling)).await.is_err(), "{spelling}");
            assert_eq!(users.find_by_email(spelling).await.unwrap().unwrap().email.as_deref(), Some(NORMAL));
        }
        let change = json!({ "email": SPELLINGS[0], "password": PASSWORD });
        ada.post(format!("{APP}/email"), change).await.expect(202);
        assert!(post.take_mails().await[0].subject.contains("have an account"));
        // Wrong passwords count for one account.
        for round in 0..5 {
            post.login(SPELLINGS[round % 3], OTHER).await.expect(401);
        }
        post.login(NORMAL, PASSWORD).await.expect_error(429, "TOO_MANY_ATTEMPTS");
    }
}
