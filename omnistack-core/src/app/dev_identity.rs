//! A fixed identity for development, until the app has accounts.

use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use base64::Engine as _;
use http::request::Parts;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::identity::{Authenticate, Authenticator, Identity, Permissions, bearer_token};
use crate::{
    BoxError,
    crypto::constant_time_eq,
    http::Error,
    id::Id,
    module::{Context, Module, Registry},
};

/// A module that authenticates requests with the development token as the operator and member of one tenant.
///
/// The token is printed at start. It is read from `DEV_TOKEN`, or generated once and stored in `data/dev-token`.
/// With `APP_ENV=production` the app does not build with this module.
///
/// ```
/// use omnistack_core::{app::{App, DevIdentity}, config::Config, identity::Authenticator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("DEV_TOKEN", "dev_moon")]);
/// let app = App::builder(config).with(DevIdentity::default()).build()?;
///
/// let (request, ()) = http::Request::get("/").header("authorization", "Bearer dev_moon").body(())?.into_parts();
/// let authenticator: Authenticator = app.context().get()?;
/// assert_eq!(authenticator.authenticate(&request).await?, Some(DevIdentity::identity()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct DevIdentity {
    token: DevToken,
}

crate::settings! {
    /// Development identity.
    ///
    /// ```
    /// use omnistack_core::{ExposeSecret as _, app::DevIdentitySettings, config::Config};
    ///
    /// let settings: DevIdentitySettings = Config::from_pairs([("DEV_TOKEN", "dev_moon")]).read_settings()?;
    /// assert_eq!(settings.token.as_ref().map(|token| token.expose_secret()), Some("dev_moon"));
    /// assert!(!format!("{settings:?}").contains("dev_moon"));
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct DevIdentitySettings {
        /// Bearer token of the development identity. If unset, a token is generated and stored in
        /// `data/dev-token`.
        pub token: Option<SecretString> = "DEV_TOKEN";
    }
}

#[async_trait]
impl Module for DevIdentity {
    fn name(&self) -> &'static str {
        "dev-identity"
    }

    fn register(&self, registry: &mut Registry) {
        let settings = registry.config::<DevIdentitySettings>();
        if registry.environment().is_production() {
            registry.report_problem(
                "`APP_ENV` is production, and the development identity admits every caller who has its token",
                "replace `DevIdentity` with a module that authenticates your users, or unset `APP_ENV`",
            );
        }
        let token = self.token.clone();
        if let Some(token) = settings.and_then(|settings| settings.token) {
            _ = self.token.0.set(token);
        }
        registry.provide(Authenticator::new(token.clone()));
        registry.banner("sign in with", move || {
            token.0.get().map(|token| format!("Authorization: Bearer {}", token.expose_secret())).unwrap_or_default()
        });
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        if self.token.0.get().is_none() {
            let kept = read_or_create_token(Path::new("data/dev-token"));
            _ = self
                .token
                .0
                .set(kept.map_err(|error| format!("can't store a token in data/dev-token ({error}); set DEV_TOKEN"))?);
        }
        Ok(())
    }
}

impl DevIdentity {
    /// Returns the identity the token authenticates. Its ids are fixed, so that stored data belongs to it after a
    /// restart.
    pub fn identity() -> Identity {
        let user = Id::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        let tenant = Id::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002));
        Identity::user(user).for_tenant(tenant).with_permissions(Permissions::all()).into_operator()
    }
}

/// The development token; set once the module has started.
#[derive(Clone, Default)]
struct DevToken(Arc<OnceLock<SecretString>>);

/// Reads the token from the file. Generates and stores a token if the file does not exist or is empty.
fn read_or_create_token(path: &Path) -> std::io::Result<SecretString> {
    match std::fs::read_to_string(path) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().into()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let random: [u8; 24] = rand::random();
    let token = format!("dev_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    write_private(path, &token)?;
    Ok(token.into())
}

#[cfg(unix)]
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

impl fmt::Debug for DevToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[async_trait]
impl Authenticate for DevToken {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let own = self.0.get().map(ExposeSecret::expose_secret).unwrap_or_default();
        match bearer_token(request) {
            None => Ok(None),
            Some(token) if !own.is_empty() && constant_time_eq(token, own) => Ok(Some(DevIdentity::identity())),
            Some(_) => {
                Err(Error::unauthorized("this is not the development token; use the one printed when the app started"))
            }
        }
    }
}
