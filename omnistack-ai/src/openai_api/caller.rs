//! The caller of a request, and the options of its call.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    data_environment::DataEnvironment,
    http::{Error, HeaderMap},
    identity::Identity,
};

use super::fields::FieldProblem;
use crate::{
    call::{AiCaller, CachePolicy, CallOptions},
    chat::CallTimeouts,
};

/// A header by which a caller shares answers of equal requests: `exact=600` or `semantic=600`, with the seconds for which
/// an answer is kept.
pub(super) const CACHE_HEADER: &str = "x-ai-cache";
/// Longest time for which an answer is kept, in seconds.
const MAX_CACHE_SECONDS: u64 = 30 * 24 * 3600;

/// Returns the caller that a call is counted for. Fails with 403 `TENANT_REQUIRED` without a tenant.
pub(crate) fn ai_caller(caller: &Identity) -> Result<AiCaller, Error> {
    Ok(AiCaller {
        tenant: caller.require_tenant()?,
        environment: DataEnvironment::default(),
        user: Some(caller.user),
        api_key: caller.api_key,
    })
}

/// Returns the options of a call. Fails with 400 for a malformed `X-AI-Cache` header.
pub(crate) fn call_options(
    caller: &Identity,
    timeouts: CallTimeouts,
    headers: &HeaderMap,
) -> Result<CallOptions, Error> {
    let request_id = caller.origin.request.as_ref().map(|request| Arc::from(request.as_str()));
    let cache = match headers.get(CACHE_HEADER) {
        None => CachePolicy::Off,
        Some(value) => value.to_str().ok().and_then(parse_cache).ok_or_else(|| {
            let message = format!("must be `off`, `exact=SECONDS` or `semantic=SECONDS`, up to {MAX_CACHE_SECONDS}");
            FieldProblem::new(CACHE_HEADER, message)
        })?,
    };
    Ok(CallOptions { cache, timeouts, request_id, ..CallOptions::default() })
}

fn parse_cache(text: &str) -> Option<CachePolicy> {
    if text == "off" {
        return Some(CachePolicy::Off);
    }
    let (kind, seconds) = text.split_once('=')?;
    let seconds = seconds.parse::<u64>().ok().filter(|seconds| (1..=MAX_CACHE_SECONDS).contains(seconds))?;
    let time = Duration::from_secs(seconds);
    match kind {
        "exact" => Some(CachePolicy::Exact(time)),
        "semantic" => Some(CachePolicy::Semantic(time)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_header() {
        let minute = Duration::from_secs(60);
        for (text, expected) in [
            ("off", Some(CachePolicy::Off)),
            ("exact=60", Some(CachePolicy::Exact(minute))),
            ("semantic=60", Some(CachePolicy::Semantic(minute))),
            ("exact=0", None),
            ("exact=-1", None),
            ("exact=99999999", None),
            ("exact", None),
            ("near=60", None),
            ("", None),
        ] {
            assert_eq!(parse_cache(text), expected, "{text}");
        }
    }
}
