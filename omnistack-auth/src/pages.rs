//! The built-in pages that mails link to: sign-in, registration, email verification, password reset, invitations and
//! account security.
//!
//! They are plain HTML with one script and one stylesheet. They call the public routes as any other frontend does, in
//! mode `cookie`, so that scripts never hold a session token. Loading a page changes nothing: the token of a link is in
//! the URL fragment (after `#`), which browsers don't send to servers, and the page posts it when the user clicks.
//! After sign-in the browser goes to `next`, a path of this origin, or to `AUTH_AFTER_SIGN_IN`.
//!
//! Each page has the content security policy [`POLICY`]: no inline scripts or styles, no resources of other origins, no
//! native form submission. An app with pages of its own switches these off with `AUTH_PAGES=false` or
//! [`Auth::without_pages`](crate::Auth::without_pages) and serves the same paths. [`Auth::page`](crate::Auth::page) replaces
//! one of them.

mod render;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get},
};
use http::{HeaderName, HeaderValue, header};
use omnistack_core::module::Api;

use crate::federation::social::is_app_path;

omnistack_core::settings! {
    /// The built-in pages of accounts.
    ///
    /// ```
    /// use omnistack_auth::PageSettings;
    /// use omnistack_core::config::Config;
    ///
    /// // After sign-in, users go to the app instead of the account security page.
    /// let config = Config::from_pairs([("AUTH_AFTER_SIGN_IN", "/projects")]);
    /// let settings: PageSettings = config.read_settings()?;
    /// assert_eq!((settings.pages, settings.after_sign_in.as_str()), (true, "/projects"));
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct PageSettings {
        /// Whether the built-in pages that mails link to are served at `/auth/…`. Set it to `false` if the app has pages of its own.
        pub pages: bool = "AUTH_PAGES", default "true";
        /// The path of the app that browsers go to after signing in on the built-in pages, unless the page was opened with another path.
        pub after_sign_in: String = "AUTH_AFTER_SIGN_IN", default "/auth/security";
    }
}

impl PageSettings {
    /// Returns whether `after_sign_in` is a path of the app.
    pub(crate) fn is_after_sign_in_valid(&self) -> bool {
        is_app_path(&self.after_sign_in)
    }
}

/// The settings the pages are rendered from.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct PageContext {
    /// The app's name.
    pub(crate) product: String,
    /// Whether registration is open to the public.
    pub(crate) registration: bool,
    /// The shortest password in characters, without and with a second factor.
    pub(crate) min_password_lengths: (usize, usize),
    /// Whether sign-in with passkeys is available.
    pub(crate) passkeys: bool,
    /// Whether codes are sent by SMS.
    pub(crate) sms_codes: bool,
    /// Whether users are invited to teams.
    pub(crate) invitations: bool,
    /// The names of the providers.
    pub(crate) providers: Vec<String>,
    /// The path to go to after sign-in.
    pub(crate) after_sign_in: String,
}

/// The content security policy: scripts and styles of this origin only, nothing inline, no native form submission.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
);
const SCRIPT: &str = include_str!("pages/pages.js");
const STYLE: &str = include_str!("pages/pages.css");

/// The pages, rendered once at start.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Arc<BTreeMap<&'static str, String>>);

impl Pages {
    pub(crate) fn new(parts: &PageContext) -> Self {
        Self(Arc::new(render::render_all(parts)))
    }

    /// Returns the pages with this document in place of one of them, or `None` if there is no page of this name.
    pub(crate) fn replace(mut self, name: &str, html: &str) -> Option<Self> {
        html.clone_into(Arc::make_mut(&mut self.0).get_mut(name)?);
        Some(self)
    }

    /// Returns the names of the pages.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// Returns a route for each page, and for the script and the stylesheet.
    pub(crate) fn routes(&self) -> Api<Self> {
        let assets = Api::new()
            .hidden("/pages.js", asset("text/javascript; charset=utf-8", SCRIPT))
            .hidden("/pages.css", asset("text/css; charset=utf-8", STYLE));
        self.0.keys().copied().fold(assets, |api, name| {
            let page = get(move |State(pages): State<Self>| async move { pages.page(name) });
            api.hidden(format!("/{name}"), page)
        })
    }

    fn page(&self, name: &str) -> Response {
        let html = self.0.get(name).cloned().unwrap_or_default();
        // The URL and its fragment hold secrets, so the browser must not send them as referrer.
        let headers: [(HeaderName, HeaderValue); 3] = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        (headers, html).into_response()
    }
}

/// Returns the route of a static asset, which browsers may cache for a day.
fn asset(kind: &'static str, content: &'static str) -> MethodRouter<Pages> {
    get(move || async move {
        let kept = HeaderValue::from_static("public, max-age=86400");
        ([(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CACHE_CONTROL, kept)], content)
    })
}
