//! Validation of definitions, field by field.

use crate::{Constraint, FlagDefinition, FlagRule, FlagVariant, Rollout, Segment, matcher::Matcher};
use omnistack_core::http::FieldError;

/// Keys that would collide with paths of the operator routes.
const RESERVED: [&str; 2] = ["import", "segments"];

// The schemas of `definition.rs` repeat these limits, since a schema attribute takes literals only.

/// Largest number of prerequisites, rules, variants, overrides of a variant, plans and segments of a rule, and
/// constraints of a rule or segment.
pub(crate) const MAX_PARTS: usize = 100;
/// Largest number of values in one list.
const MAX_VALUES_PER_LIST: usize = 10_000;
/// Longest value, and longest reason of an import, in characters.
const MAX_VALUE_CHARS: usize = 1000;
/// Longest key of a flag, and longest name of a variant or segment, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Longest name of a rule, attribute, rollout group, plan or plan feature, in characters.
const MAX_LABEL_CHARS: usize = 200;
/// Longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 4000;
/// Longest payload of a variant, in characters.
const MAX_PAYLOAD_CHARS: usize = 64 * 1024;

struct FieldProblems(Vec<FieldError>);

impl FieldProblems {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError::new(field, message));
    }

    fn at_most(&mut self, field: &str, count: usize, most: usize) {
        if count > most {
            self.add(field, format!("must have at most {most} entries"));
        }
    }

    /// Returns the entries to check: entries beyond the limit are rejected without being checked.
    fn parts<'a, T>(&mut self, field: &str, parts: &'a [T]) -> &'a [T] {
        self.at_most(field, parts.len(), MAX_PARTS);
        &parts[..parts.len().min(MAX_PARTS)]
    }

    /// Checks that a text has at most `most` characters. Returns whether it has.
    fn text(&mut self, field: impl Into<String>, text: &str, most: usize) -> bool {
        let fits = text.chars().nth(most).is_none();
        if !fits {
            self.add(field, format!("must have at most {most} characters"));
        }
        fits
    }

    /// Checks a text that must not be empty. Returns whether its length is allowed.
    fn name(&mut self, field: impl Into<String>, name: &str, most: usize) -> bool {
        if name.is_empty() {
            self.add(field, format!("must have 1 to {most} characters"));
            return false;
        }
        self.text(field, name, most)
    }

    /// Checks the values of a list, of which there may be many.
    fn values(&mut self, field: &str, values: &[String]) {
        self.at_most(field, values.len(), MAX_VALUES_PER_LIST);
        self.texts(field, &values[..values.len().min(MAX_VALUES_PER_LIST)], MAX_VALUE_CHARS);
    }

    /// Checks the names of a list, each of at most `most` characters.
    fn names(&mut self, field: &str, names: &[String], most: usize) {
        let names = self.parts(field, names);
        self.texts(field, names, most);
    }

    fn texts(&mut self, field: &str, texts: &[String], most: usize) {
        for (index, text) in texts.iter().enumerate() {
            self.text(format!("{field}[{index}]"), text, most);
        }
    }

    fn constraints(&mut self, at: &str, constraints: &[Constraint]) {
        for (index, constraint) in self.parts(at, constraints).iter().enumerate() {
            let at = format!("{at}[{index}]");
            if let Err(wrong) = Matcher::new(constraint) {
                self.add(format!("{at}.{}", wrong.field), wrong.message);
            }
            self.text(format!("{at}.attribute"), &constraint.attribute, MAX_LABEL_CHARS);
            self.values(&format!("{at}.values"), &constraint.values);
        }
    }

    fn rollout(&mut self, at: &str, rollout: &Rollout) {
        if !(0.0..=100.0).contains(&rollout.percent) || rollout.percent.fract() != 0.0 {
            self.add(format!("{at}.percent"), "must be a whole number from 0 to 100");
        }
        if rollout.stickiness.is_empty() {
            self.add(format!("{at}.stickiness"), "must be `default`, `random` or an attribute");
        }
        self.text(format!("{at}.stickiness"), &rollout.stickiness, MAX_LABEL_CHARS);
        self.text(format!("{at}.group"), rollout.group.as_deref().unwrap_or_default(), MAX_LABEL_CHARS);
    }

    fn variants(&mut self, at: &str, variants: &[FlagVariant]) {
        let variants = self.parts(at, variants);
        let total: u64 = variants.iter().map(|variant| u64::from(variant.weight)).sum();
        if total > u64::from(u32::MAX) {
            self.add(at, "must have weights that add up to less than 2^32");
        }
        for (index, variant) in variants.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let named = self.name(format!("{at}.name"), &variant.name, MAX_NAME_CHARS);
            if named && variants[..index].iter().any(|other| other.name == variant.name) {
                self.add(format!("{at}.name"), "must differ from those of the variants before it");
            } else if variant.name == "disabled" {
                self.add(format!("{at}.name"), "must not be `disabled`, which stands for no variant");
            }
            self.text(format!("{at}.stickiness"), variant.stickiness.as_deref().unwrap_or_default(), MAX_LABEL_CHARS);
            if let Some(payload) = &variant.payload {
                let field = format!("{at}.payload.value");
                let fits = self.text(&field, &payload.value, MAX_PAYLOAD_CHARS);
                let read = match payload.kind {
                    crate::PayloadKind::Json => serde_json::from_str::<serde_json::Value>(&payload.value).is_ok(),
                    crate::PayloadKind::Number => payload.value.trim().parse::<f64>().is_ok(),
                    crate::PayloadKind::String | crate::PayloadKind::Csv => true,
                };
                if fits && !read {
                    self.add(field, "must be a value of its `type`");
                }
            }
            let overrides = self.parts(&format!("{at}.overrides"), &variant.overrides);
            for (number, given) in overrides.iter().enumerate() {
                let at = format!("{at}.overrides[{number}]");
                self.name(format!("{at}.attribute"), &given.attribute, MAX_LABEL_CHARS);
                self.values(&format!("{at}.values"), &given.values);
            }
        }
    }

    fn rule(&mut self, at: &str, rule: &FlagRule) {
        let field = |name: &str| format!("{at}.{name}");
        self.text(field("name"), &rule.name, MAX_LABEL_CHARS);
        self.text(field("plan_feature"), rule.plan_feature.as_deref().unwrap_or_default(), MAX_LABEL_CHARS);
        self.text(field("unsupported"), rule.unsupported.as_deref().unwrap_or_default(), MAX_VALUE_CHARS);
        self.values(&field("users"), &rule.users);
        self.values(&field("tenants"), &rule.tenants);
        for (number, tenant) in rule.tenants.iter().enumerate().take(MAX_VALUES_PER_LIST) {
            if tenant.parse::<uuid::Uuid>().map_or(true, |id| id.to_string() != *tenant) {
                self.add(format!("{}[{number}]", field("tenants")), "must be a UUID in lower case");
            }
        }
        self.names(&field("plans"), &rule.plans, MAX_LABEL_CHARS);
        self.names(&field("segments"), &rule.segments, MAX_NAME_CHARS);
        self.constraints(&field("constraints"), &rule.constraints);
        if let Some(rollout) = &rule.rollout {
            self.rollout(&field("rollout"), rollout);
        }
        self.variants(&field("variants"), &rule.variants);
    }
}

