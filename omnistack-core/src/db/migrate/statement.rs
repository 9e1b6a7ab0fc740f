//! The statements of a migration: where each begins and ends, and its tokens.

/// One statement of a migration.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    /// The text, without its semicolon and the comments before it.
    pub(super) text: &'a str,
    /// The position of the text in the script, in bytes.
    pub(super) at: usize,
    pub(super) tokens: Vec<SqlToken<'a>>,
}

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SqlToken<'a> {
    /// A keyword, a name or a number, in lower case.
    Word(String),
    /// A quoted name, without its quotes.
    Name(String),
    /// The content of a text.
    Text(&'a str),
    /// Any other character.
    Symbol(char),
}

impl SqlToken<'_> {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }

    pub(super) fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    pub(super) fn is_symbol(&self, symbol: char) -> bool {
        *self == Self::Symbol(symbol)
    }
}

/// Returns the statements of a script, in order.
pub(super) fn statements(sql: &str) -> Vec<Statement<'_>> {
    let mut lexer = Lexer { sql, at: 0 };
    let (mut all, mut tokens) = (Vec::new(), Vec::new());
    // The range of the text, and the number of open blocks in it.
    let (mut start, mut end, mut depth) = (0, 0, 0_usize);
    while let Some((at, token)) = lexer.read() {
        if token.is_symbol(';') && depth == 0 {
            if !tokens.is_empty() {
                all.push(Statement { text: &sql[start..end], at: start, tokens: std::mem::take(&mut tokens) });
            }
            continue;
        }
        if tokens.is_empty() {
            start = at;
        }
        if has_blocks(&tokens) {
            if token.is("begin") || (depth > 0 && token.is("case")) {
                depth += 1;
            } else if token.is("end") {
                depth = depth.saturating_sub(1);
            }
        }
        end = lexer.at;
        tokens.push(token);
    }
    if !tokens.is_empty() {
        all.push(Statement { text: &sql[start..end], at: start, tokens });
    }
    all
}

/// Returns whether a statement may contain statements between `begin` and `end`: triggers of SQLite, and functions whose
/// body is not a text.
fn has_blocks(tokens: &[SqlToken<'_>]) -> bool {
    tokens.first().is_some_and(|first| first.is("create"))
        && tokens.iter().skip(1).take(4).any(|token| token.is_one_of(&["trigger", "function", "procedure"]))
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Returns the next token and the place where it begins.
    fn read(&mut self) -> Option<(usize, SqlToken<'a>)> {
        self.skip_space();
        let (start, rest) = (self.at, &self.sql[self.at..]);
        let first = rest.chars().next()?;
        let (length, token) = match first {
            '\'' => text_token(rest, 0, quoted_length(rest, '\'', false)),
            '"' | '`' => {
                let length = quoted_length(rest, first, false);
                let name = rest[..length].trim_matches(first).replace(&format!("{first}{first}"), &first.to_string());
                (length, SqlToken::Name(name))
            }
            '$' => match dollar_quoted_length(rest) {
                Some(length) => text_token(rest, 0, length),
                None => (1, SqlToken::Symbol('$')),
            },
            _ if is_word_letter(first) => {
                let length = rest.find(|letter| !is_word_letter(letter)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(length);
                if word.eq_ignore_ascii_case("e") && after.starts_with('\'') {
                    text_token(rest, length, length + quoted_length(after, '\'', true))
                } else {
                    (length, SqlToken::Word(word.to_lowercase()))
                }
            }
            _ => (first.len_utf8(), SqlToken::Symbol(first)),
        };
        self.at += length;
        Some((start, token))
    }

    fn skip_space(&mut self) {
        loop {
            let rest = &self.sql[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += comment_length(trimmed);
            } else {
                return;
            }
        }
    }
}

/// Returns the token of a text that ends at `length`, with its quotes removed.
fn text_token(rest: &str, start: usize, length: usize) -> (usize, SqlToken<'_>) {
    (length, SqlToken::Text(rest[start..length].trim_matches('\'')))
}

fn is_word_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Returns the length of a quoted text or name with its quotes, or of all that is left if it has no end.
fn quoted_length(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if has_escapes && letter == '\\' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// Returns the length of a text such as `$body$ … $body$`, or `None` if the text is none.
fn dollar_quoted_length(text: &str) -> Option<usize> {
    let end = text.get(1..)?.find('$')? + 2;
    let (tag, rest) = text.split_at(end);
    let name = tag.trim_matches('$');
    if !name.chars().all(is_word_letter) || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    Some(rest.find(tag).map_or(text.len(), |at| end + at + tag.len()))
}

/// Returns the length of a comment `/* … */`. Comments of PostgreSQL nest.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += letter.len_utf8();
        }
    }
    at
}

