//! The file `omnistack.toml`, with the feature `config-file`.

use std::{collections::BTreeMap, path::Path};

#[cfg(feature = "config-file")]
use super::source::{parse_problem, read_file};
use super::{ConfigProblem, SettingSource};

/// Adds the values of the file. A file that does not exist has none.
#[cfg(feature = "config-file")]
pub(super) fn read(path: &Path, values: &mut BTreeMap<String, (String, SettingSource)>) -> Result<(), ConfigProblem> {
    let Some(text) = read_file(path, "omnistack.toml")? else { return Ok(()) };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let fix = "write it as TOML: text in quotes, each name once";
        parse_problem("omnistack.toml", &text, error.span().map(|span| span.start), fix)
    })?;
    flatten("", &toml::Value::Table(table), values);
    Ok(())
}

/// Fails if the file exists: without its values, the app would run with other settings than intended.
#[cfg(not(feature = "config-file"))]
pub(super) fn read(path: &Path, _: &mut BTreeMap<String, (String, SettingSource)>) -> Result<(), ConfigProblem> {
    if !path.exists() {
        return Ok(());
    }
    let fix = "build the program with the feature `config-file`, or set the values in .env or in the environment";
    Err(ConfigProblem::new("omnistack.toml", format!("this program can't read the file; {fix}")))
}

/// Converts `[http] body_limit = "1MiB"` to `HTTP_BODY_LIMIT`, and a list to comma-separated text.
#[cfg(feature = "config-file")]
fn flatten(name: &str, value: &toml::Value, values: &mut BTreeMap<String, (String, SettingSource)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let key = key.to_uppercase().replace('-', "_");
                flatten(&if name.is_empty() { key } else { format!("{name}_{key}") }, value, values);
            }
        }
        other => _ = values.insert(name.into(), (scalar(other), SettingSource::Toml)),
    }
}

#[cfg(feature = "config-file")]
fn scalar(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(is_true) => is_true.to_string(),
        toml::Value::Datetime(time) => time.to_string(),
        toml::Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        // No setting is a list of tables, so parsing it as one fails.
        toml::Value::Table(table) => format!("{table:?}"),
    }
}
