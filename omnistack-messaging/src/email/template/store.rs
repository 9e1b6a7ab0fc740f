//! Tenants' overrides of mail templates.

use minijinja::{Value, value::Serde};
use serde::Serialize;
use utoipa::ToSchema;

use super::{LocalizedSource, RenderedTemplate, Template, TemplateError, Templates, builtin};
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db},
    identity::TenantId,
};

/// A tenant's override of a mail template.
///
/// ```
/// use omnistack_messaging::email::template::TemplateOverrides;
/// # use omnistack_core::{app::App, clock::Clock, config::Config, id::Id};
/// # use omnistack_messaging::email::Mail;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let tenant = Id::new(Clock::system().now());
/// let overrides: TemplateOverrides = app.context().get()?;
/// overrides.save(tenant, "footer", "en", "SentMail by Globex, 1 Main Street.").await?;
///
/// let own = overrides.list(tenant).await?;
/// assert_eq!((own[0].name.as_str(), own[0].locale.as_str()), ("footer", "en"));
/// assert_eq!(own[0].source, "SentMail by Globex, 1 Main Street.");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, omnistack_core::db::FromRow, ToSchema)]
pub struct TemplateOverride {
    /// The name of the template; `footer` is the end of every mail.
    pub name: String,
    /// The locale of the source.
    pub locale: String,
    /// The source, in Markdown.
    pub source: String,
    /// The time at which the override was saved.
    pub updated_at: Timestamp,
}

/// The reason why a template override was not saved or rendered.
///
/// ```
/// use omnistack_messaging::email::template::{TemplateOverrideError, TemplateOverrides};
/// # use omnistack_core::{app::App, clock::Clock, config::Config, id::Id};
/// # use omnistack_messaging::email::Mail;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let tenant = Id::new(Clock::system().now());
/// # let overrides: TemplateOverrides = app.context().get()?;
/// let shown = match overrides.save(tenant, "welcome", "en", "subject: Hi\n---\n[here](javascript:x)").await {
///     Ok(_) => "saved".into(),
///     Err(TemplateOverrideError::Template(wrong)) => wrong.message,
///     Err(other) => return Err(other.into()),
/// };
/// assert!(shown.contains("http"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateOverrideError {
    /// The source does not render with the template's sample. The error's text is for the author of the source.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl TemplateOverrideError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }
}

impl From<TemplateOverrideError> for omnistack_core::http::Error {
    fn from(error: TemplateOverrideError) -> Self {
        match error {
            TemplateOverrideError::Template(error) => {
                Self::invalid([omnistack_core::http::FieldError::new("source", error.to_string())])
            }
            TemplateOverrideError::Database(error) => error.into(),
        }
    }
}

/// The tenants' overrides of the app's mail templates. The handle is cheap to clone.
///
/// A source is checked when it is saved, and is rendered only with the values of its template. If an override fails
/// later, for example because a release removed a value, a warning is logged and the app's own template is used.
///
/// ```
/// use omnistack_messaging::email::template::{TemplateOverrides, Welcome};
/// # use omnistack_core::{app::App, clock::Clock, config::Config, id::Id};
/// # use omnistack_messaging::email::Mail;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let tenant = Id::new(Clock::system().now());
/// let overrides: TemplateOverrides = app.context().get()?;
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
pub struct TemplateOverrides {
    db: Db,
    clock: Clock,
    templates: Templates,
}

impl TemplateOverrides {
    /// Creates a handle to the overrides of these templates in this database.
    pub fn new(db: Db, clock: Clock, templates: Templates) -> Self {
        Self { db, clock, templates }
    }

    /// Returns the app's templates.
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// Saves a tenant's override of a template, or of the `footer`, and replaces an earlier one. Returns the source
    /// rendered with the template's sample.
    ///
    /// # Errors
    /// Returns [`TemplateOverrideError::Template`] if the source does not render with the template's sample, and
    /// [`TemplateOverrideError::Database`] if the database fails. Nothing is saved then.
    pub async fn save(
        &self,
        tenant: TenantId,
        name: &str,
        locale: &str,
        source: &str,
    ) -> Result<RenderedTemplate, TemplateOverrideError> {
        let rendered = self.templates.check(name, locale, source)?;
        let mut tx = self.db.tenant(tenant).begin().await?;
        tx.query(
            "insert into omni_email_templates (tenant_id, name, locale, source, updated_at) values ($1, $2, $3, $4, $5)
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

    /// Deletes an override, so that the app's own template is used again. Returns whether there was one.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn remove(&self, tenant: TenantId, name: &str, locale: &str) -> Result<bool, db::Error> {
        let mut tx = self.db.tenant(tenant).begin().await?;
        let removed = tx
            .query("delete from omni_email_templates where tenant_id = $1 and name = $2 and locale = $3")
            .bind(tenant)
            .bind(name)
            .bind(locale)
            .execute()
            .await?;
        tx.commit().await?;
        Ok(removed > 0)
    }

    /// Returns all overrides of a tenant, ordered by name and locale.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<TemplateOverride>, db::Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        tx.query(
            "select name, locale, source, updated_at from omni_email_templates where tenant_id = $1 order by name, locale",
        )
        .bind(tenant)
        .fetch_all()
        .await
    }

    /// Renders a template like [`Templates::render`]. In each locale, the tenant's overrides take precedence over
    /// the app's sources.
    ///
    /// # Errors
    /// Returns [`TemplateOverrideError::Template`] if the app's own template can't be rendered with these values, and
    /// [`TemplateOverrideError::Database`] if the database fails.
    pub async fn render<T: Template>(
        &self,
        tenant: TenantId,
        template: &T,
        locale: &str,
    ) -> Result<RenderedTemplate, TemplateOverrideError> {
        // Serialized before the first `await`, because the values may not be `Send`.
        let (values, occasion) = (Value::from(Serde(template)), template.occasion());
        let rows = self.versions(tenant, T::NAME).await?;
        let of = |name: &str| {
            let rows = rows.iter().filter(move |(of, ..)| of == name);
            rows.map(|(_, locale, source)| (locale.as_str(), source.as_str())).collect::<Vec<LocalizedSource<'_>>>()
        };
        let (own, footer) = (of(T::NAME), of(builtin::FOOTER));
        let render = |own: &[LocalizedSource<'_>], footer: &[LocalizedSource<'_>]| {
            self.templates.render_with((T::NAME, occasion), T::SOURCES, values.clone(), locale, own, footer)
        };
        if rows.is_empty() {
            return Ok(render(&[], &[])?);
        }
        match render(&own, &footer) {
            Ok(rendered) => Ok(rendered),
            Err(error) => {
                tracing::warn!(target: "omnistack::email", %tenant, %error, "a tenant's template override can't be rendered; the app's own template is used");
                Ok(render(&[], &[])?)
            }
        }
    }

    async fn versions(&self, tenant: TenantId, name: &'static str) -> Result<Vec<(String, String, String)>, db::Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        tx.query("select name, locale, source from omni_email_templates where tenant_id = $1 and name in ($2, $3)")
            .bind(tenant)
            .bind(name)
            .bind(builtin::FOOTER)
            .fetch_all()
            .await
    }
}
