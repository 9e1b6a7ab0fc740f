//! Tests of SMTP: the format of mails, and the outcome when a conversation fails.

use std::time::Duration;

use mail_parser::{MessageParser, MimeHeaders as _};
use omnistack_core::{
    clock::Clock,
    email::{Attachment, Email, EmailErrorKind, EmailProvider as _},
};
use omnistack_messaging::email::Smtp;
use omnistack_testkit::{
    email::full_email,
    smtp::{SmtpReply, SmtpServer},
};

use super::clock;

fn smtp(server: &SmtpServer) -> Smtp {
    Smtp::new(&server.url(), clock()).unwrap()
}

fn small() -> Email {
    Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.")
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_meant() {
    let server = SmtpServer::start().await;
    let sent = smtp(&server).send(&full_email()).await.unwrap();
    let delivered = server.delivered().remove(0);
    assert_eq!(delivered.from, "shop@xn--bcher-kva.example");
    assert_eq!(delivered.to, ["ada@example.com", "chloe@example.com", "charles@example.com", "secret@example.com"]);

    let raw = String::from_utf8(delivered.text).unwrap();
    assert!(raw.is_ascii(), "{raw}");
    assert!(!raw.to_lowercase().contains("\nbcc:") && !raw.contains("secret@"), "{raw}");
    assert!(raw.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{raw}");
    assert!(raw.contains("\r\nList-Unsubscribe: <https://shop.example.com/unsubscribe/2nFq?x=1>\r\n"), "{raw}");
    assert!(raw.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{raw}");
    assert!(raw.contains("Date: Tue, 01 Jan 2030 12:00:00 +0000\r\n"), "{raw}");

    let message = MessageParser::default().parse(raw.as_bytes()).unwrap();
    assert_eq!(message.subject(), Some(&*full_email().subject));
    assert_eq!(message.message_id(), sent.id.as_deref());
    let from = message.from().unwrap().first().unwrap();
    assert_eq!((from.name(), from.address()), (Some("Köln Shop"), Some("shop@xn--bcher-kva.example")));
    let to: Vec<_> = message.to().unwrap().iter().map(|to| (to.name(), to.address())).collect();
    assert_eq!(
        to,
        [(Some("Ada Lovelace"), Some("ada@example.com")), (Some("O'Brien, Chloë"), Some("chloe@example.com")),]
    );
    assert!(raw.contains("\r\nX-Campaign: =?utf-8?b?c3ByaW5n4oCUMjAzMA==?=\r\n"), "{raw}");
    let text = full_email().text.unwrap().replace('\n', "\r\n");
    assert_eq!(message.body_text(0).as_deref().map(str::trim_end), Some(&*text));
    assert_eq!(message.body_html(0).as_deref().map(str::trim_end), full_email().html.as_deref());

    // The structure is: files beside (text or (HTML with its images)).
    let kinds: Vec<_> = message
        .parts
        .iter()
        .map(|part| part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("?"))))
        .collect();
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_deref().unwrap_or("none")).collect();
    assert_eq!(
        kinds,
        [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "text/csv",
        ]
    );
    let files: Vec<_> = message
        .attachments()
        .map(|file| (file.attachment_name(), file.content_id(), file.contents().to_vec()))
        .collect();
    assert_eq!(
        files,
        [
            (Some("logo.png"), Some("logo"), full_email().attachments[0].content.to_vec()),
            (Some("Bericht für März.csv"), None, full_email().attachments[1].content.to_vec()),
        ]
    );
}

#[tokio::test]
async fn the_parts_are_those_there_are() {
    let file = || Attachment::new("a.txt", "text/plain", "a");
    let image = || Attachment::new("a.png", "image/png", "a").inline("a");
    let html = || small().text("").html("<p>Hello.</p>");
    let table: [(Email, &[&str]); 6] = [
        (small(), &["text/plain"]),
        (html(), &["text/html"]),
        (small().html("<p>Hello.</p>"), &["multipart/alternative", "text/plain", "text/html"]),
        (small().attach(file()), &["multipart/mixed", "text/plain", "text/plain"]),
        (html().attach(image()), &["multipart/related", "text/html", "image/png"]),
        // The HTML does not show the image, so it is sent as a file.
        (small().attach(image()), &["multipart/mixed", "text/plain", "image/png"]),
    ];
    let server = SmtpServer::start().await;
    for (email, kinds) in table {
        smtp(&server).send(&email).await.unwrap();
        let delivered = server.delivered().pop().unwrap();
        let message = MessageParser::default().parse(&delivered.text).unwrap();
        let found: Vec<_> = message.parts.iter().filter_map(|part| part.content_type()).collect();
        let found: Vec<_> = found.iter().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap())).collect();
        assert_eq!(found, kinds);
    }
}

