//! Mail templates: subject, HTML and text of a mail from one source.
//!
//! A template is a Markdown source with [MiniJinja](https://docs.rs/minijinja) expressions, and a struct with the
//! values that the source uses, so that a caller can't omit a value:
//!
//! ```
//! use omnistack_messaging::email::template::{Brand, Template, Templates};
//! use serde::Serialize;
//!
//! #[derive(Serialize)]
//! struct ReportReady { name: String, link: String }
//!
//! impl Template for ReportReady {
//!     const NAME: &'static str = "report_ready";
//!     const SOURCES: &'static [(&'static str, &'static str)] = &[("en", "\
//! subject: Your report is ready
//! ---
//! # Your report is ready
//!
//! Hello {{ name }}, your report has been created.
//!
//! {{ button(link, \"Open the report\") }}
//! ")];
//!
//!     fn sample() -> Self {
//!         Self { name: "Ada".into(), link: "https://example.com/reports/1".into() }
//!     }
//! }
//!
//! let templates = Templates::new(Brand::new("Acme")).with::<ReportReady>()?;
//! let report = ReportReady { name: "<Grace>".into(), link: "https://acme.example/reports/7".into() };
//! let mail = templates.render(&report, "en-GB")?;
//! assert_eq!(mail.subject, "Your report is ready");
//! assert!(mail.html.contains("Hello &lt;Grace&gt;"));
//! assert!(mail.text.contains("Open the report:\nhttps://acme.example/reports/7"));
//! # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
//! ```
//!
//! # Syntax
//!
//! A source begins with the head: a line `subject: …` and, optionally, a line `preview: …`, which inboxes show
//! beside the subject. A line `---` follows, and then the body:
//!
//! | syntax | meaning |
//! |---|---|
//! | `# Text`, `## Text` | headings |
//! | paragraphs, `**bold**`, `*emphasis*`, `- lists` | as in Markdown |
//! | `> Text` | a note, set apart from the text |
//! | `{{ button(link, "Label") }}` | a button for the reader's next step |
//! | `[label]({{ link }})` | a link in the text |
//! | `{{ code(text) }}` | text to copy, large if it is alone in its paragraph |
//! | `{{ value }}`, `{% if value %}`, `{% for line in lines %}` | values |
//! | `{{ seconds \| duration }}`, `{{ moment \| time }}` | durations and times, in the language of the source |
//!
//! Every template can also use `product`, `support` and `url`, from the [`Brand`].
//!
//! # Restrictions
//!
//! A template may come from a customer (see [`TemplateOverrides`]), so its means are limited. Values are always text: they
//! can't become markup, links or another line of the head. HTML in a source is shown as text. Links must be `http`
//! or `https` URLs. A value that does not exist is an error. There are no includes, macros or variables, and no
//! operators `~`, `+` and `*`, with which a short source could produce gigabytes. A source has at most 32 KiB; a
//! rendering takes at most 20,000 steps and produces at most 64 KiB of Markdown and 100 KiB of HTML.
//! which a few lines make gigabytes, and what is left may take so many steps and bytes and no more.

mod builtin;
pub(super) mod export;
mod layout;
mod markdown;
mod render;
mod source;
mod store;

pub use builtin::{
    ContactConfirmation, ContactNotification, DisabledWebhook, Invitation, MagicLink, NewApiKey, NewSignIn,
    Notification, Receipt, ReceiptLine, ResetPassword, VerifyEmail, Welcome,
};
pub(super) use markdown::{check_link, html_text};
pub use source::MAX_SOURCE_BYTES;
pub use store::{TemplateOverride, TemplateOverrideError, TemplateOverrides};

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{Value, value::Serde};
use serde::Serialize;

use source::TemplateSource;

/// The fallback locale: every template has a source in it, and it is tried last.
pub const FALLBACK_LOCALE: &str = "en";

