//! Text messages: one message type, and whoever delivers it.
//!
//! An [`SmsMessage`] is data: it is checked before anything is sent, and can be stored and sent later. The way to send one from a
//! request is the [`SmsOutbox`]: the message is a row and a job of the caller's transaction. Behind it is a [`Texter`], and
//! behind that an [`SmsProvider`].
//!
//! ```
//! use omnistack_core::sms::{SmsMemory, SmsMessage, Texter};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), omnistack_core::sms::SmsError> {
//! let memory = SmsMemory::default();
//! let texter = Texter::new(memory.clone());
//!
//! let message = SmsMessage::new("+49 170 1234567".parse()?, "Your table is ready.");
//! assert_eq!(message.segments().count, 1);
//! texter.send(&message).await?;
//!
//! assert_eq!(memory.sent()[0].to.as_str(), "+491701234567");
//! # Ok(())
//! # }
//! ```
//!
//! # Sent once, or not at all
//!
//! Unlike mail, a text message costs money and wakes people, and no provider here knows idempotency keys. So what may have been
//! taken is never sent again: when no answer came, or the process died while it asked, the message's state is `unknown`, and
//! stays so until the provider's webhook says more. What was certainly not taken is tried again until `SMS_GIVE_UP_AFTER`.

mod console;
mod error;
mod mailbox;
mod memory;
mod message;
mod module;
mod number;
mod outbox;
mod provider;
mod segments;
mod settings;
mod signature;
mod suppression;
mod texter;
mod twilio;
mod webhook;

pub use console::SmsConsole;
pub use error::{SmsError, SmsErrorKind, SmsInvalid};
pub use mailbox::{SmsMailbox, SmsReceived};
pub use memory::SmsMemory;
pub use message::{MAX_SEGMENTS, SmsMessage};
pub use module::Sms;
pub use number::{PhoneNumber, PhoneNumberError};
pub use outbox::{ForgetSms, SendSms, SmsId, SmsInfo, SmsOutbox, SmsOutboxError, SmsSender, SmsState};
pub use provider::{SmsProvider, SmsSent};
pub use segments::{SmsEncoding, SmsSegments};
pub use settings::{SmsProviderName, SmsSettings};
pub use signature::twilio_signature;
pub use suppression::{SmsApi, SmsReason, SmsSuppression, SmsSuppressions};
pub use texter::Texter;
pub use twilio::{Twilio, TwilioCredentials, TwilioFrom};
