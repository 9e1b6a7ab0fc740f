//! OpenAI's form of errors.

use omnistack_core::http::{ErrorBody, ErrorForm, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// OpenAI's form of errors, for the mounts of its API.
pub(super) const OPENAI_ERRORS: ErrorForm = ErrorForm::new("OpenAiError", render);

/// An error in OpenAI's form.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiError)]
pub(crate) struct OpenAiError {
    /// The error.
    pub(super) error: OpenAiErrorDetails,
}

/// The details of an error in OpenAI's form.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenAiErrorDetails {
    /// Message for people.
    message: String,
    /// The type, such as `invalid_request_error`.
    r#type: String,
    /// The parameter of the request that is wrong; `null` if it is not about one.
    #[schema(required)]
    param: Option<String>,
    /// Error code for programs, such as `model_not_found`: the app's error code in lower case, or the provider's code if
    /// `provider` is set.
    #[schema(required)]
    code: Option<String>,
    /// The provider that refused or failed. Absent if the app itself refused, such as for its own rate limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider: Option<String>,
    /// Id of the request. Include it in support requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// More about the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Object>)]
    details: Option<Value>,
}

fn render(status: StatusCode, error: ErrorBody) -> Value {
    serde_json::to_value(openai_error(status, error)).unwrap_or_default()
}

/// Returns an error in OpenAI's form.
pub(super) fn openai_error(status: StatusCode, error: ErrorBody) -> OpenAiError {
    let ErrorBody { code, message, details, request_id, .. } = error;
    let detail = |name: &str| details.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let (provider, provider_code) = (detail("provider"), detail("provider_code"));
    // Errors of the app's extractors name the fields.
    let field = || details.as_ref()?.pointer("/fields/0/field")?.as_str().map(str::to_owned);
    let code = match provider_code {
        Some(code) => code,
        None if code == "UNAUTHORIZED" => "invalid_api_key".to_owned(),
        None => code.to_ascii_lowercase(),
    };
    let error = OpenAiErrorDetails {
        message,
        r#type: detail("provider_type").unwrap_or_else(|| error_type(status).to_owned()),
        param: detail("param").or_else(field),
        code: Some(code),
        provider,
        request_id,
        details,
    };
    OpenAiError { error }
}

/// Returns the type of errors with a status.
fn error_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::http::{ErrorBody, StatusCode};
    use serde_json::{Value, json};

    use super::render;

    fn body(code: &str, details: Option<Value>) -> ErrorBody {
        ErrorBody { code: code.into(), message: "no".into(), details, request_id: Some("r1".into()), timestamp: None }
    }

    #[test]
    fn errors_of_the_app_and_of_providers_are_told_apart() {
        for (status, code, details, expected) in [
            (401, "UNAUTHORIZED", None, ["authentication_error", "invalid_api_key", ""]),
            (402, "AI_BUDGET_EXCEEDED", None, ["insufficient_quota", "ai_budget_exceeded", ""]),
            (404, "MODEL_NOT_FOUND", None, ["invalid_request_error", "model_not_found", ""]),
            (429, "RATE_LIMIT_EXCEEDED", None, ["rate_limit_error", "rate_limit_exceeded", ""]),
            (503, "DATABASE_UNAVAILABLE", None, ["server_error", "database_unavailable", ""]),
            (
                429,
                "PROVIDER_RATE_LIMITED",
                Some(json!({ "provider": "p", "provider_code": "slow_down", "provider_type": "tokens" })),
                ["tokens", "slow_down", "p"],
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = render(status, body(code, details))["error"].clone();
            let found = ["type", "code", "provider"].map(|name| error[name].as_str().unwrap_or_default().to_owned());
            assert_eq!(found, expected, "{error}");
            assert_eq!((&error["message"], &error["request_id"]), (&json!("no"), &json!("r1")));
        }
    }

    #[test]
    fn the_parameter_is_named() {
        for details in [json!({ "param": "model" }), json!({ "fields": [{ "field": "model", "message": "is long" }] })]
        {
            let error = render(StatusCode::BAD_REQUEST, body("INVALID_VALUE", Some(details)));
            assert_eq!(error["error"]["param"], "model");
        }
        assert_eq!(render(StatusCode::BAD_REQUEST, body("X", None))["error"]["param"], Value::Null);
    }
}
