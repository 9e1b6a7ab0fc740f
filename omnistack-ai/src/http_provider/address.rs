//! URLs of providers.

use omnistack_core::BoxError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

use super::family::ProviderFamily;

/// Maximum length of a model's name.
const MAX_MODEL_BYTES: usize = 256;

/// The characters that a segment of a path contains as they are.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Checks the base URL of a provider in settings. `http` is accepted for every host, because models often run in a
/// private network.
///
/// # Errors
/// Fails with a description if the URL is invalid.
pub(crate) fn check_base_url(text: &str) -> Result<(), BoxError> {
    let url: Url = text.parse()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("expected https://… or http://…".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("expected a URL without credentials, query and fragment".into());
    }
    Ok(())
}

/// Returns whether a name can be that of a model. Names come from callers, and some providers have them in the path of
/// the URL, where `..` would lead to another part of their API.
pub(super) fn is_model_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+".contains(&byte);
    let has_segments = || name.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    name.len() <= MAX_MODEL_BYTES && name.bytes().all(known) && has_segments()
}

/// Returns the URL of a path. The base URLs of some providers are written with and without the version of the API, so
/// the version is added if it is missing.
pub(super) fn url(family: &ProviderFamily, base: &str, model: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let path = path.trim_start_matches('/');
    match family {
        ProviderFamily::OpenAi | ProviderFamily::Groq | ProviderFamily::Compatible => {
            format!("{base}/{}", without_version(path, &["v1"]))
        }
        ProviderFamily::Anthropic => with_version(base, path, &["v1"]),
        ProviderFamily::Gemini => with_version(base, path, &["v1beta", "v1alpha", "v1"]),
        ProviderFamily::Azure { api_version } => azure(base, model, path, api_version.as_deref()),
    }
}

/// Returns the URL below the version that the base ends with, or below the first of `versions`.
fn with_version(base: &str, path: &str, versions: &[&str]) -> String {
    let path = without_version(path, versions);
    let last = base.rsplit('/').next().unwrap_or_default();
    if versions.contains(&last) {
        format!("{base}/{path}")
    } else {
        format!("{base}/{}/{path}", versions.first().copied().unwrap_or_default())
    }
}

fn without_version<'a>(path: &'a str, versions: &[&str]) -> &'a str {
    let rest = versions.iter().find_map(|version| path.strip_prefix(version)?.strip_prefix('/'));
    rest.unwrap_or(path)
}

/// Returns the URL of Azure's API: with a version, that of a deployment, whose name is the model; without one, that of
/// the API which needs none and finds the deployment in the body.
fn azure(base: &str, model: &str, path: &str, api_version: Option<&str>) -> String {
    let path = without_version(path, &["v1"]);
    let Some(version) = api_version else { return format!("{base}/openai/v1/{path}") };
    let version = utf8_percent_encode(version, &UNRESERVED);
    let separator = if path.contains('?') { '&' } else { '?' };
    if model.is_empty() {
        return format!("{base}/openai/{path}{separator}api-version={version}");
    }
    let deployment = utf8_percent_encode(model, &UNRESERVED);
    format!("{base}/openai/deployments/{deployment}/{path}{separator}api-version={version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_each_url_once() {
        let azure = |version: Option<&str>| ProviderFamily::Azure { api_version: version.map(str::to_owned) };
        for (family, base, path, expected) in [
            (ProviderFamily::OpenAi, "https://h/v1", "/chat/completions", "https://h/v1/chat/completions"),
            (ProviderFamily::OpenAi, "https://h/v1/", "chat/completions", "https://h/v1/chat/completions"),
            (ProviderFamily::Compatible, "http://h:1", "/v1/embeddings", "http://h:1/embeddings"),
            (ProviderFamily::Anthropic, "https://h", "/messages", "https://h/v1/messages"),
            (ProviderFamily::Anthropic, "https://h/v1", "/v1/messages", "https://h/v1/messages"),
            (ProviderFamily::Anthropic, "https://h/proxy", "/v1/messages", "https://h/proxy/v1/messages"),
            (
                ProviderFamily::Gemini,
                "https://h",
                "/models/m:streamGenerateContent?alt=sse",
                "https://h/v1beta/models/m:streamGenerateContent?alt=sse",
            ),
            (ProviderFamily::Gemini, "https://h/v1", "/v1beta/models/m:x", "https://h/v1/models/m:x"),
            (azure(None), "https://h", "/chat/completions", "https://h/openai/v1/chat/completions"),
            (
                azure(Some("2026-10-01")),
                "https://h/",
                "/chat/completions",
                "https://h/openai/deployments/my-model/chat/completions?api-version=2026-10-01",
            ),
        ] {
            assert_eq!(url(&family, base, "my-model", path), expected);
        }
        let models = url(&azure(Some("2026-10-01")), "https://h", "", "/models");
        assert_eq!(models, "https://h/openai/models?api-version=2026-10-01");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_model() {
        for name in ["m", "openai/gpt-oss-120b", "qwen3:8b", "models/x-1.5", "ft:a:b::c", "a@1"] {
            assert!(is_model_name(name), "{name}");
        }
        for name in ["", "../x", "a/../b", "a//b", "/a", "a?b", "a%2fb", "a b", "a#b", "é", &"a".repeat(257)] {
            assert!(!is_model_name(name), "{name}");
        }
    }

    #[test]
    fn base_urls_have_no_secrets() {
        for url in ["https://api.openai.com/v1", "http://ollama:11434/v1", "http://127.0.0.1:1"] {
            assert!(check_base_url(url).is_ok(), "{url}");
        }
        for url in ["", "api.openai.com", "ftp://h", "https://u:p@h", "https://h?k=1", "https://h#x", "file:///x"] {
            assert!(check_base_url(url).is_err(), "{url}");
        }
    }
}
