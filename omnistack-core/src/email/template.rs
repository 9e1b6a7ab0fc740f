//! Mails from one source each: subject, HTML and text.
//!
//! A template is a Markdown file with [MiniJinja](https://docs.rs/minijinja) in it, and a struct with what it needs, so that
//! a caller can't forget a value:
//!
//! ```
//! use omnistack_core::email::template::{Brand, Template, Templates};
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
//! Hello {{ name }}, we have counted everything.
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
//! # Ok::<_, omnistack_core::email::template::TemplateError>(())
//! ```
//!
//! # How one is written
//!
//! First the head, lines of `subject: …` and, if wanted, `preview: …`, which inboxes show beside the subject; then a line
//! `---`; then the body:
//!
//! | write | for |
//! |---|---|
//! | `# Text`, `## Text` | headings |
//! | paragraphs, `**bold**`, `*emphasis*`, `- lists` | as in any Markdown |
//! | `> Text` | a note, set apart |
//! | `{{ button(link, "Label") }}` | what the reader is to do |
//! | `[label]({{ link }})` | a link in the text |
//! | `{{ code(text) }}` | something to copy, large when it stands alone |
//! | `{{ value }}`, `{% if value %}`, `{% for line in lines %}` | values |
//! | `{{ seconds \| duration }}`, `{{ moment \| time }}` | spans and moments, in the reader's language |
//!
//! Every template also has `product`, `support` and `url`, from the [`Brand`].
//!
//! # What a template can't do
//!
//! A template may come from a customer (see [`Overrides`]), so it is given little. Values are text, whatever they hold: they
//! can't become markup, links or another line of the head. HTML in a source is shown, not obeyed. Links lead to `http` and
//! `https`. A value that does not exist is an error. There are no includes, macros or variables, no `~`, `+` and `*`, with
//! which a few lines make gigabytes, and what is left may take so many steps and bytes and no more.

mod engine;
mod layout;
mod markup;
mod shipped;
mod source;
mod store;

pub(super) use markup::{html_text, link};
pub use shipped::{
    ContactConfirmation, ContactNotification, Invitation, MagicLink, NewApiKey, NewSignIn, Notification, Receipt,
    ReceiptLine, ResetPassword, VerifyEmail, Welcome,
};
pub use source::LARGEST_SOURCE;
pub use store::{Override, OverrideError, Overrides};

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{Value, value::Serde};
use serde::Serialize;

use source::Source;

/// The language every template has, and the last one tried.
pub const FALLBACK: &str = "en";

/// What a mail says, as a struct: its fields are the values its sources may use.
///
/// ```
/// use omnistack_core::email::template::{Template, Templates};
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
/// # Ok::<_, omnistack_core::email::template::TemplateError>(())
/// ```
pub trait Template: Serialize {
    /// Unique among the app's templates, and stable: tenants' own versions are kept under it.
    const NAME: &'static str;
    /// Its sources by locale, as `("de", include_str!("…"))`; one of them is [`FALLBACK`].
    const SOURCES: &'static [(&'static str, &'static str)];

    /// Values to show and check a source with. Every optional value is there, so that every part is seen.
    fn sample() -> Self;
}

/// What stands in the frame of every mail.
///
/// ```
/// use omnistack_core::email::template::{Brand, Templates};
///
/// let brand = Brand::new("Acme").support("help@acme.example").url("https://acme.example");
/// let mail = Templates::new(brand).preview("welcome", "en")?;
/// assert_eq!(mail.subject, "Welcome to Acme");
/// assert!(mail.html.contains("href=\"https://acme.example\""));
/// assert!(mail.text.contains("Write to help@acme.example."));
/// # Ok::<_, omnistack_core::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Brand {
    /// The product's name, at the top.
    pub product: String,
    /// The address of whoever helps; nothing is said about help without one.
    pub support: Option<String>,
    /// Where the product is; the name at the top leads there.
    pub url: Option<String>,
}

impl Brand {
    /// Of this product.
    pub fn new(product: impl Into<String>) -> Self {
        Self { product: product.into(), support: None, url: None }
    }

    /// With somebody to ask.
    #[must_use]
    pub fn support(mut self, address: impl Into<String>) -> Self {
        self.support = Some(address.into());
        self
    }

    /// At this `http` or `https` address.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }
}

