//! The auth module, which registers routes, jobs, migrations and the authenticator.

mod accounts;
mod optional_routes;
mod teams;

pub use optional_routes::AuthRoutes;

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use omnistack_core::{
    BoxError,
    crypto::KeyRing,
    db::Db,
    email::UserContacts,
    http::client::SettingsClient,
    identity::Authenticator,
    jobs::Cron,
    migrations,
    module::{Context, Module, Mount, Registry},
    webhook::WebhookInbox,
};
use omnistack_messaging::email::register_mail_migrations;
use secrecy::SecretString;

use crate::{
    account::{Accounts, InitialOperator},
    api_key::authenticate,
    counts,
    federation::{
        self,
        issuer::{Issuer, ValidatedIssuer, webhook::WebhookProvider},
        social::Provider,
    },
    mail::{self, AccountMail, AccountMailer},
    maintenance::AuthMaintenance,
    password::{BreachedPasswordCheck, HashImporters, PasswordCheck, PasswordHashImporter},
    request::tenant_selection,
    session::signing::SigningKeys,
    settings::{AuthSettings, IssuerSettings},
    users::{self, Users, contacts::AccountContacts},
    wiring::{Services, audit_log},
};

/// Largest body of an identity provider's webhook, in bytes. Both providers send a few KiB.
const MAX_WEBHOOK_BODY_BYTES: u64 = 256 * 1024;

/// The auth module: authenticates requests, and provides accounts, teams and API keys.
///
/// ```no_run
/// use omnistack_auth::Auth;
/// use omnistack_core::app::App;
///
/// # async fn run() -> omnistack_core::Result<()> {
/// App::from_env().with(Auth::built_in()).run().await
/// # }
/// ```
#[doc(alias("login", "OAuth", "RBAC", "SSO"))]
#[derive(Debug, Default)]
#[must_use]
pub struct Auth {
    built_in: bool,
    issuers: Vec<Issuer>,
    from_env: bool,
    breaches: BreachedPasswordCheck,
    importers: HashImporters,
    first_owner: InitialOperator,
    providers: Vec<Provider>,
    no_pages: bool,
    own_pages: Vec<(String, Cow<'static, str>)>,
    without: Vec<AuthRoutes>,
}

impl Auth {
    /// Creates the module with built-in accounts.
    pub fn built_in() -> Self {
        Self { built_in: true, ..Self::default() }
    }

    /// Creates the module as the settings say: with the issuers in `AUTH_ISSUERS`, or with built-in accounts if there
    /// are none.
    pub fn from_env() -> Self {
        Self { from_env: true, ..Self::default() }
    }

    /// Creates the module with the external issuer [`Issuer::jwks`].
    pub fn jwks(issuer: impl Into<String>) -> Self {
        Self::default().issuer(Issuer::jwks(issuer))
    }

    /// Creates the module with the external issuer [`Issuer::hs256`].
    pub fn hs256(issuer: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::default().issuer(Issuer::hs256(issuer, secret))
    }

    /// Creates the module with the external issuer [`Issuer::clerk`].
    pub fn clerk(frontend_api: impl Into<String>, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::default().issuer(Issuer::clerk(frontend_api, origins))
    }

    /// Creates the module with the external issuer [`Issuer::supabase`].
    pub fn supabase(project: impl Into<String>) -> Self {
        Self::default().issuer(Issuer::supabase(project))
    }

    /// Creates the module with the external issuer [`Issuer::auth0`].
    pub fn auth0(domain: impl Into<String>, audience: impl Into<String>) -> Self {
        Self::default().issuer(Issuer::auth0(domain, audience))
    }

    /// Creates the module with the external issuer [`Issuer::keycloak`].
    pub fn keycloak(realm: impl Into<String>, client: impl Into<String>) -> Self {
        Self::default().issuer(Issuer::keycloak(realm, client))
    }

    /// Adds an external issuer, whose tokens the app accepts.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Adds an identity provider with which users of the built-in accounts can sign in.
    pub fn sign_in_with(mut self, provider: Provider) -> Self {
        self.providers.push(provider);
        self
    }