/// A mail template: the fields of the struct are the values that its sources can use.
///
/// ```
/// use omnistack_messaging::email::template::{Template, Templates};
///
/// #[derive(serde::Serialize)]
/// struct TrialEnds { days: u32 }
///
/// impl Template for TrialEnds {
///     const NAME: &'static str = "trial_ends";
///     const SOURCES: &'static [(&'static str, &'static str)] = &[
///         ("en", "subject: {{ days }} days left\n---\nYour trial ends soon."),
///         ("de", "subject: Noch {{ days }} Tage\n---\nDeine Probezeit endet bald."),
///     ];
///
///     fn sample() -> Self {
///         Self { days: 3 }
///     }
/// }
///
/// let templates = Templates::default().with::<TrialEnds>()?;
/// assert_eq!(templates.render(&TrialEnds { days: 5 }, "de-CH")?.subject, "Noch 5 Tage");
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
pub trait Template: Serialize {
    /// The template's name: unique among the app's templates, and never changed, because tenants' overrides are
    /// stored under it.
    const NAME: &'static str;
    /// The sources by locale, as `("de", include_str!("…"))`. One of them must be for [`FALLBACK_LOCALE`].
    const SOURCES: &'static [(&'static str, &'static str)];

    /// Returns the occasion of the mail, if the template is one of several mails, such as `password_changed` for
    /// `notification`. The app can replace the source for each occasion:
    /// [`Mail::source`](super::Mail::source)`("notification/password_changed", …)`.
    fn occasion(&self) -> Option<&'static str> {
        None
    }

    /// Returns sample values, with which sources are checked and previewed. Every optional value should be present,
    /// so that every part of a source is rendered.
    fn sample() -> Self;
}

/// The product's name and addresses, shown in every mail.
///
/// ```
/// use omnistack_messaging::email::template::{Brand, Templates};
///
/// let brand = Brand::new("Acme").support("help@acme.example").url("https://acme.example");
/// let mail = Templates::new(brand).preview("welcome", "en")?;
/// assert_eq!(mail.subject, "Welcome to Acme");
/// assert!(mail.html.contains("href=\"https://acme.example\""));
/// assert!(mail.text.contains("Write to help@acme.example."));
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Brand {
    /// The product's name, shown at the top.
    pub product: String,
    /// The address for support. If absent, the mail does not mention support.
    pub support: Option<String>,
    /// The URL of the product, to which the name at the top links.
    pub url: Option<String>,
}

impl Brand {
    /// Creates a brand with this product name.
    pub fn new(product: impl Into<String>) -> Self {
        Self { product: product.into(), support: None, url: None }
    }

    /// Sets the address for support.
    #[must_use]
    pub fn support(mut self, address: impl Into<String>) -> Self {
        self.support = Some(address.into());
        self
    }

    /// Sets the URL, which must be `http` or `https`.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }
}

/// A rendered template.
///
/// ```
/// use omnistack_core::email::Email;
/// use omnistack_messaging::email::template::{Templates, Welcome};
///
/// let welcome = Welcome { name: Some("Ada".into()), link: "https://app.example.com/start".into() };
/// let rendered = Templates::default().render(&welcome, "de-AT")?;
/// assert_eq!(rendered.locale, "de");
///
/// let mail = Email::to("ada@example.com").subject(rendered.subject).html(rendered.html).text(rendered.text);
/// assert!(mail.from("shop@example.com").check().is_ok());
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedTemplate {
    /// The subject: one line of at most 200 characters.
    pub subject: String,
    /// A complete HTML document that loads nothing from other servers.
    pub html: String,
    /// The same content as plain text.
    pub text: String,
    /// The locale of the source that was used.
    pub locale: String,
}

/// The error of a template that could not be rendered.
///
/// ```
/// use omnistack_messaging::email::template::Templates;
///
/// let source = "subject: Welcome\n---\nHello {{ nmae }}";
/// let error = Templates::default().check("welcome", "en", source).unwrap_err();
/// assert_eq!((error.name.as_str(), error.locale.as_deref()), ("welcome", Some("en")));
/// assert!(error.message.starts_with("line 3:"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("template `{name}`{}: {message}", .locale.as_ref().map(|locale| format!(" ({locale})")).unwrap_or_default())]
pub struct TemplateError {
    /// The name of the template.
    pub name: String,
    /// The locale of the source, if it is known.
    pub locale: Option<String>,
    /// A description of the error, for the author of the source.
    pub message: String,
}

