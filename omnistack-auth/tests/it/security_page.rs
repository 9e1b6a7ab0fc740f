//! Tests that the tests named on the page on security exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The texts of rows that name no test.
const WITHOUT_TEST: [&str; 5] =
    ["**not met**", "left to the app", "left to who runs it", "does not apply", "by design"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the file and name of a test: `auth::accounts::lockout::name` is in `omnistack-auth/tests/it`,
/// `auth::src::lockout::name` is beside its code in `src`, and `saas::openapi::name` is in `examples/saas/tests/it`.
fn locate(reference: &str) -> (PathBuf, String) {
    let mut parts: Vec<_> = reference.split("::").collect();
    let name = parts.pop().unwrap().to_owned();
    let mut file = match parts.remove(0) {
        "saas" => root().join("examples/saas"),
        name => root().join(format!("omnistack-{name}")),
    };
    if parts.first() != Some(&"src") {
        file = file.join("tests/it");
    }
    file.extend(&parts);
    (file.with_extension("rs"), name)
}

/// Returns the test names in a text: code spans with a path into a crate.
fn references(text: &str) -> impl Iterator<Item = &str> {
    const CRATES: [&str; 8] =
        ["auth::", "core::", "messaging::", "realtime::", "saas::", "storage::", "testkit::", "webhooks::"];
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|span| CRATES.iter().any(|start| span.starts_with(start)))
}

#[test]
fn every_test_it_names_is_there() {
    let page = fs::read_to_string(root().join("docs/src/security.md")).unwrap();
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut missing = Vec::new();
    let mut named = BTreeSet::new();
    for reference in references(&page) {
        let (file, name) = locate(reference);
        let source = files.entry(file.clone()).or_insert_with(|| fs::read_to_string(&file).unwrap_or_default());
        if !source.contains(&format!("fn {name}(")) {
            missing.push(format!("{reference}, in {}", file.display()));
        }
        named.insert(reference);
    }
    assert!(missing.is_empty(), "docs/src/security.md names tests that are not there:\n{}", missing.join("\n"));
    assert!(named.len() > 80, "{}", named.len());
}

#[test]
fn every_requirement_is_said_to_be_met_or_not() {
    let page = fs::read_to_string(root().join("docs/src/security.md")).unwrap();
    let mut seen = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let inside = row.strip_prefix('|').and_then(|row| row.strip_suffix('|')).unwrap();
        let cells: Vec<_> = inside.split('|').map(str::trim).collect();
        let number = cells[0];
        if !number.starts_with(|letter: char| letter.is_ascii_digit() || letter == '§') {
            continue;
        }
        assert!(seen.insert(number.to_owned()), "{number} is there twice");
        assert_eq!(cells.len(), 4, "{row}");
        let tested = references(row).next().is_some();
        let told = WITHOUT_TEST.iter().any(|words| row.contains(words));
        assert!(tested || told, "{number} names no test, and doesn't say why: {row}");
    }
    // Chapters 6 to 10 of ASVS 5.0.0 are complete.
    for (section, count) in [
        ("6.1", 3),
        ("6.2", 12),
        ("6.3", 8),
        ("6.4", 6),
        ("6.5", 8),
        ("6.6", 4),
        ("6.7", 2),
        ("6.8", 4),
        ("7.1", 3),
        ("7.2", 4),
        ("7.3", 2),
        ("7.4", 5),
        ("7.5", 3),
        ("7.6", 2),
        ("8.1", 4),
        ("8.2", 4),
        ("8.3", 3),
        ("8.4", 2),
        ("9.1", 3),
        ("9.2", 4),
        ("10.1", 2),
        ("10.2", 3),
        ("10.3", 5),
        ("10.5", 5),
    ] {
        for number in 1..=count {
            let number = format!("{section}.{number}");
            assert!(seen.contains(&number), "{number} is missing");
        }
    }
}
