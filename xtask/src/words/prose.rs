//! Prose in sources and in Markdown, and the rule `banned-subject`.

use crate::{
    finding::Finding,
    source::{Source, Token, TokenKind},
};

/// The words that hide the actor of a sentence.
pub(super) const BANNED_SUBJECTS: &[&str] =
    &["anybody", "anyone", "everybody", "everyone", "nobody", "somebody", "someone", "theirs", "whoever"];

/// Real quotations that contain such a word: the path, the quoted words, and the reason.
const QUOTATIONS: &[(&str, &str, &str)] = &[];

/// The characters that make a word part of an address, a path or an identifier.
const NAME_CHARACTERS: [char; 5] = ['@', '_', '/', '=', '{'];

/// A literal of at most this many words is a name or a value, not a sentence.
const MAX_WORDS_OF_A_NAME: usize = 2;

/// The indentation of a code block in Markdown.
const CODE_INDENTATION: &str = "    ";

/// A paragraph of text, with its line breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Paragraph {
    /// The first line, from 1.
    pub(super) line: usize,
    /// The text, without the marks of a comment.
    pub(super) text: String,
}

/// Returns the paragraphs of a Markdown file, without code blocks.
pub(super) fn in_markdown(text: &str) -> Vec<Paragraph> {
    paragraphs(text.lines().enumerate().map(|(index, line)| (index + 1, line)))
}

/// Returns the paragraphs of the comments and docs of a source file, without code blocks, and its longer literals.
pub(super) fn in_source(source: &Source) -> Vec<Paragraph> {
    let mut prose = Vec::new();
    for block in source.tokens.chunk_by(continues) {
        let lines = block.iter().filter_map(|token| match &token.kind {
            TokenKind::Doc(text) | TokenKind::InnerDoc(text) | TokenKind::Comment(text) => {
                Some((token.line, text.strip_prefix(' ').unwrap_or(text)))
            }
            _ => None,
        });
        prose.extend(paragraphs(lines));
        prose.extend(block.iter().filter_map(|token| match &token.kind {
            TokenKind::Literal(text) if text.split_whitespace().count() > MAX_WORDS_OF_A_NAME => {
                Some(Paragraph { line: token.line, text: text.clone() })
            }
            _ => None,
        }));
    }
    prose
}

/// Finds words that hide the actor. Inline code, addresses, paths and identifiers are no prose.
pub(super) fn banned_subjects(path: &str, prose: &[Paragraph]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Paragraph { line, text } in prose {
        let is_quoted = QUOTATIONS.iter().any(|(file, words, _)| *file == path && text.contains(words));
        if is_quoted {
            continue;
        }
        for (offset, text) in without_inline_code(text).lines().enumerate() {
            for word in words(text).filter(|word| BANNED_SUBJECTS.contains(&word.to_lowercase().as_str())) {
                findings.push(Finding {
                    path: path.to_owned(),
                    line: line + offset,
                    rule: "banned-subject",
                    message: message(word),
                });
            }
        }
    }
    findings
}

fn message(word: &str) -> String {
    if word.eq_ignore_ascii_case("theirs") {
        return format!("\"{word}\" hides what is meant; repeat the noun, as in \"the user's own sessions\"");
    }
    format!("\"{word}\" names no actor; write the caller, the user, the provider, another transaction, or the passive")
}

/// Returns whether `next` goes on with the comment of `token`: the same kind, on the next line.
fn continues(token: &Token, next: &Token) -> bool {
    let is_same_kind = std::mem::discriminant(&token.kind) == std::mem::discriminant(&next.kind);
    token.is_comment() && is_same_kind && next.line == token.line + 1
}

/// Joins numbered lines of Markdown to paragraphs, without blank lines and code blocks.
fn paragraphs<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let mut fence = None;
    let (mut is_list, mut is_code, mut follows_blank) = (false, false, true);
    for (number, line) in lines {
        let trimmed = line.trim();
        if let Some(open) = fence {
            if trimmed.starts_with(open) {
                fence = None;
            }
            follows_blank = true;
            continue;
        }
        fence = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        if fence.is_some() {
            continue;
        }
        if trimmed.is_empty() {
            follows_blank = true;
            continue;
        }
        let is_indented = line.starts_with(CODE_INDENTATION);
        // What is indented below the item of a list belongs to the item.
        is_code = is_indented && !is_list && (is_code || follows_blank);
        if !line.starts_with(' ') {
            is_list = is_list_item(trimmed);
        }
        if !is_code {
            match paragraphs.last_mut() {
                Some(paragraph) if !follows_blank => paragraph.text.extend(["\n", line]),
                _ => paragraphs.push(Paragraph { line: number, text: line.to_owned() }),
            }
            follows_blank = false;
        }
    }
    paragraphs
}

fn is_list_item(line: &str) -> bool {
    let marker = line.split_whitespace().next().unwrap_or_default();
    matches!(marker, "-" | "*" | "+") || marker.strip_suffix('.').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Returns the text without what is between backticks; line breaks are kept. A backtick without a second one is text.
fn without_inline_code(text: &str) -> String {
    let mut prose = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        prose.push_str(before);
        let marks = 1 + after.chars().take_while(|character| *character == '`').count();
        rest = after.trim_start_matches('`');
        if let Some((code, after)) = rest.split_once(&"`".repeat(marks)) {
            // Stands for the code, so that what is attached to it is no word of its own.
            prose.push('_');
            prose.extend(code.chars().filter(|character| *character == '\n'));
            rest = after;
        }
    }
    prose.push_str(rest);
    prose
}

/// Returns the words of a line that are prose.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
        .filter(|piece| !piece.contains(NAME_CHARACTERS))
        .flat_map(|piece| piece.split(|character: char| !character.is_alphanumeric()))
        .filter(|word| !word.is_empty())
}
