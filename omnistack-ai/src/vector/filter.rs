//! Conditions on the metadata of points.
//!
//! A filter is a JSON object. Each field names a field of the metadata, and its value is a condition; all must be
//! satisfied:
//!
//! ```json
//! { "language": "de", "year": { "gte": 2020, "lt": 2024 }, "tags": { "in": ["a", "b"] }, "draft": { "ne": true } }
//! ```

use std::fmt::Write as _;

use omnistack_core::{db::Arguments, http::FieldError};
use serde_json::{Map, Value};

/// Largest number of fields of a filter.
const MAX_FILTER_FIELDS: usize = 16;
/// Largest number of values of `in` or `not_in`.
const MAX_FILTER_VALUES: usize = 100;
/// Largest length of the name of a field, in bytes.
const MAX_FIELD_NAME_BYTES: usize = 64;

/// Conditions on the metadata of points, all of which must be satisfied. The default has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataFilter {
    conditions: Vec<(String, MetadataCondition)>,
}

/// A condition on a field of the metadata. If the field is an array, it is satisfied if it is for one of its values,
/// and a condition that excludes values if none of them is excluded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MetadataCondition {
    /// The field has one of these values.
    AnyOf(Vec<Value>),
    /// The field has none of these values. It is satisfied without the field.
    NoneOf(Vec<Value>),
    /// The field is a number on one side of a bound.
    Bound(NumberBound, f64),
    /// The field exists, or does not.
    Exists(bool),
}

/// The side of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberBound {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl NumberBound {
    const fn operator(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    /// Returns the name in filters, which is also that of Qdrant.
    #[cfg(feature = "qdrant")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Greater => "gt",
            Self::GreaterOrEqual => "gte",
            Self::Less => "lt",
            Self::LessOrEqual => "lte",
        }
    }

    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
        }
    }
}

impl MetadataFilter {
    /// Parses a filter, a JSON object as in the documentation of the routes.
    ///
    /// # Errors
    /// Names the field that can't be used, and the problem with it.
    pub fn parse(filter: &Map<String, Value>) -> Result<Self, FieldError> {
        if filter.len() > MAX_FILTER_FIELDS {
            return Err(FieldError::new("filter", format!("must have at most {MAX_FILTER_FIELDS} fields")));
        }
        let mut conditions = Vec::with_capacity(filter.len());
        for (field, condition) in filter {
            check_field_name(field).map_err(|problem| FieldError::new("filter", problem))?;
            let wrong = |message: String| FieldError::new(format!("filter.{field}"), message);
            match condition {
                Value::Object(operators) if operators.is_empty() => {
                    return Err(wrong("must have a condition, such as {\"gte\": 1}".to_owned()));
                }
                Value::Object(operators) => {
                    for (operator, operand) in operators {
                        let parsed = parse_condition(operator, operand).map_err(wrong)?;
                        conditions.push((field.clone(), parsed));
                    }
                }
                Value::Array(_) => return Err(wrong("must be a value or an object; use {\"in\": […]}".to_owned())),
                value => {
                    let parsed = parse_condition("eq", value).map_err(wrong)?;
                    conditions.push((field.clone(), parsed));
                }
            }
        }
        Ok(Self { conditions })
    }

    /// Returns whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Returns whether metadata satisfies all conditions.
    pub fn matches(&self, metadata: &Map<String, Value>) -> bool {
        self.conditions.iter().all(|(field, condition)| condition.holds(metadata.get(field)))
    }

    /// Returns the conditions with the names of their fields. A field may occur more than once.
    #[cfg(feature = "qdrant")]
    pub(crate) fn conditions(&self) -> &[(String, MetadataCondition)] {
        &self.conditions
    }

    /// Returns the conditions as SQL of PostgreSQL about the `jsonb` column `metadata`, each preceded by `and`, and
    /// binds their values. They have the same meaning as [`matches`](Self::matches).
    pub(crate) fn postgres(&self, args: &mut Arguments) -> String {
        let mut sql = String::new();
        for (field, condition) in &self.conditions {
            let field = format!("(metadata -> cast(${} as text))", args.push(field.clone()));
            sql.push_str(" and ");
            match condition {
                MetadataCondition::AnyOf(values) => sql.push_str(&any_of(&field, values, args)),
                MetadataCondition::NoneOf(values) => _ = write!(sql, "not {}", any_of(&field, values, args)),
                MetadataCondition::Bound(side, bound) => {
                    let (operator, bound) = (side.operator(), args.push(*bound));
                    _ = write!(
                        sql,
                        "case when jsonb_typeof({field}) = 'number' then \
                         cast({field} as double precision) {operator} ${bound} else false end"
                    );
                }
                MetadataCondition::Exists(true) => _ = write!(sql, "{field} is not null"),
                MetadataCondition::Exists(false) => _ = write!(sql, "{field} is null"),
            }
        }
        sql
    }
}

/// Returns SQL that is true if a `jsonb` value is one of these values, or an array with one of them.
fn any_of(field: &str, values: &[Value], args: &mut Arguments) -> String {
    // An array contains a value that is no array, by an exception in the rules of `@>`.
    let each = values.iter().map(|value| format!("{field} @> cast(${} as jsonb)", args.push(value.to_string())));
    let each: Vec<_> = each.collect();
    format!("coalesce({}, false)", each.join(" or "))
}

/// Checks the name of a field of metadata.
pub(crate) fn check_field_name(name: &str) -> Result<(), String> {
    let is_accepted = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= MAX_FIELD_NAME_BYTES && name.bytes().all(is_accepted) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_FIELD_NAME_BYTES).collect();
    Err(format!("has the field `{shown}`; a name has 1 to {MAX_FIELD_NAME_BYTES} letters, digits, `_` or `-`"))
}

