//! Registration of the built-in accounts.

use omnistack_core::{
    app::{Api, Audience, Ctx, Missing, Mount, Registry, Slot},
    config::{Environment, PublicUrl},
    email::MailSettings,
    http::{Rate, client::Client, layer::StepLayer},
};

#[cfg(feature = "sms")]
use omnistack_core::sms::{PhoneNumber, SmsMessage, SmsOutbox, SmsSettings};

use super::{Auth, SignsInHere};
use crate::{
    account::Accounts,
    config::{AccountSettings, SocialSettings},
    cookie::{self, VaryByCookie},
    http,
    pages::{PageSettings, Pages, Parts},
    password::{Hashing, Passwords},
    services::{AccountParts, Services},
    social::{self, Social},
    users::normal_email,
};
#[cfg(feature = "passkeys")]
use crate::{config::PasskeySettings, passkey::RelyingParty};
#[cfg(feature = "sms")]
use crate::{config::SmsCodeSettings, sms_code};

/// Returns the public routes: sign-in, registration, and links from emails.
fn public() -> Api<Accounts> {
    http::login::api().merge(http::account::api()).merge(http::factor::public())
}

/// Returns a mount for a user's own account, which refuses API keys and impersonation. Of all routes of the account,
/// only `GET /users/me` allows them.
fn personal(path: &'static str) -> Mount {
    Mount::app(path).in_person()
}

/// Registers routes in version 1 of the API, and in version 2 with its response envelope.
fn both<S: Clone + Send + Sync + 'static>(
    registry: &mut Registry,
    mount: &Mount,
    api: fn() -> Api<S>,
    state: impl Fn(&Ctx) -> Result<S, Missing> + Copy + Send + 'static,
) {
    registry.routes(mount.clone(), api(), state).routes(mount.clone().v2(), api().enveloped(), state);
}

impl Auth {
    /// Registers what only built-in accounts have: sign-in, sessions and credentials.
    pub(super) fn sign_in_here(&self, registry: &mut Registry) {
        registry.require_public_url("links in mails, access tokens and cookies");
        if registry.environment() == Environment::Development {
            let owner = self.first_owner.clone();
            registry.provide(owner.clone()).banner("sign in as", move || owner.line());
        }
        registry
            .provide(SignsInHere)
            .security_scheme("cookie", cookie::security_scheme())
            .layer(Slot::Identity, |_| Ok(StepLayer(VaryByCookie)))
            .routes(Mount::root("/.well-known", Audience::Public), http::keys::api(), Ctx::get)
            .routes(Mount::admin("/users").without_idempotency(), http::admin::factors::api(), Ctx::get)
            .routes(personal("/users/me").without_idempotency(), http::credential::me(), Ctx::get)
            .routes(personal("/users/me").v2().without_idempotency(), http::credential::me_v2(), Ctx::get);
        let invited = |ctx: &Ctx| Ok((ctx.get()?, ctx.get()?));
        both(registry, &Mount::public("/auth").without_idempotency(), public, Ctx::get);
        both(registry, &Mount::public("/auth").without_idempotency(), http::invited::api, invited);
        both(registry, &personal("/auth/mfa").without_idempotency(), http::factor::app, Ctx::get);
        both(registry, &personal("/auth").without_idempotency(), http::credential::api, Ctx::get);
        both(registry, &personal("/auth/sessions"), http::session::app, Ctx::get);
    }
}

impl Auth {
    /// Registers the identity providers of the built-in accounts. Returns their names.
    pub(super) fn sign_in_elsewhere(&self, registry: &mut Registry, built_in: bool) -> Vec<String> {
        let mut providers = self.providers.clone();
        if let Some(settings) = registry.config::<SocialSettings>().filter(|_| self.from_env) {
            match settings.read() {
                Ok(more) => providers.extend(more),
                Err(error) => _ = registry.problem(error, "set both, or neither"),
            }
        }
        if providers.is_empty() {
            return Vec::new();
        }
        if !built_in {
            let what = "signs in with an identity provider, but has no built-in accounts";
            registry.problem(what, "start with `Auth::accounts()`");
        }
        let mut checked: Vec<social::Checked> = Vec::new();
        for provider in &providers {
            match provider.check() {
                Ok(provider) if checked.iter().any(|other| other.name() == provider.name()) => {
                    let what = format!("signs in with two providers called `{}`", provider.name());
                    registry.problem(what, "give one of them another name with `.named(…)`");
                }
                Ok(provider) => checked.push(provider),
                Err((what, fix)) => _ = registry.problem(what, fix),
            }
        }
        let names = checked.iter().map(|provider| provider.name().to_owned()).collect();
        // Each callback may cause a request to the provider.
        let oauth = Mount::public("/auth/oauth").without_idempotency().rate_limit(Rate::per_minute(300));
        registry
            .require::<Client>()
            .provide_with(move |ctx| {
                let (accounts, url) = (ctx.get::<Services>()?.accounts, ctx.get::<PublicUrl>()?);
                Ok(Social::new(accounts, ctx.get()?, ctx.get()?, url.to_string(), checked.clone(), &ctx.get()?))
            })
            .routes(oauth, http::social::api(), Ctx::get);
        both(registry, &personal("/auth/identities").without_idempotency(), http::social::app, Ctx::get);
        names
    }

