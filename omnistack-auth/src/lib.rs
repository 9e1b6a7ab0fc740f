//! User accounts, sign-in, sessions, tenants and API keys for OmniStack apps.
//!
//! Every request that carries an access token, a session cookie or an API key gets an `Identity`
//! (`omnistack_core::identity`): the user, the tenant and the permissions.
//!
//! ```no_run
//! use omnistack_auth::Auth;
//! use omnistack_core::app::App;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! App::from_env().with(Auth::built_in()).run().await
//! # }
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`account`] | registration, sign-in with password, magic link, passkey and second factors, changes to the own account |
//! | [`password`] | the password policy and password hashes |
//! | [`issuer`] | access tokens of external identity providers, their keys and the users they assert |
//! | [`social`] | sign-in with Google, GitHub, Microsoft or any other OpenID Connect provider |
//! | [`session`] | sessions, each a sign-in on one device: short-lived access tokens and refresh token rotation |
//! | [`signing`] | the keys that sign access tokens, and their rotation |
//! | [`role`] | the built-in roles of a tenant's members |
//! | [`tenant`] | tenants, teams, members and custom roles |
//! | [`invitation`] | invitations to join a team, sent by email |
//! | [`api_key`] | API keys: long-lived credentials for programs, limited to scopes |
//! | [`operator`] | administration of users and tenants by operators, and impersonation |
//! | [`users`] | users and their personal tenants |
//! | [`model`] | users, tenants, sessions and members as the API shows them |

pub mod account;
pub mod api_key;
mod authenticator;
mod choice;
mod config;
mod cookie;
mod error;
mod factor;
#[expect(clippy::trivially_copy_pass_by_ref, reason = "`garde` passes its context to rules by reference")]
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
