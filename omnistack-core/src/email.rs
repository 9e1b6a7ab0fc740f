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
mod console;
mod contact;
mod error;
mod mailer;
mod memory;
mod message;
mod outbox;
mod provider;

pub use address::{Address, AddressError};
pub use console::ConsoleProvider;
pub use contact::{FindUserContact, UserContact, UserContacts};
pub use error::{EmailError, EmailErrorKind, InvalidEmail};
pub use mailer::Mailer;
pub use memory::MemoryProvider;
pub use message::{Attachment, Email, EmailHeader, EmailTag, MAX_EMAIL_BYTES, Unsubscribe};
pub use outbox::{EnqueueMail, MailOutbox};
pub use provider::{EmailProvider, SentMail};
