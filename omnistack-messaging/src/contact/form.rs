//! The fields of a message that a visitor sends, and their validation, without I/O.

use std::collections::BTreeMap;

use garde::Validate;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ContactSettings;
use crate::email::Address;
use omnistack_core::{
    http::{Error, FieldError},
    name::is_unsafe_character,
};

/// Largest number of extra fields of a message.
const MAX_EXTRA_FIELDS: usize = 20;
/// Largest size of all extra fields as JSON, in bytes.
const MAX_EXTRA_FIELDS_BYTES: usize = 8 * 1024;

/// A message to be sent by the contact form.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
#[non_exhaustive]
pub struct NewContactMessage {
    /// The sender's name, on one line.
    #[garde(length(chars, max = 100))]
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// The sender's email address, to which replies go.
    #[garde(length(chars, max = 254))]
    #[schema(format = Email, max_length = 254)]
    pub email: String,
    /// The text of the message.
    #[garde(length(chars, max = 5000))]
    #[schema(min_length = 1, max_length = 5000)]
    pub message: String,
    /// The subject, on one line.
    #[garde(inner(length(chars, max = 200)))]
    #[schema(max_length = 200)]
    pub subject: Option<String>,
    /// The sender's phone number, in any common notation.
    #[garde(inner(length(chars, max = 40)))]
    #[schema(max_length = 40)]
    pub phone: Option<String>,
    /// The sender's company.
    #[garde(inner(length(chars, max = 200)))]
    #[schema(max_length = 200)]
    pub company: Option<String>,
    /// The values of extra fields of the form: up to 20 texts, numbers and booleans, 8 KiB in all. A field's name
    /// has 1 to 64 ASCII letters, digits, `_` and `-`; a text has up to 1,000 characters.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub extra_fields: BTreeMap<String, Value>,
    /// The page or place of the form, such as `pricing page`.
    #[garde(inner(length(chars, max = 200)))]
    #[schema(max_length = 200)]
    pub source: Option<String>,
    /// The sender's language, such as `de-AT`. Default: the first language of `Accept-Language`.
    #[garde(inner(length(chars, max = 20)))]
    #[schema(max_length = 20)]
    pub locale: Option<String>,
    /// Must be empty. The form hides this field from people; bots fill it in.
    #[garde(inner(length(chars, max = 2000)))]
    #[schema(max_length = 2000)]
    pub website: Option<String>,
    /// The `token` of the status response that was requested when the form was opened.
    #[garde(inner(length(chars, max = 300)))]
    #[schema(max_length = 300)]
    pub token: Option<String>,
}

/// A validated message.
#[derive(Clone, Debug)]
pub(super) struct ValidatedContactMessage {
    pub(super) name: String,
    pub(super) email: Address,
    pub(super) message: String,
    pub(super) subject: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) company: Option<String>,
    pub(super) extra_fields: BTreeMap<String, Value>,
    pub(super) source: Option<String>,
}

impl NewContactMessage {
    /// Creates a message with the fields that every message must have.
    pub fn new(name: impl Into<String>, email: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            email: email.into(),
            message: message.into(),
            subject: None,
            phone: None,
            company: None,
            extra_fields: BTreeMap::new(),
            source: None,
            locale: None,
            website: None,
            token: None,
        }
    }

    /// Returns whether the hidden field `website` is filled in.
    pub(super) fn has_filled_hidden_field(&self) -> bool {
        self.website.as_ref().is_some_and(|website| !website.trim().is_empty())
    }

    /// Validates the message. Fails with all problems at once, each of which names a field.
    pub(super) fn check(&self, settings: &ContactSettings) -> Result<ValidatedContactMessage, Error> {
        let mut problems = Vec::new();
        let name = check_line(&mut problems, "name", Some(&self.name), true);
        let subject = check_line(&mut problems, "subject", self.subject.as_deref(), settings.require_subject);
        let phone = check_line(&mut problems, "phone", self.phone.as_deref(), settings.require_phone);
        let company = check_line(&mut problems, "company", self.company.as_deref(), settings.require_company);
        let source = check_line(&mut problems, "source", self.source.as_deref(), false);
        let message = self.message.trim();
        if message.is_empty() {
            problems.push(FieldError::new("message", "is required"));
        }
        if phone.as_deref().is_some_and(|phone| !is_phone(phone)) {
            problems.push(FieldError::new("phone", "is not a phone number"));
        }
        let email = Address::new(self.email.trim());
        if let Err(error) = &email {
            problems.push(FieldError::new("email", error.to_string()));
        }
        check_extra_fields(&mut problems, &self.extra_fields);
        let (true, Some(name), Ok(email)) = (problems.is_empty(), name, email) else {
            return Err(Error::invalid(problems));
        };
        let (message, extra_fields) = (message.to_owned(), self.extra_fields.clone());
        Ok(ValidatedContactMessage { name, email, message, subject, phone, company, extra_fields, source })
    }
}

impl ValidatedContactMessage {
    /// Returns the sender's address with the sender's name. A name that is not valid in an address is left out.
    pub(super) fn sender(&self) -> Address {
        self.email.clone().with_name(&self.name).unwrap_or_else(|_| self.email.clone())
    }
}

/// Returns a field as trimmed text on one line. Returns `None` if it is blank. Adds a problem if it is blank and
/// required, or has a character that is not allowed.
fn check_line(problems: &mut Vec<FieldError>, field: &str, text: Option<&str>, required: bool) -> Option<String> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    match text {
        None if required => problems.push(FieldError::new(field, "is required")),
        Some(text) if text.chars().any(is_unsafe_character) => {
            problems.push(FieldError::new(
                field,
                "must not have a line break, a control character or a character that changes the text direction",
            ));
        }
        _ => {}
    }
    text.map(str::to_owned)
}

/// Returns whether a text looks like a phone number, such as `+49 (0)30 123-45 ext. 6`: it has at least three
/// digits.
fn is_phone(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() >= 3
        && text.chars().all(|character| character.is_ascii_alphanumeric() || " +-./()#,;:".contains(character))
}

fn check_extra_fields(problems: &mut Vec<FieldError>, fields: &BTreeMap<String, Value>) {
    let mut wrong = |message: &str| problems.push(FieldError::new("extra_fields", message));
    if fields.len() > MAX_EXTRA_FIELDS {
        return wrong("must have at most 20 fields");
    }
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !fields.keys().all(|name| is_name(name)) {
        wrong("must have only names of 1 to 64 letters, digits, `_` and `-`");
    }
    let is_plain = |value: &Value| match value {
        Value::String(text) => text.chars().count() <= 1000,
        Value::Bool(_) | Value::Number(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    if !fields.values().all(is_plain) {
        wrong("must have only texts of up to 1,000 characters, numbers and booleans as values");
    } else if serde_json::to_string(fields).map_or(usize::MAX, |text| text.len()) > MAX_EXTRA_FIELDS_BYTES {
        wrong("must have at most 8 KiB");
    }
}
