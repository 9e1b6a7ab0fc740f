//! The contact form: visitors send messages, operators read them.
//!
//! A page requests [`GET /api/v1/public/contact/status`] to learn which fields the form has, shows the form, and
//! posts the message to `/api/v1/public/contact`. The response is 202 with a reference number. By then the message
//! is stored in the database; the mails and the webhook that report it are jobs of the same transaction.
//!
//! ```
//! use omnistack_core::{app::App, config::Config};
//! use omnistack_messaging::{contact::Contact, email::Mail};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_pairs([
//!     ("DATABASE_URL", "sqlite::memory:"),
//!     ("EMAIL_FROM", "Shop <shop@example.com>"),
//!     ("CONTACT_TO", "help@example.com"),
//!     ("CONTACT_RATE_LIMIT", "5/hour"),
//! ]);
//! // Without `without_operators`, the app has `/api/v1/admin/contact` too, and needs a module that signs operators in.
//! let app = App::builder(config).with(Mail::default()).with(Contact::default().without_admin_routes()).build()?;
//! # _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! # Bots
//!
//! A message counts as sent by a bot if it fills in `website`, a field hidden from people, or if it is sent sooner
//! after the form was opened than a person could (`CONTACT_MIN_TIME`). The time at which the form was opened is in
//! the `token` of the status response, which the app has sealed. A bot gets the same response as a person, with a
//! reference number, but nothing is stored and nothing is sent.
//!
//! [`GET /api/v1/public/contact/status`]: Contact

mod form;
#[expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]
mod http;
mod inbox;
mod message;
mod module;
mod settings;
mod store;
mod token;
mod webhook;

pub use form::NewContactMessage;
pub use inbox::ContactInbox;
pub use message::{ContactMessage, ContactMessageId, ContactStatus};
pub use module::Contact;
pub use settings::ContactSettings;
pub use webhook::{ContactWebhookJob, PurgeContacts};
