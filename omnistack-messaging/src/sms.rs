//! Text messages: a message type and the providers that deliver it.
//!
//! An [`SmsMessage`] is plain data: it is validated before anything is sent, and can be stored and sent later.
//! Requests send messages through the [`SmsOutbox`]: a message is a row and a job of the caller's transaction. The
//! job sends it through a [`SmsSender`], which calls an [`SmsProvider`].
//! ```
//! use omnistack_messaging::sms::{SmsMemory, SmsMessage, SmsSender};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), omnistack_messaging::sms::SmsError> {
//! let memory = SmsMemory::default();
//! let sender = SmsSender::new(memory.clone());
//!
//! let message = SmsMessage::new("+49 170 1234567".parse()?, "Your table is ready.");
//! assert_eq!(message.segments().count, 1);
//! sender.send(&message).await?;
//!
//! assert_eq!(memory.sent()[0].to.as_str(), "+491701234567");
//! # Ok(())
//! # }
//! ```
//!
//! # At most once
//!
//! Unlike mail, a text message costs money and disturbs people, and the provider does not support idempotency keys.
//! So a message that may have been accepted is never sent again: if no response arrived, or the process ended
//! during the call, the message's state is `unknown` until the provider's webhook reports more. A message that was
//! certainly not accepted is retried until `SMS_GIVE_UP_AFTER`.

mod console;
mod dev_mailbox;
mod error;
mod memory;
mod message;
mod module;
mod number;
mod outbox;
mod provider;
mod segments;
mod sender;
mod settings;
mod signature;
mod twilio;
mod twilio_event;
mod webhook;

pub use console::SmsConsole;
pub use dev_mailbox::{DevSmsMailbox, ReceivedSms};
pub use error::{InvalidSms, SmsError, SmsErrorKind};
pub use memory::SmsMemory;
pub use message::{MAX_SEGMENTS, SmsMessage};
pub use module::Sms;
pub use number::{PhoneNumber, PhoneNumberError};
pub use outbox::{PurgeSms, SendSms, SmsApi, SmsChannel, SmsOutbox, SmsOutboxError, SmsSuppressions};
pub use provider::{SentSms, SmsProvider};
pub use segments::{SmsEncoding, SmsSegments};
pub use sender::SmsSender;
pub use settings::{SmsProviderName, SmsSettings};
pub use signature::twilio_signature;
pub use twilio::{Twilio, TwilioCredentials, TwilioFrom};
pub(crate) use webhook::parse_webhooks;

pub use crate::{
    outbox::{MessageId, MessageInfo, MessageState},
    suppression::{Suppression, SuppressionReason},
};
