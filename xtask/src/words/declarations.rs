//! Declarations of types, and the rules for their names: `repeated-type` and `bare-type`.

use std::collections::HashMap;

use crate::{
    finding::Finding,
    source::{Source, Token},
};

/// The participles, pronouns and placeholders that name no concept.
pub(super) const BARE_TYPES: &[&str] = &[
    "Any", "Begun", "Both", "Done", "Given", "Gone", "Held", "Judged", "Kind", "Known", "Made", "Meant", "Others",
    "Place", "Said", "Shown", "Some", "Standing", "Told", "What", "Who", "Whose",
];

/// Names that several files of a crate declare on purpose: the folder of the crate, the name, and the reason.
const REPEATED_BY_DESIGN: &[(&str, &str, &str)] = &[
    ("omnistack-core/", "Error", "the path names a module's error, as in std: `cache::Error`, `db::Error`"),
    ("omnistack-core/", "ErrorKind", "it belongs to the `Error` of its module"),
    ("omnistack-core/", "Result", "an alias of a module, as in std: `io::Result`, `fmt::Result`"),
];

/// A type declared in a module.
#[derive(Debug)]
struct Declaration<'a> {
    source: &'a Source,
    token: &'a Token,
    name: &'a str,
}

/// Finds types whose whole name is a participle or a pronoun.
pub(super) fn bare_types(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Declaration { source, token, name } in declarations(source) {
        if BARE_TYPES.contains(&name) {
            let message = format!("`{name}` names no concept; use the noun of docs/src/glossary.md");
            findings.push(Finding::at(source, token, "bare-type", message));
        }
    }
    findings
}

/// Finds types whose name another type of the crate has; `sources` are all files of one crate.
pub(super) fn repeated_types(sources: &[Source]) -> Vec<Finding> {
    let mut first: HashMap<&str, Declaration<'_>> = HashMap::new();
    let mut findings = Vec::new();
    for declaration in sources.iter().flat_map(declarations) {
        let Declaration { source, token, name } = declaration;
        if REPEATED_BY_DESIGN.iter().any(|(folder, allowed, _)| source.path.starts_with(folder) && *allowed == name) {
            continue;
        }
        let Some(other) = first.get(name) else {
            first.insert(name, declaration);
            continue;
        };
        let message = format!(
            "`{name}` is also declared at {}:{}; put the concept into both names, as in `InvitationPage`",
            other.source.path, other.token.line
        );
        findings.push(Finding::at(source, token, "repeated-type", message));
    }
    findings
}

/// Returns the structs, enums, traits and aliases that a file declares in its modules and in the calls of macros there:
/// not those in functions, associated types or tests.
fn declarations(source: &Source) -> Vec<Declaration<'_>> {
    let mut declarations = Vec::new();
    if source.path.ends_with("/tests.rs") || source.path.contains("/tests/") {
        return declarations;
    }
    let mut scopes: Vec<bool> = Vec::new();
    let tokens: Vec<&Token> = source.tokens.iter().filter(|token| !token.is_comment()).collect();
    let mut item = 0;
    for (index, token) in tokens.iter().enumerate() {
        let is_in_module = scopes.iter().all(|is_module| *is_module);
        if token.is_symbol('{') {
            scopes.push(opens_module(&tokens[item..index]));
            item = index + 1;
        } else if token.is_symbol('}') {
            scopes.pop();
            item = index + 1;
        } else if token.is_symbol(';') {
            item = index + 1;
        } else if is_in_module && is_type_keyword(token) && !is_left_out(&tokens[item..index]) {
            let name = tokens.get(index + 1).and_then(|next| next.word().map(|name| (*next, name)));
            declarations.extend(name.map(|(token, name)| Declaration { source, token, name }));
        }
    }
    declarations
}

fn is_type_keyword(token: &Token) -> bool {
    matches!(token.word(), Some("enum" | "struct" | "trait" | "type" | "union"))
}

/// Returns whether the block after `item` is a module or the call of a macro, outside tests.
fn opens_module(item: &[&Token]) -> bool {
    let opens = match item {
        [.., name, bang] if bang.is_symbol('!') => name.word().is_some(),
        [.., keyword, name] => keyword.is_word("mod") && name.word().is_some(),
        _ => false,
    };
    opens && !is_for_tests(item)
}

/// Returns whether an attribute of `item` compiles it for tests only, or only without a feature: with the feature,
/// another type has the name.
fn is_left_out(item: &[&Token]) -> bool {
    let has = |word| item.iter().any(|token| token.is_word(word));
    is_for_tests(item) || (has("cfg") && has("not") && has("feature"))
}

/// Returns whether an attribute of `item` compiles it for tests only.
fn is_for_tests(item: &[&Token]) -> bool {
    let has = |word| item.iter().any(|token| token.is_word(word));
    has("cfg") && has("test") && !has("not")
}
