//! Where settings come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{ConfigProblem, Environment, Section, Setting};

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file `.env` in the working directory.
    DotEnv,
    /// The file `omnistack.toml` in the working directory.
    Toml,
    /// The process's environment.
    Environment,
    /// The program itself.
    Code,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DotEnv => ".env",
            Self::Toml => "omnistack.toml",
            Self::Environment => "the environment",
            Self::Code => "the program",
        })
    }
}

/// All settings as text, with the place each was found.
///
/// Cheap to clone. Its `Debug` output shows names only, never values.
#[derive(Clone, Default)]
pub struct Config {
    values: Arc<BTreeMap<String, (String, Origin)>>,
    problems: Arc<Vec<ConfigProblem>>,
    sections: Arc<Mutex<Vec<(&'static str, Vec<Setting>)>>>,
}

impl Config {
    /// Reads `.env`, `omnistack.toml` and the environment. A file that is absent is skipped; one that can't be read
    /// is a problem in the report of [`App::build`](crate::app::AppBuilder::build).
    pub fn from_env() -> Self {
        Self::read(Path::new("."), environment())
    }

    /// Exactly these values and no others: for tests and for programs that keep their settings elsewhere.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs.into_iter().map(|(name, text)| (name.into(), (text.into(), Origin::Code)));
        Self { values: Arc::new(values.collect()), ..Self::default() }
    }

    pub(super) fn read(folder: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut values = BTreeMap::new();
        let mut problems = Vec::new();
        if let Err(problem) = dot_env(&folder.join(".env"), &mut values) {
            problems.push(problem);
        }
        if let Err(problem) = toml_file(&folder.join("omnistack.toml"), &mut values) {
            problems.push(problem);
        }
        values.extend(environment.into_iter().map(|(name, text)| (name, (text, Origin::Environment))));
        Self { values: Arc::new(values), problems: Arc::new(problems), sections: Arc::default() }
    }

    /// The same settings with one changed.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.values).insert(name.into(), (value.into(), Origin::Code));
        self
    }

    /// The text of a setting and its origin; `None` when absent or empty.
    pub fn get(&self, name: &str) -> Option<(&str, Origin)> {
        self.values.get(name).map(|(text, origin)| (text.as_str(), *origin)).filter(|(text, _)| !text.is_empty())
    }

    /// `APP_ENV`; development when it is absent, and production when it is misspelled, until the report says so.
    pub fn environment(&self) -> Environment {
        match self.get("APP_ENV") {
            // Misspelled is treated as the strictest, so that `APP_ENV=produciton` opens nothing before the report.
            Some((text, _)) => text.parse().unwrap_or(Environment::Production),
            None => Environment::Development,
        }
    }

    /// Reads a section, or reports everything wrong with it.
    pub fn section<S: Section>(&self) -> Result<S, Vec<ConfigProblem>> {
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        if !sections.iter().any(|(title, _)| *title == S::TITLE) {
            sections.push((S::TITLE, S::settings()));
        }
        drop(sections);
        S::read(self)
    }

    /// The sections read so far, with their titles.
    pub fn sections(&self) -> Vec<(&'static str, Vec<Setting>)> {
        self.sections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Problems with the files themselves, and settings in `omnistack.toml` that no section read so far knows.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let sections = self.sections();
        let known: BTreeSet<&str> =
            sections.iter().flat_map(|(_, settings)| settings).map(|setting| setting.name).collect();
        let unknown =
            self.values.iter().filter(|(name, (_, origin))| *origin == Origin::Toml && !known.contains(name.as_str()));
        let unknown = unknown.map(|(name, (_, origin))| {
            let near =
                known.iter().filter(|other| distance(name, other) <= 3).min_by_key(|other| distance(name, other));
            let message = match near {
                Some(near) => format!("is not a setting; did you mean `{near}`?"),
                None => "is not a setting of any module of this app; `config` lists them".into(),
            };
            ConfigProblem { name: name.clone(), origin: Some(*origin), message }
        });
        self.problems.iter().cloned().chain(unknown).collect()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

fn dot_env(path: &Path, values: &mut BTreeMap<String, (String, Origin)>) -> Result<(), ConfigProblem> {
    if !path.exists() {
        return Ok(());
    }
    let problem = |error: dotenvy::Error| ConfigProblem::new(".env", error.to_string());
    for pair in dotenvy::from_path_iter(path).map_err(problem)? {
        let (name, text) = pair.map_err(problem)?;
        values.insert(name, (text, Origin::DotEnv));
    }
    Ok(())
}

fn toml_file(path: &Path, values: &mut BTreeMap<String, (String, Origin)>) -> Result<(), ConfigProblem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ConfigProblem::new("omnistack.toml", error.to_string())),
    };
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| ConfigProblem::new("omnistack.toml", error.to_string()))?;
    flatten("", &toml::Value::Table(table), values);
    Ok(())
}

/// `[http] body_limit = "1MiB"` becomes `HTTP_BODY_LIMIT`; a list becomes comma-separated text.
fn flatten(name: &str, value: &toml::Value, values: &mut BTreeMap<String, (String, Origin)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let key = key.to_uppercase().replace('-', "_");
                flatten(&if name.is_empty() { key } else { format!("{name}_{key}") }, value, values);
            }
        }
        other => _ = values.insert(name.into(), (scalar(other), Origin::Toml)),
    }
}

fn scalar(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Edits needed to turn one name into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
