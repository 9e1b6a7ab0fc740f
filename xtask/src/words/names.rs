//! The rule for the names of constants: `bare-constant`.

use crate::{finding::Finding, source::Source};

/// The quantifiers and verbs that say neither what is limited nor in which unit.
pub(super) const BARE_CONSTANTS: &[&str] = &[
    "AGAIN", "ENOUGH", "FEW", "KNOWN", "LARGEST", "LEAST", "LONGEST", "MANY", "MOST", "PATIENCE", "PAUSE", "RECENT",
    "REMEMBER", "SHORTEST", "SMALLEST", "SOME", "TRIES",
];

/// Finds constants and statics whose whole name is a quantifier.
pub(super) fn bare_constants(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for declaration in source.tokens.windows(3) {
        let [keyword, token, colon] = declaration else { continue };
        let declares = ["const", "static", "mut"].iter().any(|word| keyword.is_word(word)) && colon.is_symbol(':');
        let Some(name) = token.word().filter(|_| declares) else { continue };
        if BARE_CONSTANTS.contains(&name.trim_matches('_')) {
            let message = format!(
                "`{name}` does not say of what; name what it limits and the unit, as in `MAX_INVITATIONS_PER_TEAM` or \
                 `MAGIC_LINK_TTL`"
            );
            findings.push(Finding::at(source, token, "bare-constant", message));
        }
    }
    findings
}
