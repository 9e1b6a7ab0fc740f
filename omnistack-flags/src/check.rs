//! Validation of definitions, field by field.

use super::{Constraint, FlagDefinition, FlagVariant, Hashing, Rollout, Segment, matcher::Matcher};
use omnistack_core::http::FieldError;

/// Keys that would collide with paths of the operator routes.
const RESERVED: [&str; 2] = ["import", "segments"];

/// Largest number of prerequisites, rules, variants, and constraints of a rule or segment.
pub(super) const MAX_PARTS: usize = 100;
/// Largest number of values in one list.
const MAX_VALUES_PER_LIST: usize = 10_000;
/// Longest value, in bytes.
const MAX_VALUE_BYTES: usize = 1000;
/// Largest payload of a variant, in bytes.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

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

    fn values(&mut self, field: &str, values: &[String]) {
        self.at_most(field, values.len(), MAX_VALUES_PER_LIST);
        for (index, value) in values.iter().enumerate().take(MAX_VALUES_PER_LIST) {
            if value.len() > MAX_VALUE_BYTES {
                self.add(format!("{field}[{index}]"), format!("must be at most {MAX_VALUE_BYTES} bytes"));
            }
        }
    }

    fn constraints(&mut self, at: &str, constraints: &[Constraint]) {
        for (index, constraint) in self.parts(at, constraints).iter().enumerate() {
            let at = format!("{at}[{index}]");
            if let Err(wrong) = Matcher::new(constraint) {
                self.add(format!("{at}.{}", wrong.field), wrong.message);
            }
            self.values(&format!("{at}.values"), &constraint.values);
        }
    }

    fn rollout(&mut self, at: &str, rollout: &Rollout, hashing: Hashing) {
        let steps = match hashing {
            Hashing::Murmur3 => 1.0,
            Hashing::GrowthbookV1 => 10.0,
            Hashing::GrowthbookV2 => 100.0,
        };
        let field = format!("{at}.percent");
        let scaled = rollout.percent * steps;
        if !(0.0..=100.0).contains(&rollout.percent) {
            self.add(field, "must be from 0 to 100");
        } else if (scaled - scaled.round()).abs() > 1e-6 {
            self.add(field, format!("must be a multiple of {} with this `hashing`", 1.0 / steps));
        }
        if rollout.stickiness.is_empty() {
            self.add(format!("{at}.stickiness"), "must be `default`, `random` or an attribute");
        }
    }

    fn variants(&mut self, at: &str, variants: &[FlagVariant]) {
        let variants = self.parts(at, variants);
        let total: u64 = variants.iter().map(|variant| u64::from(variant.weight)).sum();
        if total > u64::from(u32::MAX) {
            self.add(at, "must have weights that add up to less than 2^32");
        }
        for (index, variant) in variants.iter().enumerate() {
            let at = format!("{at}[{index}]");
            if variant.name.is_empty() || variant.name.len() > 100 {
                self.add(format!("{at}.name"), "must be 1 to 100 bytes");
            } else if variants[..index].iter().any(|other| other.name == variant.name) {
                self.add(format!("{at}.name"), "must differ from those of the variants before it");
            } else if variant.name == "disabled" {
                self.add(format!("{at}.name"), "must not be `disabled`, which stands for no variant");
            }
            if let Some(payload) = &variant.payload {
                let field = format!("{at}.payload.value");
                if payload.value.len() > MAX_PAYLOAD_BYTES {
                    self.add(&field, format!("must be at most {MAX_PAYLOAD_BYTES} bytes"));
                }
                let read = match payload.kind {
                    super::PayloadKind::Json => serde_json::from_str::<serde_json::Value>(&payload.value).is_ok(),
                    super::PayloadKind::Number => payload.value.trim().parse::<f64>().is_ok(),
                    super::PayloadKind::String | super::PayloadKind::Csv => true,
                };
                if !read {
                    self.add(field, "must be a value of its `type`");
                }
            }
            for (number, given) in variant.overrides.iter().enumerate() {
                self.values(&format!("{at}.overrides[{number}].values"), &given.values);
            }
        }
    }
}

/// Returns the problems of a definition on its own.
pub(super) fn definition(definition: &FlagDefinition) -> Vec<FieldError> {
    let mut problems = FieldProblems(Vec::new());
    let FlagDefinition { key, description, from, until, parents, rules, variants, hashing, .. } = definition;
    if key.is_empty() || key.chars().count() > 100 || key.len() > 400 {
        problems.add("key", "must be 1 to 100 characters");
    } else if key.chars().any(|char| char.is_whitespace() || char.is_control() || char == '/') || key.starts_with('.') {
        problems.add("key", "must not start with a dot or contain spaces, control characters or slashes");
    } else if RESERVED.contains(&key.as_str()) {
        problems.add("key", "is reserved: choose another key");
    }
    if description.len() > 4000 {
        problems.add("description", "must be at most 4000 bytes");
    }
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        problems.add("until", "must be later than `from`");
    }
    for (index, parent) in problems.parts("parents", parents).iter().enumerate() {
        if parent.key == *key {
            problems.add(format!("parents[{index}].key"), "must be another flag");
        }
        problems.values(&format!("parents[{index}].variants"), &parent.variants);
    }
    for (index, rule) in problems.parts("rules", rules).iter().enumerate() {
        let at = |field: &str| format!("rules[{index}].{field}");
        for (name, values) in [("users", &rule.users), ("tenants", &rule.tenants), ("plans", &rule.plans)] {
            problems.values(&at(name), values);
        }
        for (number, tenant) in rule.tenants.iter().enumerate() {
            if tenant.parse::<uuid::Uuid>().map_or(true, |id| id.to_string() != *tenant) {
                problems.add(format!("{}[{number}]", at("tenants")), "must be a UUID in lower case");
            }
        }
        problems.values(&at("segments"), &rule.segments);
        problems.constraints(&at("constraints"), &rule.constraints);
        if let Some(rollout) = &rule.rollout {
            problems.rollout(&at("rollout"), rollout, *hashing);
        }
        problems.variants(&at("variants"), &rule.variants);
    }
    problems.variants("variants", variants);
    problems.0
}

/// Returns the problems of a segment.
pub(super) fn segment(segment: &Segment) -> Vec<FieldError> {
    let mut problems = FieldProblems(Vec::new());
    let bad = |char: char| char.is_whitespace() || char.is_control() || char == '/';
    if segment.name.is_empty() || segment.name.len() > 100 || segment.name.contains(bad) {
        problems.add("name", "must be 1 to 100 bytes without spaces, control characters and slashes");
    }
    problems.constraints("constraints", &segment.constraints);
    problems.0
}