/// A place among the tokens of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'t, 'a> {
    rest: &'t [SqlToken<'a>],
}

impl<'t, 'a> Cursor<'t, 'a> {
    pub(super) fn new(tokens: &'t [SqlToken<'a>]) -> Self {
        Self { rest: tokens }
    }

    /// Returns the tokens that are left.
    pub(super) fn rest(&self) -> &'t [SqlToken<'a>] {
        self.rest
    }

    /// Skips these words and returns `true`, or returns `false` if other tokens are next.
    pub(super) fn skip(&mut self, words: &[&str]) -> bool {
        let is_next = self.rest.len() >= words.len() && words.iter().zip(self.rest).all(|(word, token)| token.is(word));
        if is_next {
            self.rest = &self.rest[words.len()..];
        }
        is_next
    }

    /// Skips the next token while it is one of these words.
    pub(super) fn skip_any(&mut self, words: &[&str]) {
        while self.rest.first().is_some_and(|token| token.is_one_of(words)) {
            self.rest = &self.rest[1..];
        }
    }

    /// Skips all tokens up to a word, and the word. Returns `false` if there is none.
    pub(super) fn skip_past(&mut self, word: &str) -> bool {
        let Some(at) = self.rest.iter().position(|token| token.is(word)) else { return false };
        self.rest = &self.rest[at + 1..];
        true
    }

    /// Reads `alter table … rename to …`, and returns the old and the new name of the table.
    pub(super) fn renamed_table(mut self) -> Option<(String, String)> {
        self.skip(&["alter", "table"]).then_some(())?;
        self.skip(&["if", "exists"]);
        self.skip_any(&["only"]);
        let old = self.name()?;
        self.skip(&["rename", "to"]).then_some(())?;
        Some((old, self.name()?))
    }

    /// Reads a word.
    pub(super) fn word(&mut self) -> Option<&'t str> {
        let Some(SqlToken::Word(word)) = self.rest.first() else { return None };
        self.rest = &self.rest[1..];
        Some(word)
    }

    /// Reads a name with the schema before it, if there is one, quoted where needed.
    pub(super) fn name(&mut self) -> Option<String> {
        let mut name = self.simple_name()?;
        while self.rest.first().is_some_and(|token| token.is_symbol('.')) {
            self.rest = &self.rest[1..];
            name = format!("{name}.{}", self.simple_name()?);
        }
        Some(name)
    }

    fn simple_name(&mut self) -> Option<String> {
        let name = match self.rest.first()? {
            SqlToken::Word(word) => word.clone(),
            SqlToken::Name(name) if is_plain(name) => name.clone(),
            SqlToken::Name(name) => format!("\"{}\"", name.replace('"', "\"\"")),
            SqlToken::Text(_) | SqlToken::Symbol(_) => return None,
        };
        self.rest = &self.rest[1..];
        Some(name)
    }
}

/// Returns whether a name means the same without quotes.
fn is_plain(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

/// The arguments of a statement `select omnistack_search('TABLE', 'COLUMN', …)`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SearchIndex<'a> {
    pub(super) table: &'a str,
    pub(super) columns: Vec<&'a str>,
}

