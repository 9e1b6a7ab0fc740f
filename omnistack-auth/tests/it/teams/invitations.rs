//! Tests of invitations, from the mail to the membership.

use std::time::Duration;

use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{TEAMS, Team, token_of};
use crate::support::{client, sign_in, user, verified};

const ACCEPT: &str = "/api/v1/app/invitations/accept";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

async fn invite(team: &Team, email: &str, role: &str) -> Value {
    team.owner().post(team.path("/invitations"), json!({ "email": email, "role": role })).await.expect(201).json()
}

on_each_database! {
    async fn whoever_got_the_mail_joins_once(database: TestDatabase) {
        let team = Team::start(database).await;
        let made = invite(&team, "Ada@Example.com", "developer").await;
        assert_eq!((&made["email"], &made["role"]), (&json!("ada@example.com"), &json!("developer")));
        assert!(made.get("secret").is_none() && made.get("hash").is_none());
        team.app.run_jobs().await;
        let mails = team.outbox.take();
        let subject = "owner invites you to Acme";
        assert_eq!((mails.len(), mails[0].to[0].mailbox(), mails[0].subject.as_str()), (1, "ada@example.com", subject));
        let token = token_of(&mails[0]);

        // The mail was forwarded to another user, or to a user whose address is not verified.
        let refused = team.stranger.1.post(ACCEPT, json!({ "token": token })).await;
        refused.expect_error(403, "INVITATION_EMAIL_MISMATCH");
        let unverified = client(&team.app, &sign_in(&team.app, user(&team.app, "ada2@example.com").await).await);
        unverified.post(ACCEPT, json!({ "token": token })).await.expect_error(403, "INVITATION_EMAIL_MISMATCH");
        team.app.anonymous().post(ACCEPT, json!({ "token": token })).await.expect(401);

        let (ada, client) = verified(&team.app, "ada@example.com").await;
        client.get(team.path("")).await.expect(404);
        let joined = client.post(ACCEPT, json!({ "token": token })).await.expect(200).json();
        assert_eq!(joined, json!({ "tenant_id": team.id, "role": "developer" }));
        assert_eq!(client.get(team.path("")).await.expect(200).json()["role"], "developer");
        client.post(ACCEPT, json!({ "token": token })).await.expect_error(404, "INVITATION_INVALID");
        let teams = client.get(TEAMS).await.expect(200).json();
        assert_eq!(teams["items"].as_array().unwrap().len(), 2);
        let list = team.owner().get(team.path("/invitations")).await.expect(200).json();
        assert_eq!(list["items"], json!([]));
        let again = json!({ "email": "ada@example.com", "role": "viewer" });
        team.owner().post(team.path("/invitations"), again).await.expect_error(409, "ALREADY_MEMBER");
        let entries = team.owner().get(team.path("/activity?action=member.joined")).await.expect(200).json();
        assert_eq!(entries["items"][0]["actor"], ada.user.to_string());
    }

    async fn a_link_leads_to_the_app_whatever_the_request_says(database: TestDatabase) {
        let team = Team::start(database).await;
        let body = json!({ "email": "ada@example.com", "role": "viewer" });
        let request = team.owner().post(team.path("/invitations"), body);
        let headers = ["host", "x-forwarded-host", "x-original-host", "origin", "referer"];
        let request = headers.iter().fold(request, |request, name| request.header(name, "evil.example"));
        request.header("forwarded", "host=evil.example;proto=http").await.expect(201);
        team.app.run_jobs().await;
        let mail = team.outbox.take().pop().unwrap();
        let both = format!("{} {}", mail.text.unwrap(), mail.html.unwrap_or_default());
        assert!(!both.contains("evil") && both.contains("http://127.0.0.1:8080/"), "{both}");
    }

    async fn an_unverified_address_does_not_do(database: TestDatabase) {
        let team = Team::start(database).await;
        invite(&team, "ada@example.com", "admin").await;
        let token = team.token().await;
        let ada = client(&team.app, &sign_in(&team.app, user(&team.app, "ada@example.com").await).await);
        ada.post(ACCEPT, json!({ "token": token })).await.expect_error(403, "INVITATION_EMAIL_MISMATCH");
    }

    async fn a_link_is_over_when_it_is(database: TestDatabase) {
        let team = Team::start(database).await;
        let (_, ada) = verified(&team.app, "ada@example.com").await;
        let accept = async |token: &str| ada.post(ACCEPT, json!({ "token": token })).await.status.as_u16();
        for wrong in ["", "omi_", "hello", "omi_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(accept(wrong).await, 404, "{wrong}");
        }
        let made = invite(&team, "ada@example.com", "viewer").await;
        let path = team.path(&format!("/invitations/{}", made["id"].as_str().unwrap()));
        let first = team.token().await;
        let twice = json!({ "email": "ada@example.com", "role": "viewer" });
        team.owner().post(team.path("/invitations"), &twice).await.expect_error(409, "ALREADY_INVITED");

        // After a resend, only the later link works.
        team.owner().post(format!("{path}/resend"), ()).await.expect(200);
        let second = team.token().await;
        assert_ne!(first, second);
        assert_eq!(accept(&first).await, 404);
        team.owner().delete(&path).await.expect(204);
        assert_eq!(accept(&second).await, 404, "it was revoked");
        team.owner().delete(&path).await.expect(404);
        // If an invitation is revoked before its mail is sent, the mail is not sent.
        let made = invite(&team, "ada@example.com", "viewer").await;
        team.owner().delete(team.path(&format!("/invitations/{}", made["id"].as_str().unwrap()))).await.expect(204);
        team.app.run_jobs().await;
        assert!(team.outbox.take().is_empty());
    }

    async fn a_link_is_good_for_a_week(database: TestDatabase) {
        let team = Team::start(database).await;
        let (ada, _) = verified(&team.app, "ada@example.com").await;
        invite(&team, "ada@example.com", "viewer").await;
        let token = team.token().await;
        team.app.clock().advance(WEEK);
        let again = client(&team.app, &sign_in(&team.app, ada).await);
        again.post(ACCEPT, json!({ "token": token })).await.expect_error(404, "INVITATION_INVALID");
        // Another invitation can be created instead.
        let owner = omnistack_auth::users::CreatedUser { user: team.members[0].0, tenant: team.id };
        let owner = client(&team.app, &sign_in(&team.app, owner).await);
        let twice = json!({ "email": "ada@example.com", "role": "developer" });
        owner.post(team.path("/invitations"), &twice).await.expect(201);
        let token = team.token().await;
        again.post(ACCEPT, json!({ "token": token })).await.expect(200);
    }

    async fn one_link_lets_one_in_however_many_come(database: TestDatabase) {
        let team = Team::start(database).await;
        let (_, ada) = verified(&team.app, "ada@example.com").await;
        invite(&team, "ada@example.com", "viewer").await;
        let token = json!({ "token": team.token().await });
        let (one, two) = tokio::join!(ada.post(ACCEPT, &token), ada.post(ACCEPT, &token));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 404]);
    }

    async fn what_is_no_address_or_role(database: TestDatabase) {
        let team = Team::start(database).await;
        for (email, role) in [
            ("ada", "viewer"),
            ("ada@localhost", "viewer"),
            ("ada@example.com\r\nBcc: eve@example.com", "viewer"),
            ("a@b@example.com", "viewer"),
            ("ada@example.com, eve@example.com", "viewer"),
            ("ada@example.com", "king"),
        ] {
            let body = json!({ "email": email, "role": role });
            team.owner().post(team.path("/invitations"), body).await.expect_error(422, "VALIDATION_FAILED");
        }
        let (_, mallory) = verified(&team.app, "mallory@example.com").await;
        mallory.post(TEAMS, json!({ "name": "a\r\nBcc: x", "slug": "abc" })).await.expect_error(422, "VALIDATION_FAILED");
    }
}
