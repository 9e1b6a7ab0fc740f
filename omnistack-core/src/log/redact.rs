//! Redaction of secrets in log lines, by their form.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// The forms of secrets. What is before the secret in a form is kept.
static SECRETS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // With ASCII classes and boundaries, because those of Unicode need a slow engine.
    let forms = [
        // The password of a URL.
        r#"://[^ /:@"']*:[^ /@"']+@"#,
        // Credentials of the header `Authorization`.
        "(?:Bearer|bearer|Basic|basic) [A-Za-z0-9_.~+/=-]{8,}",
        // A JSON Web Token.
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
        // Keys of well-known services.
        r"(?-u:\b)(?:[sr]k_(?:live|test)_|omni_(?:live|test|ticket)_|sk-|whsec_|gh[opsu]_|github_pat_|xox[abp]-|AKIA)[A-Za-z0-9_-]{12,}",
        // An assignment, as in a query string or a connection string.
        r#"(?:password|passwd|secret|token|api_key|apikey)=[^ "'&;,\\]+"#,
        // The command of realtime in a query string, JSON that may not be encoded in full.
        r#"cf_connect=[^ "&\\]+"#,
        // A field of a JSON text, which is quoted in the line.
        r#"(?:password|passwd|secret|token|api_key|apikey)\\?": ?\\?"[^"\\]+"#,
    ];
    Regex::new(&forms.map(|form| format!("(?:{form})")).join("|")).ok()
});

/// Returns a text with its secrets replaced by `[redacted]`: the password of a URL, a bearer token, a JSON Web Token, the
/// key of a well-known service, and `password=…`.
pub fn redact(line: &str) -> Cow<'_, str> {
    let Some(secrets) = &*SECRETS else { return Cow::Borrowed(line) };
    secrets.replace_all(line, |found: &regex::Captures<'_>| {
        let found = &found[0];
        let kept = match found {
            url if url.starts_with("://") => url.find(':').and_then(|_| url[3..].find(':')).map_or(0, |at| at + 4),
            json if json.contains("\": ") || json.contains("\":") => json.rfind('"').map_or(0, |at| at + 1),
            other => other.find([' ', '=']).map_or(0, |at| at + 1),
        };
        let end = if found.starts_with("://") { "@" } else { "" };
        format!("{}{}{end}", &found[..kept], super::format::REDACTED)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_by_their_form() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        for (line, expected) in [
            ("connect postgres://app:hunter2@db:5432/app", "connect postgres://app:[redacted]@db:5432/app".to_owned()),
            ("postgres://db:5432/app", "postgres://db:5432/app".to_owned()),
            (&format!("got {jwt}!"), "got [redacted]!".to_owned()),
            (&format!("Authorization: Bearer {jwt}"), "Authorization: Bearer [redacted]".to_owned()),
            ("key sk_live_4eC39HqLyjWDarjtT1zdp7dc", "key [redacted]".to_owned()),
            ("/callback?token=abc&state=1", "/callback?token=[redacted]&state=1".to_owned()),
            ("/sse?cf_connect=%7B%22id%22%3A1%7D", "/sse?cf_connect=[redacted]".to_owned()),
            (
                "/sse?cf_connect={%22id%22:1,%22connect%22:{%22token%22:%22hunter2%22}}&a=1",
                "/sse?cf_connect=[redacted]&a=1".to_owned(),
            ),
            ("/ws?ticket=omni_ticket_4eC39HqLyjWDarjtT1zdp7dc", "/ws?ticket=[redacted]".to_owned()),
            (r#"{"body":"{\"password\":\"hunter2\"}"}"#, r#"{"body":"{\"password\":\"[redacted]\"}"}"#.to_owned()),
            ("invalid token: expired", "invalid token: expired".to_owned()),
            ("tokens=12", "tokens=12".to_owned()),
            ("task-01a226d3-43a5-7f99", "task-01a226d3-43a5-7f99".to_owned()),
        ] {
            assert_eq!(redact(line), expected);
        }
    }
}
