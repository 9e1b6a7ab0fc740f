//! Patterns of channel names, such as `room:{id}`.

use omnistack_core::realtime::is_channel_name;

/// A pattern of channel names: text, with at most one part in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelPattern {
    prefix: String,
    /// The text after the part in braces; `None` for a pattern without such a part.
    suffix: Option<String>,
}

impl ChannelPattern {
    /// Parses a pattern. Fails with a message that says what is wrong.
    pub(super) fn parse(pattern: &str) -> Result<Self, &'static str> {
        let Some((prefix, rest)) = pattern.split_once('{') else {
            let is_name = is_channel_name(pattern);
            let pattern = Self { prefix: pattern.to_owned(), suffix: None };
            return if is_name { Ok(pattern) } else { Err("it is no name of a channel") };
        };
        let Some((part, suffix)) = rest.split_once('}') else { return Err("its brace is not closed") };
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err("the part in braces has no name");
        }
        if suffix.contains('{') {
            return Err("it has more than one part in braces");
        }
        if !is_channel_name(&format!("{prefix}x{suffix}")) {
            return Err("it can't match the name of a channel");
        }
        Ok(Self { prefix: prefix.to_owned(), suffix: Some(suffix.to_owned()) })
    }

    /// Returns the text at the place of the part in braces, or an empty text for a pattern without one; `None` if the
    /// name does not match.
    pub(super) fn id<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.prefix.as_str())?;
        match &self.suffix {
            None => rest.is_empty().then_some(rest),
            Some(suffix) => {
                let id = rest.strip_suffix(suffix.as_str())?;
                (!id.is_empty() && !id.contains([':', '/'])).then_some(id)
            }
        }
    }

    /// Returns the text before the part in braces, or the whole name.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}