impl TemplateError {
    fn new(name: &str, locale: Option<&str>, what: impl Into<String>) -> Self {
        Self { name: name.into(), locale: locale.map(Into::into), message: what.into() }
    }

    /// Returns `false`: the same values cause the same error again.
    #[expect(clippy::unused_self, reason = "every error type has this method")]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl From<TemplateError> for omnistack_core::http::Error {
    fn from(error: TemplateError) -> Self {
        Self::internal(error)
    }
}

/// A template without its type, found by its name.
#[derive(Clone)]
struct TemplateEntry {
    sources: &'static [(&'static str, &'static str)],
    sample: fn() -> Value,
    /// The sources with which the app replaces those of the template.
    own: Vec<OwnSource>,
}

/// A source with which the app replaces the one of a template.
#[derive(Clone)]
struct OwnSource {
    /// The occasion for which it is used, or `None` for all.
    occasion: Option<String>,
    locale: String,
    text: String,
}

/// The app's templates. The handle is cheap to clone.
///
/// ```
/// use omnistack_messaging::email::template::Templates;
///
/// let templates = Templates::default();
/// for (name, locales) in templates.list() {
///     for locale in locales {
///         let seen = templates.preview(name, locale)?;
///         assert!(seen.html.starts_with("<!doctype html>"));
///     }
/// }
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone)]
pub struct Templates {
    brand: Arc<Brand>,
    entries: Arc<BTreeMap<&'static str, TemplateEntry>>,
}

/// The source in which the footer alone is previewed.
const FOOTER_PREVIEW: &str = "subject: Footer\n---\n";

/// A source of a template: its locale and its text.
type LocalizedSource<'a> = (&'a str, &'a str);

impl Templates {
    /// Creates the templates with the built-in ones: `welcome`, `verify`, `reset`, `magic_link`, `invitation`,
    /// `notification`, `receipt`, `contact_confirmation`, `contact_notification`, `new_sign_in`, `new_api_key` and
    /// `webhook_disabled`, and `footer`, with which each of them ends.
    pub fn new(brand: Brand) -> Self {
        let mut known = BTreeMap::new();
        builtin::add(&mut known);
        Self { brand: Arc::new(brand), entries: Arc::new(known) }
    }

    /// Adds a template, or replaces the sources of one with the same name.
    ///
    /// # Errors
    /// Returns a [`TemplateError`] if a source does not render with [`Template::sample`], or if there is no source
    /// for [`FALLBACK_LOCALE`].
    pub fn with<T: Template>(mut self) -> Result<Self, TemplateError> {
        if !T::SOURCES.iter().any(|(locale, _)| *locale == FALLBACK_LOCALE) {
            return Err(TemplateError::new(
                T::NAME,
                None,
                format!("needs a source for the locale `{FALLBACK_LOCALE}`"),
            ));
        }
        Arc::make_mut(&mut self.entries).insert(T::NAME, TemplateEntry::new::<T>());
        for (locale, source) in T::SOURCES {
            self.check(T::NAME, locale, source)?;
        }
        Ok(self)
    }

