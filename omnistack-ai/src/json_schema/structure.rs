//! The structure of a schema: its size, its references, and the work of a validation.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::cut;

/// Largest size of a schema, in bytes of its texts.
const MAX_SCHEMA_BYTES: usize = 128 * 1024;

/// Largest number of JSON values in a schema.
const MAX_SCHEMA_VALUES: usize = 20_000;

/// Deepest nesting of the JSON of a schema.
const MAX_SCHEMA_DEPTH: usize = 100;

/// Longest chain of subschemas, references included. Compilation recurses as deep.
const MAX_SUBSCHEMA_CHAIN: usize = 128;

/// Longest chain of subschemas that apply to the same value. Validation recurses so often for each level of the value.
const MAX_CHAIN_OF_ONE_VALUE: usize = 16;

/// Most subschemas that apply to a value and to one path below it, without recursion.
const MAX_WORK: u64 = 100_000;

/// The subschemas of a schema.
#[derive(Debug, Default)]
struct Subschemas<'a> {
    /// Those that apply to the same value.
    same: Vec<&'a Value>,
    /// Those that apply to values inside. In each group, at most one applies to a value.
    below: Vec<Vec<&'a Value>>,
    /// Definitions, which apply where they are referred to.
    definitions: Vec<&'a Value>,
}

impl<'a> Subschemas<'a> {
    fn of(root: &'a Value, schema: &'a Value) -> Result<Self, String> {
        let mut found = Self::default();
        let Value::Object(object) = schema else { return Ok(found) };
        for (keyword, value) in object {
            match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => found.same.push(resolve(root, reference)?),
                ("$ref" | "$dynamicRef" | "$recursiveRef", _) => {
                    return Err(format!("the JSON schema has `{keyword}`: use `$ref` with a definition in `$defs`"));
                }
                ("$id", _) if !std::ptr::eq(root, schema) => {
                    return Err("a part of the JSON schema has `$id`: remove it".to_owned());
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => found.same.extend(parts),
                ("not" | "if" | "then" | "else", part) => found.same.push(part),
                ("dependentSchemas" | "dependencies", Value::Object(parts)) => {
                    // Until draft 7, a dependency can be a list of properties.
                    found.same.extend(parts.values().filter(|part| !part.is_array()));
                }
                ("properties", Value::Object(parts)) => found.below.push(parts.values().collect()),
                ("patternProperties", Value::Object(parts)) => {
                    found.below.extend(parts.values().map(|part| vec![part]));
                }
                ("items" | "prefixItems", Value::Array(parts)) => found.below.push(parts.iter().collect()),
                (
                    "items"
                    | "additionalItems"
                    | "additionalProperties"
                    | "contains"
                    | "propertyNames"
                    | "unevaluatedItems"
                    | "unevaluatedProperties",
                    part,
                ) => found.below.push(vec![part]),
                ("$defs" | "definitions", Value::Object(parts)) => found.definitions.extend(parts.values()),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Returns the schema that a reference names. Fails if it is not in the document.
pub(super) fn resolve<'a>(root: &'a Value, reference: &str) -> Result<&'a Value, String> {
    let Some(pointer) = reference.strip_prefix('#') else {
        return Err(format!(
            "the JSON schema refers to `{}`, another document: put the definition into `$defs`",
            cut(reference)
        ));
    };
    let pointer = percent_decode_str(pointer).decode_utf8_lossy();
    let target = root.pointer(&pointer);
    target.ok_or_else(|| format!("the JSON schema refers to `{}`, which it does not contain", cut(reference)))
}

/// Returns the name of the definition that a reference leads to.
#[cfg(feature = "providers")]
pub(super) fn definition_name(reference: &str) -> Option<&str> {
    let name = reference.strip_prefix("#/$defs/").or_else(|| reference.strip_prefix("#/definitions/"))?;
    (!name.is_empty() && !name.contains(['/', '~', '%'])).then_some(name)
}

/// Returns whether a keyword says nothing about values.
#[cfg(feature = "providers")]
pub(super) fn is_annotation(keyword: &str) -> bool {
    matches!(
        keyword,
        "$schema"
            | "$id"
            | "$comment"
            | "$anchor"
            | "$defs"
            | "definitions"
            | "title"
            | "description"
            | "default"
            | "examples"
            | "example"
            | "deprecated"
            | "readOnly"
            | "writeOnly"
    )
}

/// Fails if a schema is too large or too deep, refers to another document, or takes too much work.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut size = Size::default();
    size.add(schema, 0)?;
    let mut walk = Walk { root: schema, chains: HashMap::new(), work: HashMap::new() };
    walk.work(schema, 0)?;
    Ok(())
}

/// Returns the most subschemas that apply to a value and to one path of this depth below it. It is an upper bound of
/// the work that one value causes.
pub(super) fn work_at_depth(root: &Value, depth: usize) -> u64 {
    type Known = HashMap<(*const Value, usize), u64>;
    fn work<'a>(root: &'a Value, schema: &'a Value, depth: usize, known: &mut Known) -> u64 {
        let key = (std::ptr::from_ref(schema), depth);
        if let Some(known) = known.get(&key) {
            return *known;
        }
        let Ok(parts) = Subschemas::of(root, schema) else { return u64::MAX };
        let mut total: u64 = 1;
        for part in parts.same {
            total = total.saturating_add(work(root, part, depth, known));
        }
        if let Some(depth) = depth.checked_sub(1) {
            for group in parts.below {
                let most = group.into_iter().map(|part| work(root, part, depth, known)).max();
                total = total.saturating_add(most.unwrap_or(0));
            }
        }
        known.insert(key, total);
        total
    }
    work(root, root, depth, &mut HashMap::new())
}

