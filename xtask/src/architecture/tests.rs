use std::fs;

use super::{check, code::Code, document::Document, imports, run};
use crate::{folder::TempFolder, source::Source};

const TABLES: &str = "# Architecture\n\n\
    ### Crates, bottom up\n\n| level | crate | contents |\n|---|---|---|\n| 1 | `omnistack-core` | `Core` |\n\
    | 2 | `omnistack-a`, `omnistack-b` | |\n| 3 | `omnistack` | |\n| 4 | `examples/*` | |\n\n\
    ### Rooms of `omnistack-core`\n\n| room | contents |\n|---|---|\n| `id`, `db` | `rows.rs` |\n| `http` | |\n\n\
    ### Rooms of `omnistack-a`\n\n| room | contents |\n|---|---|\n| `files` | |\n";

/// A repository with two feature crates, of which `omnistack-b` has no rooms.
struct Repository(TempFolder);

impl Repository {
    fn new() -> Self {
        let repository = Self(TempFolder::create("architecture").expect("a folder"));
        repository.plant("docs/ARCHITECTURE.md", TABLES);
        repository.plant(
            "omnistack-core/src/lib.rs",
            "//! Core.\npub mod db;\npub mod http;\nmod id;\n#[cfg(test)]\nmod tests;\n\npub use http::error::Error;\n\
             pub use id::Id;\n",
        );
        repository.plant("omnistack-core/src/id.rs", "pub struct Id;\n");
        repository.plant("omnistack-core/src/db.rs", "mod rows;\n\nuse crate::Id;\npub use self::rows::Rows;\n");
        repository.plant("omnistack-core/src/db/rows.rs", "pub struct Rows(super::super::id::Id);\n");
        repository.plant(
            "omnistack-core/src/http.rs",
            "pub mod error;\n\nuse crate::{db::{self, Rows}, id::*};\n\n#[macro_export]\nmacro_rules! respond {\n    \
             () => { $crate::http::error::Error };\n}\n",
        );
        repository.plant("omnistack-core/src/http/error.rs", "use super::Rows;\n\npub struct Error;\n");
        repository.plant("omnistack-a/src/lib.rs", "mod files;\n");
        repository.plant("omnistack-a/src/files.rs", "use omnistack_core::db::Db;\n");
        repository.plant("omnistack-b/src/lib.rs", "pub use omnistack_core::Id;\n");
        repository.plant("omnistack/src/lib.rs", "pub use omnistack_a as a;\npub use omnistack_core::*;\n");
        repository.plant("examples/app/src/main.rs", "fn main() { omnistack::run(omnistack_a::Files) }\n");
        repository.plant("xtask/src/main.rs", "mod missing;\n");
        repository
    }