    /// Disables the built-in pages that emails link to, whatever `AUTH_PAGES` says. The app must serve its own pages
    /// at the same paths, such as `/auth/sign-in`.
    pub fn without_pages(mut self) -> Self {
        self.no_pages = true;
        self
    }

    /// Serves this HTML document in place of a built-in page, such as `sign-in`. It has the same headers: a policy that
    /// allows scripts and styles of this origin only. For a page with a handler of its own, leave the built-in page out,
    /// `.without_routes("auth", "/auth/sign-in")` on the builder, and mount the page in a module of the app.
    ///
    /// ```
    /// use omnistack_auth::Auth;
    ///
    /// let auth = Auth::built_in().page("error", "<!doctype html><title>Sorry</title><h1>You were not signed in.</h1>");
    /// # let _ = auth;
    /// ```
    pub fn page(mut self, name: impl Into<String>, html: impl Into<Cow<'static, str>>) -> Self {
        self.own_pages.push((name.into(), html.into()));
        self
    }

    /// Leaves out routes. They respond with 404 and are not in the OpenAPI document; a module of the app may serve their
    /// paths. For single routes, see [`AppBuilder::without_routes`](omnistack_core::app::AppBuilder::without_routes).
    pub fn without(mut self, routes: AuthRoutes) -> Self {
        self.without.push(routes);
        self
    }

    /// Returns the validated external issuers, reports problems with them, and registers their webhooks.
    fn check_issuers(&self, registry: &mut Registry) -> Vec<ValidatedIssuer> {
        let own = registry.public_url();
        let mut issuers = self.issuers.clone();
        if let Some(settings) = registry.config::<IssuerSettings>().filter(|_| self.from_env) {
            match settings.to_providers() {
                Ok(more) => issuers.extend(more),
                Err(error) => {
                    _ = registry.report_problem(format!("`AUTH_ISSUERS`: {error}"), "write `clerk=https://…`");
                }
            }
        }
        let mut trusted: Vec<ValidatedIssuer> = Vec::new();
        for issuer in &issuers {
            match issuer.validate(own.as_str()) {
                Ok(checked) if trusted.iter().any(|other| other.name() == checked.name()) => {
                    let what = format!("trusts the issuer `{}` twice", checked.name());
                    registry.report_problem(what, "list each issuer once, with all of its audiences");
                }
                Ok(checked) => trusted.push(checked),
                Err((what, fix)) => _ = registry.report_problem(what, fix),
            }
        }
        if issuers.iter().any(Issuer::has_published_keys) {
            registry.require::<SettingsClient>();
        }
        for provider in [WebhookProvider::Clerk, WebhookProvider::Supabase] {
            if issuers.iter().any(|issuer| issuer.webhook_provider() == Some(provider)) {
                let mount = Mount::public("/auth/webhooks").body_limit(MAX_WEBHOOK_BODY_BYTES);
                let mount = mount.without_idempotency().without_rate_limit();
                registry
                    .webhook_source(provider.name(), move |ctx| Ok(ctx.get::<Services>()?.webhooks.source(provider)))
                    .webhook_handler(provider.name(), "*", move |ctx| {
                        Ok(ctx.get::<Services>()?.webhooks.handler(provider))
                    })
                    .routes(mount, federation::routes::webhooks::api(provider), |ctx| ctx.get::<WebhookInbox>());
            }
        }
        trusted
    }

    /// Adds a check of new passwords against breached ones.
    pub fn password_check(mut self, check: impl PasswordCheck) -> Self {
        self.breaches = BreachedPasswordCheck(Some(Arc::new(check)));
        self
    }

