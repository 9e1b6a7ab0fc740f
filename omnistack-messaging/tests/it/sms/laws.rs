//! The conformance tests of the SMS providers.

use std::{sync::Arc, time::Duration};

use omnistack_messaging::sms::{DevSmsMailbox, SmsConsole, SmsMemory, Twilio, TwilioCredentials, TwilioFrom};
use omnistack_testkit::{
    mock_server::{ClosedPort, MockResponse, MockServer},
    sms::{SmsProviderUnderTest, SmsServerBehavior},
    sms_conformance,
};

use super::{client, clock};

async fn memory() -> SmsProviderUnderTest {
    SmsProviderUnderTest::new(SmsMemory::default())
}

async fn console() -> SmsProviderUnderTest {
    SmsProviderUnderTest::new(SmsConsole::default())
}

async fn mailbox() -> SmsProviderUnderTest {
    SmsProviderUnderTest::new(DevSmsMailbox::new(SmsConsole::default(), clock()))
}

pub(super) fn provider(url: &str) -> Twilio {
    let token = TwilioCredentials::Token("12345".into());
    let from = TwilioFrom::Sender("+15005550001".into());
    Twilio::new(client(Duration::from_secs(20)), url, "AC123", &token, from, clock()).unwrap()
}

async fn twilio(day: SmsServerBehavior) -> SmsProviderUnderTest {
    if day == SmsServerBehavior::Down {
        let closed = ClosedPort::reserve();
        return SmsProviderUnderTest::new(provider(&closed.url())).with_resource(closed);
    }
    let upstream = MockServer::start().await;
    let reply = match day {
        SmsServerBehavior::Accepts | SmsServerBehavior::Down => {
            MockResponse::json(201, r#"{"sid":"SM1","status":"queued"}"#)
        }
        SmsServerBehavior::Busy => {
            MockResponse::json(429, r#"{"code":20429,"message":"Too Many Requests"}"#).header("retry-after", "7")
        }
        SmsServerBehavior::Rejects => {
            MockResponse::json(400, r#"{"code":21211,"message":"The 'To' number is not a valid phone number"}"#)
        }
        SmsServerBehavior::OptedOut => {
            MockResponse::json(400, r#"{"code":21610,"message":"Attempt to send to unsubscribed recipient"}"#)
        }
        SmsServerBehavior::BreaksResponse => {
            MockResponse::json(500, r#"{"code":20500,"message":"Internal Server Error"}"#)
        }
        SmsServerBehavior::Hangs => MockResponse::hang(),
    };
    upstream.expect_any().times(..).reply(reply);
    // The timeout is short for the silent server, because the test waits for it.
    let patience = Duration::from_secs(if day == SmsServerBehavior::Hangs { 1 } else { 20 });
    let provider = provider(upstream.url()).timeout(patience);
    let upstream = Arc::new(upstream);
    let heard = upstream.clone();
    SmsProviderUnderTest::new(provider).with_request_count(move || heard.requests().len()).with_resource(upstream)
}

sms_conformance!(memory);
sms_conformance!(console);
sms_conformance!(mailbox);
sms_conformance!(twilio, with failures);
