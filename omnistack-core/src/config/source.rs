//! Sources of settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{ConfigProblem, Environment, Setting, SettingsSection, config_file};

/// The source of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// The file `.env` in the working directory.
    DotEnv,
    /// The file `omnistack.toml` in the working directory.
    Toml,
    /// The environment of the process.
    Environment,
    /// The code of the program.
    Code,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DotEnv => ".env",
            Self::Toml => "omnistack.toml",
            Self::Environment => "the environment",
            Self::Code => "the program",
        })
    }
}

/// All settings as text, each with its source.
///
/// Cheap to clone. Its `Debug` output shows names only, never values.
#[derive(Clone, Default)]
pub struct Config {
    values: Arc<BTreeMap<String, (String, SettingSource)>>,
    problems: Arc<Vec<ConfigProblem>>,
    sections: Arc<Mutex<Vec<(&'static str, Vec<Setting>)>>>,
    /// Names of the settings of features that are not compiled in.
    without_feature: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Config {
    /// Reads `.env`, `omnistack.toml` and the environment. A file that is absent is skipped; one that can't be read
    /// is a problem in the report of [`App::build`](crate::app::AppBuilder::build).
    pub fn from_env() -> Self {
        Self::read(Path::new("."), environment())
    }

    /// Creates a configuration with exactly these values, for tests and for programs that store their settings
    /// differently.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs.into_iter().map(|(name, text)| (name.into(), (text.into(), SettingSource::Code)));
        Self { values: Arc::new(values.collect()), ..Self::default() }
    }

    pub(super) fn read(folder: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut values = BTreeMap::new();
        let mut problems = Vec::new();
        if let Err(problem) = dot_env(&folder.join(".env"), &mut values) {
            problems.push(problem);
        }
        if let Err(problem) = config_file::read(&folder.join("omnistack.toml"), &mut values) {
            problems.push(problem);
        }
        values.extend(environment.into_iter().map(|(name, text)| (name, (text, SettingSource::Environment))));
        Self { values: Arc::new(values), problems: Arc::new(problems), ..Self::default() }
    }

    /// Sets one setting.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.values).insert(name.into(), (value.into(), SettingSource::Code));
        self
    }

    /// Returns the text of a setting and its source, or `None` if it is absent or empty.
    pub fn get(&self, name: &str) -> Option<(&str, SettingSource)> {
        self.values.get(name).map(|(text, origin)| (text.as_str(), *origin)).filter(|(text, _)| !text.is_empty())
    }

    /// Returns the value of `APP_ENV`: development if it is absent, production if it is invalid.
    pub fn environment(&self) -> Environment {
        match self.get("APP_ENV") {
            // An invalid value counts as production, so that `APP_ENV=produciton` enables nothing before the
            // problem is reported.
            Some((text, _)) => text.parse().unwrap_or(Environment::Production),
            None => Environment::Development,
        }
    }

    /// Reads a section.
    ///
    /// # Errors
    /// All problems found in the section.
    pub fn read_settings<S: SettingsSection>(&self) -> Result<S, Vec<ConfigProblem>> {
        let settings = S::settings();
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        // A section of a feature that is not compiled in has no settings.
        if !settings.is_empty() && !sections.iter().any(|(title, _)| *title == S::TITLE) {
            sections.push((S::TITLE, settings));
        }
        drop(sections);
        S::read(self)
    }

