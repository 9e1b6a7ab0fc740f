//! [`Krate`], the modules of a crate and what they import.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use super::{
    code::Code,
    imports::{self, Import},
};
use crate::{failure::Result, files, source::Source};

/// The longest chain of re-exports that is followed.
const MAX_REEXPORTS_OF_AN_ITEM: usize = 8;

/// The library and the program of one crate, read from its sources.
#[derive(Debug)]
pub(super) struct Krate {
    /// The folder, relative to the root of the repository.
    pub(super) folder: String,
    /// The modules in files of their own.
    pub(super) modules: Vec<Module>,
    /// The rooms with the line of their declaration.
    pub(super) rooms: BTreeMap<String, usize>,
    /// The names that the root re-exports, and the macros of the root, each with the path of the item.
    exports: HashMap<String, Vec<String>>,
}

/// A module in a file of its own.
#[derive(Debug)]
pub(super) struct Module {
    /// The path of the module, without `crate`; empty for the root.
    pub(super) path: Vec<String>,
    /// The file.
    pub(super) source: Source,
    /// The paths in its code.
    imports: Vec<Import>,
}

impl Krate {
    /// Reads the modules that `src/lib.rs` and `src/main.rs` of `folder` declare outside tests. Fails if a file can't be
    /// read.
    pub(super) fn read(root: &Path, folder: &Path) -> Result<Self> {
        let name = folder.strip_prefix(root).unwrap_or(folder).display().to_string();
        let mut krate = Self { folder: name, modules: Vec::new(), rooms: BTreeMap::new(), exports: HashMap::new() };
        for file in ["lib.rs", "main.rs"] {
            if folder.join("src").join(file).is_file() {
                krate.read_module(root, &folder.join("src"), file, &[])?;
            }
        }
        Ok(krate)
    }

    /// Returns the name of the crate in paths.
    pub(super) fn identifier(&self) -> String {
        self.folder.replace('-', "_")
    }

    /// Returns each import with the module that contains it. Its path begins with `crate` or the name of another crate.
    pub(super) fn imports(&self) -> impl Iterator<Item = (&Module, Import)> {
        self.modules.iter().flat_map(|module| {
            module.imports.iter().filter_map(move |import| {
                let scope = [module.path.as_slice(), &import.scope].concat();
                let path = imports::resolve(&import.path, &scope, |name| name.starts_with("omnistack"))?;
                Some((module, Import { line: import.line, path, scope, alias: None }))
            })
        })
    }

    /// Returns the room of what a path names: through the re-exports of the root, which is no room.
    pub(super) fn room_of(&self, path: &[String]) -> Option<String> {
        let name = self.follow(path)?.first()?.clone();
        self.rooms.contains_key(&name).then_some(name)
    }

    /// Returns the file and the line that declare what a path names, past re-exports.
    pub(super) fn place_of(&self, path: &[String]) -> (String, usize) {
        let mut path = self.follow(path).unwrap_or_default();
        for _ in 0..MAX_REEXPORTS_OF_AN_ITEM {
            let Some(target) = self.reexported(&path) else { break };
            path = target;
        }
        let Some((module, rest)) = self.module_of(&path) else { return (self.folder.clone(), 1) };
        let line = rest.first().and_then(|name| Code::select(&module.source).line_of(name));
        (module.source.path.clone(), line.unwrap_or(1))
    }

    /// Returns the innermost module on a path, and the names behind it.
    fn module_of<'a>(&self, path: &'a [String]) -> Option<(&Module, &'a [String])> {
        let on_path = self.modules.iter().filter(|module| path.starts_with(&module.path));
        let module = on_path.max_by_key(|module| module.path.len())?;
        Some((module, &path[module.path.len()..]))
    }

    /// Returns the path that a module on `path` re-exports under the next name; `None` if it declares the item itself.
    fn reexported(&self, path: &[String]) -> Option<Vec<String>> {
        let (module, rest) = self.module_of(path)?;
        let (name, rest) = rest.split_first()?;
        let is_named = |import: &&Import| import.scope.is_empty() && import.alias.as_ref() == Some(name);
        let import = module.imports.iter().find(is_named)?;
        let target = imports::resolve(&import.path, &module.path, |_| false);
        let target = target.map_or_else(|| [&module.path, import.path.as_slice()].concat(), |path| path[1..].to_vec());
        Some([target.as_slice(), rest].concat())
    }

    /// Returns the path of an item without `crate`, past a re-export of the root; `None` for an item of another crate.
    fn follow(&self, path: &[String]) -> Option<Vec<String>> {
        let (root, rest) = path.split_first()?;
        if root != "crate" {
            return None;
        }
        let exported =
            rest.first().filter(|name| !self.rooms.contains_key(*name)).and_then(|name| self.exports.get(name));
        Some(exported.map_or_else(|| rest.to_vec(), |target| [target.as_slice(), &rest[1..]].concat()))
    }

    fn read_module(&mut self, root: &Path, src: &Path, file: &str, path: &[String]) -> Result<()> {
        let (name, text) = files::read(root, &src.join(file))?;
        let source = Source::scan(name, &text);
        let code = Code::select(&source);
        let (imports, submodules) = imports::read(&code);
        for name in code.exported_macros() {
            self.exports.entry(name.to_owned()).or_insert_with(|| [path, &[name.to_owned()]].concat());
        }
        if path.is_empty() {
            let declarations = submodules.iter().filter(|submodule| submodule.path.len() == 1);
            self.rooms.extend(declarations.map(|submodule| (submodule.path[0].clone(), submodule.line)));
            for import in imports.iter().filter(|import| import.scope.is_empty()) {
                let target = import.path.iter().skip_while(|name| matches!(name.as_str(), "crate" | "self"));
                self.exports.extend(import.alias.clone().map(|alias| (alias, target.cloned().collect())));
            }
        }
        self.modules.push(Module { path: path.to_vec(), source, imports });
        for submodule in submodules.into_iter().filter(|submodule| submodule.is_file) {
            let path = [path, &submodule.path].concat();
            let file = path.join("/");
            let flat = format!("{file}.rs");
            let file = if src.join(&flat).is_file() { flat } else { format!("{file}/mod.rs") };
            self.read_module(root, src, &file, &path)?;
        }
        Ok(())
    }
}
