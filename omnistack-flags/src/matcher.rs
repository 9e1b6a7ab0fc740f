//! Compiled constraints.

use std::{cmp::Ordering, collections::HashSet, net::IpAddr};

use foldhash::fast::RandomState;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use semver::Version;

use crate::{
    Constraint, Operator,
    context::{ContextField, EvaluationContext},
};
use omnistack_core::clock::Timestamp;

/// Longest source of a regular expression, in bytes.
const MAX_PATTERN_BYTES: usize = 1000;
/// Largest compiled regular expression, in bytes. A short expression with nested repetitions could otherwise
/// take gigabytes.
const MAX_COMPILED_PATTERN_BYTES: usize = 256 * 1024;
/// Largest number of values that are compared one by one; a longer list is hashed.
const MAX_SCANNED_VALUES: usize = 8;

/// Problem of a constraint: the field, relative to the constraint, and the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConstraintProblem {
    pub(super) field: String,
    pub(super) message: String,
}

impl ConstraintProblem {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A compiled constraint.
#[derive(Debug)]
pub(super) struct Matcher {
    field: ContextField,
    test: Comparison,
    inverted: bool,
}

#[derive(Debug)]
enum Comparison {
    In(ValueSet),
    NotIn(ValueSet),
    Text { part: TextPosition, values: Box<[Box<str>]>, fold: bool },
    Matches(Box<Regex>),
    Number(OrderComparison, f64),
    Date(OrderComparison, Timestamp),
    Version(OrderComparison, Box<Version>),
    Network(Box<[IpNet]>),
}

#[derive(Clone, Copy, Debug)]
enum TextPosition {
    Any,
    Start,
    End,
}

/// Comparison of the caller's value with the given value.
#[derive(Clone, Copy, Debug)]
enum OrderComparison {
    Equal,
    Greater,
    AtLeast,
    Less,
    AtMost,
}

impl OrderComparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
        }
    }
}

/// List of values to be equal to one of.
#[derive(Debug)]
pub(super) enum ValueSet {
    Few(Box<[Box<str>]>),
    Many(HashSet<Box<str>, RandomState>),
}

impl ValueSet {
    pub(super) fn new(values: &[String]) -> Self {
        let values = values.iter().map(|value| value.as_str().into());
        if values.len() <= MAX_SCANNED_VALUES { Self::Few(values.collect()) } else { Self::Many(values.collect()) }
    }

    pub(super) fn has(&self, value: &str) -> bool {
        match self {
            Self::Few(values) => values.iter().any(|known| **known == *value),
            Self::Many(values) => values.contains(value),
        }
    }
}

impl Matcher {
    /// Compiles a constraint. Fails if a value can't be parsed, or the operator does not support it.
    pub(super) fn new(constraint: &Constraint) -> Result<Self, ConstraintProblem> {
        use Operator as O;
        let Constraint { attribute, operator, values, case_insensitive, inverted } = constraint;
        if attribute.is_empty() {
            return Err(ConstraintProblem::new("attribute", "must name an attribute"));
        }
        let text = |part| {
            let lower = |value: &String| if *case_insensitive { value.to_lowercase() } else { value.clone() };
            let values = values.iter().map(|value| lower(value).into()).collect();
            Comparison::Text { part, values, fold: *case_insensitive }
        };
        let test = match operator {
            O::In => Comparison::In(ValueSet::new(values)),
            O::NotIn => Comparison::NotIn(ValueSet::new(values)),
            O::Contains => text(TextPosition::Any),
            O::StartsWith => text(TextPosition::Start),
            O::EndsWith => text(TextPosition::End),
            O::Matches => Comparison::Matches(Box::new(pattern(only(values)?, *case_insensitive)?)),
            O::NumberEquals => Comparison::Number(OrderComparison::Equal, number(only(values)?)?),
            O::NumberGreater => Comparison::Number(OrderComparison::Greater, number(only(values)?)?),
            O::NumberAtLeast => Comparison::Number(OrderComparison::AtLeast, number(only(values)?)?),
            O::NumberLess => Comparison::Number(OrderComparison::Less, number(only(values)?)?),
            O::NumberAtMost => Comparison::Number(OrderComparison::AtMost, number(only(values)?)?),
            O::DateAfter => Comparison::Date(OrderComparison::Greater, date(only(values)?)?),
            O::DateBefore => Comparison::Date(OrderComparison::Less, date(only(values)?)?),
            O::VersionEquals => Comparison::Version(OrderComparison::Equal, version(only(values)?)?),
            O::VersionGreater => Comparison::Version(OrderComparison::Greater, version(only(values)?)?),
            O::VersionAtLeast => Comparison::Version(OrderComparison::AtLeast, version(only(values)?)?),
            O::VersionLess => Comparison::Version(OrderComparison::Less, version(only(values)?)?),
            O::VersionAtMost => Comparison::Version(OrderComparison::AtMost, version(only(values)?)?),
            O::InNetwork => Comparison::Network(networks(values)?),
        };
        if *case_insensitive && !matches!(test, Comparison::Text { .. } | Comparison::Matches(_)) {
            return Err(ConstraintProblem::new("case_insensitive", "is supported only for operators on text"));
        }
        Ok(Self { field: ContextField::new(attribute), test, inverted: *inverted })
    }

