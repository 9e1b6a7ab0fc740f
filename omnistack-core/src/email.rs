//! Email: a message type and the providers that deliver it.
//!
//! An [`Email`] is plain data: it is validated before anything is sent, and can be stored and sent later. Modules
//! send mail through a [`Mailer`], which calls an [`EmailProvider`].
//!
//! ```
//! use omnistack_core::email::{Email, Mailer, MemoryProvider};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), omnistack_core::email::EmailError> {
//! let memory = MemoryProvider::default();
//! let mailer = Mailer::new(memory.clone()).default_sender("Shop <shop@example.com>".parse()?);
//!
//! let welcome = Email::to("Ada Lovelace <ada@example.com>")
//!     .subject("Welcome")
//!     .text("We are glad that you are here.")
//!     .html("<p>We are glad that you are here.</p>");
//! mailer.send(&welcome).await?;
//!
//! assert_eq!(memory.sent()[0].subject, "Welcome");
//! # Ok(())
//! # }
//! ```
//!
//! # Sent, refused or unknown
//!
//! "Sent" means that the provider accepted the mail, not that the recipient read it: bounces are reported later, by
//! webhook. If a provider accepts the mail but its response does not arrive, the outcome is
//! [unknown](EmailErrorKind::Unknown), and sending again may deliver the mail twice. If the mail has an
//! [`idempotency_key`](Email::idempotency_key), a provider that supports idempotency keys delivers it once. See
//! [`EmailErrorKind`].

mod address;
#[cfg(feature = "email")]
mod api;
mod console;
mod error;
mod failover;
#[cfg(feature = "email")]
mod mailbox;
mod mailer;
mod memory;
mod message;
#[cfg(feature = "email")]
mod module;
#[cfg(feature = "email")]
mod outbox;
mod provider;
#[cfg(feature = "email")]
mod recipients;
#[cfg(feature = "email")]
mod resend;
#[cfg(feature = "email")]
mod sendgrid;
mod settings;
#[cfg(feature = "email")]
mod smtp;
#[cfg(feature = "email")]
mod suppression;
#[cfg(feature = "email")]
pub mod template;

pub use address::{Address, AddressError};
pub use console::ConsoleProvider;
pub use error::{EmailError, EmailErrorKind, InvalidEmail};
pub use failover::FailoverProvider;
#[cfg(feature = "email")]
pub use mailbox::{DevMailbox, ReceivedMail};
pub use mailer::Mailer;
pub use memory::MemoryProvider;
pub use message::{Attachment, Email, EmailHeader, EmailTag, MAX_EMAIL_BYTES, Unsubscribe};
#[cfg(feature = "email")]
pub use module::{Mail, MailSettings, register_mail_migrations};
#[cfg(feature = "email")]
pub(crate) use outbox::insert_relayed;
#[cfg(feature = "email")]
pub use outbox::{MessageId, MessageInfo, MessageMarker, MessageState, Outbox, OutboxError, PurgeMail, SendMail};
pub use provider::{EmailProvider, SentMail};
#[cfg(feature = "email")]
pub use recipients::RecipientLimit;
#[cfg(feature = "email")]
pub use resend::Resend;
#[cfg(feature = "email")]
pub use sendgrid::SendGrid;
pub use settings::{EmailProviderName, EmailSettings};
#[cfg(feature = "email")]
pub use smtp::Smtp;
#[cfg(feature = "email")]
pub use suppression::{EmailApi, Suppression, SuppressionReason, Suppressions};

pub(crate) use settings::register;