    /// Registers the pages that emails link to, unless the app serves its own.
    pub(super) fn pages(&self, registry: &mut Registry, parts: &AccountParts, providers: Vec<String>) {
        let Some(settings) = registry.config::<PageSettings>() else { return };
        if !settings.pages || self.no_pages {
            return;
        }
        if !settings.leads_somewhere() {
            let what = format!("`AUTH_AFTER_SIGN_IN` is not a path of the app: `{}`", settings.after_sign_in);
            registry.problem(what, "set it to a path such as `/projects`");
        }
        #[cfg(feature = "passkeys")]
        let passkeys = parts.passkeys.is_some();
        #[cfg(not(feature = "passkeys"))]
        let passkeys = false;
        #[cfg(feature = "sms")]
        let texts = parts.sms_codes;
        #[cfg(not(feature = "sms"))]
        let texts = false;
        let pages = Pages::new(&Parts {
            product: parts.product.clone(),
            registration: parts.settings.registration,
            lengths: (parts.settings.password_length, parts.settings.password_length_second_factor),
            passkeys,
            texts,
            providers,
            after: settings.after_sign_in,
        });
        registry.routes(Mount::root("/auth", Audience::Public), pages.routes(), |_| Ok(pages));
    }

    /// Returns the configuration of the built-in accounts, and reports problems with it. Returns `None` if it is
    /// invalid.
    pub(super) fn accounts_of(&self, registry: &mut Registry) -> Option<AccountParts> {
        let settings: AccountSettings = registry.config()?;
        let product = registry.config::<MailSettings>()?.product.unwrap_or_else(|| registry.app_name().to_owned());
        if registry.environment().is_production() && !settings.is_costly() {
            registry.problem(
                "password hashes are too cheap for production: `AUTH_ARGON2_MEMORY` and `AUTH_ARGON2_PASSES`",
                "remove both, or set e.g. 19456 and 2, 47104 and 1, 12288 and 3",
            );
        }
        if settings.owner.as_deref().is_some_and(|email| normal_email(email).is_none()) {
            registry.problem(
                "`AUTH_OWNER_EMAIL` is not an email address",
                "set it to one such as `ada@example.com`, or unset it",
            );
        }
        let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let hashing = Hashing {
            memory: settings.argon2_memory,
            passes: settings.argon2_passes,
            lanes: settings.argon2_lanes,
            running: settings.hashing.unwrap_or_else(cores),
            waiting: settings.hashing_queue,
        };
        #[cfg(feature = "passkeys")]
        let passkeys = relying_party(registry, &product);
        #[cfg(feature = "sms")]
        let sms_codes = registry.config::<SmsCodeSettings>()?.codes;
        match Passwords::new(hashing) {
            Ok(passwords) => Some(AccountParts {
                settings,
                product,
                passwords,
                breaches: self.breaches.clone(),
                #[cfg(feature = "passkeys")]
                passkeys,
                #[cfg(feature = "sms")]
                sms_codes,
            }),
            Err(error) => {
                registry
                    .problem(format!("Argon2 settings are invalid: {error}"), "remove the settings `AUTH_ARGON2_…`");
                None
            }
        }
    }
}

/// Returns the WebAuthn relying party. Returns `None` if the app's host is not a domain, or if the settings are
/// wrong, which is reported.
#[cfg(feature = "passkeys")]
fn relying_party(registry: &mut Registry, product: &str) -> Option<RelyingParty> {
    let settings: PasskeySettings = registry.config()?;
    RelyingParty::new(&registry.public_url(), &settings, product).unwrap_or_else(|(what, fix)| {
        registry.problem(what, fix);
        None
    })
}

/// Registers the routes of passkeys.
#[cfg(feature = "passkeys")]
pub(super) fn passkeys(registry: &mut Registry) {
    // Each started ceremony stores a row for five minutes.
    let public = Mount::public("/auth/passkeys").rate_limit(Rate::per_minute(300));
    let app = |ctx: &Ctx| Ok((ctx.get()?, ctx.get().ok()));
    let with_body = |mount: Mount| mount.without_idempotency().body_limit(MAX_PASSKEY_BODY_BYTES);
    both(registry, &with_body(public), http::passkey::public, Ctx::get);
    both(registry, &with_body(Mount::public("/auth/mfa/passkey")), http::passkey::second_factor, Ctx::get);
    both(registry, &with_body(personal("/auth/passkeys")), http::passkey::app, app);
}

/// Registers the routes of SMS codes.
#[cfg(feature = "sms")]
pub(super) fn sms_codes(registry: &mut Registry, product: &str) {
    let what = "`AUTH_SMS_CODES` is on, but no module sends text messages";
    registry.require_or::<SmsOutbox>(what, "add the module `Sms`: `.with(Sms::default())`, or unset AUTH_SMS_CODES");
    let Some(texts) = registry.config::<SmsSettings>() else { return };
    // The number only completes an example message, which is not sent.
    let example = "+10000000".parse::<PhoneNumber>().map(|to| {
        let text = sms_code::text(product, registry.public_url().host(), "000000");
        SmsMessage::new(to, text).check(texts.max_segments)
    });
    if let Ok(Err(error)) = example {
        let what = format!("SMS codes cannot be sent: {error}");
        registry.problem(what, "shorten the app's name, `EMAIL_PRODUCT`, or set `SMS_MAX_SEGMENTS` to 4");
    }
    both(registry, &Mount::public("/auth/mfa/sms").without_idempotency(), http::sms_code::second_factor, Ctx::get);
    both(registry, &personal("/auth/mfa/sms").without_idempotency(), http::sms_code::app, Ctx::get);
}

/// The maximum size of a request with a signed credential, in bytes; it contains certificates of the device's
/// manufacturer.
#[cfg(feature = "passkeys")]
const MAX_PASSKEY_BODY_BYTES: u64 = 64 * 1024;