    /// Checks that none of these settings is set, because the program is compiled without the feature that reads them.
    /// `package` is the crate at which users turn the feature on. [`settings!`](crate::settings) calls it.
    ///
    /// # Errors
    /// A problem for each setting that is set.
    pub fn check_unset(&self, feature: &str, package: &str, names: &[&'static str]) -> Result<(), Vec<ConfigProblem>> {
        self.without_feature.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        let set = names.iter().filter_map(|name| Some((name, self.get(name)?.1)));
        let problems: Vec<_> =
            set.map(|(name, origin)| ConfigProblem::of_missing_feature(name, origin, feature, package)).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Returns the sections read so far, with their titles.
    pub fn sections(&self) -> Vec<(&'static str, Vec<Setting>)> {
        self.sections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the problems with the files themselves, and a problem for each setting in `omnistack.toml` that no
    /// section read so far declares.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let sections = self.sections();
        let known: BTreeSet<&str> =
            sections.iter().flat_map(|(_, settings)| settings).map(|setting| setting.name).collect();
        let without_feature = self.without_feature.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_known = |name: &str| known.contains(name) || without_feature.contains(name);
        let unknown = self.values.iter();
        let unknown = unknown.filter(|(name, (_, origin))| *origin == SettingSource::Toml && !is_known(name.as_str()));
        let unknown = unknown.map(|(name, (_, origin))| {
            let near =
                known.iter().filter(|other| distance(name, other) <= 3).min_by_key(|other| distance(name, other));
            let message = match near {
                Some(near) => format!("is not a setting; did you mean `{near}`?"),
                None => "is not a setting of any module of this app; run `config` to list the settings".into(),
            };
            let fix = format!("correct its name in {origin}, or remove it");
            ConfigProblem { name: name.clone(), origin: Some(*origin), message, fix }
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

fn dot_env(path: &Path, values: &mut BTreeMap<String, (String, SettingSource)>) -> Result<(), ConfigProblem> {
    let Some(text) = read_file(path, ".env")? else { return Ok(()) };
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = pair.map_err(|error| match error {
            dotenvy::Error::LineParse(line, _) => parse_problem(
                ".env",
                &text,
                offset_of_refused_line(&text, &line),
                "put a value with spaces, quotes or # in quotes",
            ),
            _ => ConfigProblem::of_file(".env", "can't be read".into()),
        })?;
        values.insert(name, (value, SettingSource::DotEnv));
    }
    Ok(())
}

/// Reads a file without its byte order mark. Returns `None` if the file does not exist.
pub(super) fn read_file(path: &Path, name: &str) -> Result<Option<String>, ConfigProblem> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigProblem::of_file(name, format!("can't be read: {error}"))),
    }
}

/// Returns the offset of the line in `.env` that dotenvy refused. Its error contains the whole line or the part
/// after `=`.
fn offset_of_refused_line(text: &str, refused: &str) -> Option<usize> {
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(end, _)| end + 1));
    starts.into_iter().find(|start| {
        let rest = &text[*start..];
        let first = rest.lines().next().unwrap_or_default();
        let value = first.find('=').map(|equals| rest[equals + 1..].trim_start_matches([' ', '\t']));
        let is_refused =
            rest.starts_with(refused) || value.is_some_and(|value| value.starts_with(refused.trim_start()));
        is_refused && !first.trim_start().starts_with('#')
    })
}

/// Creates a problem that names the file, the line and the setting that could not be parsed. The parser's own
/// message is left out: it quotes the line, which may contain a secret.
pub(super) fn parse_problem(file: &str, text: &str, at: Option<usize>, fix: &str) -> ConfigProblem {
    let before = at.and_then(|at| text.get(..at)).unwrap_or_default();
    let line = text[before.rfind('\n').map_or(0, |end| end + 1)..].lines().next().unwrap_or_default();
    // Base64 that lost its quotes also contains `=`, followed by nothing or by another `=`.
    let named = line.split_once('=').filter(|(_, value)| !value.is_empty() && !value.starts_with('='));
    let name = named.map(|(name, _)| name.trim().trim_start_matches("export ").trim_start());
    let place = match (at, name.filter(|name| is_name(name))) {
        (None, _) => String::new(),
        (Some(_), None) => format!("line {}: ", before.matches('\n').count() + 1),
        (Some(_), Some(name)) => format!("line {}, `{name}`: ", before.matches('\n').count() + 1),
    };
    ConfigProblem::of_file(file, format!("{place}can't be read; {fix}"))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// Returns the number of edits that turn one name into the other (Levenshtein distance).
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
