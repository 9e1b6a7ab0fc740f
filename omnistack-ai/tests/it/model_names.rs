//! A test that the code names no model. Models and prices are data, which change more often than the code.

#![cfg(test)]

use std::{fs, path::Path};

use omnistack_ai::ModelCatalog;

/// The provider whose models are part of the program.
const FAKE: &str = "fake";

/// Calls a function with each source file below a folder, and the text of the file up to its tests.
fn for_each_code(folder: &Path, check: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            for_each_code(&path, check);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            check(&path, text.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
}

#[test]
fn no_name_of_a_model_is_in_the_code() {
    let catalog = ModelCatalog::built_in();
    let real = catalog.models().iter().filter(|model| model.provider != FAKE);
    let literals: Vec<String> = real.map(|model| format!("\"{}\"", model.id)).collect();
    assert!(literals.len() > 100, "{}", literals.len());
    let mut files = 0;
    for_each_code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path, code| {
        files += 1;
        let found: Vec<_> = literals.iter().filter(|literal| code.contains(literal.as_str())).collect();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    });
    assert!(files > 100, "{files}");
}
