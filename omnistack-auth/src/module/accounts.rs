//! Registration of the built-in accounts.

#[cfg(feature = "passkeys")]
use std::sync::Arc;

use axum::middleware::from_fn;
use omnistack_core::{
    config::{Environment, PublicUrl},
    http::{Rate, client::SettingsClient},
    identity::AccessLevel,
    module::{Api, Context, MissingDependency, Mount, Registry, Slot},
};
use omnistack_messaging::email::MailSettings;

#[cfg(feature = "sms")]
use omnistack_messaging::sms::{PhoneNumber, SmsMessage, SmsOutbox, SmsSettings};

#[cfg(feature = "passkeys")]
use super::AuthRoutes;
use super::{Auth, BuiltInAccounts};
#[cfg(feature = "passkeys")]
use crate::{account::routes::passkeys::SignInIssuers, passkey::RelyingParty, settings::PasskeySettings};
use crate::{
    account::{self, Accounts},
    federation::{
        self,
        social::{self, Social},
    },
    operator,
    pages::{PageContext, PageSettings, Pages},
    password::{Hashing, Passwords},
    session::{self, cookies},
    settings::{AccountSettings, SocialSettings},
    users::normalize_email,
    wiring::{AccountConfig, Services},
};
#[cfg(feature = "sms")]
use crate::{mfa::sms_codes, settings::SmsCodeSettings};

/// The pages to which mails link.
const LINKED_PAGES: [&str; 8] = [
    "sign-in",
    "verify-email",
    "change-email",
    "forgot-password",
    "reset-password",
    "magic-link",
    "invitation",
    "security",
];

/// The routes that each page calls, whatever the settings are.
const CALLED_ROUTES: [(&str, &[&str]); 9] = [
    ("sign-in", &["POST /api/v1/public/auth/login", "POST /api/v1/public/auth/mfa"]),
    ("register", &["POST /api/v1/public/auth/register"]),
    ("verify-email", &["POST /api/v1/public/auth/verify-email"]),
    ("change-email", &["POST /api/v1/app/auth/email/confirm"]),
    ("forgot-password", &["POST /api/v1/public/auth/forgot-password"]),
    ("reset-password", &["POST /api/v1/public/auth/reset-password"]),
    ("magic-link", &["POST /api/v1/public/auth/magic-link", "POST /api/v1/public/auth/magic-link/verify"]),
    (
        "invitation",
        &[
            "POST /api/v1/public/auth/invitation",
            "POST /api/v1/public/auth/invitation/register",
            "POST /api/v1/app/invitations/accept",
        ],
    ),
    (
        "security",
        &[
            "POST /api/v1/public/auth/refresh",
            "POST /api/v1/public/auth/logout",
            "GET /api/v1/app/users/me",
            "DELETE /api/v1/app/users/me",
            "GET /api/v1/app/auth/sessions",
            "DELETE /api/v1/app/auth/sessions",
            "DELETE /api/v1/app/auth/sessions/{id}",
            "GET /api/v1/app/auth/mfa",
            "POST /api/v1/app/auth/mfa/totp",
            "POST /api/v1/app/auth/mfa/totp/confirm",
            "DELETE /api/v1/app/auth/mfa/totp",
            "POST /api/v1/app/auth/mfa/recovery-codes",
            "POST /api/v1/app/auth/mfa/verify",
            "POST /api/v1/app/auth/password",
            "POST /api/v1/app/auth/email",
        ],
    ),
];

/// Returns the public routes: sign-in, registration, and links from emails.
fn public() -> Api<Accounts> {
    account::routes::sign_in::api()
        .merge(account::routes::registration::api())
        .merge(account::routes::second_factors::public())
}

/// Returns a mount for a user's own account, which refuses API keys and impersonation. Of all routes of the account,
/// only `GET /users/me` allows them. It stays open beyond the limits of the tenant's plan: a user can always secure,
/// export and delete the account.
fn own_account_mount(path: &'static str) -> Mount {
    Mount::app(path).in_person().without_plan_limits()
}

/// Registers routes in version 1 of the API, and in version 2 with its response envelope.
fn register_v1_and_v2<S: Clone + Send + Sync + 'static>(
    registry: &mut Registry,
    mount: &Mount,
    api: fn() -> Api<S>,
    state: impl Fn(&Context) -> Result<S, MissingDependency> + Copy + Send + 'static,
) {
    registry.routes(mount.clone(), api(), state).routes(mount.clone().v2(), api().enveloped(), state);
}

