//! The client for browsers, at `/realtime/client.js`: the file `dist/centrifuge.js` of npm `centrifuge`, unchanged. A
//! page loads it from the app itself, so that a strict content security policy allows it, in the version that the app
//! was tested with.

use axum::{
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, Uri, header};
use omnistack_core::{
    http::{Error, Freshness, Preconditions, Validators},
    identity::AccessLevel,
    module::{Api, Mount, Registry},
};

/// The query of a URL that names the version, and the entity tag. The tag is weak, because the script is compressed for
/// clients that accept it.
const VERSION_QUERY: &str = "v=5.7.4";
const ETAG: &str = "W/\"centrifuge-5.7.4\"";

/// The script, after the licences of the client and of the package `events` in it, which every copy must have.
const SCRIPT: &str = concat!(
    "/*!\ncentrifuge 5.7.4\n\n",
    include_str!("../assets/centrifuge/LICENSE"),
    "\nevents 3.3.0\n\n",
    include_str!("../assets/centrifuge/LICENSE.events"),
    "*/\n",
    include_str!("../assets/centrifuge/centrifuge.js"),
);

/// Registers the route.
pub(crate) fn register(registry: &mut Registry) {
    let mount = Mount::root("/realtime", AccessLevel::Public);
    registry.routes(mount, Api::new().hidden("/client.js", get(script)), |_| Ok(()));
}

/// Returns the script. Browsers keep it for a year if the URL names its version, and otherwise ask each time whether it
/// has changed. Fails with 412 `PRECONDITION_FAILED`.
async fn script(uri: Uri, preconditions: Preconditions) -> Result<Response, Error> {
    let validators = Validators::etag(ETAG);
    let mut response = match preconditions.check(&validators)? {
        Freshness::Changed => {
            let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], SCRIPT).into_response()
        }
        Freshness::NotModified => StatusCode::NOT_MODIFIED.into_response(),
    };
    let is_pinned = uri.query() == Some(VERSION_QUERY);
    let kept = if is_pinned { "public, max-age=31536000, immutable" } else { "public, no-cache" };
    validators.add_to(response.headers_mut());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_its_licences_and_one_version() {
        let (notices, script) = SCRIPT.split_once("*/\n").unwrap();
        assert_eq!(notices.matches("Permission is hereby granted").count(), 2);
        assert!(script.starts_with("\"use strict\";") && script.contains("globalThis.Centrifuge="));
        let version = VERSION_QUERY.strip_prefix("v=").unwrap();
        assert!(ETAG.contains(version) && notices.contains(version));
    }
}
