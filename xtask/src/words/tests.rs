use std::fs;

use super::{check, declarations, docs, glossary, names, prose, run};
use crate::{
    finding::Finding,
    folder::TempFolder,
    source::{Source, TokenKind},
};

fn scan(text: &str) -> Source {
    Source::scan("omnistack-x/src/lib.rs".to_owned(), text)
}

fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}

/// Writes `banned` in place of `{}`: this file passes the check itself.
fn with_banned(text: &str) -> String {
    text.replace("{}", "Nobody")
}

#[test]
fn sources_are_scanned_to_tokens() {
    use TokenKind::{Comment, Doc, InnerDoc, Literal, Symbol, Word};
    let word = |text: &str| Word(text.to_owned());
    for (text, expected) in [
        ("//! In", vec![InnerDoc(" In".to_owned())]),
        ("/// Of", vec![Doc(" Of".to_owned())]),
        ("//// no doc", vec![Comment("// no doc".to_owned())]),
        ("// \"a\" 'b", vec![Comment(" \"a\" 'b".to_owned())]),
        ("/* a /* b */ c */ d", vec![Comment(" a /* b */ c ".to_owned()), word("d")]),
        ("/** a\n * b */", vec![Doc(" a".to_owned()), Doc(" b ".to_owned())]),
        (r#""a \"b\" // c""#, vec![Literal("a \"b\" // c".to_owned())]),
        ("\"a\\n\\\n b\"", vec![Literal("a \n b".to_owned())]),
        ("r#\"a \"b\" \\\"#", vec![Literal("a \"b\" \\".to_owned())]),
        ("br\"a\" b\"b\"", vec![Literal("a".to_owned()), Literal("b".to_owned())]),
        ("r#type", vec![word("r"), Symbol('#'), word("type")]),
        ("'a' '\\'' '\"' b'c'", vec![Symbol('\''); 4]),
        ("'\\u{1F600}' x", vec![Symbol('\''), word("x")]),
        ("&'a str", vec![Symbol('&'), word("'a"), word("str")]),
        ("\"not closed", vec![Literal("not closed".to_owned())]),
    ] {
        let kinds: Vec<TokenKind> = scan(text).tokens.into_iter().map(|token| token.kind).collect();
        assert_eq!(kinds, expected, "{text}");
    }
    let source = scan("a\n\"b\nc\"\n/* d\ne */\nf");
    assert_eq!(source.tokens.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
}

#[test]
fn banned_subjects_are_found_in_the_prose_of_sources() {
    for (text, expected) in [
        ("/// {} signs in.", vec![1]),
        ("//! A user.\n//!\n//! {} else.", vec![3]),
        ("let a = 1; // {}'s row", vec![1]),
        ("/* One.\n{} */", vec![2]),
        ("let a = \"\\\n    {} signs in\";", vec![2]),
        ("let a = r#\"\n\n{} signs in\"#;", vec![3]),
        ("let a = \"{} signs\";", vec![]),
        ("/// Calls `{}`.", vec![]),
        ("/// Calls `{} and\n/// {}`, then {}.", vec![2]),
        ("/// A ` and {}.", vec![1]),
        ("/// Sends to {}@example.com and {}_else and a/{}.", vec![]),
        ("/// ```\n/// // {} else\n/// ```\n/// {}.", vec![4]),
        ("fn {}() {}", vec![]),
    ] {
        let text = with_banned(text);
        assert_eq!(lines(&prose::banned_subjects("a.rs", &prose::in_source(&scan(&text)))), expected, "{text}");
    }
    for word in prose::BANNED_SUBJECTS {
        let findings = prose::banned_subjects("a.rs", &prose::in_source(&scan(&format!("/// It is {word}."))));
        assert!(findings[0].to_string().starts_with(&format!("a.rs:1: banned-subject: \"{word}\"")), "{findings:?}");
    }
}

#[test]
fn banned_subjects_are_found_in_markdown_outside_code() {
    for (text, expected) in [
        ("# For {}\n\nText.", vec![1]),
        ("| a | {} |", vec![1]),
        ("One `line`,\n{} else.", vec![2]),
        ("```sh\n{} else\n```\n{}", vec![4]),
        ("~~~\n{} else\n", vec![]),
        ("Run:\n\n    cargo # {}\n    again # {}\n\nThen {}.", vec![6]),
        ("- One\n\n    {} in the item", vec![3]),
        ("1. One\n    {} in the item", vec![2]),
        ("A paragraph\n    {} in the paragraph", vec![2]),
        ("**Bold.**\n\n    {} in code", vec![]),
    ] {
        let text = with_banned(text);
        assert_eq!(lines(&prose::banned_subjects("a.md", &prose::in_markdown(&text))), expected, "{text}");
    }
}

#[test]
fn docs_that_open_with_a_fragment_are_found() {
    for (text, expected) in [
        ("/// Of [`App`].\nstruct A;", vec![1]),
        ("fn a() {}\n\n/// Whether it is.\n/// As it says.\nfn b() {}", vec![3]),
        ("struct A {\n    /// How long, at most.\n    a: u8,\n}", vec![2]),
        ("/// Whose: the user's.", vec![1]),
        ("/// Whether it is.\n#[must_use = \"a\"]\n// Why.\npub(in crate::a) const fn a() -> bool {}", vec![1]),
        ("/// Whether it is.\nunsafe extern \"C\" fn a() -> bool {}", vec![1]),
        ("struct A {\n    /// Whether it is.\n    #[serde(default)]\n    pub(crate) a: bool,\n}", vec![]),
        ("struct A {\n    /// Whether it is.\n    a: fn() -> bool,\n}\nfn b() {}", vec![]),
        ("enum A {\n    /// Whether it is.\n    Is(bool),\n}\nfn b() {}", vec![]),
        ("/// Whether it is.\npub const A: bool = true;\n/// Whether it is.\nstatic B: bool = true;", vec![]),
        ("/// Returns whether it is.\n/// Of two.", vec![]),
        ("/// When it ended.", vec![]),
        ("/// Offers a link.", vec![]),
        ("/// `with` sets it.", vec![]),
        ("//! How it works.", vec![]),
        ("// Of two.", vec![]),
    ] {
        assert_eq!(lines(&docs::fragments(&scan(text))), expected, "{text}");
    }
    for word in docs::FRAGMENT_OPENERS {
        assert_eq!(lines(&docs::fragments(&scan(&format!("/// {word} it\nfn a() {{}}")))), [1], "{word}");
    }
}

#[test]
fn results_without_a_section_for_errors_are_found() {
    let documented =
        "/// Reads.\n///\n/// # Errors\n///\n/// Never.\n#[must_use = \"a\"]\n// Why.\npub fn a() -> Result<u8> {}";
    for (text, expected) in [
        ("/// Reads.\npub fn a() -> Result<u8> {}", vec![2]),
        ("pub async fn a(&self) -> io::Result<()> where T: Copy {}", vec![1]),
        ("pub fn a<F: Fn() -> u8>(f: F) -> std::result::Result<u8, F> {}", vec![1]),
        ("pub fn a() -> impl Future<Output = Result<u8>> + Send {}", vec![1]),
        ("/// # Errors\npub fn a() {}\npub fn b() -> Result {}", vec![3]),
        ("impl A {\n/// Reads.\n#[a(b[0])]\npub const fn a() -> Result {}\n}", vec![4]),
        ("pub(crate) fn a() -> Result<u8> {}", vec![]),
        ("fn a() -> Result<u8> {}", vec![]),
        ("pub fn a() -> Option<Result<u8>> {}", vec![]),
        ("pub fn a(f: impl Fn() -> Result<u8>) -> u8 {}", vec![]),
        ("pub fn a() {}\nfn b() -> Result {}", vec![]),
        (documented, vec![]),
    ] {
        assert_eq!(lines(&docs::missing_errors(&scan(text))), expected, "{text}");
    }
}

#[test]
fn constants_named_by_a_quantifier_are_found() {
    for (text, expected) in [
        ("const MOST: u8 = 1;", vec![1]),
        ("impl A {\n    pub const MOST_: u8 = 1;\n}", vec![2]),
        ("fn a() {\n    static mut TRIES: u8 = 1;\n}", vec![2]),
        ("const MOST_ROWS: u8 = 1;", vec![]),
        ("const MAX_TRIES: u8 = MOST;", vec![]),
        ("let a = A { most: MOST };", vec![]),
    ] {
        assert_eq!(lines(&names::bare_constants(&scan(text))), expected, "{text}");
    }
    for name in names::BARE_CONSTANTS {
        assert_eq!(lines(&names::bare_constants(&scan(&format!("pub(crate) const {name}: u8 = 1;")))), [1], "{name}");
    }
}

#[test]
fn types_declared_twice_in_a_crate_are_found() {
    for (text, expected) in [
        ("struct Page;", vec![1]),
        ("pub(crate) enum Page {}", vec![1]),
        ("type Page<T> = Vec<T>;", vec![1]),
        ("mod a {\n    trait Page {}\n}", vec![2]),
        ("core::section! {\n    /// Doc.\n    pub struct Page {}\n}", vec![3]),
        ("struct One;\nstruct Two;\nenum One {}", vec![3]),
        ("fn a() { struct Page; }", vec![]),
        ("impl A for B { type Page = u8; }", vec![]),
        ("trait A { type Page; }", vec![]),
        ("#[cfg(test)]\nmod tests { struct Page; }", vec![]),
        ("#[cfg(all(test, feature = \"a\"))]\nstruct Page;", vec![]),
        ("#[cfg(not(test))]\nstruct Page;", vec![2]),
        ("#[cfg(feature = \"a\")]\nstruct Page;", vec![2]),
        ("#[cfg(not(feature = \"a\"))]\ntype Page = u8;", vec![]),
        ("macro_rules! a { () => { struct Page; } }", vec![]),
        ("// struct Page;\nconst A: &str = \"struct Page;\";", vec![]),
    ] {
        let sources = [Source::scan("omnistack-x/src/a.rs".to_owned(), "\nstruct Page;"), scan(text)];
        assert_eq!(lines(&declarations::repeated_types(&sources)), expected, "{text}");
    }
    let sources = ["x/src/a.rs", "x/src/a/tests.rs", "x/src/tests/it.rs"];
    let sources = sources.map(|path| Source::scan(path.to_owned(), "struct Page;"));
    assert_eq!(declarations::repeated_types(&sources), []);
    let sources = ["omnistack-core/src/a.rs", "omnistack-core/src/b.rs"];
    let sources = sources.map(|path| Source::scan(path.to_owned(), "pub enum Error {}"));
    assert_eq!(declarations::repeated_types(&sources), []);
}

#[test]
fn types_named_by_a_participle_or_pronoun_are_found() {
    for (text, expected) in [
        ("#[derive(Debug)]\npub struct Said(u8);", vec![2]),
        ("type Whose = u8;", vec![1]),
        ("struct SaidTwice;", vec![]),
        ("impl A for B { type Kind = u8; }", vec![]),
    ] {
        assert_eq!(lines(&declarations::bare_types(&scan(text))), expected, "{text}");
    }
    for name in declarations::BARE_TYPES {
        assert_eq!(lines(&declarations::bare_types(&scan(&format!("enum {name} {{}}")))), [1], "{name}");
    }
}

#[test]
fn names_of_the_glossary_that_no_source_contains_are_found() {
    for (text, expected) in [
        ("| term | meaning | source |\n|---|---|---|\n| page | a `Page`, from `Pages` | – |", vec![3]),
        ("| `page::Pages` | a list | – |", vec![1]),
        (
            "| page | a page `/pages/{id}` with the code `PAGE`, `operationId`, `X-Page: Sheet`, `Forwarded` | axum (`MatchedPath`) |",
            vec![],
        ),
        ("A `Sheet` in prose.", vec![]),
    ] {
        let pages =
            [("docs/src/glossary.md".to_owned(), text.to_owned()), ("docs/src/a.md".to_owned(), text.to_owned())];
        let findings = glossary::unknown_names(&pages, &[vec![scan("struct Page;")]]);
        assert_eq!(lines(&findings), expected, "{text}");
    }
}

#[test]
fn a_planted_example_of_each_rule_fails_with_its_file_and_line() {
    let folder = TempFolder::create("words").expect("a folder");
    let plant = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    plant("README.md", "# A\n\nA user signs in.\n");
    plant("omnistack-x/src/lib.rs", "//! A crate.\n\n/// A page.\npub struct Page;\n");
    plant("omnistack-x/tests/it/main.rs", &with_banned("//! {} reads this file.\n"));
    plant("target/doc/a.md", &with_banned("{} reads this file.\n"));
    assert_eq!(run(folder.path()).expect("no findings"), "");

    plant("docs/src/guide/a.md", &with_banned("# A\n\n{} signs in.\n"));
    plant("CHANGELOG.md", &with_banned("{}\n"));
    plant("omnistack/src/lib.rs", &with_banned("\n// {} signs in.\n"));
    plant("omnistack-x/src/a/b.rs", "\n\n/// Of a user.\nstruct Page;\n");
    plant("docs/src/glossary.md", "| page | a `Sheet` | – |\n");
    plant("xtask/src/main.rs", "const MOST: u8 = 1;\n");
    plant("examples/saas/src/main.rs", "struct Said;\n");
    plant("templates/saas/src/lib.rs", "pub fn read() -> Result {}\n");
    let found: Vec<String> = check(folder.path())
        .expect("readable")
        .iter()
        .map(|found| format!("{}:{} {}", found.path, found.line, found.rule))
        .collect();
    let expected = [
        "CHANGELOG.md:1 banned-subject",
        "docs/src/glossary.md:1 unknown-name",
        "docs/src/guide/a.md:3 banned-subject",
        "examples/saas/src/main.rs:1 bare-type",
        "omnistack-x/src/lib.rs:4 repeated-type",
        "omnistack-x/src/a/b.rs:3 doc-fragment",
        "omnistack/src/lib.rs:2 banned-subject",
        "templates/saas/src/lib.rs:1 missing-errors",
        "xtask/src/main.rs:1 bare-constant",
    ];
    for finding in expected {
        assert!(found.iter().any(|found| found == finding), "{finding} is missing in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let message = run(folder.path()).expect_err("findings").to_string();
    assert!(
        message.contains("\nomnistack-x/src/a/b.rs:3: doc-fragment: the doc opens with the fragment \"Of\""),
        "{message}"
    );
    assert!(
        message.ends_with(
            "banned-subject 3, bare-constant 1, bare-type 1, doc-fragment 1, missing-errors 1, repeated-type 1, \
             unknown-name 1)"
        ),
        "{message}"
    );
}
