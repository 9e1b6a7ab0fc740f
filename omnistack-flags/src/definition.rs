//! Flag definitions, as operators write them.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use omnistack_core::clock::Timestamp;

/// Definition of a feature flag, as operators write it and as it is stored.
///
/// A flag is on for a caller if nothing turns it off and at least one of its rules matches. Without rules it is
/// on for every caller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[schema(as = FlagDefinition)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct FlagDefinition {
    /// Key of the flag in code: 1 to 100 characters, without whitespace, control characters and slashes, and
    /// not starting with a dot.
    #[schema(min_length = 1, max_length = 100)]
    pub key: String,
    /// Purpose of the flag, for operators. At most 4,000 characters.
    #[serde(default)]
    #[schema(max_length = 4000)]
    pub description: String,
    /// The switch. If `false`, the flag is off for every caller, except in tenants with an override.
    #[serde(default = "default_true")]
    pub enabled: bool,
    /// The kill switch. If `true`, the flag is off for every caller, including tenants with an override.
    #[serde(default)]
    pub killed: bool,
    /// Whether the flag is hidden from `/api/v1/app/feature-flags`.
    #[serde(default)]
    pub server_only: bool,
    /// Whether evaluations are recorded as exposures.
    #[serde(default)]
    pub exposures: bool,
    /// The flag is off before this time.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// The flag is off from this time on.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// The flag is off from this time on, including for tenants with an override; it should then be deleted.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Prerequisites: flags that must have a given state for this flag to be on. All of them must be met. At
    /// most 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub parents: Vec<Prerequisite>,
    /// Rules that select callers. One that matches is enough; without rules the flag is on for every caller. At
    /// most 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub rules: Vec<FlagRule>,
    /// Variants that callers get, unless the rule that matches has variants of its own. At most 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub variants: Vec<FlagVariant>,
}

impl FlagDefinition {
    /// Creates a definition that is on for every caller.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), enabled: true, ..Self::default() }
    }

    /// Adds a rule: the flag is also on for callers whom the rule matches.
    pub fn rule(mut self, rule: FlagRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds a variant.
    pub fn variant(mut self, variant: FlagVariant) -> Self {
        self.variants.push(variant);
        self
    }

    /// Adds a prerequisite: the flag is on only where the flag `key` is on.
    pub fn prerequisite(mut self, key: impl Into<String>) -> Self {
        self.parents.push(Prerequisite { key: key.into(), enabled: true, variants: Vec::new() });
        self
    }
}

fn default_true() -> bool {
    true
}

/// Prerequisite of a flag: another flag that must be on, or off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagParent)]
#[serde(deny_unknown_fields)]
pub struct Prerequisite {
    /// Key of the other flag.
    #[schema(min_length = 1, max_length = 100)]
    pub key: String,
    /// Whether the other flag must be on (`true`) or off (`false`).
    #[serde(default = "default_true")]
    pub enabled: bool,
    /// Variants of the other flag, one of which the caller must get; `disabled` stands for no variant. If
    /// empty, any variant will do. At most 100.
    #[serde(default)]
    #[schema(max_items = 100, max_length = 100)]
    pub variants: Vec<String>,
}

