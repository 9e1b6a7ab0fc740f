//! The conformance tests of the mail providers.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    clock::Clock,
    email::{Console, EmailProvider, Memory, Resend, SendGrid, Smtp},
};
use omnistack_testkit::{
    email::{Day, Subject},
    email_conformance,
    smtp::{SmtpReply, SmtpServer},
    upstream::{ClosedPort, Reply, Upstream},
};

use super::{client, clock};

async fn memory() -> Subject {
    Subject::new(Memory::default())
}

async fn console() -> Subject {
    Subject::new(Console::default())
}

async fn smtp(day: Day) -> Subject {
    let server = SmtpServer::start().await;
    match day {
        Day::Good => {}
        Day::Later => server.answer("RCPT", SmtpReply::line("451 4.7.1 greylisted, come back later")),
        Day::No => server.answer("RCPT", SmtpReply::line("550 5.1.1 no such user")),
        Day::Silent => server.answer(".", SmtpReply::hang()),
        Day::Away => {
            let closed = ClosedPort::reserve();
            let url = format!("smtp://{}", closed.address());
            return Subject::new(Smtp::new(&url, Clock::system()).unwrap()).keep(closed);
        }
    }
    let smtp = Smtp::new(&server.url(), Clock::system()).unwrap().timeout(patience(day));
    let server = Arc::new(server);
    let heard = server.clone();
    Subject::new(smtp).heard(move || heard.connections()).keep(server)
}

async fn resend(day: Day) -> Subject {
    over_http(day, Reply::json(200, r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#), |url| {
        Resend::new(client(patience(day)), url, &"re_test".into(), clock()).unwrap()
    })
    .await
}

async fn sendgrid(day: Day) -> Subject {
    over_http(day, Reply::status(202).header("x-message-id", "14c5d75ce93.dfd.64b469"), |url| {
        SendGrid::new(client(patience(day)), url, &"SG.test".into(), clock()).unwrap()
    })
    .await
}

/// Returns the provider's timeout, which is short for the silent server because the test waits for it.
fn patience(day: Day) -> Duration {
    if day == Day::Silent { Duration::from_secs(1) } else { Duration::from_secs(20) }
}

async fn over_http<P: EmailProvider>(day: Day, good: Reply, provider: impl Fn(&str) -> P) -> Subject {
    if day == Day::Away {
        let closed = ClosedPort::reserve();
        return Subject::new(provider(&closed.url())).keep(closed);
    }
    let upstream = Upstream::start().await;
    let reply = match day {
        Day::Good | Day::Away => good,
        Day::Later => Reply::json(429, r#"{"name":"rate_limit_exceeded"}"#).header("retry-after", "7"),
        Day::No => Reply::json(422, r#"{"name":"missing_required_field"}"#),
        Day::Silent => Reply::hang(),
    };
    upstream.expect_any().times(..).reply(reply);
    let provider = provider(upstream.url());
    let upstream = Arc::new(upstream);
    let heard = upstream.clone();
    Subject::new(provider).heard(move || heard.requests().len()).keep(upstream)
}

email_conformance!(memory);
email_conformance!(console);
email_conformance!(smtp, with bad days);
email_conformance!(resend, with bad days);
email_conformance!(sendgrid, with bad days);