fn parse_condition(operator: &str, operand: &Value) -> Result<MetadataCondition, String> {
    let bound = |side| match operand.as_f64() {
        Some(number) => Ok(MetadataCondition::Bound(side, number)),
        None => Err(format!("`{operator}` must be a number")),
    };
    match operator {
        "eq" => Ok(MetadataCondition::AnyOf(vec![scalar(operator, operand)?])),
        "ne" => Ok(MetadataCondition::NoneOf(vec![scalar(operator, operand)?])),
        "in" => Ok(MetadataCondition::AnyOf(scalars(operator, operand)?)),
        "not_in" => Ok(MetadataCondition::NoneOf(scalars(operator, operand)?)),
        "gt" => bound(NumberBound::Greater),
        "gte" => bound(NumberBound::GreaterOrEqual),
        "lt" => bound(NumberBound::Less),
        "lte" => bound(NumberBound::LessOrEqual),
        "exists" => match operand {
            Value::Bool(exists) => Ok(MetadataCondition::Exists(*exists)),
            _ => Err("`exists` must be true or false".to_owned()),
        },
        _ => Err("has an unknown condition; use eq, ne, in, not_in, gt, gte, lt, lte or exists".to_owned()),
    }
}

fn scalar(operator: &str, operand: &Value) -> Result<Value, String> {
    match operand {
        Value::Array(_) | Value::Object(_) => Err(format!("`{operator}` must be a text, a number, a boolean or null")),
        Value::String(text) if text.contains('\0') => Err(format!("`{operator}` must not contain NUL")),
        value => Ok(value.clone()),
    }
}

fn scalars(operator: &str, operand: &Value) -> Result<Vec<Value>, String> {
    let Value::Array(values) = operand else { return Err(format!("`{operator}` must be a list")) };
    if values.is_empty() || values.len() > MAX_FILTER_VALUES {
        return Err(format!("`{operator}` must have 1 to {MAX_FILTER_VALUES} values"));
    }
    values.iter().map(|value| scalar(operator, value)).collect()
}

impl MetadataCondition {
    fn holds(&self, field: Option<&Value>) -> bool {
        match self {
            Self::AnyOf(values) => has_any(field, values),
            Self::NoneOf(values) => !has_any(field, values),
            Self::Bound(side, bound) => field.and_then(Value::as_f64).is_some_and(|number| side.holds(number, *bound)),
            Self::Exists(exists) => field.is_some() == *exists,
        }
    }
}

fn has_any(field: Option<&Value>, values: &[Value]) -> bool {
    let is_any = |one: &Value| values.iter().any(|value| is_equal(one, value));
    match field {
        None => false,
        Some(Value::Array(items)) => items.iter().any(is_any),
        Some(one) => is_any(one),
    }
}

/// Returns whether two values are equal. 1 and 1.0 are.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(value: &Value) -> Result<MetadataFilter, FieldError> {
        MetadataFilter::parse(value.as_object().unwrap())
    }

    #[test]
    fn a_filter_selects_metadata() {
        let metadata = json!({ "lang": "de", "year": 2021, "tags": ["a", "b"], "draft": false, "none": null });
        let metadata = metadata.as_object().unwrap();
        for (text, expected) in [
            (json!({}), true),
            (json!({ "lang": "de", "year": { "gte": 2021, "lt": 2022.0 } }), true),
            (json!({ "lang": "en" }), false),
            (json!({ "lang": { "eq": "de", "ne": "en" } }), true),
            (json!({ "lang": { "not_in": ["de", "en"] } }), false),
            (json!({ "year": { "gt": 2021 } }), false),
            (json!({ "year": { "lte": 2021 } }), true),
            (json!({ "year": 2021.0 }), true),
            (json!({ "year": "2021" }), false),
            (json!({ "lang": { "gt": 1 } }), false),
            (json!({ "tags": "b" }), true),
            (json!({ "tags": { "in": ["x", "a"] } }), true),
            (json!({ "tags": { "ne": "a" } }), false),
            (json!({ "missing": { "ne": "a" } }), true),
            (json!({ "missing": null }), false),
            (json!({ "none": null }), true),
            (json!({ "missing": { "exists": false }, "none": { "exists": true } }), true),
            (json!({ "draft": false }), true),
            (json!({ "draft": 0 }), false),
        ] {
            assert_eq!(filter(&text).unwrap().matches(metadata), expected, "{text}");
        }
    }

    #[test]
    fn a_filter_that_is_not_understood_is_refused() {
        let many: Vec<u32> = (0..101).collect();
        for (text, field) in [
            (json!({ "a.b": 1 }), "filter"),
            (json!({ "": 1 }), "filter"),
            (json!({ "a": [1] }), "filter.a"),
            (json!({ "a": {} }), "filter.a"),
            (json!({ "a": { "like": "x" } }), "filter.a"),
            (json!({ "a": { "gt": "x" } }), "filter.a"),
            (json!({ "a": { "in": [] } }), "filter.a"),
            (json!({ "a": { "in": many } }), "filter.a"),
            (json!({ "a": { "eq": [1] } }), "filter.a"),
            (json!({ "a": { "exists": 1 } }), "filter.a"),
            (json!({ "a": { "in": ["\u{0}"] } }), "filter.a"),
            (json!({ "a": "\u{0}" }), "filter.a"),
        ] {
            assert_eq!(filter(&text).unwrap_err().field, field, "{text}");
        }
    }
}
