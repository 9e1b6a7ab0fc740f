//! Import of Unleash flags, in the format that its servers send to clients.

mod state;

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::{
    Constraint, FlagDefinition, FlagRule, FlagSet, FlagVariant, Operator, Payload, PayloadKind, Prerequisite, Rollout,
    Segment, VariantOverride,
    matcher::{Matcher, network},
};
use omnistack_core::http::FieldError;
use state::{
    ClientFeatures, Dependency, Feature, Strategy, UnleashConstraint, UnleashOverride, UnleashPayload, UnleashVariant,
    within_limit,
};

/// Flags and segments of Unleash, converted to definitions that give the same results.
///
/// It reads the response of a server at `/api/client/features`, and the events of its delta API. What OmniStack
/// does not support becomes a rule that matches no caller, as in Unleash's own clients, and a note.
///
/// ```
/// use omnistack_core::clock::Clock;
/// use omnistack_flags::{EvaluationContext, UnleashImport};
///
/// let state = serde_json::json!({ "version": 1, "features": [
///     { "name": "new-ui", "enabled": true, "strategies": [{ "name": "userWithId", "parameters": { "userIds": "7,8" } }] },
/// ]});
/// let flags = UnleashImport::read(&state).unwrap().into_set();
/// let clock = Clock::system();
/// assert!(flags.is_on("new-ui", &EvaluationContext::now(&clock).user("8")));
/// assert!(!flags.is_on("new-ui", &EvaluationContext::now(&clock).user("9")));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct UnleashImport {
    /// The flags, in the order in which they were read.
    pub flags: Vec<FlagDefinition>,
    /// The segments, named `unleash-` and their number.
    pub segments: Vec<Segment>,
    /// Parts that could not be imported, with their place.
    pub notes: Vec<String>,
}

impl UnleashImport {
    /// Reads the state of an Unleash server.
    ///
    /// # Errors
    ///
    /// Fails with the field that is not in Unleash's format, or that is a list of more than 100 strategies or
    /// constraints.
    pub fn read(state: &Value) -> Result<Self, FieldError> {
        // serde would also accept a list for the fields of a struct.
        if !state.is_object() {
            return Err(FieldError::new("body", "must be an object with `features`"));
        }
        let state: ClientFeatures = serde_path_to_error::deserialize(state)
            .map_err(|error| FieldError::new(error.path().to_string(), error.inner().to_string()))?;
        let (features, segments) = state.apply_events();
        features.iter().try_for_each(Feature::is_within_limits)?;
        segments.values().try_for_each(|segment| {
            within_limit(|| format!("segments.{}.constraints", segment.id), &segment.constraints)
        })?;
        let mut import = Self::default();
        let mut usable = BTreeMap::new();
        for segment in segments.into_values() {
            let name = format!("unleash-{}", segment.id);
            let constraints: Result<Vec<_>, String> = segment.constraints.into_iter().map(constraint).collect();
            match constraints {
                Ok(constraints) => {
                    usable.insert(segment.id, name.clone());
                    import.segments.push(Segment { name, constraints });
                }
                Err(why) => import.notes.push(format!("segment {}: {why}", segment.id)),
            }
        }
        let depends: HashSet<String> =
            features.iter().filter(|flag| !flag.dependencies.is_empty()).map(|flag| flag.name.clone()).collect();
        for feature in features {
            // Unleash evaluates one level of dependencies only.
            let deep = feature.dependencies.iter().find(|parent| depends.contains(&parent.feature));
            let deep = deep.map(|parent| format!("`{}` itself depends on another flag", parent.feature));
            import.flag(feature, &usable, deep);
        }
        import.replace_rules_with_missing_parents();
        Ok(import)
    }

    /// Compiles the flags for evaluation.
    pub fn into_set(self) -> FlagSet {
        FlagSet::with_segments(self.flags, &self.segments)
    }

