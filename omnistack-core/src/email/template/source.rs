//! A source, before any value is put in: its parts, and what must not be in it.

/// Bytes a source may have.
pub const LARGEST_SOURCE: usize = 32 * 1024;

/// Tags a template may use. `set`, `with`, `macro` and `filter` bind text under a name, and whoever can bind can double;
/// `raw` would hide what follows from the check.
const TAGS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// The parts of a source, with their tags still in them.
#[derive(Debug, Default)]
pub(super) struct Source<'a> {
    pub(super) subject: &'a str,
    pub(super) preview: &'a str,
    pub(super) body: &'a str,
    /// Lines before the body, so that errors name the line of the file.
    pub(super) lines_before: usize,
}

impl<'a> Source<'a> {
    /// Reads the head and checks the tags. A source without a head is all body.
    pub(super) fn parse(source: &'a str) -> Result<Self, String> {
        if source.len() > LARGEST_SOURCE {
            return Err(format!("is longer than {} KiB", LARGEST_SOURCE / 1024));
        }
        if source.contains('\0') {
            return Err("holds a NUL".into());
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
                // No head: nothing read so far was one.
                _ => return Ok(Self { body: source, ..Self::default() }),
            }
        }
        Ok(Self { body: source, ..Self::default() })
    }
}

/// Refuses tags and operators with which a short text makes an endless one. Fuel counts steps, not bytes: doubling a text forty
/// times takes forty steps.
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
        let end = end_of(inside, close).map_err(|what| format!("line {at}: {what}"))?;
        if open == "{%" {
            let inside = inside[..end].trim_start_matches(['-', '+']).trim_start();
            let tag = inside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            if !TAGS.contains(&tag) {
                return Err(format!("line {at}: `{tag}` is not available; there are {}", TAGS.join(", ")));
            }
        }
        rest = &inside[end + 2..];
    }
    Ok(())
}

/// Where a tag ends; quotes hide what they hold.
fn end_of(inside: &str, close: &str) -> Result<usize, String> {
    let bytes = inside.as_bytes();
    // `{%-` and `{%+` say what becomes of the white space before.
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
                return Err(format!("`{}` is not available: put the values side by side", char::from(byte)));
            }
            _ => {}
        }
        index += 1;
    }
    Err("a tag has no end".into())
}