impl Auth {
    /// Registers what only built-in accounts have: sign-in, sessions and credentials.
    pub(super) fn register_accounts(&self, registry: &mut Registry) {
        registry.require_public_url("links in mails, access tokens and cookies");
        if registry.environment() == Environment::Development {
            let owner = self.first_owner.clone();
            registry.provide(owner.clone()).banner("sign in as", move || owner.banner());
        }
        registry
            .provide(BuiltInAccounts)
            .security_scheme("cookie", cookies::security_scheme())
            .layer(Slot::Identity, |_| Ok(from_fn(cookies::vary_by_cookie)))
            .routes(
                Mount::root("/.well-known", AccessLevel::Public).during_maintenance(),
                session::routes::api(),
                Context::get,
            )
            .routes(Mount::admin("/users").without_idempotency(), operator::routes::second_factors::api(), Context::get)
            .routes(
                own_account_mount("/users/me").without_idempotency(),
                account::routes::credentials::me(),
                Context::get,
            )
            .routes(
                own_account_mount("/users/me").v2().without_idempotency(),
                account::routes::credentials::me_v2(),
                Context::get,
            );
        let invited = |ctx: &Context| Ok((ctx.get()?, ctx.get()?));
        // Operators sign in during maintenance.
        let sign_in = Mount::public("/auth").without_idempotency().during_maintenance();
        register_v1_and_v2(registry, &sign_in, public, Context::get);
        register_v1_and_v2(
            registry,
            &Mount::public("/auth").without_idempotency(),
            account::routes::invitation_signup::api,
            invited,
        );
        register_v1_and_v2(
            registry,
            &own_account_mount("/auth/mfa").without_idempotency(),
            account::routes::second_factors::app,
            Context::get,
        );
        register_v1_and_v2(
            registry,
            &own_account_mount("/auth").without_idempotency(),
            account::routes::credentials::api,
            Context::get,
        );
        register_v1_and_v2(
            registry,
            &own_account_mount("/auth/sessions"),
            account::routes::sessions::app,
            Context::get,
        );
    }
}

impl Auth {
    /// Registers the identity providers of the built-in accounts. Returns their names.
    pub(super) fn register_social_providers(&self, registry: &mut Registry, built_in: bool) -> Vec<String> {
        let mut providers = self.providers.clone();
        if let Some(settings) = registry.config::<SocialSettings>().filter(|_| self.from_env) {
            match settings.read() {
                Ok(more) => providers.extend(more),
                Err(error) => _ = registry.report_problem(error, "set both, or neither"),
            }
        }
        if providers.is_empty() {
            return Vec::new();
        }
        if !built_in {
            let what = "signs in with an identity provider, but has no built-in accounts";
            registry.report_problem(what, "start with `Auth::built_in()`");
        }
        let mut checked: Vec<social::ValidatedProvider> = Vec::new();
        for provider in &providers {
            match provider.validate() {
                Ok(provider) if checked.iter().any(|other| other.name() == provider.name()) => {
                    let what = format!("signs in with two providers called `{}`", provider.name());
                    registry.report_problem(what, "give one of them another name with `.named(…)`");
                }
                Ok(provider) => checked.push(provider),
                Err((what, fix)) => _ = registry.report_problem(what, fix),
            }
        }
        let names = checked.iter().map(|provider| provider.name().to_owned()).collect();
        // Each callback may cause a request to the provider.
        let oauth = Mount::public("/auth/oauth").without_idempotency().rate_limit(Rate::per_minute(300));
        let oauth = oauth.during_maintenance();
        registry
            .require::<SettingsClient>()
            .provide_from(move |ctx| {
                let Services { accounts, linker, .. } = ctx.get()?;
                let url: PublicUrl = ctx.get()?;
                let SettingsClient(client) = ctx.get()?;
                Ok(Social::new((accounts, linker), ctx.get()?, ctx.get()?, url.to_string(), checked.clone(), &client))
            })
            .require_route(
                "GET /api/v1/public/auth/oauth/{provider}/callback",
                "identity providers send users back to",
                "keep it, or remove the identity providers",
            )
            .routes(oauth, federation::routes::social::api(), Context::get);
        register_v1_and_v2(
            registry,
            &own_account_mount("/auth/identities").without_idempotency(),
            federation::routes::social::app,
            Context::get,
        );
        names
    }

