//! Tenants' own versions of templates.

use minijinja::{Value, value::Serde};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Rendered, Template, TemplateError, Templates, Version, shipped};
use crate::{
    clock::{Clock, Timestamp},
    db::{self, Db},
    identity::TenantId,
};

/// A tenant's own version of a template.
///
/// ```
/// use omnistack_core::email::template::Overrides;
/// # use omnistack_core::{app::App, clock::Clock, config::Config, email::Mail, id::Id};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let tenant = Id::new(Clock::system().now());
/// let overrides: Overrides = app.ctx().get()?;
/// overrides.save(tenant, "footer", "en", "Sent by Globex, 1 Main Street.").await?;
///
/// let own = overrides.list(tenant).await?;
/// assert_eq!((own[0].name.as_str(), own[0].locale.as_str()), ("footer", "en"));
/// assert_eq!(own[0].source, "Sent by Globex, 1 Main Street.");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow, ToSchema)]
pub struct Override {
    /// Of which template; `footer` ends every mail.
    pub name: String,
    /// In which locale.
    pub locale: String,
    /// The Markdown.
    pub source: String,
    /// When it was saved.
    pub updated_at: Timestamp,
}

/// Why a version was not saved.
///
/// ```
/// use omnistack_core::email::template::{OverrideError, Overrides};
/// # use omnistack_core::{app::App, clock::Clock, config::Config, email::Mail, id::Id};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let tenant = Id::new(Clock::system().now());
/// # let overrides: Overrides = app.ctx().get()?;
/// let shown = match overrides.save(tenant, "welcome", "en", "subject: Hi\n---\n[here](javascript:x)").await {
///     Ok(_) => "saved".into(),
///     Err(OverrideError::Template(wrong)) => wrong.what,
///     Err(other) => return Err(other.into()),
/// };
/// assert!(shown.contains("http"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// It does not render with the template's sample. Its text is for the author.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The database's.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl OverrideError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }
}

impl From<OverrideError> for crate::http::Error {
    fn from(error: OverrideError) -> Self {
        match error {
            OverrideError::Template(error) => {
                Self::invalid([crate::http::FieldProblem::new("source", error.to_string())])
            }
            OverrideError::Database(error) => error.into(),
        }
    }
}

/// Tenants' own versions of the app's templates. Cheap to clone.
///
/// They are checked when they are saved, and rendered with nothing but the values of their template. One that fails
/// afterwards, because a later release took away a value, is passed over with a warning: the app's own is sent.
///
/// ```
/// use omnistack_core::email::template::{Overrides, Welcome};
/// # use omnistack_core::{app::App, clock::Clock, config::Config, email::Mail, id::Id};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let tenant = Id::new(Clock::system().now());
/// let overrides: Overrides = app.ctx().get()?;
/// overrides.save(tenant, "welcome", "en", "subject: Globex is glad\n---\n{{ button(link, 'Begin') }}").await?;
///
/// let welcome = Welcome { name: None, link: "https://app.example.com/start".into() };
/// assert_eq!(overrides.render(tenant, &welcome, "en").await?.subject, "Globex is glad");
/// assert_eq!(overrides.render(tenant, &welcome, "de").await?.locale, "de");
/// assert!(overrides.remove(tenant, "welcome", "en").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Overrides {
    db: Db,
    clock: Clock,
    templates: Templates,
}

impl Overrides {
    /// Of these templates, in this database.
    pub fn new(db: Db, clock: Clock, templates: Templates) -> Self {
        Self { db, clock, templates }
    }

    /// The app's templates.
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// Saves a tenant's version of a template, or of the `footer`, in place of an earlier one.
    ///
    /// # Errors
    /// [`OverrideError::Template`] when it does not render with the template's sample; nothing is saved then.
    pub async fn save(
        &self,
        tenant: TenantId,
        name: &str,
        locale: &str,
        source: &str,
    ) -> Result<Rendered, OverrideError> {
        let rendered = self.templates.check(name, locale, source)?;
        let mut tx = self.db.tenant(tenant).begin().await?;
        tx.query(
            "insert into email_templates (tenant_id, name, locale, source, updated_at) values ($1, $2, $3, $4, $5)
             on conflict (tenant_id, name, locale) do update set source = $4, updated_at = $5",
        )
        .bind(tenant)
        .bind(name)
        .bind(locale)
        .bind(source)
        .bind(self.clock.now())
        .execute()
        .await?;
        tx.commit().await?;
        Ok(rendered)
    }

    /// Goes back to the app's own; says whether there was a version.
    ///
    /// # Errors
    /// The database's.
    pub async fn remove(&self, tenant: TenantId, name: &str, locale: &str) -> Result<bool, db::Error> {
        let mut tx = self.db.tenant(tenant).begin().await?;
        let removed = tx
            .query("delete from email_templates where tenant_id = $1 and name = $2 and locale = $3")
            .bind(tenant)
            .bind(name)
            .bind(locale)
            .execute()
            .await?;
        tx.commit().await?;
        Ok(removed > 0)
    }

    /// Every version a tenant has, by name and locale.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Override>, db::Error> {
        let mut tx = self.db.tenant(tenant).read().await?;
        tx.query(
            "select name, locale, source, updated_at from email_templates where tenant_id = $1 order by name, locale",
        )
        .bind(tenant)
        .fetch_all()
        .await
    }

    /// As [`Templates::render`], with the tenant's versions before the app's own in each locale.
    ///
    /// # Errors
    /// The app's own template can't be rendered with these values, and the database's.
    pub async fn render<T: Template>(
        &self,
        tenant: TenantId,
        template: &T,
        locale: &str,
    ) -> Result<Rendered, OverrideError> {
        // Before anything is awaited: values may be of a kind that stays on its thread.
        let values = Value::from(Serde(template));
        let rows = self.versions(tenant, T::NAME).await?;
        let of = |name: &str| {
            let rows = rows.iter().filter(move |(of, ..)| of == name);
            rows.map(|(_, locale, source)| (locale.as_str(), source.as_str())).collect::<Vec<Version<'_>>>()
        };
        let (own, footer) = (of(T::NAME), of(shipped::FOOTER));
        let render = |own: &[Version<'_>], footer: &[Version<'_>]| {
            self.templates.render_with(T::NAME, T::SOURCES, values.clone(), locale, own, footer)
        };
        if rows.is_empty() {
            return Ok(render(&[], &[])?);
        }
        match render(&own, &footer) {
            Ok(rendered) => Ok(rendered),
            Err(error) => {
                tracing::warn!(target: "omnistack::email", %tenant, %error, "a tenant's template fails; the app's own is used");
                Ok(render(&[], &[])?)
            }
        }
    }

    async fn versions(&self, tenant: TenantId, name: &'static str) -> Result<Vec<(String, String, String)>, db::Error> {
        let mut tx = self.db.tenant(tenant).read().await?;
        tx.query("select name, locale, source from email_templates where tenant_id = $1 and name in ($2, $3)")
            .bind(tenant)
            .bind(name)
            .bind(shipped::FOOTER)
            .fetch_all()
            .await
    }
}
