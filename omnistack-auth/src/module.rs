//! The auth module, which registers routes, jobs, migrations and the authenticator.

mod accounts;
mod teams;

use std::sync::Arc;

use async_trait::async_trait;
use omnistack_core::{
    app::{BoxError, Ctx, Module, Mount, Registry},
    crypto::KeyRing,
    db::Db,
    http::client::Client,
    identity::Authenticator,
    jobs::Cron,
    migrations,
};
use secrecy::SecretString;

use crate::{
    account::{Accounts, FirstOwner},
    api_key::recognize,
    choice,
    config::{AuthSettings, IssuerSettings},
    http,
    issuer::{Checked, Issuer},
    mail::{AccountMail, Mails},
    password::{Breaches, PasswordCheck},
    services::Services,
    signing::SigningKeys,
    social::Provider,
    upkeep::Upkeep,
    users::Users,
};

/// The auth module: authenticates requests, and provides accounts, teams and API keys.
///
/// ```no_run
/// use omnistack_auth::Auth;
/// use omnistack_core::app::App;
///
/// # async fn run() -> omnistack_core::Result<()> {
/// App::from_env().with(Auth::accounts()).run().await
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Auth {
    built_in: bool,
    issuers: Vec<Issuer>,
    from_env: bool,
    breaches: Breaches,
    first_owner: FirstOwner,
    providers: Vec<Provider>,
    no_pages: bool,
}

impl Auth {
    /// Creates the module with built-in accounts.
    pub fn accounts() -> Self {
        Self { built_in: true, ..Self::default() }
    }

    /// Creates the module as the settings say: with the issuers in `AUTH_ISSUERS`, or with built-in accounts if there
    /// are none.
    pub fn from_env() -> Self {
        Self { from_env: true, ..Self::default() }
    }

    /// Creates the module with the external issuer [`Issuer::jwks`].
    pub fn jwks(issuer: impl Into<String>) -> Self {
        Self::default().and(Issuer::jwks(issuer))
    }

    /// Creates the module with the external issuer [`Issuer::hs256`].
    pub fn hs256(issuer: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::default().and(Issuer::hs256(issuer, secret))
    }

    /// Creates the module with the external issuer [`Issuer::clerk`].
    pub fn clerk(frontend_api: impl Into<String>, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::default().and(Issuer::clerk(frontend_api, origins))
    }

    /// Creates the module with the external issuer [`Issuer::supabase`].
    pub fn supabase(project: impl Into<String>) -> Self {
        Self::default().and(Issuer::supabase(project))
    }

    /// Creates the module with the external issuer [`Issuer::auth0`].
    pub fn auth0(domain: impl Into<String>, audience: impl Into<String>) -> Self {
        Self::default().and(Issuer::auth0(domain, audience))
    }

    /// Creates the module with the external issuer [`Issuer::keycloak`].
    pub fn keycloak(realm: impl Into<String>, client: impl Into<String>) -> Self {
        Self::default().and(Issuer::keycloak(realm, client))
    }

