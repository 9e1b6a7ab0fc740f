//! Mail: providers, templates, the outbox, the suppression list and the dev mailbox.
//!
//! The module [`Mail`] connects them: requests [compose](Outbox::compose) mails from [templates](template) and put them
//! into the [`Outbox`] in their own transaction; a job sends them through the provider that `EMAIL_PROVIDER` names;
//! webhooks of the provider fill the list of [`Suppressions`]. The message type and the contract of providers,
//! [`Email`] and [`EmailProvider`], are those of core, and are re-exported here.
//!
//! ```
//! use omnistack_core::{app::App, config::Config};
//! use omnistack_messaging::email::{Email, Mail, MessageState, Outbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
//! let app = App::builder(config).with(Mail::default()).build()?;
//! app.migrate().await?;
//!
//! let outbox: Outbox = app.context().get()?;
//! let id = outbox.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
//! app.runner().run_until_idle().await?;
//! assert_eq!(outbox.get(id).await?.map(|mail| mail.state), Some(MessageState::Sent));
//! # Ok(())
//! # }
//! ```

mod bounces;
mod dev_mailbox;
mod failover;
mod http_api;
mod module;
mod outbox;
mod recipients;
mod resend;
mod sendgrid;
mod settings;
mod smtp;
pub mod template;

pub use bounces::EmailApi;
pub use dev_mailbox::{DevMailbox, ReceivedMail};
pub use failover::FailoverProvider;
pub use module::{MIGRATIONS, Mail, MailSettings, register_mail_migrations};
pub use omnistack_core::email::*;
pub use outbox::{EmailChannel, Outbox, OutboxError, PurgeMail, SendMail, Suppressions};
pub use recipients::RecipientLimit;
pub use resend::Resend;
pub use sendgrid::SendGrid;
pub use settings::{EmailProviderName, EmailSettings};
pub use smtp::Smtp;

pub(crate) use bounces::parse_webhooks;

pub use crate::{
    outbox::{MessageId, MessageInfo, MessageMarker, MessageState},
    suppression::{Suppression, SuppressionReason},
};