#[tokio::test]
async fn nobody_is_told_twice_and_the_same_key_is_the_same_mail() {
    let server = SmtpServer::start().await;
    let smtp = smtp(&server);
    let email = small().cc("ada@example.com").bcc("eve@example.com").bcc("eve@example.com");
    let first = smtp.send(&email).await.unwrap();
    let second = smtp.send(&email).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(server.delivered()[0].to, ["ada@example.com", "eve@example.com"]);

    let keyed = email.idempotency_key("order/7");
    assert_eq!(smtp.send(&keyed).await.unwrap().id, smtp.send(&keyed).await.unwrap().id);
    // All mails are sent over one connection.
    assert_eq!((server.delivered().len(), server.connections()), (4, 1));
}

#[tokio::test]
async fn what_is_certain_depends_on_how_far_it_came() {
    use EmailErrorKind::*;
    let line = SmtpReply::line;
    let pause = Duration::from_millis(100);
    let table = [
        ("CONNECT", line("421 too many connections"), Unavailable),
        ("CONNECT", line("554 no mail from you"), Configuration),
        ("CONNECT", SmtpReply::hang(), Unavailable),
        ("CONNECT", SmtpReply::close(), Unavailable),
        ("CONNECT", line("HTTP/1.1 400 Bad Request"), Unavailable),
        ("CONNECT", SmtpReply::drip("220 a server that says letter by letter, for very long", pause), Unavailable),
        ("EHLO", SmtpReply::hang(), Unavailable),
        ("AUTH", line("535 5.7.8 wrong password"), Configuration),
        ("AUTH", line("454 4.7.0 try again"), Unavailable),
        ("AUTH", SmtpReply::hang(), Unavailable),
        ("MAIL", line("530 5.7.0 authentication required"), Configuration),
        ("MAIL", line("553 5.7.1 not your address"), Refused),
        ("MAIL", line("452 4.3.1 disk full"), Unavailable),
        ("MAIL", SmtpReply::close(), Unavailable),
        ("RCPT", line("550-5.1.1 no\r\n550 5.1.1 such user"), Refused),
        ("RCPT", line("450 4.2.1 later"), Unavailable),
        ("RCPT", line("421 going down"), Unavailable),
        ("DATA", line("554 5.5.1 no"), Refused),
        ("DATA", SmtpReply::close(), Unavailable),
        ("DATA", SmtpReply::hang(), Unavailable),
        // From here on the mail may have been accepted.
        (".", line("552 5.3.4 too large"), Refused),
        (".", line("451 4.3.0 later"), Unavailable),
        (".", SmtpReply::close(), Unknown),
        (".", SmtpReply::hang(), Unknown),
        (".", line("nonsense"), Unknown),
        (".", SmtpReply::drip("250 taken, but said very slowly, letter by letter", pause), Unknown),
    ];
    let mut cases = tokio::task::JoinSet::new();
    for (command, reply, kind) in table {
        cases.spawn(async move {
            let server = SmtpServer::start().await;
            let smtp = Smtp::new(&server.url().replace("//", "//user:pass%40word@"), Clock::system()).unwrap();
            let what = format!("{command}: {reply:?}");
            let waits = what.contains("Hang") || what.contains("Drip");
            let patience = Duration::from_secs(if waits { 1 } else { 20 });
            let smtp = smtp.timeout(patience);
            server.set_reply(command, reply);
            let before = tokio::time::Instant::now();
            let error = smtp.send(&full_email()).await.unwrap_err();
            let took = before.elapsed();
            assert_eq!(error.kind(), kind, "{what}: {error}");
            assert!(took < patience + Duration::from_secs(5) && waits == (took >= patience), "{what}: took {took:?}");
            assert!(!format!("{error} {error:?} {smtp:?}").contains("pass@word"), "{what}: {error:?}");
            assert!(server.delivered().is_empty(), "{what}: all recipients or none");
            // The next mail is accepted.
            server.accept_all();
            let smtp = smtp.timeout(Duration::from_secs(20));
            smtp.send(&small()).await.unwrap_or_else(|error| panic!("after {what}: {error}"));
            assert_eq!(server.delivered()[0].to, ["ada@example.com"], "after {what}");
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test]
async fn without_tls_nothing_is_said_to_a_server_that_should_have_it() {
    let server = SmtpServer::start().await;
    let url = server.url().replace("//", "//user:password@") + "?tls=required";
    let error = Smtp::new(&url, clock()).unwrap().send(&small()).await.unwrap_err();
    assert_eq!(error.kind(), EmailErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("STARTTLS"), "{error}");
    assert!(server.commands().iter().all(|command| command.starts_with("EHLO")), "{:?}", server.commands());

    // The server does not support TLS.
    let url = server.url().replace("smtp://", "smtps://");
    let error = Smtp::new(&url, clock()).unwrap().send(&small()).await.unwrap_err();
    assert_eq!(error.kind(), EmailErrorKind::Configuration, "{error}");
    assert!(server.delivered().is_empty());
}

#[tokio::test]
async fn a_mail_that_is_cancelled_leaves_nothing_behind() {
    let server = SmtpServer::start().await;
    let smtp = smtp(&server);
    server.set_reply("DATA", SmtpReply::hang());
    let sending = tokio::spawn({
        let smtp = smtp.clone();
        async move { smtp.send(&small().subject("cancelled")).await }
    });
    while !server.commands().iter().any(|command| command == "DATA") {
        tokio::task::yield_now().await;
    }
    sending.abort();
    _ = sending.await;
    server.accept_all();
    smtp.send(&small()).await.unwrap();
    let delivered = server.delivered();
    assert_eq!(delivered.len(), 1);
    assert!(String::from_utf8_lossy(&delivered[0].text).contains("Subject: Hello\r\n"));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn no_more_connections_than_allowed() {
    let server = SmtpServer::start().await;
    let smtp = smtp(&server).connections(2);
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let smtp = smtp.clone();
        sending.spawn(async move { smtp.send(&small()).await.map(drop) });
    }
    while let Some(sent) = sending.join_next().await {
        sent.unwrap().unwrap();
    }
    assert_eq!(server.delivered().len(), 20);
    assert!(server.connections() <= 2, "{}", server.connections());
}

#[tokio::test]
async fn a_mail_that_waits_too_long_for_a_connection_was_not_sent() {
    let server = SmtpServer::start().await;
    server.set_reply(".", SmtpReply::hang());
    let smtp = smtp(&server).connections(1).timeout(Duration::from_secs(1));
    let (one, other) = (small(), small());
    let (one, other) = tokio::join!(smtp.send(&one), smtp.send(&other));
    let mut kinds = [one.unwrap_err().kind(), other.unwrap_err().kind()];
    kinds.sort_by_key(|kind| kind.as_str());
    assert_eq!(kinds, [EmailErrorKind::Unavailable, EmailErrorKind::Unknown]);
}

#[test]
fn urls() {
    let runs = |url: &str| Smtp::new(url, clock()).map(|smtp| format!("{smtp:?}")).map_err(|error| error.to_string());
    for (url, server) in [
        ("smtps://smtp.example.com", "smtp.example.com:465"),
        ("smtp://smtp.example.com", "smtp.example.com:587"),
        ("smtp://smtp.example.com?tls=none", "smtp.example.com:25"),
        ("smtp://smtp.example.com:80?tls=required", "smtp.example.com:80"),
        ("smtps://user%40example.com:p%3Aw@smtp.example.com:2465/mail.shop.example.com", "smtp.example.com:2465"),
        ("smtp://127.0.0.1", "127.0.0.1:25"),
        ("smtp://user:password@localhost:1025", "localhost:1025"),
        ("smtp://[::1]:1025", "::1:1025"),
    ] {
        assert_eq!(runs(url), Ok(format!("Smtp({server:?})")), "{url}");
    }
    for (url, says) in [
        ("smtp.example.com", "expected smtps://"),
        ("http://smtp.example.com", "expected smtps://"),
        ("smtp://", "expected smtps://"),
        ("smtps://smtp.example.com?tls=none", "can't be tls=none"),
        ("smtp://smtp.example.com?tls=opportunistic", "the only parameter"),
        ("smtp://user:secret@smtp.example.com?tls=none", "not sent without TLS"),
        ("smtps://user@smtp.example.com", "needs a password"),
        ("smtps://smtp.example.com/a%0D%0Ab", "must be a host name"),
    ] {
        let error = runs(url).unwrap_err();
        assert!(error.contains(says) && !error.contains("secret@"), "{url}: {error}");
    }
}
