//! The template of the signed text.

/// A part of the signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Timestamp,
    Id,
    Body,
}

/// The template of the signed text, such as `{timestamp}.{body}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sources) struct SignedTemplate(Vec<TemplatePart>);

/// The values of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct TemplateValues<'a> {
    pub(super) timestamp: &'a str,
    pub(super) id: &'a str,
    pub(super) body: &'a [u8],
}

impl SignedTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// Returns what is wrong.
    pub(in crate::sources) fn parse(template: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("a `{` has no `}`")?;
            if !text.is_empty() {
                parts.push(TemplatePart::Text(text.to_owned()));
            }
            parts.push(match name {
                "timestamp" => TemplatePart::Timestamp,
                "id" => TemplatePart::Id,
                "body" => TemplatePart::Body,
                _ => return Err("its parts are {timestamp}, {id} and {body}"),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.to_owned()));
        }
        if parts.iter().filter(|part| **part == TemplatePart::Body).count() != 1 {
            return Err("it must have {body} once");
        }
        Ok(Self(parts))
    }

    /// Checks that the parts of the template are those that requests have.
    pub(super) fn check(&self, has_timestamp: bool, has_id: bool) -> Result<(), &'static str> {
        match (self.0.contains(&TemplatePart::Timestamp), has_timestamp) {
            (true, false) => return Err("it has {timestamp}, and no header is set for that"),
            (false, true) => return Err("it must have {timestamp}, because an unsigned time proves nothing"),
            _ => {}
        }
        if self.has_id() && !has_id {
            return Err("it has {id}, and no header is set for that");
        }
        Ok(())
    }

    pub(super) fn has_id(&self) -> bool {
        self.0.contains(&TemplatePart::Id)
    }

    /// Returns the parts of the signed text.
    pub(super) fn parts<'a>(&'a self, values: &TemplateValues<'a>) -> Vec<&'a [u8]> {
        let value = |part: &'a TemplatePart| match part {
            TemplatePart::Text(text) => text.as_bytes(),
            TemplatePart::Timestamp => values.timestamp.as_bytes(),
            TemplatePart::Id => values.id.as_bytes(),
            TemplatePart::Body => values.body,
        };
        self.0.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_put_together() {
        let values = TemplateValues { timestamp: "7", id: "a", body: b"{}" };
        for (template, expected) in [("{body}", "{}"), ("v0:{timestamp}:{body}", "v0:7:{}"), ("{id}.{body}!", "a.{}!")]
        {
            let parsed = SignedTemplate::parse(template).unwrap();
            assert_eq!(parsed.parts(&values).concat(), expected.as_bytes(), "{template}");
        }
    }
}
