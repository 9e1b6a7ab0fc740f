//! A scanner of Rust sources: words, symbols, comments and string literals, each with its line.

/// A scanned file.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file, relative to the root.
    pub(crate) path: String,
    /// The tokens in the order of the file.
    pub(crate) tokens: Vec<Token>,
}

/// A part of a source file.
#[derive(Debug)]
pub(crate) struct Token {
    /// The line of its first character, from 1.
    pub(crate) line: usize,
    /// The lexical class, and the text where a rule reads it.
    pub(crate) kind: TokenKind,
}

/// The lexical class of a [`Token`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// The text of a `///` line, or of one line of a `/**` block.
    Doc(String),
    /// The text of a `//!` line, or of one line of a `/*!` block.
    InnerDoc(String),
    /// The text of a `//` line, or of one line of a `/*` block.
    Comment(String),
    /// The content of a string literal; escapes are replaced, line breaks are kept.
    Literal(String),
    /// An identifier, a keyword, a number or a lifetime.
    Word(String),
    /// A punctuation character; `'` stands for a character literal.
    Symbol(char),
}

impl Source {
    /// Scans `text`. Text that is no Rust is scanned as far as possible: there are no errors.
    pub(crate) fn scan(path: String, text: &str) -> Self {
        let mut scanner = Scanner { chars: text.chars().collect(), position: 0, line: 1, tokens: Vec::new() };
        while scanner.position < scanner.chars.len() {
            scanner.scan_token();
        }
        Self { path, tokens: scanner.tokens }
    }
}

impl Token {
    /// Returns the identifier or keyword, or `None` for any other token.
    pub(crate) fn word(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Returns whether the token is the keyword or identifier `word`.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    /// Returns whether the token is the punctuation character `symbol`.
    pub(crate) fn is_symbol(&self, symbol: char) -> bool {
        self.kind == TokenKind::Symbol(symbol)
    }

    /// Returns whether the token is a comment or documentation.
    pub(crate) fn is_comment(&self) -> bool {
        matches!(self.kind, TokenKind::Doc(_) | TokenKind::InnerDoc(_) | TokenKind::Comment(_))
    }
}

struct Scanner {
    chars: Vec<char>,
    position: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Scanner {
    fn scan_token(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (Some('/'), Some('/')) => self.scan_line_comment(),
            (Some('/'), Some('*')) => self.scan_block_comment(),
            (Some('"'), _) => self.scan_literal(),
            (Some('\''), _) => self.scan_quote(),
            (Some(first), _) if is_word(first) => self.scan_word(),
            (Some(symbol), _) => {
                if !symbol.is_whitespace() {
                    self.push(TokenKind::Symbol(symbol));
                }
                self.advance(1);
            }
            (None, _) => {}
        }
    }

    fn scan_line_comment(&mut self) {
        let text = self.take_while(|character| character != '\n');
        self.push(comment("//", '/', &text));
    }

    fn scan_block_comment(&mut self) {
        let start = self.position;
        let first_line = self.line;
        let mut depth = 0;
        while self.position < self.chars.len() {
            let change = match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => 1,
                (Some('*'), Some('/')) => -1,
                _ => 0,
            };
            depth += change;
            self.advance(if change == 0 { 1 } else { 2 });
            if depth == 0 {
                break;
            }
        }
        let text: String = self.chars[start..self.position].iter().collect();
        let text = text.strip_suffix("*/").unwrap_or(&text);
        let whole = comment("/*", '*', text);
        for (offset, line) in text.lines().enumerate() {
            let line = line.trim_start().trim_start_matches(['/', '*', '!']).to_owned();
            let kind = match whole {
                TokenKind::Doc(_) => TokenKind::Doc(line),
                TokenKind::InnerDoc(_) => TokenKind::InnerDoc(line),
                _ => TokenKind::Comment(line),
            };
            self.tokens.push(Token { line: first_line + offset, kind });
        }
    }

    /// Scans a literal with escapes, from its opening quotation mark.
    fn scan_literal(&mut self) {
        let first_line = self.line;
        let mut content = String::new();
        self.advance(1);
        while let Some(character) = self.peek(0) {
            match (character, self.peek(1)) {
                ('"', _) => break,
                ('\\', Some('n' | 'r' | 't' | '0')) => content.push(' '),
                ('\\', Some(escaped)) => content.push(escaped),
                _ => content.push(character),
            }
            self.advance(if character == '\\' { 2 } else { 1 });
        }
        self.advance(1);
        self.tokens.push(Token { line: first_line, kind: TokenKind::Literal(content) });
    }

    /// Scans a literal without escapes, from the first `#` or the quotation mark.
    fn scan_raw_literal(&mut self) {
        let first_line = self.line;
        let hashes = self.take_while(|character| character == '#').len();
        self.advance(1);
        let mut content = String::new();
        while let Some(character) = self.peek(0) {
            if character == '"' && (1..=hashes).all(|offset| self.peek(offset) == Some('#')) {
                break;
            }
            content.push(character);
            self.advance(1);
        }
        self.advance(1 + hashes);
        self.tokens.push(Token { line: first_line, kind: TokenKind::Literal(content) });
    }

    /// Scans a character literal or a lifetime.
    fn scan_quote(&mut self) {
        if self.peek(1) != Some('\\') && self.peek(2) != Some('\'') {
            self.advance(1);
            let name = self.take_while(is_word);
            self.push(TokenKind::Word(format!("'{name}")));
            return;
        }
        self.push(TokenKind::Symbol('\''));
        self.advance(if self.peek(1) == Some('\\') { 3 } else { 2 });
        self.take_while(|character| character != '\'' && character != '\n');
        self.advance(1);
    }

    fn scan_word(&mut self) {
        let word = self.take_while(is_word);
        let opens_raw =
            self.peek(0) == Some('"') || (self.peek(0) == Some('#') && matches!(self.peek(1), Some('"' | '#')));
        match word.as_str() {
            "r" | "br" | "cr" if opens_raw => self.scan_raw_literal(),
            // The literal itself follows.
            "b" | "c" if matches!(self.peek(0), Some('"' | '\'')) => {}
            _ => self.push(TokenKind::Word(word)),
        }
    }

    fn peek(&self, offset: usize) -> Option<char> {
        self.chars.get(self.position + offset).copied()
    }

    fn advance(&mut self, count: usize) {
        let end = (self.position + count).min(self.chars.len());
        self.line += self.chars[self.position..end].iter().filter(|character| **character == '\n').count();
        self.position = end;
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let taken: String = self.chars[self.position..].iter().copied().take_while(|next| wanted(*next)).collect();
        self.advance(taken.chars().count());
        taken
    }

    fn push(&mut self, kind: TokenKind) {
        self.tokens.push(Token { line: self.line, kind });
    }
}

/// Classifies a comment by what follows its `opening`. Two marks there, as in `////`, make it an ordinary comment.
fn comment(opening: &str, mark: char, text: &str) -> TokenKind {
    let text = text.strip_prefix(opening).unwrap_or(text);
    match (text.strip_prefix(mark), text.strip_prefix('!')) {
        (Some(doc), _) if !doc.starts_with(mark) => TokenKind::Doc(doc.to_owned()),
        (_, Some(doc)) => TokenKind::InnerDoc(doc.to_owned()),
        _ => TokenKind::Comment(text.to_owned()),
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