    /// Replaces the source of a template for a locale. `name` is the name of the template, or `template/occasion` for one of
    /// its mails: see [`Template::occasion`].
    ///
    /// ```
    /// use omnistack_messaging::email::template::{Templates, Welcome};
    ///
    /// let templates = Templates::default().with_source("welcome", "en", "subject: Hi\n---\n{{ button(link, 'Begin') }}")?;
    /// let welcome = Welcome { name: None, link: "https://app.example.com/start".into() };
    /// assert_eq!(templates.render(&welcome, "en")?.subject, "Hi");
    /// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
    /// ```
    ///
    /// # Errors
    /// Returns a [`TemplateError`] if there is no template of this name, or if the source does not render with its sample.
    pub fn with_source(mut self, name: &str, locale: &str, source: &str) -> Result<Self, TemplateError> {
        let (template, occasion) = match name.split_once('/') {
            Some((template, occasion)) => (template, Some(occasion)),
            None => (name, None),
        };
        self.check(template, locale, source)?;
        if let Some(known) = Arc::make_mut(&mut self.entries).get_mut(template) {
            known.own.retain(|own| own.locale != locale || own.occasion.as_deref() != occasion);
            let (occasion, locale) = (occasion.map(str::to_owned), locale.to_owned());
            known.own.push(OwnSource { occasion, locale, text: source.to_owned() });
        }
        Ok(self)
    }

