//! Messages in the log.

use async_trait::async_trait;

use super::{MAX_SEGMENTS, SmsError, SmsMessage, SmsProvider, SmsSent};

/// Writes messages to the log, target `omnistack::sms`, and delivers none: for development.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmsConsole(());

#[async_trait]
impl SmsProvider for SmsConsole {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn send(&self, message: &SmsMessage) -> Result<SmsSent, SmsError> {
        message.check(MAX_SEGMENTS)?;
        let (to, text) = (message.to.as_str(), message.text.as_str());
        tracing::info!(target: "omnistack::sms", to, text, "no SMS provider: the message is shown here");
        Ok(SmsSent::by(self.name()))
    }
}
