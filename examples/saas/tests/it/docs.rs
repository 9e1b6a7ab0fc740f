//! Tests that the README, the configuration reference and the template match the code.

use std::{fs, path::Path};

use omnistack::{config, prelude::*};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the text between two markers.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("`{begin}` is missing"));
    rest.split_once(end).unwrap_or_else(|| panic!("`{end}` is missing")).0.trim()
}

#[test]
fn the_readme_shows_the_quickstart_as_it_compiles() {
    let file = "examples/quickstart/src/main.rs";
    let readme = read("README.md");
    let shown = between(&readme, &format!("<!-- include {file} -->"), "<!-- end include -->");
    let shown = shown.strip_prefix("```rust\n").and_then(|code| code.strip_suffix("```")).unwrap();
    assert_eq!(shown, read(file));
}

#[tokio::test]
async fn the_configuration_reference_is_generated() {
    let app = saas::app(App::builder(config::Config::default())).build().unwrap();
    let page = read("docs/src/configuration.md");
    let shown = between(&page, "<!-- begin generated -->", "<!-- end generated -->");
    let made = config::reference(&app.config().sections());
    assert_eq!(
        shown,
        made.trim(),
        "run `cargo run -p saas -- config --reference` and put it into docs/src/configuration.md"
    );
}

#[test]
fn the_template_is_the_example() {
    for file in ["src/projects.rs", "migrations/postgres/0001_projects.sql", "migrations/sqlite/0001_projects.sql"] {
        // The first lines differ.
        let body = |folder: &str| read(&format!("{folder}/{file}")).split_once('\n').unwrap().1.to_owned();
        assert_eq!(body("templates/saas"), body("examples/saas"), "{file}");
    }
}