/// Rule that selects the callers for whom a flag is on. All conditions of a rule must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagRule)]
#[serde(deny_unknown_fields)]
pub struct FlagRule {
    /// Name of the rule, for operators. At most 200 characters.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub name: String,
    /// User ids, one of which must be the caller's. Empty: any user. At most 10,000 of at most 1,000 characters.
    #[serde(default)]
    #[schema(max_items = 10_000, max_length = 1000)]
    pub users: Vec<String>,
    /// Tenant ids, one of which must be the caller's: UUIDs in lower case. Empty: any tenant. At most
    /// 10,000.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    pub tenants: Vec<String>,
    /// Plan keys, one of which must be that of the tenant's plan. Empty: any plan. At most 100 of at most 200
    /// characters.
    #[serde(default)]
    #[schema(max_items = 100, max_length = 200)]
    pub plans: Vec<String>,
    /// Feature that the tenant's plan must include. At most 200 characters.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub plan_feature: Option<String>,
    /// Conditions on attributes, all of which must hold. At most 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub constraints: Vec<Constraint>,
    /// Names of segments, all of whose constraints must hold. At most 100.
    #[serde(default)]
    #[schema(max_items = 100, max_length = 100)]
    pub segments: Vec<String>,
    /// Share of the callers for whom the rule matches.
    #[serde(default)]
    pub rollout: Option<Rollout>,
    /// Variants that callers get in place of the flag's variants. At most 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub variants: Vec<FlagVariant>,
    /// Reason why the rule matches no caller: an import found a part that OmniStack does not support.
    /// At most 1,000 characters.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub unsupported: Option<String>,
}

impl FlagRule {
    /// Creates a rule that matches these users, by id.
    pub fn users<T: Into<String>>(users: impl IntoIterator<Item = T>) -> Self {
        Self { users: users.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Creates a rule that matches all users of these tenants, by id: UUIDs in lower case.
    pub fn tenants<T: Into<String>>(tenants: impl IntoIterator<Item = T>) -> Self {
        Self { tenants: tenants.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Creates a rule that matches all users whose tenant has one of these plans, by key.
    pub fn plans<T: Into<String>>(plans: impl IntoIterator<Item = T>) -> Self {
        Self { plans: plans.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Creates a rule that matches a share of all callers, from 0 to 100 percent. The same callers match each
    /// time.
    pub fn percent(percent: f64) -> Self {
        Self { rollout: Some(Rollout::percent(percent)), ..Self::default() }
    }

    /// Adds a constraint that must hold too.
    pub fn constraint(mut self, constraint: Constraint) -> Self {
        self.constraints.push(constraint);
        self
    }
}

/// Share of the callers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagRollout)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Share in percent, a whole number from 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    pub percent: f64,
    /// Attribute that assigns a caller to the rollout: `default` (the user, otherwise the session, otherwise at
    /// random), `random`, or the name of an attribute such as `tenantId`. A caller without that attribute is
    /// not in the rollout. 1 to 200 characters.
    #[serde(default = "default_stickiness")]
    #[schema(min_length = 1, max_length = 200)]
    pub stickiness: String,
    /// Group of the rollout: in all rollouts of the same group, a caller has the same position. Defaults to the
    /// flag's key. At most 200 characters.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub group: Option<String>,
}

impl Rollout {
    /// Creates a rollout to a share of users, from 0 to 100 percent.
    pub fn percent(percent: f64) -> Self {
        Self { percent, stickiness: default_stickiness(), group: None }
    }
}

fn default_stickiness() -> String {
    "default".into()
}

/// Variant of a flag that is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagVariant)]
#[serde(deny_unknown_fields)]
pub struct FlagVariant {
    /// Name of the variant, unique within its list: 1 to 100 characters, other than `disabled`.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Weight of the variant, relative to the sum of all weights.
    pub weight: u32,
    /// Value that comes with the variant.
    #[serde(default)]
    pub payload: Option<Payload>,
    /// Attribute that assigns a caller to a variant, as in a rollout. Only that of the first variant counts;
    /// without it, the stickiness of the rule's rollout applies, or else `default`.
    #[serde(default)]
    pub stickiness: Option<String>,
    /// Callers who always get this variant. At most 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub overrides: Vec<VariantOverride>,
}

impl FlagVariant {
    /// Creates a variant with a weight.
    pub fn new(name: impl Into<String>, weight: u32) -> Self {
        Self { name: name.into(), weight, payload: None, stickiness: None, overrides: Vec::new() }
    }

    /// Sets the payload to a text.
    pub fn text(mut self, value: impl Into<String>) -> Self {
        self.payload = Some(Payload { kind: PayloadKind::String, value: value.into() });
        self
    }

    /// Sets the payload to JSON.
    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.payload = Some(Payload { kind: PayloadKind::Json, value: value.to_string() });
        self
    }
}

/// Callers who always get a variant, whatever the weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagVariantOverride)]
#[serde(deny_unknown_fields)]
pub struct VariantOverride {
    /// Name of the attribute: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub attribute: String,
    /// Values of the attribute that select the variant. At most 10,000 of at most 1,000 characters.
    #[schema(max_items = 10_000, max_length = 1000)]
    pub values: Vec<String>,
}

/// Payload of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagPayload)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// Type of the value.
    #[serde(rename = "type")]
    pub kind: PayloadKind,
    /// The value, as text. At most 65,536 characters.
    #[schema(max_length = 65_536)]
    pub value: String,
}

/// Type of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagPayloadKind)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// A text.
    String,
    /// A JSON value.
    Json,
    /// A number.
    Number,
    /// Values separated by commas.
    Csv,
}

/// Named constraints, for use in rules of several flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[schema(as = FlagSegment)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct Segment {
    /// Name of the segment: 1 to 100 characters, without whitespace, control characters and slashes.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Constraints, all of which must hold. At most 100.
    #[schema(max_items = 100)]
    pub constraints: Vec<Constraint>,
}

/// Condition on an attribute of the evaluation context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagConstraint)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// Name of the attribute: `userId`, `sessionId`, `tenantId`, `plan`, `remoteAddress`, `environment`,
    /// `appName`, `currentTime`, or an attribute of the app. 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub attribute: String,
    /// Comparison.
    pub operator: Operator,
    /// Values to compare with. `matches` and the operators on numbers, dates and versions take exactly one.
    /// At most 10,000 of at most 1,000 characters.
    #[serde(default)]
    #[schema(max_items = 10_000, max_length = 1000)]
    pub values: Vec<String>,
    /// Whether case is ignored, so that `É` equals `é`. Only for `contains`, `starts_with`, `ends_with` and
    /// `matches`.
    #[serde(default)]
    pub case_insensitive: bool,
    /// Whether the result is negated.
    #[serde(default)]
    pub inverted: bool,
}