    /// Returns the app's own sources of a template: those for the occasion come before those for all.
    fn own_sources(&self, name: &str, occasion: Option<&str>) -> Vec<LocalizedSource<'_>> {
        let Some(known) = self.entries.get(name) else { return Vec::new() };
        let specific = known.own.iter().filter(|own| own.occasion.is_some() && own.occasion.as_deref() == occasion);
        let general = known.own.iter().filter(|own| own.occasion.is_none());
        specific.chain(general).map(|own| (own.locale.as_str(), own.text.as_str())).collect()
    }

    /// Returns the name of every template and the locales of its sources, ordered by name.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
        self.entries.iter().map(|(name, known)| (*name, known.sources.iter().map(|(locale, _)| *locale).collect()))
    }

    /// Renders a template with these values. For the locale `de-AT`, it uses the first source that exists for
    /// `de-AT`, `de` or `en`.
    ///
    /// # Errors
    /// Returns a [`TemplateError`] if the source can't be rendered with these values, such as a link that is not a
    /// URL or a list that is too long.
    pub fn render<T: Template>(&self, template: &T, locale: &str) -> Result<RenderedTemplate, TemplateError> {
        let values = Value::from(Serde(template));
        self.render_with((T::NAME, template.occasion()), T::SOURCES, values, locale, &[], &[])
    }

    /// Renders a template with its sample values.
    ///
    /// # Errors
    /// Returns a [`TemplateError`] if there is no template of this name, or if it can't be rendered.
    pub fn preview(&self, name: &str, locale: &str) -> Result<RenderedTemplate, TemplateError> {
        let known = self.known(name)?;
        let footer = [(locale, FOOTER_PREVIEW)];
        let sources = if name == builtin::FOOTER { &footer } else { known.sources };
        self.render_with((name, None), sources, (known.sample)(), locale, &[], &[])
    }

    /// Checks a source by rendering it with the template's sample values. Returns the result as a preview.
    ///
    /// # Errors
    /// Returns a [`TemplateError`] that describes the error for the author of the source.
    pub fn check(&self, name: &str, locale: &str, source: &str) -> Result<RenderedTemplate, TemplateError> {
        if !is_locale(locale) {
            return Err(TemplateError::new(name, None, "the locale must be written like `de` or `de-AT`"));
        }
        let known = self.known(name)?;
        if name == builtin::FOOTER {
            return self.render_with(
                (name, None),
                &[(locale, FOOTER_PREVIEW)],
                (known.sample)(),
                locale,
                &[],
                &[(locale, source)],
            );
        }
        self.render_with((name, None), &[], (known.sample)(), locale, &[(locale, source)], &[])
    }

    fn known(&self, name: &str) -> Result<&TemplateEntry, TemplateError> {
        self.entries.get(name).ok_or_else(|| TemplateError::new(name, None, "there is no template of this name"))
    }

    /// Renders a source of a template, which may have an occasion. In each locale, the overrides in `own` and
    /// `own_footer` take precedence over the app's sources, and these over those of the template.
    fn render_with(
        &self,
        (name, occasion): (&str, Option<&str>),
        sources: &[LocalizedSource<'_>],
        values: Value,
        locale: &str,
        own: &[LocalizedSource<'_>],
        own_footer: &[LocalizedSource<'_>],
    ) -> Result<RenderedTemplate, TemplateError> {
        // The footer alone is previewed with a body of its own.
        let of_app = if name == builtin::FOOTER { Vec::new() } else { self.own_sources(name, occasion) };
        let own: Vec<LocalizedSource<'_>> = own.iter().copied().chain(of_app).collect();
        let (used, source) = select_source(locale, &own, sources)
            .ok_or_else(|| TemplateError::new(name, Some(locale), "there is no source for this locale"))?;
        let wrong = |what: String| TemplateError::new(name, Some(used), what);
        let parsed = TemplateSource::parse(source).map_err(wrong)?;
        let engine = render::TemplateEngine::new(&self.brand, used);
        if parsed.subject.is_empty() {
            return Err(wrong("must begin with `subject: …`, followed by `---` and the body".into()));
        }
        let subject = engine.line(parsed.subject, &values).map_err(wrong)?;
        if subject.is_empty() {
            return Err(wrong("the subject is empty".into()));
        }
        let preview = engine.line(parsed.preview, &values).map_err(wrong)?;
        let body = engine.body(&parsed, &values).map_err(wrong)?;

        let shipped = self.known(builtin::FOOTER)?.sources;
        let of_app = self.own_sources(builtin::FOOTER, None);
        let own_footer: Vec<LocalizedSource<'_>> = own_footer.iter().copied().chain(of_app).collect();
        let footer = select_source(locale, &own_footer, shipped);
        let wrong_footer = |what: String| TemplateError::new(builtin::FOOTER, footer.map(|(locale, _)| locale), what);
        let footer = TemplateSource::parse(footer.map_or("", |(_, source)| source)).map_err(wrong_footer)?;
        let footer = engine.body(&footer, &Value::from(())).map_err(wrong_footer)?;
        let (body_html, body_text) = markdown::render_html_and_text(&body).map_err(wrong)?;
        let (footer_html, footer_text) = markdown::render_html_and_text(&footer).map_err(wrong_footer)?;
        let html = layout::html(&layout::LayoutParts {
            brand: &self.brand,
            locale: used,
            subject: &subject,
            preview: &preview,
            body: &body_html,
            footer: &footer_html,
        });
        let text = layout::text(&body_text, &footer_text);
        if html.len() > render::MAX_HTML_BYTES {
            return Err(wrong(format!("renders to more than {} KiB of HTML", render::MAX_HTML_BYTES / 1024)));
        }
        Ok(RenderedTemplate { subject, html, text, locale: used.to_owned() })
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new(Brand::new("OmniStack app"))
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("brand", &self.brand).field("names", &self.entries.keys()).finish()
    }
}

impl TemplateEntry {
    fn new<T: Template>() -> Self {
        Self { sources: T::SOURCES, sample: || Value::from(Serde(T::sample())), own: Vec::new() }
    }
}

/// Returns the first source that exists for the locale, its language or [`FALLBACK`]. In each, overrides take
/// precedence over the app's sources.
fn select_source<'a>(
    locale: &str,
    own: &[LocalizedSource<'a>],
    sources: &[LocalizedSource<'a>],
) -> Option<LocalizedSource<'a>> {
    let language = locale.split(['-', '_']).next().unwrap_or_default();
    let wanted = [locale.replace('_', "-"), language.to_owned(), FALLBACK_LOCALE.to_owned()];
    let find = |wanted: &str| {
        let all = own.iter().chain(sources);
        all.copied().find(|(locale, _)| locale.eq_ignore_ascii_case(wanted))
    };
    wanted.iter().find_map(|wanted| find(wanted))
}

/// Returns whether a text is a locale, in a subset of BCP 47: parts of up to eight letters and digits, joined by
/// hyphens.
fn is_locale(locale: &str) -> bool {
    let part = |part: &str| matches!(part.len(), 1..=8) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let language = locale.split('-').next().unwrap_or_default();
    matches!(language.len(), 2..=3)
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && locale.len() <= 20
        && locale.split('-').all(part)
}

#[cfg(test)]
mod tests;
