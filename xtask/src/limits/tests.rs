//! Tests of the check of limits.

use super::check;
use crate::source::Source;

/// Returns the limits that the check demands of fields in a struct, in the order of its findings.
fn missing(fields: &str) -> Vec<String> {
    let text = format!("const MAX_PAGE: u32 = 100;\nstruct Query {{\n{fields}\n}}\n");
    let source = Source::scan("omnistack-x/src/lib.rs".to_owned(), &text);
    let findings = check(&[&source]);
    let limit = |message: &str| message.split('`').nth(1).unwrap_or_default().to_owned();
    findings.iter().map(|finding| limit(&finding.message)).collect()
}

#[test]
fn limits_that_the_document_lacks_are_found() {
    for (fields, expected) in [
        ("#[garde(length(chars, max = 100))]\na: String,", vec!["max_length = 100"]),
        ("#[garde(length(chars, max = 100))]\n#[schema(max_length = 200)]\npub a: String,", vec!["max_length = 100"]),
        (
            "/// One.\n#[schema(max_length = 100)]\n#[garde(inner(length(bytes, max = 100)))]\npub(crate) a: String,",
            vec![],
        ),
        ("#[garde(length(chars, min = 1, max = 9))]\n#[schema(max_length = 9)]\na: String,", vec!["min_length = 1"]),
        (
            "#[garde(length(chars, max = 9))]\n#[schema(min_length = 3, max_length = 9, pattern = \"^a$\")]\na: String,",
            vec![],
        ),
        ("#[garde(range(min = 1, max = MAX_PAGE))]\n#[param(minimum = 1, maximum = 100)]\nlimit: u32,", vec![]),
        (
            "#[garde(range(min = 1, max = x::MAX_PAGE))]\n#[param(minimum = 1, maximum = 50)]\nlimit: u32,",
            vec!["maximum = 100"],
        ),
        ("#[garde(range(min = 0.0, max = 2.0))]\n#[schema(minimum = 0, maximum = 2)]\na: f64,", vec![]),
        ("#[garde(range(max = 1_000_000))]\n#[schema(maximum = 1_000_000_i64)]\na: i64,", vec![]),
        ("#[garde(range(max = DAY.as_secs()))]\na: u64,", vec![]),
        (
            "#[garde(length(max = 5), inner(length(chars, max = 9)))]\n#[schema(max_items = 5)]\na: Vec<String>,",
            vec!["max_length = 9"],
        ),
        ("#[garde(length(max = 5))]\na: BTreeMap<String, String>,", vec![]),
        ("#[garde(length(max = 5))]\n#[schema(schema_with = list)]\na: Vec<String>,", vec![]),
        ("#[garde(skip)]\na: String,\n#[garde(range(min = 1))]\nb: u8,", vec!["minimum = 1"]),
        ("name: Text<1, 100>,", vec![]),
    ] {
        assert_eq!(missing(fields), expected, "{fields}");
    }
}

#[test]
fn a_finding_is_at_the_name_of_the_field() {
    let text = "struct Query {\n    #[garde(range(min = 1))]\n    /// Not documented.\n    limit: u32,\n}";
    let source = Source::scan("omnistack-x/src/lib.rs".to_owned(), text);
    let findings = check(&[&source]);
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [4]);
}
