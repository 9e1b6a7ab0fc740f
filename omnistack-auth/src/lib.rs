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
//! | [`account`] | registering, signing in by password or link and with second factors, what users change themselves |
//! | [`password`] | which passwords are taken, and how they are kept |
//! | [`issuer`] | tokens from elsewhere: identity providers, their keys, and their users |
//! | [`session`] | one sign-in on one device: short access tokens, refresh tokens that change each time |
//! | [`signing`] | the keys access tokens are signed with, and their rotation |
//! | [`role`] | what the members of a tenant may do |
//! | [`users`] | users, and the tenant each has of their own |
//! | [`model`] | users, tenants, sessions as they are shown |

pub mod account;
mod authenticator;
mod config;
mod cookie;
mod error;
mod factor;
mod http;
pub mod issuer;
mod lockout;
mod mail;
pub mod model;
mod module;
mod one_time;
pub mod password;
pub mod role;
pub mod session;
pub mod signing;
mod store;
mod token;
pub mod users;

pub use config::{AccountSettings, AuthSettings, IssuerSettings};
pub use error::{Error, ErrorKind};
pub use module::Auth;
