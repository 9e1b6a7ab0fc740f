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
//! # For apps
//!
//! [`Auth`] is the module. An app chooses where its users come from: [`Auth::built_in`] for accounts of its own,
//! [`Auth::clerk`], [`Auth::auth0`] and others for tokens of an external issuer, [`Auth::from_env`] for what the
//! settings say. These modules have the services that an app's code may call:
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
//!
//! # Rooms
//!
//! The source is cut by feature. Each top-level module is a room: a rule, with the routes and the SQL that serve it in
//! its `routes` and `store`. A room imports only from rooms further up in this list:
//!
//! - `error`, `model`, `role`, `settings`, `identity_cache`: what every room may use;
//! - `password`, `one_time_tokens`, `lockout`: the protection of sign-ins;
//! - `users`, `mail`, `session`: users, what is sent to them, and where they are signed in;
//! - `mfa`, `passkey`: how second factors and passkeys are verified and stored;
//! - `tenant`, `api_key`: what users are members of, and what programs use in their name;
//! - `account`: the built-in accounts, which put all of these together;
//! - `federation`: external identities, signed in with a token or through a provider;
//! - `operator`: administration and impersonation;
//! - `request`: the identity and the tenant of a request;
//! - `pages`, `wiring`, `maintenance`, `module`: the module itself.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod account;
pub mod api_key;
mod counts;
mod error;
mod federation;
#[doc(hidden)]
pub mod fuzzing;
mod identity_cache;
mod lockout;
mod mail;
mod maintenance;
mod mfa;
pub mod model;
mod module;
mod one_time_tokens;
#[doc(alias = "impersonation")]
pub mod operator;
mod pages;
#[cfg(feature = "passkeys")]
mod passkey;
pub mod password;
mod request;
pub mod role;
pub mod session;
mod settings;
pub mod tenant;
pub mod users;
mod wiring;

pub use error::{Error, ErrorKind};
pub use federation::{issuer, social};
pub use module::{Auth, AuthRoutes};
pub use pages::PageSettings;
pub use session::signing;
#[cfg(feature = "passkeys")]
pub use settings::PasskeySettings;
#[cfg(feature = "sms")]
pub use settings::SmsCodeSettings;
pub use settings::{AccountSettings, AuthSettings, IssuerSettings, SocialSettings};
pub use tenant::invitation;
