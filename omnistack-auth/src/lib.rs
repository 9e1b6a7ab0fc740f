//! Accounts for OmniStack apps: who calls, for which tenant, and what they may do.
//!
//! ```no_run
//! use omnistack_auth::Auth;
//! use omnistack_core::app::App;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! App::from_env().with(Auth::accounts()).run().await
//! # }
//! ```
//!
//! | room | what it is for |
//! |---|---|
//! | [`account`] | registering, signing in by password or link and with second factors or passkeys, what users change themselves |
//! | [`password`] | which passwords are taken, and how they are kept |
//! | [`issuer`] | tokens from elsewhere: identity providers, their keys, and their users |
//! | [`social`] | signing in with Google, GitHub, Microsoft or whoever speaks OpenID Connect |
//! | [`session`] | one sign-in on one device: short access tokens, refresh tokens that change each time |
//! | [`signing`] | the keys access tokens are signed with, and their rotation |
//! | [`role`] | what the members of a tenant may do |
//! | [`tenant`] | tenants, teams, members and the roles teams make themselves |
//! | [`invitation`] | people are asked by mail to join a team |
//! | [`api_key`] | programs call in somebody's name, with some of their rights |
//! | [`operator`] | operators look after users and tenants, and act as a user for a while |
//! | [`users`] | users, and the tenant each has of their own |
//! | [`model`] | users, tenants, sessions as they are shown |

pub mod account;
pub mod api_key;
mod authenticator;
mod choice;
mod config;
mod cookie;
mod error;
mod factor;
#[expect(clippy::trivially_copy_pass_by_ref, reason = "`garde` hands its context to rules so")]
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
mod http;
pub mod invitation;
pub mod issuer;
mod lockout;
mod mail;
mod member;
pub mod model;
mod module;
mod one_time;
pub mod operator;
mod own_role;
mod pages;
#[cfg(feature = "passkeys")]
mod passkey;
pub mod password;
pub mod role;
mod services;
pub mod session;
pub mod signing;
#[cfg(feature = "sms")]
mod sms_code;
pub mod social;
mod store;
mod team;
pub mod tenant;
mod token;
mod upkeep;
pub mod users;

#[cfg(feature = "passkeys")]
pub use config::PasskeySettings;
#[cfg(feature = "sms")]
pub use config::SmsCodeSettings;
pub use config::{AccountSettings, AuthSettings, IssuerSettings, SocialSettings};
pub use error::{Error, ErrorKind};
pub use module::Auth;
pub use pages::PageSettings;
