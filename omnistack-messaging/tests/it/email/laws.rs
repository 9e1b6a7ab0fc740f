//! The conformance tests of the mail providers.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    clock::Clock,
    email::{ConsoleProvider, EmailProvider, MemoryProvider},
};
use omnistack_messaging::email::{Resend, SendGrid, Smtp};
use omnistack_testkit::{
    email::{EmailProviderUnderTest, EmailServerBehavior},
    email_conformance,
    mock_server::{ClosedPort, MockResponse, MockServer},
    smtp::{SmtpReply, SmtpServer},
};

use super::{client, clock};

async fn memory() -> EmailProviderUnderTest {
    EmailProviderUnderTest::new(MemoryProvider::default())
}

async fn console() -> EmailProviderUnderTest {
    EmailProviderUnderTest::new(ConsoleProvider::default())
}

async fn smtp(day: EmailServerBehavior) -> EmailProviderUnderTest {
    let server = SmtpServer::start().await;
    match day {
        EmailServerBehavior::Accepts => {}
        EmailServerBehavior::Busy => server.set_reply("RCPT", SmtpReply::line("451 4.7.1 greylisted, come back later")),
        EmailServerBehavior::Rejects => server.set_reply("RCPT", SmtpReply::line("550 5.1.1 no such user")),
        EmailServerBehavior::Hangs => server.set_reply(".", SmtpReply::hang()),
        EmailServerBehavior::Down => {
            let closed = ClosedPort::reserve();
            let url = format!("smtp://{}", closed.address());
            return EmailProviderUnderTest::new(Smtp::new(&url, Clock::system()).unwrap()).with_resource(closed);
        }
    }
    let smtp = Smtp::new(&server.url(), Clock::system()).unwrap().timeout(patience(day));
    let server = Arc::new(server);
    let heard = server.clone();
    EmailProviderUnderTest::new(smtp).with_request_count(move || heard.connections()).with_resource(server)
}

async fn resend(day: EmailServerBehavior) -> EmailProviderUnderTest {
    over_http(day, MockResponse::json(200, r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#), |url| {
        Resend::new(client(patience(day)), url, &"re_test".into(), clock()).unwrap()
    })
    .await
}

async fn sendgrid(day: EmailServerBehavior) -> EmailProviderUnderTest {
    over_http(day, MockResponse::status(202).header("x-message-id", "14c5d75ce93.dfd.64b469"), |url| {
        SendGrid::new(client(patience(day)), url, &"SG.test".into(), clock()).unwrap()
    })
    .await
}

/// Returns the provider's timeout, which is short for the silent server because the test waits for it.
fn patience(day: EmailServerBehavior) -> Duration {
    if day == EmailServerBehavior::Hangs { Duration::from_secs(1) } else { Duration::from_secs(20) }
}

async fn over_http<P: EmailProvider>(
    day: EmailServerBehavior,
    good: MockResponse,
    provider: impl Fn(&str) -> P,
) -> EmailProviderUnderTest {
    if day == EmailServerBehavior::Down {
        let closed = ClosedPort::reserve();
        return EmailProviderUnderTest::new(provider(&closed.url())).with_resource(closed);
    }
    let upstream = MockServer::start().await;
    let reply = match day {
        EmailServerBehavior::Accepts | EmailServerBehavior::Down => good,
        EmailServerBehavior::Busy => {
            MockResponse::json(429, r#"{"name":"rate_limit_exceeded"}"#).header("retry-after", "7")
        }
        EmailServerBehavior::Rejects => MockResponse::json(422, r#"{"name":"missing_required_field"}"#),
        EmailServerBehavior::Hangs => MockResponse::hang(),
    };
    upstream.expect_any().times(..).reply(reply);
    let provider = provider(upstream.url());
    let upstream = Arc::new(upstream);
    let heard = upstream.clone();
    EmailProviderUnderTest::new(provider).with_request_count(move || heard.requests().len()).with_resource(upstream)
}

email_conformance!(memory);
email_conformance!(console);
email_conformance!(smtp, with failures);
email_conformance!(resend, with failures);
email_conformance!(sendgrid, with failures);
