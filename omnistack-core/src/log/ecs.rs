//! The field names of the Elastic Common Schema (ECS) 8.11.

/// The end of the fields at the beginning of a line: closes `log.logger`, and names the version of the schema.
pub(super) const VERSION: &str = "\",\"ecs.version\":\"8.11\"";

/// The names of the fields that every line has.
pub(super) const FIXED_NAMES: &[&str] =
    &["@timestamp", "log.level", "log.logger", "ecs.version", "trace.id", "span.id"];

/// The names of ECS for the fields of this crate's events and spans.
const NAMES: &[(&str, &str)] = &[
    ("message", "message"),
    ("method", "http.request.method"),
    ("path", "url.path"),
    ("client", "client.ip"),
    ("request_id", "http.request.id"),
    ("status", "http.response.status_code"),
    ("micros", "event.duration"),
    ("tenant", "organization.id"),
    ("user", "user.id"),
    ("error", "error.message"),
];

/// Returns the name of a field. A field without a name in ECS is a label: its prefix is written.
pub(super) fn name(text: &mut String, name: &'static str) -> &'static str {
    if let Some((_, name)) = NAMES.iter().find(|(own, _)| *own == name) {
        return name;
    }
    text.push_str("labels.");
    name
}

/// Converts a duration to the unit of ECS: nanoseconds.
pub(super) fn scaled(name: &str, value: u64) -> u64 {
    if name == "micros" { value.saturating_mul(1000) } else { value }
}
