//! Tests of attacks on accounts: account enumeration, manipulated links, extra fields.

use omnistack_testkit::on_each_database;

use super::*;
use crate::support::Statements;

on_each_database! {
    async fn nothing_tells_whether_an_address_has_an_account(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        post.registered("link@example.com").await;
        let sql = "update omni_users set password_hash = null where email = 'link@example.com'";
        post.app.db().query(sql).execute().await.unwrap();
        let (statements, hashes) = (Statements::of(&post.app), HashCounter::start());
        for (route, with_password) in [("login", true), ("register", true), ("forgot-password", false), ("magic-link", false)]
        {
            let (mut answers, mut asked) = (Vec::new(), Vec::new());
            for email in ["ada@example.com", "link@example.com", "nobody@example.com"] {
                let mut body = json!({ "email": email });
                if with_password {
                    body["password"] = OTHER.into();
                }
                hashes.take();
                statements.take();
                let answer = post.post(route, body).await;
                let mut said = statements.take();
                if route == "register" {
                    // The statements differ, because a user is created or not, but their number is the same.
                    said = vec![said.len().to_string()];
                }
                asked.push(said);
                let names: Vec<_> = answer.headers.keys().map(|name| name.to_string()).collect();
                answers.push((comparable(&answer), names, answer.header("content-length").map(str::to_owned), hashes.take()));
            }
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{route}: {answers:?}");
            assert_eq!(answers[0].3, u64::from(with_password), "one hash, with and without an account");
            // The statements are the same, so the duration reveals no more than the response.
            assert!(asked.windows(2).all(|pair| pair[0] == pair[1]), "{route}: {asked:#?}");
            assert!(!asked[0].is_empty());
        }
        // Only the mails differ, and only the mailbox's owner reads them.
        let mails = post.take_mails().await;
        let of = |email: &str| {
            let mut templates: Vec<_> = mails.iter().filter(|mail| to(mail) == email).map(template).collect();
            templates.sort_unstable();
            templates
        };
        let known = ["magic_link", "notification", "reset"];
        assert_eq!(of("ada@example.com"), known);
        assert_eq!(of("link@example.com"), known);
        assert!(of("nobody@example.com").contains(&"verify"));
    }

    async fn nothing_tells_who_is_signed_in_whether_an_address_has_an_account(database: TestDatabase) {
        let post = start(database).await;
        for email in ["ada@example.com", "bob@example.com"] {
            post.registered(email).await;
        }
        let ada = post.signed_in("ada@example.com").await;
        let team = post.client(&ada).post(crate::teams::TEAMS, json!({ "name": "Acme" })).await.expect(201).json();
        let invitations = format!("{}/{}/invitations", crate::teams::TEAMS, team["id"].as_str().unwrap());
        let (statements, hashes) = (Statements::of(&post.app), HashCounter::start());
        for (path, body, status) in [
            (format!("{APP}/email"), json!({ "password": PASSWORD }), 202),
            (invitations, json!({ "role": "viewer" }), 201),
        ] {
            let mut answers = Vec::new();
            for email in ["bob@example.com", "who@example.com"] {
                let body = with(&body, "email", email);
                hashes.take();
                statements.take();
                let answer = post.client(&ada).post(&path, body).await.expect(status);
                let text = answer.text().replace(email, "");
                let names: Vec<_> = answer.json().as_object().map(|body| body.keys().cloned().collect()).unwrap_or_default();
                answers.push((text.len(), names, hashes.take(), statements.take()));
            }
            assert_eq!(answers[0], answers[1], "{path}");
        }
    }

    async fn links_lead_to_the_app_whatever_the_request_says(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        for (route, body) in [
            ("forgot-password", json!({ "email": "ada@example.com" })),
            ("magic-link", json!({ "email": "ada@example.com" })),
            ("register", json!({ "email": "new@example.com", "password": PASSWORD })),
        ] {
            let request = post.app.anonymous().post(format!("{PUBLIC}/{route}"), body);
            let headers = ["host", "x-forwarded-host", "x-original-host", "x-host", "origin", "referer"];
            let request = headers.iter().fold(request, |request, name| request.header(name, "https://evil.example"));
            request.header("forwarded", "host=evil.example;proto=http").await.expect(202);
            let mails = post.take_mails().await;
            assert_eq!(mails.len(), 1);
            assert!(!text(&mails[0]).contains("evil"), "{}", text(&mails[0]));
            let links: Vec<_> = text(&mails[0]).match_indices("https://").map(|(at, _)| &text(&mails[0])[at..]).collect();
            assert!(!links.is_empty());
            assert!(links.iter().all(|link| link.starts_with("https://app.example.com/auth/")), "{links:?}");
            let html = mails[0].html.as_deref().unwrap();
            assert!(!html.contains("evil") && html.contains("https://app.example.com/auth/"), "{html}");
        }
    }

    async fn no_field_is_taken_that_nobody_asked_for(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let ada = post.signed_in("ada@example.com").await;
        let mut routes = vec![
            ("POST", format!("{PUBLIC}/register"), json!({ "email": "eve@example.com", "password": PASSWORD })),
            ("POST", format!("{PUBLIC}/login"), json!({ "email": "ada@example.com", "password": PASSWORD })),
            ("POST", format!("{PUBLIC}/refresh"), json!({ "refresh_token": ada.refresh })),
            ("POST", format!("{PUBLIC}/logout"), json!({ "refresh_token": ada.refresh })),
            ("POST", format!("{APP}/password"), json!({ "current_password": PASSWORD, "new_password": OTHER })),
            ("POST", format!("{APP}/email"), json!({ "email": "eve@example.com", "password": PASSWORD })),
            ("DELETE", ME.to_owned(), json!({ "password": PASSWORD })),
            ("PATCH", ME.to_owned(), json!({ "name": "Ada" })),
        ];
        for route in ["forgot-password", "magic-link"] {
            routes.push(("POST", format!("{PUBLIC}/{route}"), json!({ "email": "ada@example.com" })));
        }
        for route in ["verify-email", "reset-password", "magic-link/verify"] {
            routes.push(("POST", format!("{PUBLIC}/{route}"), json!({ "token": "x", "password": OTHER })));
        }
        let fields = ["operator", "id", "email_verified_at", "role", "tenant_id", "redirect", "redirect_uri", "next", "return_to"];
        for (method, path, body) in routes {
            for field in fields {
                let mut body = body.clone();
                body[field] = "https://evil.example".into();
                let request = post.client(&ada).request(method.parse().unwrap(), &path).json(body);
                let answer = request.await.expect_error(422, "VALIDATION_FAILED");
                assert!(answer.headers.get("location").is_none());
            }
        }
        post.client(&ada).get(ME).await.expect(200);
        assert!(post.take_mails().await.is_empty());
        let sql = "select count(*) from omni_users where operator";
        let (operators,): (i64,) = post.app.db().query(sql).fetch_one().await.unwrap();
        assert_eq!(operators, 0);
    }

    async fn the_description_tells_bodies_of_different_routes_apart(database: TestDatabase) {
        let post = start(database).await;
        let document = post.app.anonymous().get("/openapi.json").await.expect(200).json();
        for (route, fields) in [
            ("verify-email", vec!["new_password", "password", "token"]),
            ("magic-link/verify", vec!["mode", "token"]),
            ("forgot-password", vec!["email"]),
            ("reset-password", vec!["api_keys", "password", "token"]),
            ("login", vec!["email", "mode", "password"]),
        ] {
            let path = format!("{PUBLIC}/{route}");
            let body = &document["paths"][&path]["post"]["requestBody"]["content"]["application/json"]["schema"];
            let name = body["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            let schema = &document["components"]["schemas"][name];
            let told: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
            assert_eq!(told, fields, "{route}");
            assert_eq!(schema["additionalProperties"], false, "{route}");
        }
    }

    async fn addresses_that_are_none_send_no_mail(database: TestDatabase) {
        let post = start(database).await;
        for email in ["ada", "a@b", "ada@example.com\r\nBcc: eve@example.com", "ada@example.com,eve@example.com", ""] {
            for route in ["forgot-password", "magic-link"] {
                post.post(route, json!({ "email": email })).await.expect(422);
            }
            post.post("register", json!({ "email": email, "password": PASSWORD })).await.expect(422);
            post.login(email, PASSWORD).await.expect(401);
        }
        assert!(post.take_mails().await.is_empty());
    }
}

fn with(body: &Value, field: &str, value: &str) -> Value {
    let mut body = body.clone();
    body[field] = value.into();
    body
}
