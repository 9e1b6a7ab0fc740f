//! The API documentation page at `/docs`, with the feature `docs-page`.

#[cfg(feature = "docs-page")]
mod page;
#[cfg(feature = "docs-page")]
mod swagger_ui;

#[cfg(feature = "docs-page")]
pub(super) use page::add;

const ALL_PATHS: [&str; 3] = ["/docs", "/docs/", "/docs/{*file}"];

/// The paths of the page. Without the feature, there are none.
pub(super) const PATHS: &[&str] = if cfg!(feature = "docs-page") { &ALL_PATHS } else { &[] };

/// Adds nothing: without the feature, there is no page.
#[cfg(not(feature = "docs-page"))]
pub(super) fn add(router: axum::Router, _: Vec<String>, _: impl Fn(&str) -> bool) -> axum::Router {
    router
}
