//! The form of the files `models.toml`, `aliases.toml` and `AI_MODELS_FILE`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Deserialize;

use super::{ModelInfo, ModelMode, ModelTarget, TokenPrice, TokenPrices};
use crate::provider::ModelCapabilities;

/// The most models of a catalog.
const MAX_MODELS: usize = 5_000;
/// The most aliases of a catalog.
const MAX_ALIASES: usize = 1_000;
/// The most targets of an alias.
const MAX_TARGETS_PER_ALIAS: usize = 20;
/// The greatest length of the name of a provider, a model or an alias, in bytes.
pub(crate) const MAX_MODEL_NAME_BYTES: usize = 200;

/// The content of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogFile {
    /// The origin of the data, for readers.
    #[serde(default, rename = "source")]
    _source: toml::Table,
    #[serde(default)]
    models: Vec<ModelForm>,
    /// Names for the first of several models that is available.
    #[serde(default)]
    aliases: BTreeMap<String, Vec<String>>,
    /// Models that take the place of a name that has ended.
    #[serde(default)]
    successors: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelForm {
    provider: String,
    id: String,
    mode: Option<ModelMode>,
    max_input: Option<u64>,
    max_output: Option<u64>,
    retires_on: Option<Date>,
    successor: Option<String>,
    capabilities: Option<Vec<Capability>>,
    base_model: Option<String>,
    /// The page that states the prices, for readers.
    #[serde(rename = "source")]
    _source: Option<String>,
    #[serde(default)]
    prices: Vec<TokenPrice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Capability {
    Chat,
    Tools,
    Images,
    JsonSchema,
    Embeddings,
}

/// The models and names of one or several files, by their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct CatalogContent {
    /// The models by provider and name.
    pub(super) models: BTreeMap<(String, String), ModelInfo>,
    /// The models that state neither their mode nor what they can do. A deployment has those of its base then.
    pub(super) without_kind: BTreeSet<(String, String)>,
    pub(super) aliases: BTreeMap<String, Vec<ModelTarget>>,
    pub(super) successors: BTreeMap<String, Vec<ModelTarget>>,
}

impl CatalogContent {
    /// Adds the content of a file, which replaces models and names that are known. Returns the problems.
    pub(super) fn add(&mut self, file: CatalogFile) -> Vec<String> {
        let mut problems = Vec::new();
        let CatalogFile { models, aliases, successors, .. } = file;
        for model in models {
            let name = format!("{}/{}", model.provider, model.id);
            let has_kind = model.mode.is_some() || model.capabilities.is_some();
            match model.read() {
                Ok(info) => {
                    let key = (info.provider.clone(), info.id.clone());
                    if has_kind {
                        self.without_kind.remove(&key);
                    } else {
                        self.without_kind.insert(key.clone());
                    }
                    self.models.insert(key, info);
                }
                Err(problem) => problems.push(format!("the model `{}`: {problem}", name.escape_debug())),
            }
        }
        for (names, known) in [(aliases, &mut self.aliases), (successors, &mut self.successors)] {
            for (name, targets) in names {
                match read_targets(&name, &targets) {
                    Ok(targets) => _ = known.insert(name, targets),
                    Err(problem) => problems.push(format!("the alias `{}`: {problem}", name.escape_debug())),
                }
            }
        }
        if self.models.len() > MAX_MODELS {
            problems.push(format!("there are more than {MAX_MODELS} models"));
        }
        if self.aliases.len() + self.successors.len() > MAX_ALIASES {
            problems.push(format!("there are more than {MAX_ALIASES} aliases"));
        }
        problems
    }
}

impl ModelForm {
    fn read(self) -> Result<ModelInfo, String> {
        check_name(&self.provider)?;
        check_name(&self.id)?;
        if self.provider.contains('/') {
            return Err("the name of a provider has no `/`".to_owned());
        }
        let prices = if self.prices.is_empty() { None } else { Some(TokenPrices::new(self.prices)?) };
        let mode = self.mode.unwrap_or_default();
        let is_embedding = mode == ModelMode::Embedding;
        let capabilities = match self.capabilities {
            Some(listed) => read_capabilities(&listed),
            None if is_embedding => read_capabilities(&[Capability::Embeddings]),
            None => ModelCapabilities::default(),
        };
        Ok(ModelInfo {
            provider: self.provider,
            id: self.id,
            mode,
            max_input: self.max_input,
            max_output: self.max_output,
            prices,
            retires_on: self.retires_on,
            successor: self.successor,
            capabilities,
            base_model: self.base_model,
        })
    }
}

fn read_capabilities(listed: &[Capability]) -> ModelCapabilities {
    ModelCapabilities {
        chat: listed.contains(&Capability::Chat),
        tools: listed.contains(&Capability::Tools),
        images: listed.contains(&Capability::Images),
        json_schema: listed.contains(&Capability::JsonSchema),
        embeddings: listed.contains(&Capability::Embeddings),
    }
}

fn read_targets(name: &str, targets: &[String]) -> Result<Vec<ModelTarget>, String> {
    check_name(name)?;
    if targets.is_empty() || targets.len() > MAX_TARGETS_PER_ALIAS {
        return Err(format!("it needs from 1 to {MAX_TARGETS_PER_ALIAS} models"));
    }
    let read = |text: &String| {
        check_name(text)?;
        let wrong = || format!("`{}` must be written as `provider/model`", text.escape_debug());
        ModelTarget::parse(text).ok_or_else(wrong)
    };
    targets.iter().map(read).collect()
}

/// Returns a problem unless a name has 1 to 200 printable characters of ASCII.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_MODEL_NAME_BYTES || !is_plain {
        return Err(format!("a name has 1 to {MAX_MODEL_NAME_BYTES} letters, digits and signs, without spaces"));
    }
    Ok(())
}