impl<'a> SearchIndex<'a> {
    /// Reads a statement. Returns `None` if it is another one, or if it has names that need quotes. On SQLite, where the
    /// names are used, a schema before the table's name has no meaning.
    pub(super) fn of(tokens: &[SqlToken<'a>]) -> Option<Self> {
        let mut at = Cursor::new(tokens);
        at.skip(&["select", "omnistack_search"]).then_some(())?;
        let [open, names @ .., close] = at.rest() else { return None };
        (open.is_symbol('(') && close.is_symbol(')')).then_some(())?;
        let names = at_commas(names).into_iter().map(|argument| match argument {
            [SqlToken::Text(name)] => name.split('.').all(is_plain).then(|| name.rsplit('.').next()).flatten(),
            _ => None,
        });
        let mut names = names.collect::<Option<Vec<_>>>()?.into_iter();
        let (table, columns) = (names.next()?, names.collect::<Vec<_>>());
        (!columns.is_empty()).then_some(Self { table, columns })
    }
}

/// Splits tokens at the commas that are in no parentheses.
pub(super) fn at_commas<'t, 'a>(tokens: &'t [SqlToken<'a>]) -> Vec<&'t [SqlToken<'a>]> {
    let mut depth = 0_i32;
    let is_comma = |token: &SqlToken<'_>| {
        depth += i32::from(token.is_symbol('(')) - i32::from(token.is_symbol(')'));
        depth == 0 && token.is_symbol(',')
    };
    tokens.split(is_comma).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        statements(sql).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_script_is_split_at_the_semicolons_between_statements() {
        for (sql, expected) in [
            ("select 1; select 2", vec!["select 1", "select 2"]),
            ("-- first; not\nselect 1;\n\n/* a /* b; */ ; */ select ';';;", vec!["select 1", "select ';'"]),
            ("select 'it''s; fine'; select 2;", vec!["select 'it''s; fine'", "select 2"]),
            (r"select E'a\'; b'; select 2", vec![r"select E'a\'; b'", "select 2"]),
            ("do $x$ begin; $$ ; end $x$; select 1", vec!["do $x$ begin; $$ ; end $x$", "select 1"]),
            ("create table \"a;b\" (n bigint);", vec!["create table \"a;b\" (n bigint)"]),
            (
                "create trigger keep after update on t begin update s set n = case n when 1 then 2 end; delete from u; end; \
                 select 1",
                vec![
                    "create trigger keep after update on t begin update s set n = case n when 1 then 2 end; delete from u; end",
                    "select 1",
                ],
            ),
            (
                "create function f() returns int return case 1 when 1 then 2 end; select 1",
                vec!["create function f() returns int return case 1 when 1 then 2 end", "select 1"],
            ),
            (
                "create function f() returns int begin atomic select 1; select 2; end; select 1",
                vec!["create function f() returns int begin atomic select 1; select 2; end", "select 1"],
            ),
            ("  -- nothing\n", vec![]),
            ("select 'without an end", vec!["select 'without an end"]),
            ("insert into t values ('ü; ß'); -- é", vec!["insert into t values ('ü; ß')"]),
        ] {
            assert_eq!(texts(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_search_index_is_a_table_and_its_columns() {
        for (sql, expected) in [
            ("select omnistack_search('t', 'name')", Some(("t", vec!["name"]))),
            ("SELECT omnistack_search ( 't' , 'a', 'b' )", Some(("t", vec!["a", "b"]))),
            ("select omnistack_search('main.t', 'name')", Some(("t", vec!["name"]))),
            ("select omnistack_search('t')", None),
            ("select omnistack_search('T', 'name')", None),
            ("select omnistack_search('t', 'name' || 'x')", None),
            ("select omnistack_search('t', 'name'), 1", None),
            ("select omnistack_protect('t')", None),
            ("select 1", None),
        ] {
            let found = SearchIndex::of(&statements(sql)[0].tokens);
            assert_eq!(found.map(|index| (index.table, index.columns)), expected, "{sql}");
        }
    }

    #[test]
    fn names_keep_their_quotes_where_they_need_them() {
        for (sql, expected) in [
            ("projects", "projects"),
            ("Projects", "projects"),
            ("\"projects\"", "projects"),
            ("\"Pro\"\"jects\"", "\"Pro\"\"jects\""),
            ("public . \"Projects\"", "public.\"Projects\""),
        ] {
            let all = statements(sql);
            assert_eq!(Cursor::new(&all[0].tokens).name().as_deref(), Some(expected), "{sql}");
        }
    }
}