    /// Returns whether the constraint holds for a context.
    pub(super) fn holds(&self, context: &EvaluationContext<'_>) -> bool {
        self.meets(context) != self.inverted
    }

    fn meets(&self, context: &EvaluationContext<'_>) -> bool {
        if let (ContextField::Time, Comparison::Date(order, date)) = (&self.field, &self.test) {
            return order.holds(context.moment().cmp(date));
        }
        let Some(value) = context.value(&self.field) else { return matches!(self.test, Comparison::NotIn(_)) };
        match &self.test {
            Comparison::In(values) => values.has(value),
            Comparison::NotIn(values) => !values.has(value),
            Comparison::Text { part, values, fold: true } => any(*part, values, &value.to_lowercase()),
            Comparison::Text { part, values, fold: false } => any(*part, values, value),
            Comparison::Matches(pattern) => pattern.is_match(value),
            Comparison::Number(order, number) => {
                let own = value.trim().parse::<f64>().ok().and_then(|own| own.partial_cmp(number));
                own.is_some_and(|ordering| order.holds(ordering))
            }
            Comparison::Date(order, date) => value.parse::<Timestamp>().is_ok_and(|own| order.holds(own.cmp(date))),
            Comparison::Version(order, version) => {
                Version::parse(value).is_ok_and(|own| order.holds(own.cmp_precedence(version)))
            }
            Comparison::Network(networks) => {
                let own = value.trim().parse::<IpAddr>();
                own.is_ok_and(|own| networks.iter().any(|network| network.contains(&own.to_canonical())))
            }
        }
    }
}

fn any(part: TextPosition, values: &[Box<str>], own: &str) -> bool {
    values.iter().any(|value| match part {
        TextPosition::Any => own.contains(&**value),
        TextPosition::Start => own.starts_with(&**value),
        TextPosition::End => own.ends_with(&**value),
    })
}

fn only(values: &[String]) -> Result<&str, ConstraintProblem> {
    match values {
        [value] => Ok(value),
        _ => Err(ConstraintProblem::new("values", "must have exactly one entry for this operator")),
    }
}

fn number(value: &str) -> Result<f64, ConstraintProblem> {
    let number = value.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| ConstraintProblem::new("values[0]", "must be a number"))
}

fn date(value: &str) -> Result<Timestamp, ConstraintProblem> {
    value.parse().map_err(|_| ConstraintProblem::new("values[0]", "must be a time such as `2030-01-01T00:00:00Z`"))
}

fn version(value: &str) -> Result<Box<Version>, ConstraintProblem> {
    let wrong = |error| ConstraintProblem::new("values[0]", format!("must be a version such as `1.2.3`: {error}"));
    Version::parse(value).map(Box::new).map_err(wrong)
}

fn pattern(value: &str, fold: bool) -> Result<Regex, ConstraintProblem> {
    if value.len() > MAX_PATTERN_BYTES {
        return Err(ConstraintProblem::new("values[0]", format!("must be at most {MAX_PATTERN_BYTES} bytes")));
    }
    let built = RegexBuilder::new(value)
        .case_insensitive(fold)
        .size_limit(MAX_COMPILED_PATTERN_BYTES)
        .dfa_size_limit(MAX_COMPILED_PATTERN_BYTES)
        .nest_limit(50)
        .build();
    built.map_err(|error| {
        let why = match error {
            regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
            // The first lines of the message show the position; the last line says what is wrong.
            error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        };
        ConstraintProblem::new("values[0]", format!("must be a valid regular expression: {why}"))
    })
}

/// Parses an address or a network in CIDR notation.
pub(super) fn network(value: &str) -> Option<IpNet> {
    let value = value.trim();
    let address = || value.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    value.parse::<IpNet>().ok().or_else(address)
}

fn networks(values: &[String]) -> Result<Box<[IpNet]>, ConstraintProblem> {
    let read = |(index, value): (usize, &String)| {
        let wrong = || ConstraintProblem::new(format!("values[{index}]"), "must be a network such as `10.0.0.0/8`");
        network(value).ok_or_else(wrong)
    };
    values.iter().enumerate().map(read).collect()
}
