//! `cargo xtask ci --only limits`: checks that the OpenAPI document states the limits that garde checks.
//!
//! A type such as `Text<1, 100>` states its limits once. utoipa does not read the attributes of garde, so a field with
//! `#[garde(length(chars, max = 100))]` needs `#[schema(max_length = 100)]` too, or `#[param(…)]` in a query. The check
//! finds limits that the document lacks or states differently. The document may state further limits, which other code
//! checks.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, path::Path};

use crate::{
    failure::Result,
    files,
    finding::{self, Finding},
    source::{Source, Token, TokenKind},
};

/// The suffixes of literals that have a type.
const SUFFIXES: [&str; 7] = ["i32", "i64", "u8", "u16", "u32", "u64", "usize"];

/// The numbers of constants by their names: `None` for a constant that is no whole number, and for a name with several
/// numbers.
type Constants = HashMap<String, Option<i128>>;

/// Checks the sources of every crate under `root`; fails with one line for each finding.
pub(crate) fn run(root: &Path) -> Result<&'static str> {
    let crates = files::crates(root)?;
    let sources: Vec<&Source> = crates.iter().flatten().collect();
    finding::report("limits", &check(&sources))
}

fn check(sources: &[&Source]) -> Vec<Finding> {
    let mut constants = Constants::new();
    for source in sources {
        add_constants(&code(source), &mut constants);
    }
    let mut findings: Vec<_> = sources.iter().flat_map(|source| missing_limits(source, &constants)).collect();
    findings.sort();
    findings
}

/// Returns the tokens of a source without comments.
fn code(source: &Source) -> Vec<&Token> {
    source.tokens.iter().filter(|token| !token.is_comment()).collect()
}

fn add_constants(tokens: &[&Token], constants: &mut Constants) {
    for (index, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(index + 1).and_then(|next| next.word()) else { continue };
        if !token.is_word("const") {
            continue;
        }
        let statement = tokens[index..].split(|token| token.is_symbol(';')).next().unwrap_or_default();
        let value = statement.rsplit(|token| token.is_symbol('=')).next().unwrap_or_default();
        let value = literal(&text(value));
        let known = constants.entry(name.to_owned()).or_insert(value);
        if *known != value {
            *known = None;
        }
    }
}

/// Returns the findings for the fields in a source.
fn missing_limits(source: &Source, constants: &Constants) -> Vec<Finding> {
    let tokens = code(source);
    let (mut findings, mut attributes, mut index) = (Vec::new(), Vec::new(), 0);
    while let Some(token) = tokens.get(index) {
        let rest = &tokens[index + 1..];
        if token.is_symbol('#') && rest.first().is_some_and(|next| next.is_symbol('[')) {
            let end = closing(rest);
            attributes.push(rest.get(1..end).unwrap_or_default());
            index += end + 2;
            continue;
        }
        if !attributes.is_empty() {
            if let Some((name, kind)) = field(&tokens[index..]) {
                findings.extend(missing_of_field(source, name, kind, &attributes, constants));
            }
            attributes.clear();
        }
        index += 1;
    }
    findings
}

/// Returns the name of the field that begins here, and its type with the tokens after it.
fn field<'a>(mut tokens: &'a [&'a Token]) -> Option<(&'a Token, &'a [&'a Token])> {
    if tokens.first()?.is_word("pub") {
        tokens = &tokens[1..];
        if tokens.first()?.is_symbol('(') {
            tokens = tokens.get(closing(tokens) + 1..)?;
        }
    }
    match tokens {
        [name, colon, kind @ ..] if name.word().is_some() && colon.is_symbol(':') => Some((*name, kind)),
        _ => None,
    }
}