    /// Adds an importer of password hashes that another system has computed: users who come from there sign in with
    /// their password, and get a hash of this app then.
    pub fn import_hashes(mut self, importer: impl PasswordHashImporter) -> Self {
        self.importers.add(importer);
        self
    }
}

/// The mark of an app that has built-in accounts.
#[derive(Clone, Copy)]
struct BuiltInAccounts;

#[async_trait]
impl Module for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<AuthSettings>() else { return };
        if let Some(domain) = settings.tenant_domain.as_deref().filter(|domain| !tenant_selection::is_domain(domain)) {
            registry.report_problem(
                format!("TENANT_DOMAIN: `{domain}` is not a domain"),
                "write the domain alone, in ASCII, such as example.com",
            );
        }
        for pattern in self.without.iter().flat_map(|routes| routes.patterns()) {
            registry.leave_out_routes(pattern);
        }
        registry.require::<Db>().require::<KeyRing>().migrations(migrations!["0001_accounts"]);
        // A session belongs to a user, and its tenant is the one that the user has selected.
        registry.unprotected_tables(["omni_sessions"]);
        // The limit of mails to one recipient is in the tables of mails, which exist without the module `Mail` too.
        register_mail_migrations(registry);
        registry.request_headers([tenant_selection::TENANT_HEADER, authenticate::API_KEY_HEADER]);
        let issuers = self.check_issuers(registry);
        let Some(parts) = self.account_config(registry) else { return };
        let built_in = self.built_in || (self.from_env && issuers.is_empty());
        let grace = settings.tenant_delete_grace;
        let lifetimes = (settings.signing_key, settings.access_token);
        let me = || Mount::app("/users/me").without_plan_limits();
        registry
            .provide_from({
                let parts = parts.clone();
                move |ctx| Services::new(ctx, &settings, &issuers, &parts)
            })
            .provide_from(|ctx| Ok(ctx.get::<Services>()?.sessions))
            .provide_from(|ctx| Ok(ctx.get::<Services>()?.keys))
            .provide_from(|ctx| Ok(ctx.get::<Services>()?.accounts))
            .provide_from(|ctx| Ok(ctx.get::<Services>()?.passwords))
            .provide_from(|ctx| Ok(Users::new(ctx.get::<Db>()?.app_database(), ctx.get()?, audit_log(ctx)?)))
            .provide_from(|ctx| Ok(UserContacts::new(AccountContacts(ctx.get::<Db>()?.app_database()))))
            .provide_from(|ctx| Ok(Authenticator::new(ctx.get::<Services>()?.authenticator)))
            .background_service("auth", |ctx| {
                let ended = ctx.get::<Services>()?.invalidator;
                Ok(move |shutdown| ended.clone().listen(shutdown))
            })
            .job::<AccountMail>(|ctx| {
                let mails = ctx.get::<Services>()?.mailer;
                Ok(AccountMailer {
                    outbox: ctx.get().ok(),
                    has_built_in_accounts: ctx.get::<BuiltInAccounts>().is_ok(),
                    ..mails
                })
            })
            .job::<AuthMaintenance>(move |ctx| Ok((ctx.get()?, lifetimes)))
            .cron(Cron::new("17 * * * *", AuthMaintenance {}))
            .routes(me(), users::routes::api(), Context::get)
            .routes(me().v2(), users::routes::v2(), Context::get)
            .routes(me().in_person(), users::routes::profile(), Context::get)
            .routes(me().v2().in_person(), users::routes::profile_v2(), Context::get);
        counts::register(registry);
        mail::usage_threshold::register(registry);
        mail::billing_notice::register(registry);
        mail::webhook_endpoint::register(registry);
        let providers = self.register_social_providers(registry, built_in);
        if built_in {
            self.register_accounts(registry);
            #[cfg(feature = "passkeys")]
            if parts.passkeys.is_some() {
                accounts::passkeys(registry);
            }
            #[cfg(feature = "sms")]
            if parts.sms_codes {
                accounts::sms_codes(registry, &parts.product);
            }
            self.register_pages(registry, &parts, providers);
        }
        teams::teams(registry, grace);
        teams::operators(registry);
    }

    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        ctx.get::<SigningKeys>()?.start().await?;
        if ctx.get::<BuiltInAccounts>().is_ok() {
            ctx.get::<Accounts>()?.create_initial_operator(ctx.get::<InitialOperator>().ok().as_ref()).await?;
        }
        Ok(())
    }
}
