//! The page itself: Swagger UI, without external resources.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{HeaderValue, header};
use utoipa_swagger_ui::Config;

use crate::http::Error;

/// Content security policy of the page. Scripts come from the app alone; the page sets inline styles and shows
/// embedded images.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// Adds the paths of the page that `is_listed` lists. It shows these documents, the first one at first.
pub(in crate::app) fn add(router: Router, documents: Vec<String>, is_listed: impl Fn(&str) -> bool) -> Router {
    if documents.is_empty() {
        return router;
    }
    let config =
        Config::new(documents).try_it_out_enabled(true).persist_authorization(true).display_request_duration(true);
    let (config, index) = (Arc::new(config.clone()), Arc::new(config));
    let [redirect, page, files] = super::ALL_PATHS;
    let all = [
        (redirect, get(|| async { Redirect::permanent("/docs/") })),
        (page, get(move || async move { asset("index.html", index) })),
        (files, get(move |Path(file): Path<String>| async move { asset(&file, config) })),
    ];
    all.into_iter().filter(|(path, _)| is_listed(path)).fold(router, |router, (path, page)| router.route(path, page))
}

fn asset(file: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(file, config) {
        Ok(Some(file)) => {
            let headers = [
                (
                    header::CONTENT_TYPE,
                    HeaderValue::try_from(file.content_type).unwrap_or(HeaderValue::from_static("text/plain")),
                ),
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            ];
            (headers, file.bytes.into_owned()).into_response()
        }
        Ok(None) => Error::not_found("this file of the API documentation").into_response(),
        Err(error) => Error::internal(error.to_string()).into_response(),
    }
}