/// Returns the problems of a definition on its own.
pub(crate) fn definition(definition: &FlagDefinition) -> Vec<FieldError> {
    let mut problems = FieldProblems(Vec::new());
    let FlagDefinition { key, description, from, until, parents, rules, variants, .. } = definition;
    let named = problems.name("key", key, MAX_NAME_CHARS);
    if named && (key.contains(is_unfit_for_path) || key.starts_with('.')) {
        problems.add("key", "must not start with a dot or contain spaces, control characters or slashes");
    } else if RESERVED.contains(&key.as_str()) {
        problems.add("key", "is reserved: choose another key");
    }
    problems.text("description", description, MAX_DESCRIPTION_CHARS);
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        problems.add("until", "must be later than `from`");
    }
    for (index, parent) in problems.parts("parents", parents).iter().enumerate() {
        let field = format!("parents[{index}].key");
        if parent.key == *key {
            problems.add(&field, "must be another flag");
        }
        problems.name(field, &parent.key, MAX_NAME_CHARS);
        problems.names(&format!("parents[{index}].variants"), &parent.variants, MAX_NAME_CHARS);
    }
    for (index, rule) in problems.parts("rules", rules).iter().enumerate() {
        problems.rule(&format!("rules[{index}]"), rule);
    }
    problems.variants("variants", variants);
    problems.0
}

/// Returns the problems of a segment.
pub(crate) fn segment(segment: &Segment) -> Vec<FieldError> {
    let mut problems = FieldProblems(Vec::new());
    if problems.name("name", &segment.name, MAX_NAME_CHARS) && segment.name.contains(is_unfit_for_path) {
        problems.add("name", "must not contain spaces, control characters or slashes");
    }
    problems.constraints("constraints", &segment.constraints);
    problems.0
}

/// Returns whether a character is not allowed in a key or name that is part of a path.
fn is_unfit_for_path(char: char) -> bool {
    char.is_whitespace() || char.is_control() || char == '/'
}
