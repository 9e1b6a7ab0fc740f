//! The contact form: visitors write, operators read.
//!
//! A page asks [`GET /api/v1/public/contact/status`] what the form is, shows it, and posts what was written to
//! `/api/v1/public/contact`. The answer is 202 with a reference number: the message is a row of the database by then, and the
//! mails and the webhook that tell of it are jobs of the same transaction.
//!
//! ```
//! use omnistack_core::{app::App, config::Config, contact::Contact, email::Mail};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_pairs([
//!     ("DATABASE_URL", "sqlite::memory:"),
//!     ("EMAIL_FROM", "Shop <shop@example.com>"),
//!     ("CONTACT_TO", "help@example.com"),
//!     ("CONTACT_RATE_LIMIT", "5/hour"),
//! ]);
//! // Without `without_operators` there is `/api/v1/admin/contact` too, and the app needs somebody who signs operators in.
//! let app = App::builder(config).with(Mail::default()).with(Contact::default().without_operators()).build()?;
//! # _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! # Bots
//!
//! Two signs tell a bot: it fills in `website`, a field people don't see, or it sends the form sooner than anybody could write
//! (`CONTACT_MIN_TIME`). When a form was opened is in the `token` that the status gives, which the app has sealed. A bot gets
//! the very answer a person gets, a reference number too; nothing is stored and nothing is sent.
//!
//! [`GET /api/v1/public/contact/status`]: Contact

mod form;
#[expect(unused_qualifications, reason = "what the macros make of a query's type")]
mod http;
mod inbox;
mod message;
mod module;
mod settings;
mod store;
mod token;
mod webhook;

pub use form::NewContactMessage;
pub use inbox::Inbox;
pub use message::{ContactMessage, ContactMessageId, ContactStatus};
pub use module::Contact;
pub use settings::ContactSettings;
pub use webhook::{ForgetContacts, TellContact};
