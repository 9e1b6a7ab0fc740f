//! Tests of mails that strangers can make the app send: their content and their number.

use std::time::Duration;

use omnistack_core::email::Email;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::{
    admin::operator,
    support::verified,
    teams::{TEAMS, Team},
};

const PUBLIC: &str = "/api/v1/public/auth";
const ME: &str = "/api/v1/app/users/me";
const VICTIM: &str = "victim@example.com";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Texts that are not valid names.
const INVALID_NAMES: &[&str] = &[
    "You won! Claim at http://evil.example/prize now",
    "evil.example/prize",
    "www.evil.example",
    "ada@evil.example",
    "192.0.2.7",
    "evil\u{200b}.com",
    "a\nb",
    "a\r\nBcc: eve@example.com",
    "a\u{2028}b",
    "a\u{1b}[31mb",
    "a\u{202e}b",
    "a\u{2066}b",
];

/// Returns the mails to the victim.
fn to_victim(mails: Vec<Email>) -> Vec<Email> {
    mails.into_iter().filter(|mail| mail.to[0].mailbox().starts_with("victim")).collect()
}

fn all_of(mail: &Email) -> String {
    format!(
        "{} {} {}",
        mail.subject,
        mail.text.as_deref().unwrap_or_default(),
        mail.html.as_deref().unwrap_or_default()
    )
}

