use super::{PageSection, sections};

fn section(name: &str, body: &str) -> PageSection {
    PageSection { name: name.to_owned(), body: body.to_owned() }
}

#[test]
fn sections_are_found_between_other_output() {
    let printed =
        "warming up\n<!-- begin http -->\n| a |\n<!-- end http -->\nnoise\n<!-- begin db -->\n| b |\n<!-- end db -->\n";
    assert_eq!(sections(printed), [section("http", "| a |"), section("db", "| b |")]);
    assert_eq!(sections("<!-- begin http -->\n| cut off"), []);
}

#[test]
fn a_section_replaces_its_predecessor_and_nothing_else() {
    let page = section("http", "| 1 |").replace_in("# Benchmarks\n");
    let page = section("db", "| 2 |").replace_in(&page);
    let page = section("http", "| 3 |").replace_in(&page);
    let expected =
        "# Benchmarks\n\n<!-- begin http -->\n| 3 |\n<!-- end http -->\n\n<!-- begin db -->\n| 2 |\n<!-- end db -->\n";
    assert_eq!(page, expected);
}
