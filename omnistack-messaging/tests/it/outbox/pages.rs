//! Tests of the dev mailbox.

use omnistack_core::{
    app::App,
    config::Config,
    email::{Attachment, Email, Mailer},
};
use omnistack_messaging::email::{
    Mail, Outbox,
    template::{Template, Templates, Welcome},
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde::Serialize;

#[derive(Serialize)]
struct Own {}

impl Template for Own {
    const NAME: &'static str = "own";
    const SOURCES: &'static [(&'static str, &'static str)] = &[("en", "subject: Our own\n---\nText")];

    fn sample() -> Self {
        Self {}
    }
}

#[derive(Serialize)]
struct Broken {}

impl Template for Broken {
    const NAME: &'static str = "broken";
    const SOURCES: &'static [(&'static str, &'static str)] = &[("en", "subject: {{ x }}\n---\n"), ("de", "subject: x")];

    fn sample() -> Self {
        Self {}
    }
}

#[tokio::test]
async fn what_is_sent_is_shown() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Mail::default().template::<Own>())).await;
    let outbox: Outbox = app.app().context().get().unwrap();
    let browser = app.anonymous();
    assert!(browser.get("/dev/mailbox").await.expect(200).text().contains("No mail yet"));
    let welcome = Welcome { name: Some("<b>Ada</b>".into()), link: "https://app.example.com/start?t=7&u=8".into() };
    let mail = outbox.compose("\"Ada <script>\" <ada@example.com>", &welcome, "de").unwrap();
    outbox.send(&mail.attach(Attachment::new("<i>.txt", "text/plain", "x"))).await.unwrap();
    app.run_jobs().await;
    let image = Attachment::new("dot.png", "image/png", vec![1, 2, 3]).inline("dot");
    let mailer: Mailer = app.app().context().get().unwrap();
    let other = Email::to("eve@example.com").subject("Plain").html("<img src=\"cid:dot\">").attach(image);
    mailer.send(&other).await.unwrap();

    let list = browser.get("/dev/mailbox").await.expect(200);
    let text = list.text();
    assert!(text.find("Plain").unwrap() < text.find("Willkommen").unwrap(), "the newest first");
    assert!(!text.contains("<script>") && text.contains("&lt;script&gt;"), "{text}");
    let policy = list.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-src 'self'"), "{policy}");

    let page = browser.get("/dev/mailbox/1").await.expect(200).text();
    for shown in [
        "Test App",
        "ada@example.com",
        "&lt;i&gt;.txt",
        "/dev/mailbox/1/html",
        "sandbox=\"allow-popups",
        "template: welcome",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("<b>Ada</b>") && !page.contains("<i>.txt"));
    let frame = browser.get("/dev/mailbox/1/html").await.expect(200);
    let policy = frame.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox allow-popups"), "{policy}");
    assert_eq!(frame.header("x-frame-options"), Some("SAMEORIGIN"));
    let html = frame.text();
    assert!(
        html.contains("<base target=\"_blank\">")
            && html.contains("href=\"https://app.example.com/start?t=7&amp;u=8\"")
    );
    assert!(browser.get("/dev/mailbox/2/html").await.expect(200).text().contains("data:image/png;base64,AQID"));

    let json = browser.get("/dev/mailbox.json").await.expect(200).json();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["subject"]), (2, &"Plain".into()));
    assert_eq!(json[1]["attachments"][0], "<i>.txt");
    browser.get("/dev/mailbox/9").await.expect_error(404, "NOT_FOUND");
    browser.get("/dev/mailbox/x").await.expect(422);

    assert_eq!(
        app.sent_mails().to("ADA@example.com").template("welcome").link(),
        "https://app.example.com/start?t=7&u=8"
    );

    let templates: Templates = app.app().context().get().unwrap();
    for (name, locales) in templates.list() {
        assert!(text.contains(&format!("/dev/mailbox/preview/{name}")));
        for locale in locales {
            let path = format!("/dev/mailbox/preview/{name}");
            let page = browser.get(format!("{path}?locale={locale}")).await.expect(200).text();
            assert!(page.contains(&format!("/dev/mailbox/preview/{name}/html?locale={locale}")));
            browser.get(format!("{path}/html?locale={locale}")).await.expect(200);
        }
    }
    browser.get("/dev/mailbox/preview/none").await.expect(404);
    browser.get("/dev/mailbox/preview/own?x=y").await.expect(422);
}

#[tokio::test]
async fn the_last_two_hundred_are_kept() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Mail::default())).await;
    let mailer: Mailer = app.app().context().get().unwrap();
    for number in 1..=205 {
        mailer.send(&super::mail("ada@example.com").subject(format!("Number {number}"))).await.unwrap();
    }
    assert_eq!((app.sent_mails().len(), app.sent_mails().iter().next().unwrap().subject.as_str()), (200, "Number 6"));
    app.anonymous().get("/dev/mailbox/5").await.expect(404);
    app.anonymous().get("/dev/mailbox/205").await.expect(200);
}

fn production() -> Config {
    Config::from_pairs([
        ("APP_ENV", "production"),
        ("DATABASE_URL", "sqlite::memory:"),
        ("EMAIL_PROVIDER", "smtp"),
        ("EMAIL_FROM", "shop@example.com"),
        ("SMTP_URL", "smtps://user:password@mail.example.com"),
    ])
}

#[tokio::test]
async fn production_has_no_mailbox() {
    let app = App::builder(production()).with(Mail::default()).build().unwrap();
    assert!(app.routes().iter().all(|route| !route.path.starts_with("/dev")), "{:?}", app.routes());
    assert!(app.context().get::<omnistack_messaging::email::DevMailbox>().is_err());
    let app =
        App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Mail::default()).build().unwrap();
    assert!(app.context().get::<omnistack_messaging::email::DevMailbox>().is_ok());
    let mailer: Mailer = app.context().get().unwrap();
    mailer.send(&super::mail("ada@example.com")).await.unwrap();
    assert_eq!(
        app.context().get::<omnistack_messaging::email::DevMailbox>().unwrap().mails().len(),
        1,
        "the console's go through it"
    );
}

#[tokio::test]
async fn what_is_wrong_with_its_settings_and_templates_is_said_together() {
    let config = Config::from_pairs([
        ("DATABASE_URL", "sqlite::memory:"),
        ("RESEND_WEBHOOK_SECRET", "no base64!"),
        ("SENDGRID_WEBHOOK_KEY", "AAAA"),
        ("EMAIL_PRODUCT_URL", "javascript:alert(1)"),
    ]);
    let error = App::builder(config).with(Mail::default().template::<Broken>()).build().unwrap_err().to_string();
    for says in ["template `broken` (en): line 1", "RESEND_WEBHOOK_SECRET", "SENDGRID_WEBHOOK_KEY", "EMAIL_PRODUCT_URL"]
    {
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(!error.contains("no base64!"));
    let bare = Config::from_pairs([("APP_ENV", "production"), ("DATABASE_URL", "sqlite::memory:")]);
    let error = App::builder(bare).with(Mail::default()).build().unwrap_err().to_string();
    assert!(error.contains("EMAIL_PROVIDER") && error.contains("EMAIL_FROM"), "{error}");
}
