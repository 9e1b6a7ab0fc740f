//! Queries of requests.

use axum::extract::Query;
use http::Uri;

/// Returns the parameters in the query of a URL. An invalid query has none.
pub(super) fn parse(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).unwrap_or_default()
}