on_each_database! {
    async fn names_hold_no_line_break_no_link_and_no_host(database: TestDatabase) {
        let team = Team::start(database).await;
        let (_, boss) = operator(&team.app, "boss@example.com").await;
        let owner = team.owner();
        for name in INVALID_NAMES.iter().copied().chain(["Acme, Inc. 2.0"]) {
            let is_name = name.starts_with("Acme");
            let register = json!({ "email": "new@example.com", "password": "correct horse battery", "name": name });
            let invited = json!({ "token": "omi_", "password": "correct horse battery", "name": name });
            let key = json!({ "name": name, "scopes": ["members:read"] });
            let in_team = ("x-tenant-id", team.id.to_string());
            for (what, request) in [
                ("register", team.app.anonymous().post(format!("{PUBLIC}/register"), register)),
                ("invited", team.app.anonymous().post(format!("{PUBLIC}/invitation/register"), invited)),
                ("profile", owner.patch(ME, json!({ "name": name }))),
                ("profile v2", owner.patch("/api/v2/app/users/me", json!({ "name": name }))),
                ("team", owner.post(TEAMS, json!({ "name": name }))),
                ("renamed team", owner.patch(team.path(""), json!({ "name": name }))),
                ("tenant", boss.post("/api/v1/admin/tenants", json!({ "name": name, "owner_id": team.members[0].0 }))),
                ("key", owner.post("/api/v1/app/api-keys", key).header(in_team.0, &in_team.1)),
            ] {
                let answer = request.await;
                let status = answer.status.as_u16();
                if is_name {
                    assert!(status < 400 || status == 404, "{what} {name:?}: {}", answer.text());
                    continue;
                }
                assert_eq!(status, 422, "{what} {name:?}: {}", answer.text());
                let problem = answer.json()["error"]["details"].to_string();
                assert!(problem.contains("name") && problem.contains("remove it"), "{what}: {problem}");
            }
        }
    }

    async fn no_mail_carries_a_link_in_a_name(database: TestDatabase) {
        let team = Team::start(database).await;
        // A name as an identity provider or an older version may have stored it.
        let evil = "Win evil.example/prize www.evil.example http://evil.example";
        let mut tx = team.app.db().app_database().all_tenants().begin().await.unwrap();
        for sql in ["update omni_users set name = $1", "update omni_tenants set name = $1"] {
            tx.query(sql).bind(evil.to_owned()).execute().await.unwrap();
        }
        tx.commit().await.unwrap();
        let invited = json!({ "email": VICTIM, "role": "viewer" });
        team.owner().post(team.path("/invitations"), invited).await.expect(201);
        for path in ["forgot-password", "magic-link"] {
            let body = json!({ "email": "owner@example.com" });
            team.app.anonymous().post(format!("{PUBLIC}/{path}"), body).await.expect(202);
        }
        team.app.run_jobs().await;
        let mails = team.outbox.take();
        assert_eq!(mails.len(), 3);
        for mail in &mails {
            let all = all_of(mail);
            for link in ["evil.example", "www.evil", "http://evil"] {
                assert!(!all.contains(link), "{link} in {all}");
            }
        }
        assert!(mails.iter().any(|mail| all_of(mail).contains("Win evil. example/prize")), "it is shown all the same");
    }

    async fn a_name_is_in_no_mail_to_an_address_nobody_has_confirmed(database: TestDatabase) {
        let team = Team::start(database).await;
        let register = json!({ "email": VICTIM, "password": "correct horse battery", "name": "Congratulations" });
        team.app.anonymous().post(format!("{PUBLIC}/register"), register).await.expect(202);
        for path in ["forgot-password", "magic-link"] {
            team.app.anonymous().post(format!("{PUBLIC}/{path}"), json!({ "email": VICTIM })).await.expect(202);
        }
        team.app.run_jobs().await;
        let mails = to_victim(team.outbox.take());
        assert_eq!(mails.len(), 3);
        assert!(mails.iter().all(|mail| !all_of(mail).contains("Congratulations")), "{mails:?}");
    }

    async fn a_default_name_is_no_host(database: TestDatabase) {
        let team = Team::start(database).await;
        let (made, _) = verified(&team.app, "www.evil.example@example.com").await;
        let (_, boss) = operator(&team.app, "boss@example.com").await;
        let user = boss.get(format!("/api/v1/admin/users/{}", made.user)).await.expect(200).json();
        assert_eq!(user["name"], "www evil example");
    }

    async fn one_mailbox_has_one_count_of_what_strangers_cause(database: TestDatabase) {
        let team = Team::start(database).await;
        let invite = async |email: &str| {
            team.owner().post(team.path("/invitations"), json!({ "email": email, "role": "viewer" })).await
        };
        let made = invite(VICTIM).await.expect(201).json();
        let resend = team.path(&format!("/invitations/{}/resend", made["id"].as_str().unwrap()));
        team.owner().post(&resend, ()).await.expect(200);
        // Another spelling and other kinds of mail count for the same mailbox.
        invite("victim+news@example.com").await.expect(201);
        let register = async |name: &str| {
            let body = json!({ "email": VICTIM, "password": "correct horse battery", "name": name });
            team.app.anonymous().post(format!("{PUBLIC}/register"), body).await.expect(202);
            team.app.run_jobs().await;
        };
        register("one").await;
        register("two").await;
        assert_eq!(to_victim(team.outbox.take()).len(), 5);

        let before: Value = team.owner().get(team.path("/invitations")).await.expect(200).json();
        for _ in 0..40 {
            let refused = team.owner().post(&resend, ()).await.expect_error(429, "TOO_MANY_MAILS");
            assert_eq!(refused.header("retry-after"), Some("3600"));
        }
        invite("victim+more@example.com").await.expect_error(429, "TOO_MANY_MAILS");
        register("three").await;
        assert_eq!(to_victim(team.outbox.take()).len(), 0);
        let after: Value = team.owner().get(team.path("/invitations")).await.expect(200).json();
        assert_eq!(after, before, "the links that were sent stay good, and no address was invited without a mail");

        // Other recipients and sign-in mails are not affected.
        invite("other@example.com").await.expect(201);
        for path in ["forgot-password", "magic-link"] {
            team.app.anonymous().post(format!("{PUBLIC}/{path}"), json!({ "email": VICTIM })).await.expect(202);
        }
        team.app.run_jobs().await;
        assert_eq!(to_victim(team.outbox.take()).len(), 2);

        // One more mail per hour is allowed.
        for _ in 0..2 {
            team.app.clock().advance(HOUR);
            team.app.anonymous().post(format!("{PUBLIC}/register"), json!({ "email": VICTIM, "password": "correct horse battery" })).await.expect(202);
            team.app.anonymous().post(format!("{PUBLIC}/register"), json!({ "email": VICTIM, "password": "correct horse battery" })).await.expect(202);
            team.app.run_jobs().await;
            assert_eq!(to_victim(team.outbox.take()).len(), 1);
        }
    }
}