    /// Registers the pages that emails link to, unless the app serves its own.
    pub(super) fn register_pages(&self, registry: &mut Registry, parts: &AccountConfig, providers: Vec<String>) {
        let Some(settings) = registry.config::<PageSettings>() else { return };
        if !settings.pages || self.no_pages {
            return;
        }
        if !settings.is_after_sign_in_valid() {
            let what = format!("`AUTH_AFTER_SIGN_IN` is not a path of the app: `{}`", settings.after_sign_in);
            registry.report_problem(what, "set it to a path such as `/projects`");
        }
        #[cfg(feature = "passkeys")]
        let passkeys = parts.passkeys.is_some();
        #[cfg(not(feature = "passkeys"))]
        let passkeys = false;
        #[cfg(feature = "sms")]
        let texts = parts.sms_codes;
        #[cfg(not(feature = "sms"))]
        let texts = false;
        let pages = Pages::new(&PageContext {
            product: parts.product.clone(),
            registration: parts.settings.registration,
            min_password_lengths: (parts.settings.password_length, parts.settings.password_length_second_factor),
            passkeys,
            sms_codes: texts,
            invitations: !registry.is_left_out("/api/v1/public/auth/invitation"),
            providers,
            after_sign_in: settings.after_sign_in,
        });
        let pages = self.with_own_pages(registry, pages);
        self.require_routes_of_pages(registry, &pages);
        registry.routes(Mount::root("/auth", AccessLevel::Public).during_maintenance(), pages.routes(), |_| Ok(pages));
    }

    /// Replaces pages by those of the app. Reports names that no page has.
    fn with_own_pages(&self, registry: &mut Registry, pages: Pages) -> Pages {
        self.own_pages.iter().fold(pages, |pages, (name, html)| match pages.clone().replace(name, html) {
            Some(replaced) => replaced,
            None => {
                let known = pages.names().collect::<Vec<_>>().join(", ");
                registry.report_problem(format!("has no page `{name}` to replace"), format!("use one of {known}"));
                pages
            }
        })
    }

    /// Requires the routes that the built-in pages call, and the pages to which mails link.
    fn require_routes_of_pages(&self, registry: &mut Registry, pages: &Pages) {
        const FIX: &str = "keep it, or leave the pages out as well: `Auth::without_pages()`";
        for name in pages.names() {
            let path = format!("/auth/{name}");
            if LINKED_PAGES.contains(&name) {
                registry.require_route(&format!("GET {path}"), "mails link to", FIX);
            }
            let is_own = self.own_pages.iter().any(|(own, _)| own == name);
            if is_own || registry.is_left_out(&path) {
                continue;
            }
            for route in CALLED_ROUTES.iter().filter(|(page, _)| *page == name).flat_map(|(_, routes)| *routes) {
                registry.require_route(route, format!("the page {path} calls"), FIX);
            }
        }
    }

