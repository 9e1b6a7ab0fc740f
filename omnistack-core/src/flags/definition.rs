//! What a flag is, as operators write it.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hashing;
use crate::clock::Timestamp;

/// A flag, as operators write it and as it is stored.
///
/// It is on for a caller when nothing stops it and one of its rules holds; without rules it is on for everybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[schema(as = FlagDefinition)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Definition {
    /// Its name in code: 1 to 100 characters without spaces and slashes.
    pub key: String,
    /// What it is for, for other operators.
    #[serde(default)]
    pub description: String,
    /// The switch: off is off for everybody but tenants with an override.
    #[serde(default = "on")]
    pub enabled: bool,
    /// The kill switch: off for everybody, overrides included, until it is taken back.
    #[serde(default)]
    pub killed: bool,
    /// Not told to callers of `/api/v1/app/feature-flags`.
    #[serde(default)]
    pub server_only: bool,
    /// Whether it is noted who was shown what.
    #[serde(default)]
    pub exposures: bool,
    /// Off before this moment.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Off from this moment on.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Off from this moment on, overrides included: the flag is to be removed.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Flags that decide whether this one can be on: each must hold.
    #[serde(default)]
    pub parents: Vec<Parent>,
    /// Who gets it: one that holds is enough. None: everybody.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What callers get, unless the rule has variants of its own.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// How shares and variants are dealt out.
    #[serde(default)]
    pub hashing: Hashing,
}

impl Definition {
    /// A flag that is on for everybody.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), enabled: true, ..Self::default() }
    }

    /// On for whom this holds, too.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// With another variant.
    pub fn variant(mut self, variant: Variant) -> Self {
        self.variants.push(variant);
        self
    }

    /// Only where this flag is on.
    pub fn parent(mut self, key: impl Into<String>) -> Self {
        self.parents.push(Parent { key: key.into(), enabled: true, variants: Vec::new() });
        self
    }
}

fn on() -> bool {
    true
}

/// Another flag that must be on, or off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagParent)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Which.
    pub key: String,
    /// Whether it must be on.
    #[serde(default = "on")]
    pub enabled: bool,
    /// When it must be on: one of these variants, `disabled` for none at all. Empty: any.
    #[serde(default)]
    pub variants: Vec<String>,
}

/// Who gets a flag: everybody for whom everything it says holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagRule)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// For other operators.
    #[serde(default)]
    pub name: String,
    /// One of these users, by id.
    #[serde(default)]
    pub users: Vec<String>,
    /// Somebody of one of these tenants, by id.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Somebody whose tenant has one of these plans.
    #[serde(default)]
    pub plans: Vec<String>,
    /// Somebody whose tenant's plan includes this.
    #[serde(default)]
    pub plan_feature: Option<String>,
    /// What must hold of the caller's attributes.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// The constraints of these segments must hold too.
    #[serde(default)]
    pub segments: Vec<String>,
    /// A share of them.
    #[serde(default)]
    pub rollout: Option<Rollout>,
    /// What they get, in place of the flag's own.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// Why it holds for nobody: an import found something here that can't be carried out.
    #[serde(default)]
    pub unsupported: Option<String>,
}

