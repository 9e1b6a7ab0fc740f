//! Tests of accepted messages.

use omnistack_messaging::email::Mail;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{ADMIN, FORM, STATUS, app, form_token, kept, send, valid_message, with_fields};

on_each_database! {
    async fn a_message_is_kept_and_both_sides_are_told(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let body = with_fields(valid_message(&app).await, json!({
            "subject": "The <b>team</b> plan", "phone": "+44 (0)20 7946-0018 ext. 6", "company": "Analytical Engines Ltd",
            "extra_fields": { "seats": 40, "trial": true, "how": "a friend" }, "source": "pricing page", "website": "",
            "name": "  Ada \"the first\" Lovelace ", "message": "\nHello,\nwhat does [it](https://evil.example) cost?\n",
        }));
        let answer = app.anonymous().post(FORM, body).header("accept-language", "de-AT,de;q=0.9").await.expect(202);
        let reference = answer.json()["reference"].as_str().unwrap().to_owned();
        assert!(reference.len() == 11 && reference.as_bytes()[5] == b'-', "{reference}");

        let messages = kept(&app).await;
        assert_eq!(messages.len(), 1);
        let mut message = messages[0].clone();
        let fields = message.as_object_mut().unwrap();
        let id = fields.remove("id").unwrap();
        assert_eq!(message, json!({
            "reference": reference, "name": "Ada \"the first\" Lovelace", "email": "ada@example.org",
            "subject": "The <b>team</b> plan", "phone": "+44 (0)20 7946-0018 ext. 6", "company": "Analytical Engines Ltd",
            "message": "Hello,\nwhat does [it](https://evil.example) cost?",
            "extra_fields": { "seats": 40, "trial": true, "how": "a friend" }, "source": "pricing page", "locale": "de-AT",
            "address": "127.0.0.1", "status": "new",
            "created_at": "2030-01-01T00:00:10Z", "updated_at": "2030-01-01T00:00:10Z",
        }));
        assert_eq!(app.operator().get(format!("{}/{}", ADMIN, id.as_str().unwrap())).await.expect(200).json(), messages[0]);

        assert_eq!(app.sent_mails().len(), 0, "nothing is sent before the job runs");
        app.run_jobs().await;
        let mails = app.sent_mails();
        assert_eq!(mails.len(), 2);
        let told = mails.clone().to("help@example.com");
        let told = told.last();
        assert_eq!(told.subject, format!("The <b>team</b> plan — from Ada \"the first\" Lovelace ({reference})"));
        assert_eq!(told.reply_to[0].to_string(), "\"Ada \\\"the first\\\" Lovelace\" <ada@example.org>");
        let (text, html) = (told.text.as_deref().unwrap(), told.html.as_deref().unwrap());
        for part in ["ada@example.org", "+44 (0)20 7946-0018", "Analytical Engines", "seats: 40", "trial: true", "pricing page"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!html.contains("href=\"https://evil.example") && !html.contains("<b>team"), "{html}");

        let confirmed = mails.to("ada@example.org");
        let confirmed = confirmed.last();
        assert_eq!(confirmed.subject, "Deine Nachricht ist angekommen");
        assert_eq!(confirmed.headers[0].name, "Auto-Submitted");
        assert!(confirmed.text.as_deref().unwrap().contains(&reference));
        // The sender's address is not verified, so the confirmation contains no text of the sender.
        let all = format!("{:?} {:?} {:?} {}", confirmed.to, confirmed.text, confirmed.html, confirmed.subject);
        for written in ["evil", "cost", "Lovelace", "Analytical", "plan", "friend"] {
            assert!(!all.contains(written), "{written} in {all}");
        }
    }

    async fn a_request_sent_again_with_its_key_is_one_message(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let body = valid_message(&app).await;
        let mut answers = Vec::new();
        for _ in 0..2 {
            let request = app.anonymous().post(FORM, body.clone()).header("idempotency-key", "form-17");
            answers.push(request.await.expect(202).json());
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(kept(&app).await.len(), 1);
    }

    async fn what_is_not_wanted_is_not_sent(database: TestDatabase) {
        let app = app(database, |app| app.set("CONTACT_SEND_CONFIRMATION", "false").set("CONTACT_TO", "")).await;
        let body = valid_message(&app).await;
        send(&app, body).await.expect(202);
        app.run_jobs().await;
        assert_eq!((kept(&app).await.len(), app.sent_mails().len()), (1, 0));
    }

    async fn the_form_is_no_way_to_write_to_somebody_else(database: TestDatabase) {
        let app = app(database, |app| app.set("CONTACT_RATE_LIMIT", "off")).await;
        let body = valid_message(&app).await;
        for number in 0..8 {
            let email = ["Victim@example.org", "victim@example.org", "victim+shop@EXAMPLE.org"][number % 3];
            send(&app, with_fields(body.clone(), json!({ "email": email }))).await.expect(202);
        }
        app.run_jobs().await;
        assert_eq!((kept(&app).await.len(), app.sent_mails().to("help@example.com").len(), app.sent_mails().len()), (8, 8, 13));
    }

    async fn the_largest_message_there_is_gets_through(database: TestDatabase) {
        let app = app(database, |app| app.set("CONTACT_RATE_LIMIT", "off")).await;
        let body = valid_message(&app).await;
        for letter in ["*", "🎉", "<", "a\n", "&"] {
            let message: String = letter.chars().cycle().take(4999).chain(['.']).collect();
            let fields: Value = (0..7).map(|n| (format!("f{n}"), Value::from("*".repeat(1000)))).collect();
            let more = json!({ "message": message, "extra_fields": fields, "name": "🎉".repeat(100), "subject": "🎉".repeat(200) });
            send(&app, with_fields(body.clone(), more)).await.expect(202);
        }
        app.run_jobs().await;
        assert_eq!(app.sent_mails().to("help@example.com").len(), 5);
    }

    async fn old_messages_are_forgotten(database: TestDatabase) {
        let app = app(database, |app| app.set("CONTACT_KEEP", "240h")).await;
        let body = valid_message(&app).await;
        send(&app, body).await.expect(202);
        app.run_jobs().await;
        for (hours, left) in [(239, 1), (2, 0)] {
            app.clock().advance(std::time::Duration::from_secs(hours * 3600));
            app.jobs().enqueue(omnistack_messaging::contact::PurgeContacts {}).await.unwrap();
            app.run_jobs().await;
            assert_eq!(kept(&app).await.len(), left);
        }
    }
}

#[tokio::test]
async fn the_status_says_what_the_form_is() {
    let app = app(TestDatabase::sqlite(), |app| app.set("CONTACT_REQUIRE_PHONE", "true")).await;
    let mut form = app.anonymous().get(STATUS).await.expect(200).json();
    let token = form.as_object_mut().unwrap().remove("token").unwrap();
    assert!(token.as_str().unwrap().starts_with("v1."));
    assert_eq!(
        form,
        json!({
            "open": true, "required": ["name", "email", "message", "phone", "token"],
            "optional": ["subject", "company", "extra_fields", "source", "locale"], "expires_in": 86400,
        })
    );
    assert_eq!(form_token(&app).await, token, "one token a second");
    app.clock().advance(std::time::Duration::from_secs(1));
    assert_ne!(form_token(&app).await, token);
}

#[tokio::test]
async fn an_app_without_operators_has_the_form_alone() {
    use omnistack_core::{app::App, config::Config};
    use omnistack_messaging::contact::Contact;
    let config = || Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
    let with_mail = || App::builder(config()).with(Mail::default());
    with_mail().with(Contact::default().without_admin_routes()).build().unwrap();
    let refused = with_mail().with(Contact::default()).build().unwrap_err().to_string();
    assert!(refused.contains("contact"), "{refused}");
    let refused =
        App::builder(config()).with(Contact::default().without_admin_routes()).build().unwrap_err().to_string();
    assert!(refused.contains("Outbox"), "{refused}");
}
