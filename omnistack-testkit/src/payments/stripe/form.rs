//! Forms with nested names, such as `items[0][price]=price_1`.

use serde_json::{Map, Value};

/// Parses a form. Values are texts; names with numbers make arrays.
pub(super) fn parse(encoded: &[u8]) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, value) in form_urlencoded::parse(encoded) {
        let segments: Vec<&str> = name.split('[').map(|segment| segment.trim_end_matches(']')).collect();
        insert(&mut root, &segments, &value);
    }
    arrays(root)
}

fn insert(target: &mut Value, segments: &[&str], value: &str) {
    let Some((first, rest)) = segments.split_first() else {
        *target = Value::String(value.to_owned());
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    // `expand[]=…` adds to the array.
    let name = if first.is_empty() { fields.len().to_string() } else { (*first).to_owned() };
    insert(fields.entry(name).or_insert(Value::Null), rest, value);
}

/// Turns objects whose names are numbers into arrays.
fn arrays(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let numbered = !fields.is_empty() && fields.keys().all(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    if !numbered {
        return Value::Object(fields.into_iter().map(|(name, value)| (name, arrays(value))).collect());
    }
    let mut items: Vec<(usize, Value)> =
        fields.into_iter().filter_map(|(name, value)| Some((name.parse().ok()?, arrays(value)))).collect();
    items.sort_by_key(|(index, _)| *index);
    Value::Array(items.into_iter().map(|(_, value)| value).collect())
}

/// Returns the text at a path.
pub(super) fn text<'a>(form: &'a Value, path: &str) -> Option<&'a str> {
    form.pointer(path)?.as_str().filter(|text| !text.is_empty())
}

/// Returns the whole number at a path.
pub(super) fn integer(form: &Value, path: &str) -> Option<i64> {
    form.pointer(path)?.as_str()?.parse().ok()
}

/// Returns the value at a path, or an empty object.
pub(super) fn object(form: &Value, path: &str) -> Value {
    form.pointer(path).filter(|value| value.is_object()).cloned().unwrap_or_else(|| Value::Object(Map::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_names_are_read() {
        let form =
            parse(b"a=1&items[0][price]=p&items[0][quantity]=2&items[1][price]=q&expand[]=x.y&expand[]=z&m[k]=a%26b");
        let expected = json!({
            "a": "1", "items": [{ "price": "p", "quantity": "2" }, { "price": "q" }], "expand": ["x.y", "z"],
            "m": { "k": "a&b" },
        });
        assert_eq!(form, expected);
    }
}
