//! Errors in responses whose status is a success.

use http::StatusCode;
use serde_json::Value;

/// The status of a provider that is overloaded, which `http` has no name for.
const OVERLOADED: u16 = 529;

/// Returns the status that a body should have had: some providers and gateways send an error with status 200. Returns
/// `None` if the body contains no error.
pub(super) fn embedded_status(body: &[u8]) -> Option<StatusCode> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // Gemini's streams are arrays.
    let object = value.as_array().map_or(Some(&value), |items| items.first())?;
    let error = object.get("error").filter(|error| !error.is_null())?;
    let stated = ["code", "status"].iter().find_map(|field| error.get(*field)?.as_u64());
    let stated = stated.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let named = || ["type", "status", "code"].iter().find_map(|field| status_of(error.get(*field)?.as_str()?));
    let status = stated.or_else(named).unwrap_or(502);
    StatusCode::from_u16(status).ok()
}

/// Returns the status of a provider's type or code of an error.
fn status_of(text: &str) -> Option<u16> {
    let text = text.to_ascii_lowercase();
    let known = [
        ("rate_limit", 429),
        ("resource_exhausted", 429),
        ("insufficient_quota", 429),
        ("overloaded", OVERLOADED),
        ("unavailable", 503),
        ("authentication", 401),
        ("unauthenticated", 401),
        ("permission", 403),
        ("billing", 402),
        ("not_found", 404),
        ("invalid", 400),
        ("context_length", 400),
        ("timeout", 504),
        ("deadline_exceeded", 504),
    ];
    known.iter().find(|(part, _)| text.contains(part)).map(|(_, status)| *status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_with_status_200_has_the_status_of_its_kind() {
        for (body, expected) in [
            (r#"{"error":{"message":"m","code":429}}"#, Some(429)),
            (r#"{"error":{"message":"m","type":"rate_limit_error"}}"#, Some(429)),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, Some(529)),
            (r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#, Some(503)),
            (r#"{"error":{"status":"INVALID_ARGUMENT"}}"#, Some(400)),
            (r#"{"error":{"code":"insufficient_quota"}}"#, Some(429)),
            (r#"{"error":{"code":200,"message":"m"}}"#, Some(502)),
            (r#"{"error":"out of memory"}"#, Some(502)),
            (r#"{"error":null,"choices":[]}"#, None),
            (r#"{"choices":[]}"#, None),
            ("[]", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(embedded_status(body.as_bytes()).map(|status| status.as_u16()), expected, "{body}");
        }
    }
}