#[derive(Debug, Default)]
struct Size {
    bytes: usize,
    values: usize,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        if depth > MAX_SCHEMA_DEPTH {
            return Err(format!("the JSON schema is nested deeper than {MAX_SCHEMA_DEPTH} levels"));
        }
        self.values += 1;
        match value {
            Value::String(text) => self.bytes += text.len(),
            Value::Array(items) => items.iter().try_for_each(|item| self.add(item, depth + 1))?,
            Value::Object(object) => self.add_object(object, depth)?,
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if self.bytes > MAX_SCHEMA_BYTES || self.values > MAX_SCHEMA_VALUES {
            return Err(format!(
                "the JSON schema has more than {MAX_SCHEMA_BYTES} bytes or {MAX_SCHEMA_VALUES} values: use a smaller one"
            ));
        }
        Ok(())
    }

    fn add_object(&mut self, object: &Map<String, Value>, depth: usize) -> Result<(), String> {
        for (key, value) in object {
            self.bytes += key.len();
            self.add(value, depth + 1)?;
        }
        Ok(())
    }
}

/// A walk over all subschemas, each of which it visits once.
struct Walk<'a> {
    root: &'a Value,
    /// The longest chain of subschemas of the same value, or `None` while it is being computed.
    chains: HashMap<*const Value, Option<usize>>,
    /// The work without recursion, or `None` while it is being computed.
    work: HashMap<*const Value, Option<u64>>,
}

impl<'a> Walk<'a> {
    fn chain(&mut self, schema: &'a Value, level: usize) -> Result<usize, String> {
        let key = std::ptr::from_ref(schema);
        match self.chains.get(&key) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err("a part of the JSON schema consists only of itself".to_owned()),
            None => {}
        }
        self.chains.insert(key, None);
        let mut longest = 0;
        // The level limits this recursion, the sum also counts what is known.
        if level < MAX_CHAIN_OF_ONE_VALUE {
            for part in Subschemas::of(self.root, schema)?.same {
                longest = longest.max(self.chain(part, level + 1)?);
            }
        } else {
            longest = MAX_CHAIN_OF_ONE_VALUE;
        }
        longest += 1;
        if longest > MAX_CHAIN_OF_ONE_VALUE {
            return Err(format!(
                "a value must match more than {MAX_CHAIN_OF_ONE_VALUE} nested parts of the JSON schema: simplify it"
            ));
        }
        self.chains.insert(key, Some(longest));
        Ok(longest)
    }

    fn work(&mut self, schema: &'a Value, level: usize) -> Result<u64, String> {
        let key = std::ptr::from_ref(schema);
        match self.work.get(&key) {
            Some(Some(known)) => return Ok(*known),
            // Recursion: the validator remembers the results of such parts.
            Some(None) => return Ok(1),
            None => {}
        }
        if level > MAX_SUBSCHEMA_CHAIN {
            return Err(format!("the JSON schema has more than {MAX_SUBSCHEMA_CHAIN} nested parts: simplify it"));
        }
        if !schema.is_object() && !schema.is_boolean() {
            return Err("a part of the JSON schema is neither an object nor a boolean".to_owned());
        }
        self.work.insert(key, None);
        self.chain(schema, 0)?;
        let parts = Subschemas::of(self.root, schema)?;
        let mut total: u64 = 1;
        for part in parts.same {
            total = total.saturating_add(self.work(part, level + 1)?);
        }
        for group in parts.below {
            let mut most = 0;
            for part in group {
                most = most.max(self.work(part, level + 1)?);
            }
            total = total.saturating_add(most);
        }
        for part in parts.definitions {
            self.work(part, level + 1)?;
        }
        if total > MAX_WORK {
            return Err("the JSON schema combines too many parts: simplify it".to_owned());
        }
        self.work.insert(key, Some(total));
        Ok(total)
    }
}