    fn plant(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Returns each finding's place and rule.
    fn findings(&self) -> Vec<String> {
        let findings = check(self.0.path()).expect("readable");
        findings.iter().map(|found| format!("{}:{} {}", found.path, found.line, found.rule)).collect()
    }
}

#[test]
fn a_repository_in_order_has_no_findings() {
    let repository = Repository::new();
    assert_eq!(repository.findings(), [] as [&str; 0]);
    assert_eq!(run(repository.0.path()).expect("no findings"), "");
}

#[test]
fn an_import_from_a_higher_room_is_found() {
    for (code, expected) in [
        ("use crate::http::error::Error;", vec![3]),
        ("use crate::{id, http::{self,\n    error::{Error}}};", vec![3, 4]),
        ("use super::super::http;", vec![3]),
        ("use crate::Error as Failed;", vec![3]),
        ("fn a() -> crate::Error { b }", vec![3]),
        ("fn a() { let b: Vec<crate::http::Page> = c; }", vec![3]),
        ("fn a() { b!(1, crate::http::Page::new()) }", vec![3]),
        ("fn a() { crate::respond!() }", vec![3]),
        ("fn a() { <u8 as crate::http::Page>::b() }", vec![3]),
        ("macro_rules! a { () => { $crate::http::Page } }", vec![3]),
        ("#[b(c = crate::http::Page)]\nstruct A;", vec![3]),
        ("#[cfg(feature = \"a\")]\nuse crate::http::Page;", vec![4]),
        ("#[cfg(any(test, feature = \"a\"))]\nuse crate::http::Page;", vec![4]),
        ("#[cfg(not(test))]\nuse crate::http::Page;", vec![4]),
        ("mod a {\n    use super::super::super::http::Page;\n}", vec![4]),
        ("mod a {}\nuse super::super::http::Page;", vec![4]),
        ("#[cfg(test)]\nmod tests { use crate::http::Page; }\nuse crate::http::Page;", vec![5]),
        (
            "#[cfg(test)]\nuse crate::http::{Page};\n#[cfg(test)]\nconst A: [u8; 1] = [0];\nuse crate::http::Page;",
            vec![7],
        ),
        ("struct A {\n    #[cfg(test)]\n    a: crate::http::Page,\n    b: crate::http::Page,\n}", vec![6]),
        ("#[cfg(test)]\n#[a]\nfn a<B, C>() -> crate::http::Page { b }\nfn b() -> crate::http::Page { c }", vec![6]),
        ("#[cfg(all(test, feature = \"a\"))]\nmod tests {\n    use crate::http::Page;\n}", vec![]),
        ("#![cfg(test)]\nuse crate::http::Page;", vec![]),
        ("/// [`Page`](crate::http::Page)\nstruct A;", vec![]),
        ("// crate::http::Page\nconst A: &str = \"crate::http::Page\";", vec![]),
        ("pub(in crate::http) struct A;", vec![]),
        ("fn a() { b::http::Page; c.http::<u8>(); }", vec![]),
        ("use crate::db::http::Page;\nuse self::http::Page;\nuse super::http::Page;\nuse http::Page;", vec![]),
        ("fn a() -> impl B + use<'_> { b }\nuse crate::id::Id;", vec![]),
    ] {
        let repository = Repository::new();
        repository.plant("omnistack-core/src/db/rows.rs", &format!("pub struct Rows;\n\n{code}\n"));
        let expected: Vec<String> =
            expected.iter().map(|line| format!("omnistack-core/src/db/rows.rs:{line} upward-import")).collect();
        assert_eq!(repository.findings(), expected, "{code}");
    }
}

#[test]
fn an_upward_import_is_reported_with_both_files_and_the_path() {
    let repository = Repository::new();
    repository.plant("omnistack-core/src/db/rows.rs", "\npub struct Rows(crate::Error);\n");
    let message = run(repository.0.path()).expect_err("a finding").to_string();
    assert!(
        message.starts_with(
            "omnistack-core/src/db/rows.rs:2: upward-import: `db` imports `crate::Error` from the higher room `http` \
             (omnistack-core/src/http/error.rs:3)"
        ),
        "{message}"
    );
    assert!(message.ends_with("\narchitecture: 1 findings (upward-import 1)"), "{message}");
}

#[test]
fn rooms_and_crates_that_only_one_side_knows_are_found() {
    let repository = Repository::new();
    repository.plant("omnistack-core/src/lib.rs", "pub mod db;\npub mod id;\n\npub mod log {}\n");
    repository.plant("omnistack-b/src/lib.rs", "mod files;\n");
    repository.plant("omnistack-b/src/files.rs", "");
    repository.plant("omnistack-c/src/lib.rs", "");
    let tables = TABLES.replace("| 3 | `omnistack` |", "| 3 | `omnistack`, `omnistack-d` |");
    let files = "`rows.rs`, `db/rows.rs`, `ws.rs`, `http/rows.rs`";
    repository.plant("docs/ARCHITECTURE.md", &format!("{tables}\n{files}\n"));
    repository.plant("omnistack-core/src/db.rs", "mod rows;\n");
    let expected = [
        "docs/ARCHITECTURE.md:9 missing",
        "docs/ARCHITECTURE.md:17 missing",
        "docs/ARCHITECTURE.md:25 missing",
        "docs/ARCHITECTURE.md:25 missing",
        "omnistack-b/src/lib.rs:1 unlisted",
        "omnistack-c/src/lib.rs:1 unlisted",
        "omnistack-core/src/lib.rs:4 unlisted",
    ];
    assert_eq!(repository.findings(), expected);
}

#[test]
fn an_import_of_a_crate_that_is_not_lower_is_found() {
    for (path, code, expected) in [
        ("omnistack-core/src/id.rs", "pub struct Id;\nuse omnistack_a::Files;", vec![2]),
        ("omnistack-core/src/id.rs", "pub struct Id(omnistack::a::Files);", vec![1]),
        ("omnistack-a/src/files.rs", "use ::omnistack_b::{Files, Files as Other};", vec![1]),
        ("omnistack/src/lib.rs", "pub use app::Main;", vec![]),
        ("omnistack-a/src/files.rs", "#[cfg(test)]\nmod tests { use omnistack_b::Files; }", vec![]),
        ("omnistack-a/tests/it/main.rs", "use omnistack_b::Files;", vec![]),
    ] {
        let repository = Repository::new();
        repository.plant(path, code);
        let found = repository.findings();
        let expected: Vec<String> = expected.iter().map(|line| format!("{path}:{line} crate-order")).collect();
        assert_eq!(found, expected, "{code}");
    }
}

#[test]
fn a_use_tree_is_read_to_its_paths_and_names() {
    let source = Source::scan(
        "omnistack-x/src/lib.rs".to_owned(),
        "pub(crate) use a::{self, b::{C as D, e::*}, f,};\nmod g { use super::h; }",
    );
    let (imports, submodules) = imports::read(&Code::select(&source));
    let read: Vec<(String, &str)> =
        imports.iter().map(|import| (import.path.join("::"), import.alias.as_deref().unwrap_or_default())).collect();
    let expected = [("a", "a"), ("a::b::C", "D"), ("a::b::e", "*"), ("a::f", "f"), ("super::h", "h")];
    assert_eq!(read, expected.map(|(path, name)| (path.to_owned(), name)));
    assert_eq!(imports[4].scope, ["g"]);
    assert_eq!(submodules.iter().map(|module| module.path.join("::")).collect::<Vec<_>>(), ["g"]);
}

#[test]
fn the_tables_of_the_document_are_read_in_order() {
    let document = Document::parse(TABLES);
    assert_eq!(document.level("omnistack-core"), Some(1));
    assert_eq!(document.level("examples/app"), Some(4));
    assert_eq!(document.level("examples/"), None);
    let rooms: Vec<(&str, usize)> =
        document.rooms("omnistack-core").iter().map(|entry| (entry.name.as_str(), entry.line)).collect();
    assert_eq!(rooms, [("id", 16), ("db", 16), ("http", 17)]);
}
