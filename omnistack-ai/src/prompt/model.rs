//! Prompts, their versions and their labels.

use garde::Validate;
use omnistack_core::{clock::Timestamp, identity::UserId};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The label of a prompt that is used if a caller names none.
pub(super) const PRODUCTION: &str = "production";
/// Largest number of messages of a prompt.
const MAX_MESSAGES_PER_PROMPT: usize = 20;
/// Longest template of a message, in bytes.
const MAX_TEMPLATE_BYTES: usize = 32 * 1024;
/// Largest number of variables of a prompt.
const MAX_VARIABLES_PER_PROMPT: usize = 50;

/// The use of a prompt besides the app's own code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PromptAccess {
    /// Only the app's code uses it.
    #[default]
    Internal,
    /// Members of tenants call it by its name and its variables, and do not see it.
    Callable,
    /// Members of tenants call it, and tenants read it and replace it with a text of their own.
    Overridable,
}

impl PromptAccess {
    /// Returns the access as it is stored.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Callable => "callable",
            Self::Overridable => "overridable",
        }
    }

    /// Reads a stored access. The table has no others.
    pub(super) fn from_stored(text: &str) -> Self {
        match text {
            "callable" => Self::Callable,
            "overridable" => Self::Overridable,
            _ => Self::Internal,
        }
    }
}

/// The author of a message of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptRole {
    /// Instructions of the app.
    System,
    /// The user.
    User,
    /// The model, for examples.
    Assistant,
}

/// A message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptMessage {
    /// The author.
    #[garde(skip)]
    pub role: PromptRole,
    /// The text, in which `{{ name }}` stands for a variable.
    #[garde(length(bytes, min = 1, max = MAX_TEMPLATE_BYTES))]
    #[schema(min_length = 1, max_length = 32768)]
    pub template: String,
}

/// A variable of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptVariable {
    /// The name.
    #[garde(length(chars, min = 1, max = 100), custom(is_variable_name))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$")]
    pub name: String,
    /// The purpose of the variable.
    #[garde(length(chars, max = 500))]
    #[serde(default)]
    #[schema(max_length = 500)]
    pub description: String,
    /// Whether a caller must set it.
    #[garde(skip)]
    #[serde(default = "always")]
    pub required: bool,
    /// The value if a caller does not set it. `null` for none.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Value)]
    pub default: Value,
}

const fn always() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes its context to rules by reference")]
fn is_variable_name(name: &str, (): &()) -> garde::Result {
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(());
    }
    Err(garde::Error::new("must consist of letters, digits and `_`, and not begin with a digit"))
}

/// The content of a version of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptContent {
    /// The messages.
    #[garde(length(min = 1, max = MAX_MESSAGES_PER_PROMPT), dive)]
    #[schema(min_items = 1, max_items = 20)]
    pub messages: Vec<PromptMessage>,
    /// The variables. Each variable of the templates is one of them.
    #[garde(length(max = MAX_VARIABLES_PER_PROMPT), dive)]
    #[serde(default)]
    #[schema(max_items = 50)]
    pub variables: Vec<PromptVariable>,
    /// The model, an alias or a route. `null` for the app's default.
    #[garde(length(bytes, min = 1, max = 200))]
    #[serde(default)]
    #[schema(required, min_length = 1, max_length = 200)]
    pub model: Option<String>,
    /// The maximum number of tokens of the answer.
    #[garde(range(min = 1, max = 10_000_000))]
    #[serde(default)]
    #[schema(required, minimum = 1, maximum = 10_000_000)]
    pub max_output_tokens: Option<u64>,
    /// The randomness of the answer.
    #[garde(range(min = 0.0, max = 2.0))]
    #[serde(default)]
    #[schema(required, minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// The JSON schema of the answer. `null` for text.
    #[garde(skip)]
    #[serde(default)]
    #[schema(required, value_type = Option<Object>)]
    pub output_schema: Option<Value>,
}

/// A version that a label stands for, and its share of the tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedVersion {
    /// The version.
    #[garde(range(min = 1))]
    #[schema(minimum = 1)]
    pub version: i64,
    /// The weight, from 1 to 1000.
    #[garde(range(min = 1, max = 1_000))]
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: u32,
    /// The variant of the label's feature flag whose tenants get this version.
    #[garde(length(chars, min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    pub variant: Option<String>,
}

/// Reads a field that may be absent, but not `null`.
fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

const fn one() -> u32 {
    1
}

/// A prompt in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptSummary {
    /// The name.
    pub(super) name: String,
    /// The purpose of the prompt.
    pub(super) description: String,
    /// The use of the prompt besides the app's own code.
    pub(super) access: PromptAccess,
    /// The number of the newest version.
    pub(super) last_version: i64,
    /// The time of creation.
    pub(super) created_at: Timestamp,
    /// The time of the last change.
    pub(super) updated_at: Timestamp,
}

/// A version in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptVersionSummary {
    /// The number.
    pub(super) version: i64,
    /// The changes since the version before.
    pub(super) note: String,
    /// The user who created it.
    #[schema(value_type = String, format = Uuid)]
    pub(super) created_by: UserId,
    /// The time of creation.
    pub(super) created_at: Timestamp,
}

/// A label of a prompt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptLabel {
    /// The name, such as `production`.
    pub(super) label: String,
    /// The versions it stands for.
    pub(super) versions: Vec<WeightedVersion>,
    /// The versions before the last change, to which a rollback returns; `null` if there were none.
    #[schema(required)]
    pub(super) previous: Option<Vec<WeightedVersion>>,
    /// The feature flag whose variants decide between the versions; `null` if only the weights do.
    #[schema(required)]
    pub(super) flag: Option<String>,
    /// The feature flag before the last change, to which a rollback returns; `null` if there was none.
    #[schema(required)]
    pub(super) previous_flag: Option<String>,
    /// The time of the last change.
    pub(super) updated_at: Timestamp,
}

/// A prompt, its labels and its versions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptDetails {
    /// The prompt.
    pub(super) prompt: PromptSummary,
    /// The labels.
    pub(super) labels: Vec<PromptLabel>,
    /// The versions, the newest first.
    pub(super) versions: Vec<PromptVersionSummary>,
}

/// A version and its content.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptVersionDetails {
    /// The version.
    pub(super) version: PromptVersionSummary,
    /// The content.
    pub(super) content: PromptContent,
}

/// The content that a tenant uses in place of a prompt's versions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptOverride {
    /// The number of changes.
    pub(super) revision: i64,
    /// The content.
    pub(super) content: PromptContent,
    /// The time of the last change.
    pub(super) updated_at: Timestamp,
}

/// The version of a prompt that is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromptSelection {
    /// The version of the label `production`, or the tenant's override.
    #[default]
    Production,
    /// The version of this label, or the tenant's override.
    Label(String),
    /// This version, whatever a tenant has overridden.
    Version(i64),
}

/// Returns whether a text is a name of a prompt or of a label: letters in lower case, digits, `.`, `_` and `-`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes its context to rules by reference")]
pub(super) fn is_prompt_name(name: &str, (): &()) -> garde::Result {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins = name.bytes().next().is_some_and(is_plain);
    if begins && name.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte)) {
        return Ok(());
    }
    let message = "must consist of lower case letters, digits, `.`, `_` and `-`, and begin with a letter or digit";
    Err(garde::Error::new(message))
}