    fn flag(&mut self, feature: Feature, segments: &BTreeMap<i64, String>, deep: Option<String>) {
        let Feature { name, description, enabled, strategies, variants, dependencies, impression_data } = feature;
        let mut flag = FlagDefinition::new(name);
        flag.enabled = enabled;
        flag.description = description.unwrap_or_default();
        flag.exposures = impression_data;
        flag.variants = variants.unwrap_or_default().into_iter().map(variant).collect();
        for strategy in strategies.unwrap_or_default() {
            let rule = strategy_rule(strategy, segments);
            flag.rules.push(rule);
        }
        match deep {
            Some(why) => flag.rules = vec![FlagRule { unsupported: Some(why), ..FlagRule::default() }],
            None => {
                let parent = |parent: Dependency| Prerequisite {
                    key: parent.feature,
                    enabled: parent.enabled.unwrap_or(true),
                    variants: parent.variants.unwrap_or_default(),
                };
                flag.parents = dependencies.into_iter().map(parent).collect();
            }
        }
        let unsupported = flag.rules.iter().enumerate().filter_map(|(at, rule)| Some((at, rule.unsupported.as_ref()?)));
        let notes: Vec<_> = unsupported.map(|(at, why)| format!("{}, rule {at}: {why}", flag.key)).collect();
        self.notes.extend(notes);
        self.flags.push(flag);
    }

    /// Replaces the rules of flags with a missing parent by one that matches no caller, because such a parent
    /// is never met.
    fn replace_rules_with_missing_parents(&mut self) {
        let known: HashSet<String> = self.flags.iter().map(|flag| flag.key.clone()).collect();
        for flag in &mut self.flags {
            let Some(missing) = flag.parents.iter().find(|parent| !known.contains(&parent.key)) else { continue };
            let why = format!("depends on `{}`, which does not exist", missing.key);
            self.notes.push(format!("{}: {why}", flag.key));
            flag.parents.clear();
            flag.rules = vec![FlagRule { unsupported: Some(why), ..FlagRule::default() }];
        }
    }
}

fn variant(from: UnleashVariant) -> FlagVariant {
    let payload = from.payload.map(|UnleashPayload { kind, value }| {
        let kind = match kind.as_str() {
            "json" if serde_json::from_str::<Value>(&value).is_ok() => PayloadKind::Json,
            "number" if value.trim().parse::<f64>().is_ok() => PayloadKind::Number,
            "csv" => PayloadKind::Csv,
            _ => PayloadKind::String,
        };
        Payload { kind, value }
    });
    let given = |given: UnleashOverride| VariantOverride { attribute: given.context_name, values: given.values };
    FlagVariant {
        name: from.name,
        weight: from.weight,
        payload,
        stickiness: from.stickiness.filter(|name| !name.is_empty()),
        overrides: from.overrides.unwrap_or_default().into_iter().map(given).collect(),
    }
}

