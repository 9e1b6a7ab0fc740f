//! Parses a source into its parts, and rejects tags and operators that templates must not use.

/// Largest source of a template, in bytes.
pub const MAX_SOURCE_BYTES: usize = 32 * 1024;

/// The tags that a template can use. `set`, `with`, `macro` and `filter` are missing because they store text under
/// a name, with which a short source can double it again and again; `raw` because it would hide the text after it
/// from the check.
const ALLOWED_TAGS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// The parts of a source, before values are inserted.
#[derive(Debug, Default)]
pub(super) struct TemplateSource<'a> {
    pub(super) subject: &'a str,
    pub(super) preview: &'a str,
    pub(super) body: &'a str,
    /// Number of lines before the body, so that errors name the line of the source.
    pub(super) lines_before: usize,
}

impl<'a> TemplateSource<'a> {
    /// Parses the head and checks the tags. A source without a head consists of a body only.
    pub(super) fn parse(source: &'a str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(format!("the source is longer than {} KiB", MAX_SOURCE_BYTES / 1024));
        }
        if source.contains('\0') {
            return Err("the source contains a NUL character".into());
        }
        check(source)?;
        let mut parts = Self { body: source, ..Self::default() };
        let mut offset = 0;
        for (index, line) in source.split_inclusive('\n').enumerate() {
            offset += line.len();
            if line.trim_end() == "---" {
                (parts.body, parts.lines_before) = (&source[offset..], index + 1);
                return Ok(parts);
            }
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            match key.trim() {
                "subject" if parts.subject.is_empty() => parts.subject = value.trim(),
                "preview" if parts.preview.is_empty() => parts.preview = value.trim(),
                "" if line.trim().is_empty() => {}
                // The lines so far were not a head.
                _ => return Ok(Self { body: source, ..Self::default() }),
            }
        }
        Ok(Self { body: source, ..Self::default() })
    }
}

/// Rejects tags and operators with which a short source produces a very long output. Limiting the steps is not
/// enough, because they do not count bytes: doubling a text forty times takes forty steps.
fn check(source: &str) -> Result<(), String> {
    let mut rest = source;
    let line = |rest: &str| source[..source.len() - rest.len()].matches('\n').count() + 1;
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        let open = &rest[start..start + 2];
        let inside = &rest[start + 2..];
        let at = line(inside);
        if open == "{#" {
            let end = inside.find("#}").ok_or(format!("line {at}: a comment has no end"))?;
            rest = &inside[end + 2..];
            continue;
        }
        let close = if open == "{{" { "}}" } else { "%}" };
        let end = find_tag_end(inside, close).map_err(|what| format!("line {at}: {what}"))?;
        if open == "{%" {
            let inside = inside[..end].trim_start_matches(['-', '+']).trim_start();
            let tag = inside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            if !ALLOWED_TAGS.contains(&tag) {
                return Err(format!("line {at}: `{tag}` is not available; use one of {}", ALLOWED_TAGS.join(", ")));
            }
        }
        rest = &inside[end + 2..];
    }
    Ok(())
}

/// Returns where a tag ends. Skips quoted text. Fails if the tag does not end, or if it has an operator that is not
/// allowed.
fn find_tag_end(inside: &str, close: &str) -> Result<usize, String> {
    let bytes = inside.as_bytes();
    // `{%-` and `{%+` control the white space before the tag.
    let mut index = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let mut quote = None;
    while index < bytes.len() {
        match (bytes[index], quote) {
            (b'\\', Some(_)) => index += 1,
            (byte, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => {}
            (byte @ (b'"' | b'\''), None) => quote = Some(byte),
            _ if inside.as_bytes()[index..].starts_with(close.as_bytes()) => return Ok(index),
            // `-%}` and `+%}`.
            (b'-' | b'+', None) if bytes[index + 1..].starts_with(close.as_bytes()) => {}
            (byte @ (b'~' | b'+' | b'*'), None) => {
                return Err(format!("`{}` is not available; write the values one after the other", char::from(byte)));
            }
            _ => {}
        }
        index += 1;
    }
    Err("a tag has no end".into())
}