/// A template with its values put in.
///
/// ```
/// use omnistack_core::email::{Email, template::{Templates, Welcome}};
///
/// let welcome = Welcome { name: Some("Ada".into()), link: "https://app.example.com/start".into() };
/// let rendered = Templates::default().render(&welcome, "de-AT")?;
/// assert_eq!(rendered.locale, "de");
///
/// let mail = Email::to("ada@example.com").subject(rendered.subject).html(rendered.html).text(rendered.text);
/// assert!(mail.from("shop@example.com").check().is_ok());
/// # Ok::<_, omnistack_core::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line of at most 200 characters.
    pub subject: String,
    /// A whole HTML document that needs nothing from elsewhere.
    pub html: String,
    /// The same as plain text.
    pub text: String,
    /// The locale of the source that was used.
    pub locale: String,
}

/// A template was not rendered.
///
/// ```
/// use omnistack_core::email::template::Templates;
///
/// let source = "subject: Welcome\n---\nHello {{ nmae }}";
/// let error = Templates::default().check("welcome", "en", source).unwrap_err();
/// assert_eq!((error.name.as_str(), error.locale.as_deref()), ("welcome", Some("en")));
/// assert!(error.what.starts_with("line 3:"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("template `{name}`{}: {what}", .locale.as_ref().map(|locale| format!(" ({locale})")).unwrap_or_default())]
pub struct TemplateError {
    /// Which.
    pub name: String,
    /// In which locale, where it is known.
    pub locale: Option<String>,
    /// What is wrong, in words for its author.
    pub what: String,
}

impl TemplateError {
    fn new(name: &str, locale: Option<&str>, what: impl Into<String>) -> Self {
        Self { name: name.into(), locale: locale.map(Into::into), what: what.into() }
    }

    /// Never: the same values make the same error.
    #[expect(clippy::unused_self, reason = "every error is asked so")]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl From<TemplateError> for crate::http::Error {
    fn from(error: TemplateError) -> Self {
        Self::internal(error)
    }
}

/// A template by its name, for those who don't have its type.
#[derive(Clone)]
struct Known {
    sources: &'static [(&'static str, &'static str)],
    sample: fn() -> Value,
}

/// The app's templates. Cheap to clone.
///
/// ```
/// use omnistack_core::email::template::Templates;
///
/// let templates = Templates::default();
/// for (name, locales) in templates.list() {
///     for locale in locales {
///         let seen = templates.preview(name, locale)?;
///         assert!(seen.html.starts_with("<!doctype html>"));
///     }
/// }
/// # Ok::<_, omnistack_core::email::template::TemplateError>(())
/// ```
#[derive(Clone)]
pub struct Templates {
    brand: Arc<Brand>,
    known: Arc<BTreeMap<&'static str, Known>>,
}

/// The mail a footer is seen in.
const NOTHING_ELSE: &str = "subject: Footer\n---\n";

/// A version of a template somebody made: its locale and its source.
type Version<'a> = (&'a str, &'a str);

impl Templates {
    /// Those every app has: `welcome`, `verify`, `reset`, `magic_link`, `invitation`, `notification`, `receipt`,
    /// `contact_confirmation`, `contact_notification`, `new_sign_in` and `new_api_key`, and `footer`, which ends each of
    /// them.
    pub fn new(brand: Brand) -> Self {
        let mut known = BTreeMap::new();
        shipped::add(&mut known);
        Self { brand: Arc::new(brand), known: Arc::new(known) }
    }

    /// With another, or with other sources for one of the same name.
    ///
    /// # Errors
    /// A source that does not render with [`Template::sample`], or none in [`FALLBACK`].
    pub fn with<T: Template>(mut self) -> Result<Self, TemplateError> {
        if !T::SOURCES.iter().any(|(locale, _)| *locale == FALLBACK) {
            return Err(TemplateError::new(T::NAME, None, format!("needs a source in `{FALLBACK}`")));
        }
        Arc::make_mut(&mut self.known).insert(T::NAME, Known::of::<T>());
        for (locale, source) in T::SOURCES {
            self.check(T::NAME, locale, source)?;
        }
        Ok(self)
    }