fn strategy_rule(strategy: Strategy, segments: &BTreeMap<i64, String>) -> FlagRule {
    let Strategy { name, parameters, constraints, segments: named, variants } = strategy;
    let parameters = parameters.unwrap_or_default();
    let mut rule = FlagRule { name: name.clone(), ..FlagRule::default() };
    rule.variants = variants.unwrap_or_default().into_iter().map(variant).collect();
    let mut refuse = |why: String| _ = rule.unsupported.get_or_insert(why);
    for from in constraints.unwrap_or_default() {
        match constraint(from) {
            Ok(constraint) => rule.constraints.push(constraint),
            Err(why) => refuse(why),
        }
    }
    for number in named.unwrap_or_default() {
        match segments.get(&number) {
            Some(name) => rule.segments.push(name.clone()),
            None => refuse(format!("segment {number} does not exist or can't be read")),
        }
    }
    let text = |name: &str| match parameters.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let list = |name: &str| {
        let text = text(name).unwrap_or_default();
        text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect::<Vec<_>>()
    };
    let mut rollout = |percent: &str, stickiness: String, group: Option<String>| match text(percent)
        .and_then(|percent| percent.trim().parse::<f64>().ok())
    {
        Some(percent) if percent.is_finite() => {
            let percent = percent.clamp(0.0, 100.0).floor();
            rule.rollout = Some(Rollout { percent, stickiness, group });
        }
        _ => _ = rule.unsupported.get_or_insert(format!("`{percent}` is not a number")),
    };
    let group = || Some(text("groupId").unwrap_or_default());
    match name.as_str() {
        "default" => {
            // Its variants are assigned by the group that it names, otherwise by the flag's key.
            if let Some(group) = text("groupId") {
                rule.rollout = Some(Rollout { group: Some(group), ..Rollout::percent(100.0) });
            }
        }
        "userWithId" => match list("userIds") {
            users if users.is_empty() => _ = rule.unsupported.get_or_insert("the list of users is empty".into()),
            users => rule.users = users,
        },
        "gradualRolloutUserId" => rollout("percentage", "userId".into(), group()),
        "gradualRolloutSessionId" => rollout("percentage", "sessionId".into(), group()),
        "gradualRolloutRandom" => rollout("percentage", "random".into(), group()),
        "flexibleRollout" => {
            let stickiness = text("stickiness").unwrap_or_else(|| "default".into());
            rollout("rollout", stickiness, text("groupId"));
        }
        "remoteAddress" => {
            let addresses = list("IPs").into_iter().filter(|one| network(one).is_some());
            rule.constraints.push(Constraint::new("remoteAddress", Operator::InNetwork, addresses));
        }
        "applicationHostname" => {
            rule.constraints.push(Constraint::new("hostname", Operator::In, list("hostNames")));
        }
        name => _ = rule.unsupported.get_or_insert(format!("the strategy `{name}` is unknown")),
    }
    rule
}

fn constraint(from: UnleashConstraint) -> Result<Constraint, String> {
    use Operator as O;
    let UnleashConstraint { context_name, operator, values, value, inverted, case_insensitive } = from;
    let operator = match operator.as_str() {
        "IN" => O::In,
        "NOT_IN" => O::NotIn,
        "STR_CONTAINS" => O::Contains,
        "STR_STARTS_WITH" => O::StartsWith,
        "STR_ENDS_WITH" => O::EndsWith,
        "REGEX" => O::Matches,
        "NUM_EQ" => O::NumberEquals,
        "NUM_GT" => O::NumberGreater,
        "NUM_GTE" => O::NumberAtLeast,
        "NUM_LT" => O::NumberLess,
        "NUM_LTE" => O::NumberAtMost,
        "DATE_AFTER" => O::DateAfter,
        "DATE_BEFORE" => O::DateBefore,
        "SEMVER_EQ" => O::VersionEquals,
        "SEMVER_GT" => O::VersionGreater,
        "SEMVER_GTE" => O::VersionAtLeast,
        "SEMVER_LT" => O::VersionLess,
        "SEMVER_LTE" => O::VersionAtMost,
        "IN_CIDR" => O::InNetwork,
        other => return Err(format!("the operator `{other}` is unknown")),
    };
    let values = values.unwrap_or_default();
    let (values, on_text) = match operator {
        O::In | O::NotIn => (values, false),
        O::Contains | O::StartsWith | O::EndsWith => (values, true),
        O::InNetwork => (values.into_iter().filter(|one| network(one).is_some()).collect(), false),
        operator => (value.into_iter().collect(), operator == O::Matches),
    };
    let constraint = Constraint {
        attribute: context_name,
        operator,
        values,
        case_insensitive: on_text && case_insensitive.unwrap_or(false),
        inverted: inverted.unwrap_or(false),
    };
    match Matcher::new(&constraint) {
        Ok(_) => Ok(constraint),
        Err(wrong) => {
            Err(format!("`{}` of the constraint on `{}` {}", wrong.field, constraint.attribute, wrong.message))
        }
    }
}
