//! Tests of API keys: scopes and expiry.

use std::time::Duration;

use omnistack_auth::{Auth, users::CreatedUser};
use omnistack_core::{ExposeSecret as _, app::App, http::Method, identity::Authenticator};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{
    support::{client, sessions, sign_in, verified},
    teams::Team,
};

const KEYS: &str = "/api/v1/app/api-keys";
const ME: &str = "/api/v1/app/users/me";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Creates an API key in the team.
async fn make(team: &Team, maker: &TestClient, body: Value) -> TestResponse {
    maker.post(KEYS, body).header("x-tenant-id", team.id.to_string()).await
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

/// Returns the permissions of an API key, or the status of the response.
async fn permissions_of_key(app: &TestApp, secret: &str) -> Value {
    let me = app.client_with_token(secret).get(ME).await;
    if me.status == 200 { me.json()["permissions"].clone() } else { json!(me.status.as_u16()) }
}

on_each_database! {
    async fn a_program_calls_in_its_makers_name(database: TestDatabase) {
        let team = Team::start(database).await;
        let developer = &team.members[2];
        let key = json!({ "name": "robot", "scopes": ["*:read", "projects:write"] });
        let refused = make(&team, &developer.1, key).await;
        refused.expect_error(422, "VALIDATION_FAILED");
        let made = make(&team, &developer.1, json!({ "name": "robot", "scopes": ["*:read"] })).await.expect(201).json();
        let secret = text(&made, "secret");
        assert!(secret.starts_with("omni_live_") && secret.starts_with(&text(&made, "hint")) && secret.len() == 59);
        let me = team.app.client_with_token(&secret).get(ME).await.expect(200).json();
        assert_eq!((&me["id"], &me["tenant_id"]), (&json!(developer.0), &json!(team.id)));
        assert_eq!(me["permissions"], json!(["*:read"]));
        let by_header = team.app.anonymous().get(ME).header("x-api-key", &secret).await;
        assert_eq!(by_header.expect(200).json()["id"], json!(developer.0));

        // The secret is shown once.
        let list = team.app.client_with_token(&secret).get(KEYS).await.expect(200).json();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        assert!(list["items"][0].get("secret").is_none() && list["items"][0].get("hash").is_none());
        assert_eq!(list["items"][0]["last_used_at"], "2030-01-01T00:00:00Z");
        // The key sees only its own team, can't create lasting resources, and works in one tenant.
        let teams = team.app.client_with_token(&secret).get(crate::teams::TEAMS).await.expect(200).json();
        assert_eq!(teams["items"].as_array().unwrap().len(), 1);
        team.app.client_with_token(&secret).get(team.path("/members")).await.expect(200);
        let own = developer.1.get("/api/v1/app/tenants/current").await.expect(200).json();
        let elsewhere = team.app.client_with_token(&secret).get(ME).header("x-tenant-id", text(&own, "id")).await;
        elsewhere.expect_error(403, "NOT_A_MEMBER");
        team.app.client_with_token(&secret).get(format!("{}/{}", crate::teams::TEAMS, text(&own, "id"))).await.expect(404);
        for (path, body) in [
            (KEYS.to_owned(), json!({ "name": "more", "scopes": ["*:read"] })),
            (crate::teams::TEAMS.to_owned(), json!({ "name": "Mine" })),
            (team.path("/leave"), Value::Null),
        ] {
            team.app.client_with_token(&secret).post(path, body).await.expect(403);
        }
    }

    async fn a_key_never_has_more_than_its_maker(database: TestDatabase) {
        let team = Team::start(database).await;
        let [_, admin, developer, viewer] = &team.members;
        for (maker, scope, status) in [
            (viewer, "tenant:read", 403),
            (developer, "members:manage", 403),
            (developer, "*", 403),
            (developer, "api-keys:write", 201),
            (admin, "tenant:transfer", 403),
            (admin, "*:manage", 201),
        ] {
            let answer = make(&team, &maker.1, json!({ "name": "robot", "scopes": [scope] })).await;
            assert_eq!(answer.status.as_u16(), status, "{scope}: {}", answer.text());
        }
        let made = make(&team, &admin.1, json!({ "name": "robot", "scopes": ["*:read", "members:manage"] })).await;
        let made = made.expect(201).json();
        let (secret, id) = (text(&made, "secret"), text(&made, "id"));
        assert_eq!(permissions_of_key(&team.app, &secret).await, json!(["*:read", "members:manage"]));
        // The owner can't rotate a key in its creator's name, and a member can't revoke a key with more permissions.
        let rotate = format!("{KEYS}/{id}/rotate");
        let of_team = team.id.to_string();
        let grace = json!({ "grace_seconds": 0 });
        team.owner().post(&rotate, &grace).header("x-tenant-id", &of_team).await.expect(403);
        developer.1.delete(format!("{KEYS}/{id}")).header("x-tenant-id", &of_team).await.expect(403);
        // The key loses the permissions its creator loses.
        team.owner().patch(team.path(&format!("/members/{}", admin.0)), json!({ "role": "viewer" })).await.expect(200);
        assert_eq!(permissions_of_key(&team.app, &secret).await, json!(["*:read"]));
        team.owner().delete(team.path(&format!("/members/{}", admin.0))).await.expect(204);
        assert_eq!(permissions_of_key(&team.app, &secret).await, json!(401));
    }

    async fn what_outlives_a_session_asks_for_a_recent_sign_in(database: TestDatabase) {
        let team = Team::start(database).await;
        let (owner, of_team) = (team.members[0].0, team.id.to_string());
        let made = make(&team, team.owner(), json!({ "name": "robot", "scopes": ["*:read"] })).await.expect(201).json();
        let invite = |role: &str| json!({ "email": format!("{role}@example.org"), "role": role });
        let made_owner = team.owner().post(team.path("/invitations"), invite("owner")).await.expect(201).json();
        let rotate = format!("{KEYS}/{}/rotate", text(&made, "id"));
        let resend = team.path(&format!("/invitations/{}/resend", text(&made_owner, "id")));
        let member = team.path(&format!("/members/{}", team.members[1].0));
        let role = |name: &str, permission: &str| json!({ "name": name, "permissions": [permission] });
        team.owner().post(team.path("/roles"), role("auditor", "activity:read")).await.expect(201);

        // A stolen token of an active session.
        let tokens = sign_in(&team.app, CreatedUser { user: owner, tenant: team.id }).await;
        team.app.clock().advance(Duration::from_secs(10 * 60 + 1));
        let tokens = sessions(&team.app).refresh(tokens.refresh.expose_secret()).await.unwrap();
        let stolen = client(&team.app, &tokens);
        for (method, path, body) in [
            (Method::POST, KEYS, json!({ "name": "more", "scopes": ["*"] })),
            (Method::POST, KEYS, json!({ "name": "more", "scopes": ["tenant:read"] })),
            (Method::POST, rotate.as_str(), json!({ "grace_seconds": 0 })),
            (Method::POST, "/api/v1/app/users/me/export", json!({})),
            (Method::POST, "/api/v2/app/users/me/export", json!({})),
            (Method::POST, team.path("/invitations").as_str(), invite("owner")),
            (Method::POST, resend.as_str(), Value::Null),
            (Method::PATCH, member.as_str(), json!({ "role": "owner" })),
            (Method::POST, team.path("/roles").as_str(), role("heir", "tenant:transfer")),
            (Method::PATCH, team.path("/roles/auditor").as_str(), json!({ "permissions": ["tenant:delete"] })),
            (Method::POST, team.path("/transfer").as_str(), json!({ "user_id": team.members[1].0 })),
        ] {
            let request = stolen.request(method, path).json(&body).header("x-tenant-id", &of_team);
            request.await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        }
        // Actions that give no ownership are allowed.
        stolen.post(team.path("/invitations"), invite("viewer")).await.expect(201);
        stolen.patch(&member, json!({ "role": "developer" })).await.expect(200);
        assert_eq!(team.owners().await, 1);

        // An API key has no sign-in at all.
        let again = client(&team.app, &sign_in(&team.app, CreatedUser { user: owner, tenant: team.id }).await);
        let all = make(&team, &again, json!({ "name": "all", "scopes": ["*"] })).await.expect(201).json();
        let robot = team.app.client_with_token(text(&all, "secret"));
        robot.patch(&member, json!({ "role": "owner" })).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        robot.patch(&member, json!({ "role": "viewer" })).await.expect(200);
    }

    async fn a_mail_tells_of_a_new_secret(database: TestDatabase) {
        let team = Team::start(database).await;
        let of_team = team.id.to_string();
        for (locale, made, rotated, line) in [
            ("en", "New API key at", "has a new secret", "- Key: robot\n- Team: Acme\n- Time: "),
            ("de", "Neuer API-Schlüssel bei", "Neues Geheimnis", "- Schlüssel: robot\n- Team: Acme\n- Zeit: "),
        ] {
            team.owner().patch(ME, json!({ "locale": locale })).await.expect(200);
            let key = make(&team, team.owner(), json!({ "name": "robot", "scopes": ["*:read"] })).await.expect(201).json();
            team.app.run_jobs().await;
            let rotate = format!("{KEYS}/{}/rotate", text(&key, "id"));
            let rotation = team.owner().post(rotate, json!({ "grace_seconds": 0 })).header("x-tenant-id", &of_team);
            let rotation = rotation.await.expect(200).json();
            team.app.run_jobs().await;
            let mails = team.outbox.take();
            assert_eq!(mails.len(), 2);
            for (mail, subject) in mails.iter().zip([made, rotated]) {
                let body = mail.text.as_deref().unwrap();
                assert_eq!(mail.to[0].mailbox(), "owner@example.com");
                assert!(mail.subject.contains(subject), "{}", mail.subject);
                assert!(body.contains(line) && body.contains("/auth/security"), "{body}");
                assert!(!body.contains(&text(&key, "secret")) && !body.contains(&text(&rotation, "secret")));
            }
        }
    }

    async fn a_key_is_rotated_and_revoked_on_every_replica(database: TestDatabase) {
        let team = Team::start(database).await;
        let (developer, of_team) = (&team.members[2].1, team.id.to_string());
        let made = make(&team, developer, json!({ "name": "robot", "scopes": ["*:read"], "test": true })).await;
        let made = made.expect(201).json();
        let (first, id) = (text(&made, "secret"), text(&made, "id"));
        assert!(first.starts_with("omni_test_"));
        let replica = App::builder(team.app.database().config()).clock(team.app.clock().clock()).with(Auth::built_in());
        let replica = replica.build().unwrap();
        let there: Authenticator = replica.context().get().unwrap();
        let known = async |secret: &str| {
            let request = http::Request::builder().header("x-api-key", secret).body(()).unwrap();
            there.authenticate(&request.into_parts().0).await.is_ok()
        };
        assert!(known(&first).await);

        let rotate = async |seconds: u64| {
            let rotated = developer.post(format!("{KEYS}/{id}/rotate"), json!({ "grace_seconds": seconds }));
            text(&rotated.header("x-tenant-id", &of_team).await.expect(200).json(), "secret")
        };
        let second = rotate(300).await;
        assert_ne!(first, second);
        assert!(permissions_of_key(&team.app, &first).await.is_array() && permissions_of_key(&team.app, &second).await.is_array());
        team.app.clock().advance(Duration::from_secs(300));
        assert_eq!(permissions_of_key(&team.app, &first).await, json!(401), "the grace is over");
        let third = rotate(0).await;
        assert_eq!(permissions_of_key(&team.app, &second).await, json!(401), "it may be known to others");
        assert!(permissions_of_key(&team.app, &third).await.is_array());
        developer.delete(format!("{KEYS}/{id}")).header("x-tenant-id", &of_team).await.expect(204);
        assert_eq!(permissions_of_key(&team.app, &third).await, json!(401));
        assert!(!known(&third).await && !known(&first).await);
        developer.delete(format!("{KEYS}/{id}")).header("x-tenant-id", &of_team).await.expect(404);
    }

    async fn a_key_ends_when_it_said(database: TestDatabase) {
        let team = Team::start(database).await;
        let body = |end: &str| json!({ "name": "robot", "scopes": ["*:read"], "expires_at": end });
        make(&team, team.owner(), body("2029-12-31T00:00:00Z")).await.expect_error(422, "VALIDATION_FAILED");
        let made = make(&team, team.owner(), body("2030-01-03T00:00:00Z")).await.expect(201).json();
        let secret = text(&made, "secret");
        assert!(permissions_of_key(&team.app, &secret).await.is_array());
        team.app.clock().advance(DAY);
        assert!(permissions_of_key(&team.app, &secret).await.is_array());
        team.app.clock().advance(DAY);
        assert_eq!(permissions_of_key(&team.app, &secret).await, json!(401));
    }

    async fn what_is_no_key(database: TestDatabase) {
        let team = Team::start(database).await;
        let made = make(&team, team.owner(), json!({ "name": "robot", "scopes": ["*:read"] })).await.expect(201).json();
        let secret = text(&made, "secret");
        let mistyped = secret.replacen(&secret[20..21], if &secret[20..21] == "x" { "y" } else { "x" }, 1);
        for wrong in ["omni_", "omni_live_", &mistyped, &secret[..secret.len() - 1], "omni_live_\u{e9}"] {
            team.app.client_with_token(wrong).get(ME).await.expect_error(401, "UNAUTHORIZED");
        }
        for body in [
            json!({ "name": "robot", "scopes": [] }),
            json!({ "name": "robot", "scopes": ["everything"] }),
            json!({ "name": "robot", "scopes": ["*:conquer"] }),
            json!({ "name": "", "scopes": ["*:read"] }),
            json!({ "name": "robot", "scopes": ["*:read"], "user_id": team.members[0].0 }),
            json!({ "name": "robot", "scopes": ["*:read"], "tenant_id": team.id }),
        ] {
            let answer = make(&team, team.owner(), body.clone()).await;
            assert_eq!(answer.status.as_u16(), 422, "{body}: {}", answer.text());
        }
    }

    async fn each_key_has_a_rate(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, |app| {
            app.set("API_KEY_RATE_LIMIT", "3/minute").set("HTTP_RATE_LIMIT", "1000/minute").with(Auth::built_in())
        }).await;
        let (_, owner) = verified(&app, "ada@example.com").await;
        let make = async || {
            let body = json!({ "name": "robot", "scopes": ["*:read"] });
            app.client_with_token(text(&owner.post(KEYS, body).await.expect(201).json(), "secret"))
        };
        let (one, other) = (make().await, make().await);
        for _ in 0..3 {
            one.get(ME).await.expect(200);
        }
        let refused = one.get(ME).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        for (name, value) in [
            ("retry-after", "20"),
            ("ratelimit-policy", "\"key\";q=3;w=60"),
            ("ratelimit", "\"key\";r=0;t=60"),
        ] {
            assert_eq!(refused.header(name), Some(value), "{name}");
        }
        other.get(ME).await.expect(200);
        owner.get(ME).await.expect(200);
        app.clock().advance(Duration::from_secs(20));
        one.get(ME).await.expect(200);
    }

    async fn a_locked_out_maker_leaves_no_key(database: TestDatabase) {
        let team = Team::start(database).await;
        let made = make(&team, team.owner(), json!({ "name": "robot", "scopes": ["*:read"] })).await.expect(201).json();
        let secret = text(&made, "secret");
        assert!(permissions_of_key(&team.app, &secret).await.is_array());
        let lock = "update omni_users set disabled_at = created_at where id = $1";
        team.app.db().query(lock).bind(team.members[0].0).execute().await.unwrap();
        sessions(&team.app).invalidate_user(team.members[0].0).await;
        assert_eq!(permissions_of_key(&team.app, &secret).await, json!(401));
    }
}
