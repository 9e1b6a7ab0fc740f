//! The rules for the docs of items: `doc-fragment` and `missing-errors`.

use crate::{
    finding::Finding,
    source::{Source, Token, TokenKind},
};

/// The words a fragment opens with: the doc then has no subject and no verb.
pub(super) const FRAGMENT_OPENERS: &[&str] =
    &["and", "as", "by", "for", "how", "of", "that", "what", "where", "whether", "who", "whose", "with"];

/// The words that can come before `fn` in a declaration.
const FUNCTION_QUALIFIERS: &[&str] = &["async", "const", "default", "extern", "pub", "unsafe"];

/// Finds `///` docs that open with a fragment. "Whether" opens the doc of a field or constant by right, as in "Whether
/// SMS codes are enabled."; that of a function says "Returns whether".
pub(super) fn fragments(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut end = 0;
    for block in source.tokens.chunk_by(|token, next| doc(token).is_some() && doc(next).is_some()) {
        end += block.len();
        let Some(text) = block.first().and_then(doc) else { continue };
        let word = first_word(text);
        let opener = word.to_lowercase();
        if opener == "whether" && !starts_function(&source.tokens[end..]) {
            continue;
        }
        if FRAGMENT_OPENERS.contains(&opener.as_str()) {
            let message = format!(
                "the doc opens with the fragment \"{word}\"; start a function's with a verb in the third person \
                 (\"Returns whether …\") and any other with a noun phrase"
            );
            findings.push(Finding::at(source, &block[0], "doc-fragment", message));
        }
    }
    findings
}

/// Finds `pub` functions that return a `Result` and have no section `# Errors`.
pub(super) fn missing_errors(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let Some(name) = public_function(&source.tokens[index..]) else { continue };
        let (before, from) = source.tokens.split_at(index);
        if !returns_result(from) || has_errors_section(before) {
            continue;
        }
        let message = format!("`{name}` returns a `Result`; add a section \"# Errors\" with the cases and their codes");
        findings.push(Finding::at(source, token, "missing-errors", message));
    }
    findings
}

fn doc(token: &Token) -> Option<&str> {
    match &token.kind {
        TokenKind::Doc(text) => Some(text),
        _ => None,
    }
}

fn first_word(text: &str) -> &str {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.split(|character: char| !character.is_alphanumeric() && character != '-').next().unwrap_or_default()
}

/// Returns whether the item in `tokens` is a function. Its attributes and comments come first.
fn starts_function(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    for token in tokens {
        match &token.kind {
            TokenKind::Symbol('[' | '(') => depth += 1,
            TokenKind::Symbol(']' | ')') => depth = depth.saturating_sub(1),
            TokenKind::Symbol('#') | TokenKind::Doc(_) | TokenKind::Comment(_) | TokenKind::Literal(_) => {}
            TokenKind::Word(word) if depth == 0 && !FUNCTION_QUALIFIERS.contains(&word.as_str()) => {
                return word == "fn";
            }
            TokenKind::Symbol(_) if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

/// Returns the name of the function that starts at the first token; `None` if it is not `pub`, or no function.
fn public_function(tokens: &[Token]) -> Option<&str> {
    let (public, rest) = tokens.split_first()?;
    if !public.is_word("pub") {
        return None;
    }
    let qualifiers =
        rest.iter().take_while(|token| ["async", "const", "unsafe"].iter().any(|word| token.is_word(word)));
    let [keyword, name, ..] = &rest[qualifiers.count()..] else { return None };
    name.word().filter(|_| keyword.is_word("fn"))
}

/// Returns whether the first signature in `tokens` ends in a `Result`, or in a future of one.
fn returns_result(tokens: &[Token]) -> bool {
    let Some(result) = return_type(tokens) else { return false };
    let path = result.iter().take_while(|token| token.word().is_some() || token.is_symbol(':'));
    let head = path.filter_map(Token::word).last();
    let is_future = head.is_some_and(|name| name.ends_with("Future"));
    head == Some("Result")
        || (is_future && result.windows(3).any(|part| part[0].is_word("Output") && part[2].is_word("Result")))
}

/// Returns the tokens after the arrow of the first signature in `tokens`; `None` if the function returns `()`.
fn return_type(tokens: &[Token]) -> Option<&[Token]> {
    let mut depth = 0_usize;
    let mut arrow = None;
    for (index, token) in tokens.iter().enumerate() {
        let follows_dash = index > 0 && tokens[index - 1].is_symbol('-');
        match &token.kind {
            TokenKind::Symbol('(' | '<' | '[') => depth += 1,
            TokenKind::Symbol('>') if follows_dash => arrow = arrow.or((depth == 0).then_some(index + 1)),
            TokenKind::Symbol(')' | '>' | ']') => depth = depth.saturating_sub(1),
            TokenKind::Symbol('{' | ';') if depth == 0 => return arrow.map(|start| &tokens[start..index]),
            TokenKind::Word(word) if word == "where" && depth == 0 => return arrow.map(|start| &tokens[start..index]),
            _ => {}
        }
    }
    None
}

/// Returns whether the docs at the end of `tokens`, before the attributes of the item, have a heading "Errors".
fn has_errors_section(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    for token in tokens.iter().rev() {
        match &token.kind {
            TokenKind::Symbol(']') => depth += 1,
            TokenKind::Symbol('[') => depth = depth.saturating_sub(1),
            TokenKind::Doc(text) if text.trim().strip_prefix('#').is_some_and(is_errors) => return true,
            TokenKind::Doc(_) | TokenKind::Comment(_) | TokenKind::Symbol('#') => {}
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

fn is_errors(heading: &str) -> bool {
    heading.trim_start_matches('#').trim() == "Errors"
}