    /// Returns the configuration of the built-in accounts, and reports problems with it. Returns `None` if it is
    /// invalid.
    pub(super) fn account_config(&self, registry: &mut Registry) -> Option<AccountConfig> {
        let settings: AccountSettings = registry.config()?;
        let product = registry.config::<MailSettings>()?.product.unwrap_or_else(|| registry.app_name().to_owned());
        if registry.environment().is_production() && !settings.meets_owasp_minimum() {
            registry.report_problem(
                "password hashes are too cheap for production: `AUTH_ARGON2_MEMORY` and `AUTH_ARGON2_PASSES`",
                "remove both, or set e.g. 19456 and 2, 47104 and 1, 12288 and 3",
            );
        }
        if settings.operator_email.as_deref().is_some_and(|email| normalize_email(email).is_none()) {
            registry.report_problem(
                "`AUTH_OPERATOR_EMAIL` is not an email address",
                "set it to one such as `ada@example.com`, or unset it",
            );
        }
        let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let hashing = Hashing {
            memory: settings.argon2_memory,
            passes: settings.argon2_passes,
            lanes: settings.argon2_lanes,
            running: settings.password_hash_concurrency.unwrap_or_else(cores),
            waiting: settings.password_hash_queue,
        };
        #[cfg(feature = "passkeys")]
        let passkeys = relying_party(registry, &product).filter(|_| !self.without.contains(&AuthRoutes::Passkeys));
        #[cfg(feature = "sms")]
        let sms_codes = registry.config::<SmsCodeSettings>()?.codes;
        report_missing_features(registry);
        match Passwords::new(hashing, self.importers.clone()) {
            Ok(passwords) => Some(AccountConfig {
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
                registry.report_problem(
                    format!("Argon2 settings are invalid: {error}"),
                    "remove the settings `AUTH_ARGON2_…`",
                );
                None
            }
        }
    }
}

/// Reports settings of features that are not compiled in.
fn report_missing_features(registry: &mut Registry) {
    #[cfg(not(feature = "passkeys"))]
    registry.config::<crate::settings::PasskeySettings>();
    #[cfg(not(feature = "sms"))]
    registry.config::<crate::settings::SmsCodeSettings>();
    #[cfg(all(feature = "passkeys", feature = "sms"))]
    let _ = registry;
}

/// Returns the WebAuthn relying party. Returns `None` if the app's host is not a domain, or if the settings are
/// wrong, which is reported.
#[cfg(feature = "passkeys")]
fn relying_party(registry: &mut Registry, product: &str) -> Option<RelyingParty> {
    let settings: PasskeySettings = registry.config()?;
    RelyingParty::new(&registry.public_url(), &settings, product).unwrap_or_else(|(what, fix)| {
        registry.report_problem(what, fix);
        None
    })
}

/// Registers the routes of passkeys.
#[cfg(feature = "passkeys")]
pub(super) fn passkeys(registry: &mut Registry) {
    // Each started ceremony stores a row for five minutes.
    let public = Mount::public("/auth/passkeys").rate_limit(Rate::per_minute(300)).during_maintenance();
    let app = |ctx: &Context| {
        let social: Option<Social> = ctx.get().ok();
        let offered: SignInIssuers = Arc::new(move |issuer| social.as_ref().is_some_and(|it| it.has_issuer(issuer)));
        Ok((ctx.get()?, offered))
    };
    let with_body = |mount: Mount| mount.without_idempotency().body_limit(MAX_PASSKEY_BODY_BYTES);
    register_v1_and_v2(registry, &with_body(public), account::routes::passkeys::public, Context::get);
    register_v1_and_v2(
        registry,
        &with_body(Mount::public("/auth/mfa/passkey").during_maintenance()),
        account::routes::passkeys::second_factor,
        Context::get,
    );
    register_v1_and_v2(registry, &with_body(own_account_mount("/auth/passkeys")), account::routes::passkeys::app, app);
}

/// Registers the routes of SMS codes.
#[cfg(feature = "sms")]
pub(super) fn sms_codes(registry: &mut Registry, product: &str) {
    let what = "`AUTH_SMS_CODES` is on, but no module sends text messages";
    registry.require_with_message::<SmsOutbox>(
        what,
        "add the module `Sms`: `.with(Sms::default())`, or unset AUTH_SMS_CODES",
    );
    let Some(texts) = registry.config::<SmsSettings>() else { return };
    // The number only completes an example message, which is not sent.
    let example = "+10000000".parse::<PhoneNumber>().map(|to| {
        let text = sms_codes::message_text(product, registry.public_url().host(), "000000");
        SmsMessage::new(to, text).check(texts.max_segments)
    });
    if let Ok(Err(error)) = example {
        let what = format!("SMS codes cannot be sent: {error}");
        registry.report_problem(what, "shorten the app's name, `EMAIL_PRODUCT`, or set `SMS_MAX_SEGMENTS` to 4");
    }
    register_v1_and_v2(
        registry,
        &Mount::public("/auth/mfa/sms").without_idempotency().during_maintenance(),
        account::routes::sms_codes::second_factor,
        Context::get,
    );
    register_v1_and_v2(
        registry,
        &own_account_mount("/auth/mfa/sms").without_idempotency(),
        account::routes::sms_codes::app,
        Context::get,
    );
}

/// The maximum size of a request with a signed credential, in bytes; it contains certificates of the device's
/// manufacturer.
#[cfg(feature = "passkeys")]
const MAX_PASSKEY_BODY_BYTES: u64 = 64 * 1024;
