//! The paths and the modules in the code of a file.

use super::code::Code;

/// A path in the code, as written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// The line of its last name.
    pub(super) line: usize,
    /// Its names; those of `use a::{self, b::*}` are `a` and `a::b`.
    pub(super) path: Vec<String>,
    /// The path of the module of the code, within the file.
    pub(super) scope: Vec<String>,
    /// The name that a `use` declaration declares; `None` for a path in an expression.
    pub(super) alias: Option<String>,
}

/// A `mod` declaration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submodule {
    /// Its line.
    pub(super) line: usize,
    /// Its path within the file.
    pub(super) path: Vec<String>,
    /// Whether the module's code is in another file.
    pub(super) is_file: bool,
}

/// Reads the imports and the modules of a file, in order.
pub(super) fn read(code: &Code<'_>) -> (Vec<Import>, Vec<Submodule>) {
    let mut reader = Reader { code, scopes: Vec::new(), imports: Vec::new(), submodules: Vec::new() };
    let mut index = 0;
    while index < code.len() {
        index = reader.read_token(index);
    }
    (reader.imports, reader.submodules)
}

/// Returns the path from the crate's root of what a path names in `module`: `crate` first, or the name of another
/// crate. Returns `None` for a path that begins with a name in scope: the import of that name is a path of its own.
pub(super) fn resolve(path: &[String], module: &[String], is_crate: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let first = path.first()?;
    let root = "crate".to_owned();
    match first.as_str() {
        "crate" => Some(path.to_vec()),
        "self" => Some([&[root], module, &path[1..]].concat()),
        "super" => {
            let steps = path.iter().take_while(|name| *name == "super").count();
            let parent = &module[..module.len().checked_sub(steps)?];
            Some([&[root], parent, &path[steps..]].concat())
        }
        name => is_crate(name).then(|| path.to_vec()),
    }
}

struct Reader<'a> {
    code: &'a Code<'a>,
    /// The blocks around the current position: a module's name, or `None` for any other block.
    scopes: Vec<Option<String>>,
    imports: Vec<Import>,
    submodules: Vec<Submodule>,
}

impl Reader<'_> {
    /// Reads what begins at `index`, and returns the position behind it.
    fn read_token(&mut self, index: usize) -> usize {
        let word = self.code.word(index);
        if word == Some("use") && !self.code.is_symbol(index + 1, '<') {
            return self.read_use_tree(index + 1, &[]);
        }
        if word == Some("mod") {
            self.read_submodule(index);
        } else if word.is_some() && self.code.is_separator(index + 1) {
            return self.read_path(index);
        } else if self.code.is_symbol(index, '{') {
            let is_module = index > 1 && self.code.word(index - 2) == Some("mod");
            let name = self.code.word(index.saturating_sub(1)).map(str::to_owned);
            self.scopes.push(name.filter(|_| is_module));
        } else if self.code.is_symbol(index, '}') {
            self.scopes.pop();
        }
        index + 1
    }

    fn read_submodule(&mut self, index: usize) {
        let Some(name) = self.code.word(index + 1) else { return };
        let is_file = self.code.is_symbol(index + 2, ';');
        if is_file || self.code.is_symbol(index + 2, '{') {
            let mut path = self.scope();
            path.push(name.to_owned());
            self.submodules.push(Submodule { line: self.code.line(index), path, is_file });
        }
    }

    /// Reads a path outside `use`. A path behind `::` or `in` is the end of a qualified one, or a visibility.
    fn read_path(&mut self, start: usize) -> usize {
        let mut path = Vec::new();
        let mut index = start;
        path.extend(self.code.word(index).map(str::to_owned));
        while self.code.is_separator(index + 1) {
            let Some(name) = self.code.word(index + 3) else { break };
            path.push(name.to_owned());
            index += 3;
        }
        let continues = start > 1 && self.code.is_separator(start - 2);
        let is_visibility = start > 1 && self.code.word(start - 1) == Some("in") && self.code.is_symbol(start - 2, '(');
        if !continues && !is_visibility {
            let (line, scope) = (self.code.line(index), self.scope());
            self.imports.push(Import { line, path, scope, alias: None });
        }
        index + 1
    }

    /// Reads one tree, whose names follow those of `prefix`.
    fn read_use_tree(&mut self, mut index: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        let mut last = None;
        let mut alias = None;
        while index < self.code.len() {
            if self.code.word(index) == Some("as") {
                alias = self.code.word(index + 1).map(str::to_owned);
                index += 1;
            } else if let Some(name) = self.code.word(index) {
                last = Some(index);
                if name != "self" || path.is_empty() {
                    path.push(name.to_owned());
                }
            } else if self.code.is_symbol(index, '*') {
                last = Some(index);
                alias = Some("*".to_owned());
            } else if self.code.is_symbol(index, '{') {
                while index < self.code.len() && !self.code.is_symbol(index, '}') {
                    index = self.read_use_tree(index + 1, &path);
                }
                return index + 1;
            } else if !self.code.is_symbol(index, ':') && !self.code.is_symbol(index, '$') {
                break;
            }
            index += 1;
        }
        // After the last comma of a list there is no path.
        if let Some(last) = last {
            let (line, scope) = (self.code.line(last), self.scope());
            let alias = alias.or_else(|| path.last().cloned());
            self.imports.push(Import { line, path, scope, alias });
        }
        index
    }

    fn scope(&self) -> Vec<String> {
        self.scopes.iter().flatten().cloned().collect()
    }
}