    /// Adds an external issuer, whose tokens the app accepts.
    pub fn and(mut self, issuer: Issuer) -> Self {
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

    /// Returns the validated external issuers, reports problems with them, and registers their webhooks.
    fn issuers(&self, registry: &mut Registry) -> Vec<Checked> {
        let own = registry.public_url();
        let mut issuers = self.issuers.clone();
        if let Some(settings) = registry.config::<IssuerSettings>().filter(|_| self.from_env) {
            match settings.read() {
                Ok(more) => issuers.extend(more),
                Err(error) => _ = registry.problem(format!("`AUTH_ISSUERS`: {error}"), "write `clerk=https://…`"),
            }
        }
        let mut trusted: Vec<Checked> = Vec::new();
        for issuer in &issuers {
            match issuer.check(own.as_str()) {
                Ok(checked) if trusted.iter().any(|other| other.name() == checked.name()) => {
                    let what = format!("trusts the issuer `{}` twice", checked.name());
                    registry.problem(what, "list each issuer once, with all of its audiences");
                }
                Ok(checked) => trusted.push(checked),
                Err((what, fix)) => _ = registry.problem(what, fix),
            }
        }
        if issuers.iter().any(Issuer::publishes) {
            registry.require::<Client>();
        }
        let mount = || Mount::public("/auth/webhooks").without_idempotency().body_limit(256 * 1024);
        for (path, api) in [("/clerk", http::webhook::clerk()), ("/supabase", http::webhook::supabase())] {
            if issuers.iter().any(|issuer| issuer.webhook_path() == Some(path)) {
                registry.routes(mount(), api, |ctx| Ok(ctx.get::<Services>()?.webhooks));
            }
        }
        trusted
    }

    /// Adds a check of new passwords against breached ones.
    pub fn password_check(mut self, check: impl PasswordCheck) -> Self {
        self.breaches = Breaches(Some(Arc::new(check)));
        self
    }
}

/// Marks that the app has built-in accounts.
#[derive(Clone, Copy)]
struct SignsInHere;

#[async_trait]
impl Module for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<AuthSettings>() else { return };
        registry.require::<Db>().require::<KeyRing>().migrations(migrations![
            "0001_accounts",
            "0002_accounts",
            "0003_teams",
            "0005_api_keys",
            "0006_second_factors",
            "0007_passkeys",
            "0008_sms_codes"
        ]);
        registry.request_headers([choice::TENANT, recognize::HEADER]);
        let issuers = self.issuers(registry);
        let Some(parts) = self.accounts_of(registry) else { return };
        let built_in = self.built_in || (self.from_env && issuers.is_empty());
        let grace = settings.tenant_delete_grace;
        let lifetimes = (settings.signing_key, settings.access_token);
        registry
            .provide_with({
                let parts = parts.clone();
                move |ctx| Services::new(ctx, &settings, &issuers, &parts)
            })
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.sessions))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.keys))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.accounts))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.passwords))
            .provide_with(|ctx| Ok(Users::new(ctx.get::<Db>()?.main(), ctx.get()?, ctx.get()?)))
            .provide_with(|ctx| Ok(Authenticator::new(ctx.get::<Services>()?.recognize)))
            .service("auth", |ctx| {
                let ended = ctx.get::<Services>()?.ended;
                Ok(move |shutdown| ended.clone().listen(shutdown))
            })
            .job::<AccountMail>(|ctx| {
                let mails = ctx.get::<Services>()?.mails;
                Ok(Mails { outbox: ctx.get().ok(), signs_in_here: ctx.get::<SignsInHere>().is_ok(), ..mails })
            })
            .job::<Upkeep>(move |ctx| Ok((ctx.get()?, lifetimes)))
            .cron(Cron::new("17 * * * *", Upkeep {}))
            .routes(Mount::app("/users/me"), http::me::api(), Ctx::get)
            .routes(Mount::app("/users/me").v2(), http::me::v2(), Ctx::get)
            .routes(Mount::app("/users/me").in_person(), http::me::profile(), Ctx::get)
            .routes(Mount::app("/users/me").v2().in_person(), http::me::profile_v2(), Ctx::get);
        let providers = self.sign_in_elsewhere(registry, built_in);
        if built_in {
            self.sign_in_here(registry);
            #[cfg(feature = "passkeys")]
            if parts.passkeys.is_some() {
                accounts::passkeys(registry);
            }
            #[cfg(feature = "sms")]
            if parts.sms_codes {
                accounts::sms_codes(registry, &parts.product);
            }
            self.pages(registry, &parts, providers);
        }
        teams::teams(registry, grace);
        teams::operators(registry);
    }

    async fn start(&self, ctx: &Ctx) -> Result<(), BoxError> {
        ctx.get::<SigningKeys>()?.start().await?;
        if ctx.get::<SignsInHere>().is_ok() {
            ctx.get::<Accounts>()?.make_first_owner(ctx.get::<FirstOwner>().ok().as_ref()).await?;
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
