//! [`Code`], the tokens of a file that are compiled outside tests.

use crate::source::{Source, Token, TokenKind};

/// The keywords of items that can contain a comma before their body.
const ITEM_KEYWORDS: &[&str] =
    &["const", "enum", "fn", "impl", "macro_rules", "mod", "static", "struct", "trait", "type", "union", "use"];

/// The keywords of declarations that end with a semicolon, even behind a block.
const STATEMENT_KEYWORDS: &[&str] = &["const", "let", "static", "type", "use"];

/// The code of a file without comments, literals, and items for tests only.
#[derive(Debug)]
pub(super) struct Code<'a>(Vec<&'a Token>);

impl<'a> Code<'a> {
    /// Selects the tokens of `source`.
    pub(super) fn select(source: &'a Source) -> Self {
        let is_code = |token: &&Token| matches!(token.kind, TokenKind::Word(_) | TokenKind::Symbol(_));
        let all = Self(source.tokens.iter().filter(is_code).collect());
        let mut selected = Vec::new();
        let mut index = 0;
        while index < all.len() {
            let end = all.attribute_end(index).unwrap_or(index + 1);
            if !is_for_tests(&all.0[index..end]) {
                selected.extend(&all.0[index..end]);
                index = end;
            } else if all.is_symbol(index + 1, '!') {
                return Self(Vec::new());
            } else {
                index = all.item_end(end);
            }
        }
        Self(selected)
    }

    /// Returns the number of tokens.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the line of a token.
    pub(super) fn line(&self, index: usize) -> usize {
        self.0[index].line
    }

    /// Returns the identifier or keyword at a position.
    pub(super) fn word(&self, index: usize) -> Option<&'a str> {
        self.0.get(index).and_then(|token| token.word())
    }

    /// Returns whether the punctuation character `symbol` is at a position.
    pub(super) fn is_symbol(&self, index: usize, symbol: char) -> bool {
        self.0.get(index).is_some_and(|token| token.is_symbol(symbol))
    }

    /// Returns whether `::` is at a position.
    pub(super) fn is_separator(&self, index: usize) -> bool {
        self.is_symbol(index, ':') && self.is_symbol(index + 1, ':')
    }

    /// Returns the line that declares `name` or, if there is none, the first line that contains it.
    pub(super) fn line_of(&self, name: &str) -> Option<usize> {
        let is_named = |index: &usize| self.word(*index) == Some(name);
        let is_declared =
            |index: &usize| *index > 0 && self.word(*index - 1).is_some_and(|word| ITEM_KEYWORDS.contains(&word));
        let mut positions = (0..self.len()).filter(is_named);
        let found = positions.clone().find(is_declared).or_else(|| positions.next())?;
        Some(self.line(found))
    }

    /// Returns the names of the macros that the file exports from the crate's root.
    pub(super) fn exported_macros(&self) -> impl Iterator<Item = &'a str> {
        let exports = (0..self.len()).any(|index| self.word(index) == Some("macro_export"));
        let macros = (0..self.len()).filter(move |index| exports && self.word(*index) == Some("macro_rules"));
        macros.filter_map(|index| self.word(index + 2))
    }

    /// Returns the position behind the attribute at `index`, or `None` if there is no attribute.
    fn attribute_end(&self, index: usize) -> Option<usize> {
        let open = if self.is_symbol(index + 1, '!') { index + 2 } else { index + 1 };
        (self.is_symbol(index, '#') && self.is_symbol(open, '[')).then(|| self.closing(open) + 1)
    }

    /// Returns the position behind the item at `index`, which may also be a field, a statement or an argument.
    fn item_end(&self, mut index: usize) -> usize {
        while let Some(end) = self.attribute_end(index) {
            index = end;
        }
        let start = index;
        while index < self.len() {
            let words = || self.0[start..index].iter().filter_map(|token| token.word());
            let has = |keywords: &[&str]| words().any(|word| keywords.contains(&word));
            match self.0[index].kind {
                TokenKind::Symbol(';') => return index + 1,
                TokenKind::Symbol(',') if !has(ITEM_KEYWORDS) => return index + 1,
                TokenKind::Symbol('}' | ')' | ']') => return index,
                TokenKind::Symbol('{' | '(' | '[') => {
                    let is_body = self.is_symbol(index, '{') && (has(&["fn"]) || !has(STATEMENT_KEYWORDS));
                    index = self.closing(index);
                    if is_body {
                        return index + 1;
                    }
                }
                _ => {}
            }
            index += 1;
        }
        index
    }

    /// Returns the position of the bracket that closes the one at `open`, or the last position.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for index in open..self.len() {
            match self.0[index].kind {
                TokenKind::Symbol('(' | '[' | '{') => depth += 1,
                TokenKind::Symbol(')' | ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return index;
            }
        }
        self.len().saturating_sub(1)
    }
}

/// Returns whether the tokens are an attribute that compiles an item for tests only. With `any`, the item may also be
/// compiled without tests.
fn is_for_tests(attribute: &[&Token]) -> bool {
    let has = |word| attribute.iter().any(|token| token.is_word(word));
    attribute[0].is_symbol('#') && has("cfg") && has("test") && !has("not") && !has("any")
}