    /// Every template's name and the locales it has, by name.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
        self.known.iter().map(|(name, known)| (*name, known.sources.iter().map(|(locale, _)| *locale).collect()))
    }

    /// Puts the values in. Of the locales `de-AT`, `de` and `en` the first that there is is taken for `de-AT`.
    ///
    /// # Errors
    /// A source that can't be rendered with these values: a link that leads nowhere, far too long a list.
    pub fn render<T: Template>(&self, template: &T, locale: &str) -> Result<Rendered, TemplateError> {
        self.render_with(T::NAME, T::SOURCES, Value::from(Serde(template)), locale, &[], &[])
    }

    /// With the values of its sample.
    ///
    /// # Errors
    /// There is no such template.
    pub fn preview(&self, name: &str, locale: &str) -> Result<Rendered, TemplateError> {
        let known = self.known(name)?;
        let footer = [(locale, NOTHING_ELSE)];
        let sources = if name == shipped::FOOTER { &footer } else { known.sources };
        self.render_with(name, sources, (known.sample)(), locale, &[], &[])
    }

    /// What this source would make of the template's sample: for whoever writes one.
    ///
    /// # Errors
    /// What is wrong with it, in words for its author.
    pub fn check(&self, name: &str, locale: &str, source: &str) -> Result<Rendered, TemplateError> {
        if !is_locale(locale) {
            return Err(TemplateError::new(name, None, "a locale is written as in `de` or `de-AT`"));
        }
        let known = self.known(name)?;
        if name == shipped::FOOTER {
            return self.render_with(
                name,
                &[(locale, NOTHING_ELSE)],
                (known.sample)(),
                locale,
                &[],
                &[(locale, source)],
            );
        }
        self.render_with(name, &[], (known.sample)(), locale, &[(locale, source)], &[])
    }

    fn known(&self, name: &str) -> Result<&Known, TemplateError> {
        self.known.get(name).ok_or_else(|| TemplateError::new(name, None, "there is no template of this name"))
    }

    /// With versions that go before the app's own in each locale, of the template and of the footer.
    fn render_with(
        &self,
        name: &str,
        sources: &[Version<'_>],
        values: Value,
        locale: &str,
        own: &[Version<'_>],
        own_footer: &[Version<'_>],
    ) -> Result<Rendered, TemplateError> {
        let (used, source) = choose(locale, own, sources)
            .ok_or_else(|| TemplateError::new(name, Some(locale), "there is no source for this locale"))?;
        let wrong = |what: String| TemplateError::new(name, Some(used), what);
        let parsed = Source::parse(source).map_err(wrong)?;
        let engine = engine::Engine::new(&self.brand, used);
        if parsed.subject.is_empty() {
            return Err(wrong("begins with `subject: …`, and `---` between the head and the body".into()));
        }
        let subject = engine.line(parsed.subject, &values).map_err(wrong)?;
        if subject.is_empty() {
            return Err(wrong("the subject is empty".into()));
        }
        let preview = engine.line(parsed.preview, &values).map_err(wrong)?;
        let body = engine.body(&parsed, &values).map_err(wrong)?;

        let shipped = self.known(shipped::FOOTER)?.sources;
        let footer = choose(locale, own_footer, shipped);
        let wrong_footer = |what: String| TemplateError::new(shipped::FOOTER, footer.map(|(locale, _)| locale), what);
        let footer = Source::parse(footer.map_or("", |(_, source)| source)).map_err(wrong_footer)?;
        let footer = engine.body(&footer, &Value::from(())).map_err(wrong_footer)?;
        let (body_html, body_text) = markup::both(&body).map_err(wrong)?;
        let (footer_html, footer_text) = markup::both(&footer).map_err(wrong_footer)?;
        let html = layout::html(&layout::Parts {
            brand: &self.brand,
            locale: used,
            subject: &subject,
            preview: &preview,
            body: &body_html,
            footer: &footer_html,
        });
        let text = layout::text(&body_text, &footer_text);
        if html.len() > engine::LARGEST_MAIL {
            return Err(wrong(format!("makes more than {} KiB of HTML", engine::LARGEST_MAIL / 1024)));
        }
        Ok(Rendered { subject, html, text, locale: used.to_owned() })
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new(Brand::new("OmniStack app"))
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("brand", &self.brand).field("names", &self.known.keys()).finish()
    }
}

impl Known {
    fn of<T: Template>() -> Self {
        Self { sources: T::SOURCES, sample: || Value::from(Serde(T::sample())) }
    }
}

/// The first source there is for a locale, for its language, and for [`FALLBACK`]; one's own before the app's.
fn choose<'a>(locale: &str, own: &[Version<'a>], sources: &[Version<'a>]) -> Option<Version<'a>> {
    let language = locale.split(['-', '_']).next().unwrap_or_default();
    let wanted = [locale.replace('_', "-"), language.to_owned(), FALLBACK.to_owned()];
    let find = |wanted: &str| {
        let all = own.iter().chain(sources);
        all.copied().find(|(locale, _)| locale.eq_ignore_ascii_case(wanted))
    };
    wanted.iter().find_map(|wanted| find(wanted))
}

/// BCP 47 as far as it is needed: letters and digits in parts of up to eight, joined by hyphens.
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
