//! The configuration reference, generated from the declarations.

use std::fmt::Write as _;

use super::Setting;

/// Renders the reference as Markdown: a heading for each section, followed by a table of its settings.
pub fn reference(sections: &[(&'static str, Vec<Setting>)]) -> String {
    let mut text = String::new();
    for (title, settings) in sections {
        let title = title.trim().trim_end_matches('.');
        _ = writeln!(
            text,
            "## {title}\n\n| setting | form | default | from, to | what it does |\n|---|---|---|---|---|"
        );
        for setting in settings {
            let default = match (setting.default, setting.development) {
                (Some(""), _) => "empty".into(),
                (Some(default), _) => format!("`{default}`"),
                (None, Some(_)) => "required in production".into(),
                (None, None) if setting.required => "required".into(),
                (None, None) => "none".into(),
            };
            let range = setting.range.map_or_else(String::new, |(least, most)| format!("`{least}`, `{most}`"));
            let doc = setting.doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            _ = writeln!(text, "| `{}` | {} | {default} | {range} | {doc} |", setting.name, setting.expected);
        }
        text.push('\n');
    }
    text
}
