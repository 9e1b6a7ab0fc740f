//! Arguments of calls that arrive value by value, each with its path in the arguments.

use serde_json::{Map, Value};

/// Longest path of a value, in steps.
const MAX_PATH_STEPS: usize = 64;

/// The arguments so far.
#[derive(Debug)]
pub(super) struct PartialArguments {
    arguments: Value,
    /// The path of the text that goes on in the next piece.
    open_text: Option<String>,
}

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
}

impl PartialArguments {
    pub(super) fn new() -> Self {
        Self { arguments: Value::Object(Map::new()), open_text: None }
    }

    /// Adds whole arguments.
    pub(super) fn set_whole(&mut self, arguments: &Map<String, Value>) {
        if let Value::Object(known) = &mut self.arguments {
            known.extend(arguments.clone());
        }
    }

    /// Adds a piece: `{"jsonPath": "$.city", "stringValue": "Ber", "willContinue": true}`. Returns `None` if it has
    /// another form, or its path does not fit the arguments so far.
    pub(super) fn push(&mut self, piece: &Value) -> Option<()> {
        let path = piece.get("jsonPath")?.as_str()?;
        let value = value_of(piece);
        let goes_on = self.open_text.as_deref() == Some(path);
        let will_continue = piece.get("willContinue").and_then(Value::as_bool).unwrap_or(false);
        self.open_text = will_continue.then(|| path.to_owned());
        let steps = parse(path)?;
        // The piece that ends a text may have no value.
        let Some(value) = value else { return goes_on.then_some(()) };
        let place = place(&mut self.arguments, &steps)?;
        match (place, value) {
            (Value::String(known), Value::String(more)) if goes_on => known.push_str(&more),
            (place, value) => *place = value,
        }
        Some(())
    }

    /// Returns the arguments as JSON.
    pub(super) fn finish(self) -> String {
        self.arguments.to_string()
    }
}

fn value_of(piece: &Value) -> Option<Value> {
    let fields = ["stringValue", "numberValue", "boolValue"];
    let value = fields.into_iter().find_map(|field| piece.get(field).filter(|value| !value.is_null()));
    match value {
        Some(value) => Some(value.clone()),
        None => piece.get("nullValue").map(|_| Value::Null),
    }
}

/// Returns the place of a path, which is created if it is new. A list grows by one element at a time.
fn place<'a>(root: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    let mut place = root;
    for step in steps {
        if place.is_null() {
            *place = match step {
                Step::Name(_) => Value::Object(Map::new()),
                Step::Index(_) => Value::Array(Vec::new()),
            };
        }
        place = match (place, step) {
            (Value::Object(object), Step::Name(name)) => object.entry(name.as_str()).or_insert(Value::Null),
            (Value::Array(items), Step::Index(index)) => {
                if *index == items.len() {
                    items.push(Value::Null);
                }
                items.get_mut(*index)?
            }
            _ => return None,
        };
    }
    Some(place)
}

/// Parses a path of names and indexes (RFC 9535): `$.a.b[0]['c d']`.
fn parse(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() {
                return None;
            }
            (Step::Name(name.to_owned()), after)
        } else if let Some(after) = rest.strip_prefix("['") {
            quoted(after, '\'')?
        } else if let Some(after) = rest.strip_prefix("[\"") {
            quoted(after, '"')?
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            (Step::Index(index.parse().ok()?), after)
        };
        steps.push(step);
        rest = after;
        if steps.len() > MAX_PATH_STEPS {
            return None;
        }
    }
    (!steps.is_empty()).then_some(steps)
}

/// Parses the rest of a quoted name.
fn quoted(text: &str, quote: char) -> Option<(Step, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if character == quote {
            let after = text[at..].strip_prefix(quote)?.strip_prefix(']')?;
            return Some((Step::Name(name), after));
        }
        let character = if character == '\\' { characters.next()?.1 } else { character };
        name.push(character);
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assembled(pieces: &[Value]) -> Option<Value> {
        let mut arguments = PartialArguments::new();
        pieces.iter().try_for_each(|piece| arguments.push(piece))?;
        serde_json::from_str(&arguments.finish()).ok()
    }

    #[test]
    fn values_are_placed_by_their_paths() {
        let pieces = [
            json!({"jsonPath": "$.city", "stringValue": "Ber", "willContinue": true}),
            json!({"jsonPath": "$.city", "stringValue": "lin", "willContinue": true}),
            json!({"jsonPath": "$.city"}),
            json!({"jsonPath": "$.days", "numberValue": 3}),
            json!({"jsonPath": "$.exact", "boolValue": false}),
            json!({"jsonPath": "$.note", "nullValue": "NULL_VALUE"}),
            json!({"jsonPath": "$.list[0].a", "numberValue": 1.5}),
            json!({"jsonPath": "$.list[0]['b \\' c']", "stringValue": ""}),
            json!({"jsonPath": "$.list[1][\"d.e\"]", "stringValue": "x"}),
        ];
        let expected = json!({
            "city": "Berlin", "days": 3, "exact": false, "note": null,
            "list": [{"a": 1.5, "b ' c": ""}, {"d.e": "x"}],
        });
        assert_eq!(assembled(&pieces), Some(expected));
    }

    #[test]
    fn a_text_that_has_ended_is_replaced() {
        let piece = |text: &str| json!({"jsonPath": "$.a", "stringValue": text});
        assert_eq!(assembled(&[piece("x"), piece("y")]), Some(json!({"a": "y"})));
    }

    #[test]
    fn paths_that_do_not_fit_are_refused() {
        let deep = format!("${}", "[0]".repeat(65));
        let malformed = ["", "a", "$", "$.", "$..a", "$.a[", "$['a", "$['a'"];
        let misplaced = ["$.a[1]", "$.a[-1]", "$.a[99999999999]", "$[0]", deep.as_str()];
        for path in malformed.into_iter().chain(misplaced) {
            let piece = json!({"jsonPath": path, "numberValue": 1});
            assert_eq!(assembled(&[piece]), None, "{path}");
        }
        let pieces = [json!({"jsonPath": "$.a", "numberValue": 1}), json!({"jsonPath": "$.a.b", "numberValue": 1})];
        assert_eq!(assembled(&pieces), None);
        assert_eq!(assembled(&[json!({"jsonPath": "$.a"})]), None);
    }
}
