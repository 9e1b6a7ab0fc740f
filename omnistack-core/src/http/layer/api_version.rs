//! Selection of the API version.

use std::{collections::BTreeMap, str::FromStr as _, sync::Arc};

use axum::response::IntoResponse as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, header,
    uri::{Parts, PathAndQuery},
};

use super::{RequestHook, ResponseHook, step_layer};
use crate::http::{ApiVersion, Error, Request, Response, VersionPolicy};

const ACCEPT_VERSION: HeaderName = HeaderName::from_static("accept-version");
const API_VERSION: HeaderName = HeaderName::from_static("x-api-version");
const LATEST_VERSION: HeaderName = HeaderName::from_static("x-api-latest-version");

/// Layer that finds the version of a request below `/api` and adds it to the response.
///
/// `/api/v2/app/projects` names the version in the path. For `/api/app/projects` it is taken from `Accept-Version` or
/// `X-API-Version`; without those it is the oldest version, so that a client that names none keeps the version it was
/// written for. Responses have `X-API-Version` and `X-API-Latest-Version`; those of a deprecated version also have
/// `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link`.
#[derive(Clone, Debug)]
pub struct ApiVersionLayer(Arc<ServedVersions>);

#[derive(Debug)]
struct ServedVersions {
    /// The versions, each with the headers of its deprecation if it is deprecated.
    versions: BTreeMap<ApiVersion, Option<Arc<HeaderMap>>>,
    oldest: ApiVersion,
    latest: ApiVersion,
}

impl ApiVersionLayer {
    /// Creates a layer for these versions.
    pub fn new(versions: impl IntoIterator<Item = ApiVersion>, policies: &[VersionPolicy]) -> Self {
        let deprecation = |version| {
            policies.iter().find(|policy| policy.version == version).map(|policy| Arc::new(deprecation(policy)))
        };
        let versions: BTreeMap<_, _> = versions.into_iter().map(|version| (version, deprecation(version))).collect();
        let oldest = versions.keys().next().copied().unwrap_or_default();
        let latest = versions.keys().next_back().copied().unwrap_or_default();
        Self(Arc::new(ServedVersions { versions, oldest, latest }))
    }

    /// Returns the version that a header requests, or the oldest. Fails with 400 `UNSUPPORTED_API_VERSION`.
    fn requested_version(&self, request: &Request) -> Result<ApiVersion, Error> {
        let asked = request.headers().get(ACCEPT_VERSION).or_else(|| request.headers().get(API_VERSION));
        let Some(asked) = asked else { return Ok(self.0.oldest) };
        let asked = ApiVersion::from_str(asked.to_str().unwrap_or_default()).ok();
        asked.filter(|version| self.0.versions.contains_key(version)).ok_or_else(|| {
            let served: Vec<_> = self.0.versions.keys().map(ToString::to_string).collect();
            Error::bad_request("UNSUPPORTED_API_VERSION", format!("this API serves {}", served.join(", ")))
                .with_detail("supported", served)
        })
    }
}

step_layer!(ApiVersionLayer);

/// The URI of a request that named no version, before the layer added one.
#[derive(Clone, Debug)]
pub(crate) struct UnversionedUri(pub(crate) Uri);

impl RequestHook for ApiVersionLayer {
    type After = Option<VersionHeaders>;

    fn request(&self, request: &mut Request) -> Result<Option<VersionHeaders>, Response> {
        let Some(rest) = request.uri().path().strip_prefix("/api/") else {
            return Ok(None);
        };
        let named = rest.split('/').next().filter(|segment| segment.starts_with('v'));
        let version = match named.and_then(|segment| ApiVersion::from_str(segment).ok()) {
            Some(version) => version,
            None => {
                let version = self.requested_version(request).map_err(Error::into_response)?;
                let versioned = with_version(request.uri(), rest, version);
                let unversioned = std::mem::replace(request.uri_mut(), versioned);
                request.extensions_mut().insert(UnversionedUri(unversioned));
                version
            }
        };
        request.extensions_mut().insert(version);
        let served = self.0.versions.get(&version);
        Ok(served.map(|deprecation| VersionHeaders {
            version,
            latest: self.0.latest,
            deprecation: deprecation.clone(),
        }))
    }
}

/// The hook that adds the version headers to the response.
#[derive(Debug)]
pub struct VersionHeaders {
    version: ApiVersion,
    latest: ApiVersion,
    deprecation: Option<Arc<HeaderMap>>,
}

impl ResponseHook for VersionHeaders {
    fn response(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(API_VERSION, self.version.header());
        headers.insert(LATEST_VERSION, self.latest.header());
        for (name, value) in self.deprecation.iter().flat_map(|headers| headers.iter()) {
            headers.append(name.clone(), value.clone());
        }
    }
}

fn with_version(uri: &Uri, rest: &str, version: ApiVersion) -> Uri {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = PathAndQuery::try_from(format!("/api/{version}/{rest}{query}"));
    let mut parts = Parts::from(uri.clone());
    parts.path_and_query = path.ok().or(parts.path_and_query);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

fn deprecation(policy: &VersionPolicy) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(name, value);
        }
    };
    add(HeaderName::from_static("deprecation"), format!("@{}", policy.deprecated.as_seconds()));
    if let Some(sunset) = policy.sunset {
        let date = sunset.to_jiff().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        add(HeaderName::from_static("sunset"), date);
    }
    if let Some(link) = &policy.link {
        add(header::LINK, format!("<{link}>; rel=\"deprecation\"; type=\"text/html\""));
    }
    headers
}
