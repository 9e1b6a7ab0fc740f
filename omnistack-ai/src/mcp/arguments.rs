//! The request that a call of a tool becomes. No I/O.

use axum::body::Body;
use omnistack_core::http::{HeaderName, HeaderValue, Request, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rmcp::model::JsonObject;
use serde_json::Value;

use super::tools::{AppTool, BODY_ARGUMENT, ParameterPlace};

/// Characters that are encoded in a segment of a path and in a query: all but the unreserved ones of RFC 3986,
/// section 2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns the request of a call.
///
/// # Errors
/// A description of what is wrong with the arguments, for the model.
pub(super) fn request_of(tool: &AppTool, mut arguments: JsonObject) -> Result<Request, String> {
    let mut path = tool.operation.path.clone();
    let mut query = Vec::new();
    let mut request = Request::new(Body::empty());
    for parameter in &tool.parameters {
        let (argument, name) = (&parameter.argument, &parameter.name);
        let value = arguments.remove(argument).filter(|value| !value.is_null());
        let Some(value) = value else {
            if parameter.required {
                return Err(format!("the argument `{argument}` is missing"));
            }
            continue;
        };
        match parameter.place {
            ParameterPlace::Path => {
                let text = text_of(argument, &value)?;
                if matches!(text.as_str(), "" | "." | "..") {
                    return Err(format!("the argument `{argument}` must not be empty, `.` or `..`"));
                }
                let text = encode(&text);
                path = path.replace(&format!("{{{name}}}"), &text).replace(&format!("{{*{name}}}"), &text);
            }
            ParameterPlace::Query => {
                let values =
                    if let Value::Array(values) = &value { values.as_slice() } else { std::slice::from_ref(&value) };
                for value in values {
                    query.push(format!("{}={}", encode(name), encode(&text_of(argument, value)?)));
                }
            }
            ParameterPlace::Header => {
                let text = text_of(argument, &value)?;
                let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(text)) else {
                    return Err(format!("the argument `{argument}` can't be sent in a header"));
                };
                request.headers_mut().insert(name, value);
            }
        }
    }
    match (tool.body, arguments.remove(BODY_ARGUMENT)) {
        (Some(true), None) => return Err(format!("the argument `{BODY_ARGUMENT}` is missing")),
        (Some(_), Some(body)) => {
            *request.body_mut() = Body::from(body.to_string());
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        (None, Some(_)) => return Err(format!("there is no argument `{BODY_ARGUMENT}`")),
        (_, None) => {}
    }
    if let Some(unknown) = arguments.keys().next() {
        return Err(format!("there is no argument `{unknown}`"));
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    *request.uri_mut() = Uri::try_from(path).map_err(|_| "the arguments make no valid path".to_owned())?;
    *request.method_mut() = tool.operation.method.clone();
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    Ok(request)
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Returns the text of a value in a path, a query or a header.
fn text_of(argument: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("the argument `{argument}` must be a text, a number, `true` or `false`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mcp::tools::tests::tools;

    fn request(arguments: Value) -> Result<Request, String> {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        request_of(tools().get("addMoon").or(tools().get("add_moon")).unwrap(), arguments)
    }

    #[tokio::test]
    async fn arguments_become_a_request() {
        let moon = json!({ "name": "Io", "moons": [] });
        let made =
            request(json!({ "planet": "a b/../c", "dry_run": true, "idempotency_key": "k1", "body": moon })).unwrap();
        assert_eq!(made.uri(), "/api/v1/public/planets/a%20b%2F..%2Fc/moons?dry_run=true");
        assert_eq!(made.method(), "POST");
        assert_eq!(made.headers()["idempotency-key"], "k1");
        assert_eq!(made.headers()["content-type"], "application/json");
    }

    #[tokio::test]
    async fn wrong_arguments_are_described() {
        let moon = json!({ "name": "Io", "moons": [] });
        for (arguments, expected) in [
            (json!({ "body": moon }), "the argument `planet` is missing"),
            (json!({ "planet": null, "body": moon }), "the argument `planet` is missing"),
            (json!({ "planet": "..", "body": moon }), "the argument `planet` must not be empty, `.` or `..`"),
            (json!({ "planet": {}, "body": moon }), "must be a text"),
            (json!({ "planet": "mars" }), "the argument `body` is missing"),
            (json!({ "planet": "mars", "body": moon, "extra": 1 }), "there is no argument `extra`"),
            (json!({ "planet": "mars", "body": moon, "idempotency_key": "a\nb" }), "can't be sent in a header"),
        ] {
            let error = request(arguments.clone()).unwrap_err();
            assert!(error.contains(expected), "{arguments}: {error}");
        }
    }
}
