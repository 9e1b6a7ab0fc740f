//! The page itself: Swagger UI, without external resources.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{HeaderValue, header};
use serde_json::json;

use super::swagger_ui;
use crate::http::Error;

/// Content security policy of the page. Scripts come from the app alone; the page sets inline styles and shows
/// embedded images.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// The name of the script that starts Swagger UI. The app's script replaces that of the release, which shows an
/// example.
const INITIALIZER: &str = "swagger-initializer.js";

/// Adds the paths of the page for which `is_listed` returns `true`. The page offers these documents, and shows the
/// first.
pub(in crate::app) fn add(router: Router, documents: Vec<String>, is_listed: impl Fn(&str) -> bool) -> Router {
    if documents.is_empty() {
        return router;
    }
    let script: Arc<str> = initializer(&documents).into();
    let [redirect, page, files] = super::ALL_PATHS;
    let all = [
        (redirect, get(|| async { Redirect::permanent("/docs/") })),
        (page, get(|| async { file("index.html") })),
        (
            files,
            get(move |Path(name): Path<String>| async move {
                if name == INITIALIZER { response(&name, script.as_bytes().to_vec()) } else { file(&name) }
            }),
        ),
    ];
    all.into_iter().filter(|(path, _)| is_listed(path)).fold(router, |router, (path, page)| router.route(path, page))
}

/// Returns the script that starts Swagger UI with these documents.
fn initializer(documents: &[String]) -> String {
    let mut options = json!({
        "deepLinking": true,
        "displayRequestDuration": true,
        "dom_id": "#swagger-ui",
        "layout": "StandaloneLayout",
        "persistAuthorization": true,
        "tryItOutEnabled": true,
    });
    if let [document] = documents {
        options["url"] = json!(document);
    } else {
        options["urls"] = documents.iter().map(|document| json!({ "name": document, "url": document })).collect();
    }
    format!(
        "window.onload = function () {{
  const options = {options};
  options.presets = [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset];
  options.plugins = [SwaggerUIBundle.plugins.DownloadUrl];
  window.ui = SwaggerUIBundle(options);
}};
"
    )
}

fn file(name: &str) -> Response {
    match swagger_ui::file(name) {
        Some(contents) => response(name, contents),
        None => Error::not_found("this file of the API documentation").into_response(),
    }
}

fn response(name: &str, contents: Vec<u8>) -> Response {
    let media_type = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, contents).into_response()
}
