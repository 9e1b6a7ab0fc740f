//! The pages that mails link to: signing in, confirming an address, choosing a password, accepting an invitation, and the
//! account's own page.
//!
//! They are plain HTML with one script and one stylesheet of the app's own, and do by the public routes what any other
//! frontend does: in mode `cookie`, so that no script ever holds a token of a session. Looking at a page changes nothing:
//! what a link carries is behind its `#`, where no server sees it, and is posted when somebody clicks. After signing in a
//! browser goes to `next`, a path of this origin, or to `AUTH_AFTER_SIGN_IN`.
//!
//! The policy of each page is [`POLICY`]: nothing inline runs, nothing comes from elsewhere, and no form posts anywhere by
//! itself. An app with pages of its own switches these off with `AUTH_PAGES=false` or
//! [`Auth::without_pages`](crate::Auth::without_pages), and serves the same paths.

mod render;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get},
};
use http::{HeaderName, HeaderValue, header};
use omnistack_core::app::Api;

use crate::social::is_path;

omnistack_core::section! {
    /// The pages of accounts.
    ///
    /// ```
    /// use omnistack_auth::PageSettings;
    /// use omnistack_core::config::Config;
    ///
    /// // Who has signed in is sent to the app, and not to the page of the account.
    /// let config = Config::from_pairs([("AUTH_AFTER_SIGN_IN", "/projects")]);
    /// let settings: PageSettings = config.section()?;
    /// assert_eq!((settings.pages, settings.after_sign_in.as_str()), (true, "/projects"));
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct PageSettings {
        /// Whether the pages that mails link to are served, at `/auth/…`; an app that has its own says `false`.
        pub pages: bool = "AUTH_PAGES", default "true";
        /// Where a browser goes that has signed in on them without saying where: a path of the app.
        pub after_sign_in: String = "AUTH_AFTER_SIGN_IN", default "/auth/security";
    }
}

impl PageSettings {
    /// Whether browsers can be sent there.
    pub(crate) fn leads_somewhere(&self) -> bool {
        is_path(&self.after_sign_in)
    }
}

/// What the pages depend on.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// What the app is called.
    pub(crate) product: String,
    /// Whether anybody may register.
    pub(crate) registration: bool,
    /// Fewest characters of a password, without and with a second factor.
    pub(crate) lengths: (usize, usize),
    /// Whether passkeys sign in.
    pub(crate) passkeys: bool,
    /// Whether codes are sent by text message.
    pub(crate) texts: bool,
    /// The names of the providers.
    pub(crate) providers: Vec<String>,
    /// Where to go after signing in.
    pub(crate) after: String,
}

/// Scripts and styles from here, nothing inline, and no form that posts by itself.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
);
const SCRIPT: &str = include_str!("pages/pages.js");
const STYLE: &str = include_str!("pages/pages.css");

/// The pages, written once.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Arc<BTreeMap<&'static str, String>>);

impl Pages {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self(Arc::new(render::all(parts)))
    }

    /// A route for each page, and for what they load.
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
        // What is in the fragment is nobody else's, nor is the address.
        let headers: [(HeaderName, HeaderValue); 3] = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        (headers, html).into_response()
    }
}

/// The address names the content, so a browser may keep it.
fn asset(kind: &'static str, content: &'static str) -> MethodRouter<Pages> {
    get(move || async move {
        let kept = HeaderValue::from_static("public, max-age=86400");
        ([(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CACHE_CONTROL, kept)], content)
    })
}
