//! The `console` provider, which writes messages to the log.

use async_trait::async_trait;

use super::{MAX_SEGMENTS, SentSms, SmsError, SmsMessage, SmsProvider};

/// A provider for development that writes messages to the log, with the target `omnistack::sms`, and delivers none.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmsConsole(());

#[async_trait]
impl SmsProvider for SmsConsole {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError> {
        message.check(MAX_SEGMENTS)?;
        let (to, text) = (message.to.as_str(), message.text.as_str());
        tracing::info!(target: "omnistack::sms", to, text, "no SMS provider is configured: the message is only written to the log");
        Ok(SentSms::new(self.name()))
    }
}
