//! Messages to people: mail, text messages and the contact form.
//!
//! | module | feature | what it is for |
//! |---|---|---|
//! | [`email`] | `email` | providers (SMTP, Resend, SendGrid), templates, an outbox, a suppression list |
//! | `contact` | `contact` | a contact form: visitors write, operators read |
//! | `sms` | `sms` | text messages by Twilio, sent at most once |
//! | [`outbox`], [`suppression`] | `email` or `sms` | what mail and text messages have in common |
//!
//! A message is a row and a job in the transaction that causes it, so it is sent if and only if that transaction
//! commits. `Mail`, `Contact` and `Sms` are the [modules](omnistack_core::module::Module) that an app adds.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite` | yes | SQLite, compiled in |
//! | `postgres` | no | PostgreSQL |
//! | `email` | yes | mail |
//! | `contact` | no | `email`, and a contact form |
//! | `sms` | no | text messages |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "contact")]
pub mod contact;
#[cfg(feature = "email")]
pub mod email;
#[cfg(any(feature = "email", feature = "sms"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(feature = "email", feature = "sms"))]
pub mod outbox;
#[cfg(feature = "sms")]
pub mod sms;
#[cfg(any(feature = "email", feature = "sms"))]
pub mod suppression;
