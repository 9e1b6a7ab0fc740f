//! What a visitor sends, and what of it is acceptable: rules without I/O.

use std::collections::BTreeMap;

use garde::Validate;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ContactSettings;
use crate::{
    email::Address,
    http::{Error, FieldProblem},
    name::is_unwanted,
};

/// Extra fields at most.
const MOST_EXTRA_FIELDS: usize = 20;
/// All of them as JSON, in bytes.
const LARGEST_EXTRA_FIELDS: usize = 8 * 1024;

/// A message as a visitor sends it.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
#[non_exhaustive]
pub struct NewContactMessage {
    /// What the sender is called, on one line.
    #[garde(length(chars, max = 100))]
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Where to write back.
    #[garde(length(chars, max = 254))]
    #[schema(format = Email, max_length = 254)]
    pub email: String,
    /// The message.
    #[garde(length(chars, max = 5000))]
    #[schema(min_length = 1, max_length = 5000)]
    pub message: String,
    /// What about, on one line.
    #[garde(inner(length(chars, max = 200)))]
    #[schema(max_length = 200)]
    pub subject: Option<String>,
    /// A phone number, as people write it.
    #[garde(inner(length(chars, max = 40)))]
    #[schema(max_length = 40)]
    pub phone: Option<String>,
    /// Where the sender works.
    #[garde(inner(length(chars, max = 200)))]
    #[schema(max_length = 200)]
    pub company: Option<String>,
    /// What else the form asks: up to 20 texts, numbers and booleans, 8 KiB in all. A name has up to 64 letters, digits, `_`
    /// and `-`, and a text up to 1,000 characters.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub extra_fields: BTreeMap<String, Value>,
    /// Where the form stands: `pricing page`.
    #[garde(inner(length(chars, max = 200)))]
    #[schema(max_length = 200)]
    pub source: Option<String>,
    /// The sender's language, if not that of `Accept-Language`: `de-AT`.
    #[garde(inner(length(chars, max = 20)))]
    #[schema(max_length = 20)]
    pub locale: Option<String>,
    /// To be left empty: a field people don't see, which bots fill in.
    #[garde(inner(length(chars, max = 2000)))]
    #[schema(max_length = 2000)]
    pub website: Option<String>,
    /// What the status gave when the form was opened.
    #[garde(inner(length(chars, max = 300)))]
    #[schema(max_length = 300)]
    pub token: Option<String>,
}

/// A message that is acceptable.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
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
    /// With what every message has.
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

    /// Whether the field is filled in that people don't see.
    pub(super) fn fell_for_it(&self) -> bool {
        self.website.as_ref().is_some_and(|website| !website.trim().is_empty())
    }

    /// What is kept of it, or everything that is wrong.
    pub(super) fn check(&self, settings: &ContactSettings) -> Result<Accepted, Error> {
        let mut problems = Vec::new();
        let name = line(&mut problems, "name", Some(&self.name), true);
        let subject = line(&mut problems, "subject", self.subject.as_deref(), settings.require_subject);
        let phone = line(&mut problems, "phone", self.phone.as_deref(), settings.require_phone);
        let company = line(&mut problems, "company", self.company.as_deref(), settings.require_company);
        let source = line(&mut problems, "source", self.source.as_deref(), false);
        let message = self.message.trim();
        if message.is_empty() {
            problems.push(FieldProblem::new("message", "is required"));
        }
        if phone.as_deref().is_some_and(|phone| !is_phone(phone)) {
            problems.push(FieldProblem::new("phone", "is no phone number"));
        }
        let email = Address::new(self.email.trim());
        if let Err(error) = &email {
            problems.push(FieldProblem::new("email", error.to_string()));
        }
        extra(&mut problems, &self.extra_fields);
        let (true, Some(name), Ok(email)) = (problems.is_empty(), name, email) else {
            return Err(Error::invalid(problems));
        };
        let (message, extra_fields) = (message.to_owned(), self.extra_fields.clone());
        Ok(Accepted { name, email, message, subject, phone, company, extra_fields, source })
    }
}

impl Accepted {
    /// The sender as somebody to write to. A name that can't stand in an address is left out.
    pub(super) fn sender(&self) -> Address {
        self.email.clone().named(&self.name).unwrap_or_else(|_| self.email.clone())
    }
}

/// One line of text; nothing when it is blank.
fn line(problems: &mut Vec<FieldProblem>, field: &str, text: Option<&str>, required: bool) -> Option<String> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    match text {
        None if required => problems.push(FieldProblem::new(field, "is required")),
        Some(text) if text.chars().any(is_unwanted) => {
            problems
                .push(FieldProblem::new(field, "has a line break, a control character, or one that turns the text"));
        }
        _ => {}
    }
    text.map(str::to_owned)
}

/// As people write them: `+49 (0)30 123-45 ext. 6`.
fn is_phone(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() >= 3
        && text.chars().all(|character| character.is_ascii_alphanumeric() || " +-./()#,;:".contains(character))
}

fn extra(problems: &mut Vec<FieldProblem>, fields: &BTreeMap<String, Value>) {
    let mut wrong = |message: &str| problems.push(FieldProblem::new("extra_fields", message));
    if fields.len() > MOST_EXTRA_FIELDS {
        return wrong("has more than 20 fields");
    }
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !fields.keys().all(|name| is_name(name)) {
        wrong("has a name that is not 1 to 64 letters, digits, `_` and `-`");
    }
    let is_plain = |value: &Value| match value {
        Value::String(text) => text.chars().count() <= 1000,
        Value::Bool(_) | Value::Number(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    if !fields.values().all(is_plain) {
        wrong("has a value that is no text of up to 1,000 characters, no number and no boolean");
    } else if serde_json::to_string(fields).map_or(usize::MAX, |text| text.len()) > LARGEST_EXTRA_FIELDS {
        wrong("has more than 8 KiB");
    }
}
