use std::fs;

use super::{Problem, check, refresh, write};
use crate::folder::TempFolder;

const CODE: &str = "//! A file.

fn main() {
    // ANCHOR: body
    // ANCHOR: call
    greet();
    // ANCHOR_END: call

    if true {
        leave();
    }
    // ANCHOR_END: body
}
";
const WITHOUT_ANCHORS: &str = "//! A file.

fn main() {
    greet();

    if true {
        leave();
    }
}
";

fn folder() -> TempFolder {
    let folder = TempFolder::create("book").unwrap();
    fs::create_dir_all(folder.path().join("docs/src")).unwrap();
    fs::write(folder.path().join("main.rs"), CODE).unwrap();
    fs::write(folder.path().join("page.md"), "# A page\n\n```sh\nls\n```\n").unwrap();
    fs::write(folder.path().join("fences.txt"), "````sh\nls\n````\n").unwrap();
    folder
}

#[test]
fn files_and_parts_of_files_are_shown() {
    let folder = folder();
    let whole = format!("```rust\n{WITHOUT_ANCHORS}```\n");
    for (shown, expected) in [
        ("main.rs", whole.as_str()),
        ("main.rs:body", "```rust\ngreet();\n\nif true {\n    leave();\n}\n```\n"),
        ("main.rs:call", "```rust\ngreet();\n```\n"),
        ("page.md", "# A page\n\n```sh\nls\n```\n"),
        ("fences.txt", "`````text\n````sh\nls\n````\n`````\n"),
    ] {
        let page = |content: &str| format!("Text\n\n<!-- include {shown} -->\n{content}<!-- end include -->\n\nMore\n");
        for old in ["", "```text\nold\n```\n", expected] {
            assert_eq!(refresh(folder.path(), &page(old)).unwrap(), page(expected), "{shown}");
        }
    }
    let without = "Text\n\n`<!-- include main.rs -->` and no line break at the end";
    assert_eq!(refresh(folder.path(), without).unwrap(), without);
}

#[test]
fn a_page_that_names_no_file_is_a_problem() {
    let folder = folder();
    for (page, expected) in [
        ("<!-- include missing.rs -->\n<!-- end include -->\n", "reading"),
        ("\n<!-- include main.rs:none -->\n<!-- end include -->\n", "main.rs has no lines between `ANCHOR: none`"),
        ("<!-- include main.rs -->\n```rust\n", "a line `<!-- end include -->` must follow"),
        ("<!-- include main.rs -->\n<!-- include main.rs -->\n<!-- end include -->\n", "must follow"),
        ("```rust\n{{#include ../../main.rs}}\n```\n", "only mdBook shows this"),
    ] {
        let Problem { line, message } = refresh(folder.path(), page).unwrap_err();
        assert!(message.contains(expected), "{page}: {message}");
        let expected_line = page.lines().position(|line| line.contains("include")).unwrap() + 1;
        assert_eq!(line, expected_line, "{page}");
    }
}

#[test]
fn stale_pages_are_found_and_written() {
    let folder = folder();
    let page = folder.path().join("docs/src/page.md");
    fs::write(&page, "# A\n\n<!-- include main.rs:call -->\n```rust\nold();\n```\n<!-- end include -->\n").unwrap();
    let message = check(folder.path()).unwrap_err().to_string();
    assert!(message.contains("docs/src/page.md:5: stale-include"), "{message}");
    write(folder.path()).unwrap();
    check(folder.path()).unwrap();
    assert!(fs::read_to_string(&page).unwrap().contains("greet();"));
}
