//! The conformance tests of the SMS providers.

use std::{sync::Arc, time::Duration};

use omnistack_core::sms::{SmsConsole, SmsMailbox, SmsMemory, Twilio, TwilioCredentials, TwilioFrom};
use omnistack_testkit::{
    sms::{Day, Subject},
    sms_conformance,
    upstream::{ClosedPort, Reply, Upstream},
};

use super::{client, clock};

async fn memory() -> Subject {
    Subject::new(SmsMemory::default())
}

async fn console() -> Subject {
    Subject::new(SmsConsole::default())
}

async fn mailbox() -> Subject {
    Subject::new(SmsMailbox::new(SmsConsole::default(), clock()))
}

pub(super) fn provider(url: &str) -> Twilio {
    let token = TwilioCredentials::Token("12345".into());
    let from = TwilioFrom::Sender("+15005550001".into());
    Twilio::new(client(Duration::from_secs(20)), url, "AC123", &token, from, clock()).unwrap()
}

async fn twilio(day: Day) -> Subject {
    if day == Day::Away {
        let closed = ClosedPort::reserve();
        return Subject::new(provider(&closed.url())).keep(closed);
    }
    let upstream = Upstream::start().await;
    let reply = match day {
        Day::Good | Day::Away => Reply::json(201, r#"{"sid":"SM1","status":"queued"}"#),
        Day::Later => Reply::json(429, r#"{"code":20429,"message":"Too Many Requests"}"#).header("retry-after", "7"),
        Day::No => Reply::json(400, r#"{"code":21211,"message":"The 'To' number is not a valid phone number"}"#),
        Day::Unwanted => Reply::json(400, r#"{"code":21610,"message":"Attempt to send to unsubscribed recipient"}"#),
        Day::Broken => Reply::json(500, r#"{"code":20500,"message":"Internal Server Error"}"#),
        Day::Silent => Reply::hang(),
    };
    upstream.expect_any().times(..).reply(reply);
    // The timeout is short for the silent server, because the test waits for it.
    let patience = Duration::from_secs(if day == Day::Silent { 1 } else { 20 });
    let provider = provider(upstream.url()).timeout(patience);
    let upstream = Arc::new(upstream);
    let heard = upstream.clone();
    Subject::new(provider).heard(move || heard.requests().len()).keep(upstream)
}

sms_conformance!(memory);
sms_conformance!(console);
sms_conformance!(mailbox);
sms_conformance!(twilio, with bad days);