impl Constraint {
    /// Creates a constraint on an attribute.
    pub fn new<T: Into<String>>(
        attribute: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { attribute: attribute.into(), operator, values, case_insensitive: false, inverted: false }
    }

    /// Negates the constraint.
    pub fn inverted(mut self) -> Self {
        self.inverted = true;
        self
    }

    /// Ignores case.
    pub fn case_insensitive(mut self) -> Self {
        self.case_insensitive = true;
        self
    }
}

/// Comparison of an attribute with values. Before negation, a caller without the attribute matches no operator
/// except `not_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagOperator)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Equals one of the values.
    In,
    /// Equals none of the values.
    NotIn,
    /// Contains one of the values.
    Contains,
    /// Starts with one of the values.
    StartsWith,
    /// Ends with one of the values.
    EndsWith,
    /// Contains a match of a regular expression. The time is linear in the length of the text: look-around and
    /// back-references are not supported.
    Matches,
    /// Is equal to the number.
    NumberEquals,
    /// Is greater than the number.
    NumberGreater,
    /// Is greater than or equal to the number.
    NumberAtLeast,
    /// Is less than the number.
    NumberLess,
    /// Is less than or equal to the number.
    NumberAtMost,
    /// Is later than the time (RFC 3339).
    DateAfter,
    /// Is earlier than the time (RFC 3339).
    DateBefore,
    /// Is the same version (Semantic Versioning 2.0), ignoring build metadata.
    VersionEquals,
    /// Is a later version.
    VersionGreater,
    /// Is the version or a later one.
    VersionAtLeast,
    /// Is an earlier version.
    VersionLess,
    /// Is the version or an earlier one.
    VersionAtMost,
    /// Is an address in one of the networks, such as `10.0.0.0/8` or `2001:db8::1`.
    InNetwork,
}