impl Rule {
    /// These users.
    pub fn users<T: Into<String>>(users: impl IntoIterator<Item = T>) -> Self {
        Self { users: users.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Everybody in these tenants.
    pub fn tenants<T: Into<String>>(tenants: impl IntoIterator<Item = T>) -> Self {
        Self { tenants: tenants.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Everybody whose tenant has one of these plans.
    pub fn plans<T: Into<String>>(plans: impl IntoIterator<Item = T>) -> Self {
        Self { plans: plans.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// This share of everybody: the same callers each time.
    pub fn percent(percent: f64) -> Self {
        Self { rollout: Some(Rollout::percent(percent)), ..Self::default() }
    }

    /// For whom this holds, too.
    pub fn and(mut self, constraint: Constraint) -> Self {
        self.constraints.push(constraint);
        self
    }
}

/// A share of callers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagRollout)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// From 0 to 100.
    pub percent: f64,
    /// By what a caller is recognised: `default` (the user, else the session, else by chance), `random`, or the name of an
    /// attribute, such as `tenantId`. Callers without that attribute are not among the share.
    #[serde(default = "by_default")]
    pub stickiness: String,
    /// Callers stand at the same place in all flags of one group. The flag's key, unless it is said.
    #[serde(default)]
    pub group: Option<String>,
}

impl Rollout {
    /// A share of users.
    pub fn percent(percent: f64) -> Self {
        Self { percent, stickiness: by_default(), group: None }
    }
}

fn by_default() -> String {
    "default".into()
}

/// Something a caller may get where a flag is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagVariant)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// How large its part is, beside the weights of the others.
    pub weight: u32,
    /// What code is to do with it.
    #[serde(default)]
    pub payload: Option<Payload>,
    /// As of a rollout. That of the first variant counts for all; without one, the rule's.
    #[serde(default)]
    pub stickiness: Option<String>,
    /// Who gets it in any case.
    #[serde(default)]
    pub overrides: Vec<VariantOverride>,
}

impl Variant {
    /// With a part of this weight.
    pub fn new(name: impl Into<String>, weight: u32) -> Self {
        Self { name: name.into(), weight, payload: None, stickiness: None, overrides: Vec::new() }
    }

    /// With a text.
    pub fn text(mut self, value: impl Into<String>) -> Self {
        self.payload = Some(Payload { kind: PayloadKind::String, value: value.into() });
        self
    }

    /// With JSON.
    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.payload = Some(Payload { kind: PayloadKind::Json, value: value.to_string() });
        self
    }
}

/// Callers who get a variant, whatever their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagVariantOverride)]
#[serde(deny_unknown_fields)]
pub struct VariantOverride {
    /// The attribute.
    pub attribute: String,
    /// Its values.
    pub values: Vec<String>,
}

/// What comes with a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagPayload)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// How to read it.
    #[serde(rename = "type")]
    pub kind: PayloadKind,
    /// It, as text.
    pub value: String,
}

/// How a payload is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagPayloadKind)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// As it is.
    String,
    /// As JSON.
    Json,
    /// As a number.
    Number,
    /// As values separated by commas.
    Csv,
}

/// Constraints under a name, for rules of several flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[schema(as = FlagSegment)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct Segment {
    /// What rules call it.
    pub name: String,
    /// Each must hold.
    pub constraints: Vec<Constraint>,
}

/// What must hold of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagConstraint)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// Whose value is looked at: `userId`, `sessionId`, `tenantId`, `plan`, `remoteAddress`, `environment`, `appName`,
    /// `currentTime`, or one of the app's own.
    pub attribute: String,
    /// How.
    pub operator: Operator,
    /// Beside what. Operators that order take exactly one.
    #[serde(default)]
    pub values: Vec<String>,
    /// For operators on text: `É` is `é`.
    #[serde(default)]
    pub case_insensitive: bool,
    /// It must not hold.
    #[serde(default)]
    pub inverted: bool,
}

impl Constraint {
    /// Of an attribute.
    pub fn new<T: Into<String>>(
        attribute: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { attribute: attribute.into(), operator, values, case_insensitive: false, inverted: false }
    }

    /// It must not hold.
    pub fn inverted(mut self) -> Self {
        self.inverted = true;
        self
    }

    /// Whatever the case of letters.
    pub fn case_insensitive(mut self) -> Self {
        self.case_insensitive = true;
        self
    }
}

/// How an attribute is compared. A caller without the attribute meets none of them but `not_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagOperator)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Exactly one of the values.
    In,
    /// None of the values.
    NotIn,
    /// Holds one of the values.
    Contains,
    /// Begins with one of the values.
    StartsWith,
    /// Ends with one of the values.
    EndsWith,
    /// Matches a regular expression, somewhere. It takes time in proportion to the text: no look-around, no
    /// back-references.
    Matches,
    /// The same number.
    NumberEquals,
    /// A larger number.
    NumberGreater,
    /// A number as large or larger.
    NumberAtLeast,
    /// A smaller number.
    NumberLess,
    /// A number as small or smaller.
    NumberAtMost,
    /// A later moment (RFC 3339).
    DateAfter,
    /// An earlier moment.
    DateBefore,
    /// The same version (Semantic Versioning 2.0), whatever its build.
    VersionEquals,
    /// A later version.
    VersionGreater,
    /// The version or a later one.
    VersionAtLeast,
    /// An earlier version.
    VersionLess,
    /// The version or an earlier one.
    VersionAtMost,
    /// An address in one of these networks: `10.0.0.0/8`, `2001:db8::1`.
    InNetwork,
}
