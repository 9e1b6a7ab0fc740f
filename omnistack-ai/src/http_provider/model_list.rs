//! The lists of models that providers send.

use serde_json::Value;

use crate::provider::ProviderModel;

/// Maximum number of models in a list.
const MAX_MODELS: usize = 5_000;

/// Maximum length of the name of a model, or of its owner.
const MAX_NAME_BYTES: usize = 256;

/// Returns the models of a list in the form of OpenAI, which Anthropic shares (`data`, `id`), or of Gemini (`models`,
/// `name`). Returns `None` if it is no list. Entries without a name are left out.
pub(super) fn parse_models(body: &[u8]) -> Option<Vec<ProviderModel>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let (items, name) = match (value.get("data"), value.get("models")) {
        (Some(Value::Array(items)), _) => (items, "id"),
        (_, Some(Value::Array(items))) => (items, "name"),
        // Some servers in OpenAI's form send null if there are none.
        (Some(Value::Null), _) => return Some(Vec::new()),
        _ => return None,
    };
    let models = items.iter().filter_map(|item| {
        let id = short_text(item.get(name)?)?;
        let id = id.strip_prefix("models/").unwrap_or(id);
        let owned_by = item.get("owned_by").and_then(short_text).map(str::to_owned);
        let mut model = ProviderModel::new(id);
        model.owned_by = owned_by;
        Some(model)
    });
    Some(models.take(MAX_MODELS).collect())
}

fn short_text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_NAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_all_providers_are_read() {
        let read = |body: &str| {
            let models = parse_models(body.as_bytes());
            models.map(|models| models.into_iter().map(|model| (model.id, model.owned_by)).collect::<Vec<_>>())
        };
        let model = |id: &str, owner: Option<&str>| (id.to_owned(), owner.map(str::to_owned));
        for (body, expected) in [
            (
                r#"{"object":"list","data":[{"id":"a","owned_by":"o"},{"id":"b"},{"id":""},{}]}"#,
                Some(vec![model("a", Some("o")), model("b", None)]),
            ),
            (r#"{"data":[{"type":"model","id":"c"}],"has_more":false}"#, Some(vec![model("c", None)])),
            (r#"{"models":[{"name":"models/g","version":"1"}],"nextPageToken":"x"}"#, Some(vec![model("g", None)])),
            (r#"{"object":"list","data":null}"#, Some(vec![])),
            (r#"{"error":{}}"#, None),
            ("[]", None),
            ("x", None),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
        assert_eq!(read(&format!(r#"{{"data":[{{"id":"{}"}}]}}"#, "x".repeat(257))), Some(vec![]));
    }
}