fn missing_of_field(
    source: &Source,
    name: &Token,
    kind: &[&Token],
    attributes: &[&[&Token]],
    constants: &Constants,
) -> Vec<Finding> {
    let described: Vec<_> = ["schema", "param"].iter().flat_map(|name| arguments(attributes, name)).collect();
    // A function returns the schema of the field.
    if described.iter().any(|list| value(list, "schema_with").is_some()) {
        return Vec::new();
    }
    let stated = |limit: &str| described.iter().find_map(|list| value(list, limit));
    let kind = kind.split(|token| token.is_symbol(',') || token.is_symbol('}')).next().unwrap_or_default();
    let is_map = kind.iter().any(|token| token.is_word("BTreeMap") || token.is_word("HashMap"));
    let mut findings = Vec::new();
    for (limit, checked) in arguments(attributes, "garde").into_iter().flat_map(|list| checked_limits(list, constants))
    {
        // utoipa has no attribute for the number of entries of a map.
        if is_map && limit.ends_with("_items") {
            continue;
        }
        if stated(limit).and_then(|value| number(value, constants)) != Some(checked) {
            let message = format!(
                "garde checks another limit than the OpenAPI document states: write `{limit} = {checked}` into \
                 `#[schema(…)]` or `#[param(…)]`, or use a type with the limit, such as `Text<1, 100>`"
            );
            findings.push(Finding::at(source, name, "limit", message));
        }
    }
    findings
}

/// Returns the arguments of the attributes with this name.
fn arguments<'a>(attributes: &[&'a [&'a Token]], name: &str) -> Vec<&'a [&'a Token]> {
    let named = attributes.iter().filter_map(|attribute| match *attribute {
        [first, list @ ..] if first.is_word(name) => list.get(1..closing(list)),
        _ => None,
    });
    named.collect()
}

/// Returns the limits of a list of garde's rules, by their names in the document. Leaves out limits whose number is not
/// known.
fn checked_limits(rules: &[&Token], constants: &Constants) -> Vec<(&'static str, i128)> {
    let mut limits = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let list = &rules[index + 1..];
        let list = list.get(1..closing(list)).unwrap_or_default();
        let is_text = list.first().is_some_and(|mode| mode.is_word("chars") || mode.is_word("bytes"));
        let names = match rule.word() {
            Some("range") => ["minimum", "maximum"],
            Some("length") if is_text => ["min_length", "max_length"],
            Some("length") => ["min_items", "max_items"],
            _ => continue,
        };
        for (bound, name) in ["min", "max"].into_iter().zip(names) {
            let limit = value(list, bound).and_then(|value| number(value, constants));
            limits.extend(limit.map(|limit| (name, limit)));
        }
    }
    limits
}

/// Returns the expression after `name =` in a list of arguments.
fn value<'a>(arguments: &'a [&'a Token], name: &str) -> Option<&'a [&'a Token]> {
    let index = arguments.windows(2).position(|pair| pair[0].is_word(name) && pair[1].is_symbol('='))?;
    arguments[index + 2..].split(|token| token.is_symbol(',')).next()
}

/// Returns the position of the bracket that closes the first token. Returns 0 if the first token opens none.
fn closing(tokens: &[&Token]) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Symbol('(' | '[' | '{') => depth += 1,
            TokenKind::Symbol(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len()
}

/// Returns the number that an expression stands for: a literal, a product of literals, or a constant.
fn number(expression: &[&Token], constants: &Constants) -> Option<i128> {
    let text = text(expression);
    let name = text.rsplit(':').next().unwrap_or_default();
    literal(&text).or_else(|| constants.get(name).copied().flatten())
}

fn literal(text: &str) -> Option<i128> {
    let factor = |factor: &str| {
        let factor = factor.replace('_', "");
        let digits = SUFFIXES.iter().find_map(|suffix| factor.strip_suffix(*suffix)).unwrap_or(&factor);
        digits.strip_suffix(".0").unwrap_or(digits).parse::<i128>().ok()
    };
    text.split('*').map(factor).product()
}

/// Returns the words and symbols of an expression, without spaces.
fn text(expression: &[&Token]) -> String {
    let mut text = String::new();
    for token in expression {
        match &token.kind {
            TokenKind::Word(word) => text.push_str(word),
            TokenKind::Symbol(symbol) => text.push(*symbol),
            _ => {}
        }
    }
    text
}
