//! Models and their prices.
//!
//! [`ModelCatalog`] knows the models of the providers: limits, prices, the date on which each ends, and the model that
//! takes its place. The models come with the crate, in `models.toml`, and apps add deployments and aliases of their own
//! by `AI_MODELS_FILE`.

mod cost;
mod file;
mod handle;
mod model;
mod prices;

use std::{
    fs,
    path::{Path, PathBuf},
};

use omnistack_core::module::Registry;

pub use cost::{Cost, InvalidCost};
pub(crate) use file::{MAX_MODEL_NAME_BYTES, check_name};
pub(crate) use handle::day;
pub use handle::{CatalogError, ModelCatalog, Resolved};
pub use model::{ModelInfo, ModelMode, ModelTarget};
pub use prices::{TokenPrice, TokenPrices};

/// The greatest size of the file `AI_MODELS_FILE`, in bytes.
const MAX_MODELS_FILE_BYTES: u64 = 4 * 1024 * 1024;

omnistack_core::settings! {
    /// AI models.
    pub(crate) struct AiModelSettings {
        /// A TOML file with further models, prices and aliases, such as deployments with a name of their own. They
        /// replace built-in ones of the same name.
        pub(crate) models_file: Option<PathBuf> = "AI_MODELS_FILE";
    }
}

/// Provides the catalog: the given one or the built-in one, with what `AI_MODELS_FILE` adds. Returns `None` if the file
/// is not accepted; the registry reports why.
pub(crate) fn register(registry: &mut Registry, catalog: Option<ModelCatalog>) -> Option<ModelCatalog> {
    let settings = registry.config::<AiModelSettings>()?;
    let catalog = catalog.unwrap_or_else(ModelCatalog::built_in);
    let catalog = match &settings.models_file {
        None => catalog,
        Some(path) => {
            let text = read_file(registry, path, "AI_MODELS_FILE")?;
            match catalog.with_overrides(&text) {
                Ok(catalog) => catalog,
                Err(error) => {
                    for problem in error.problems() {
                        registry.report_problem(problem.clone(), format!("correct the file {}", path.display()));
                    }
                    return None;
                }
            }
        }
    };
    registry.provide(catalog.clone());
    Some(catalog)
}

/// Returns the text of a file that a setting names. Reports a file that can't be read, and returns `None` then.
pub(crate) fn read_file(registry: &mut Registry, path: &Path, setting: &str) -> Option<String> {
    let size = fs::metadata(path).map(|file| file.len());
    let text = match size {
        Ok(size) if size > MAX_MODELS_FILE_BYTES => Err(format!("is larger than {MAX_MODELS_FILE_BYTES} bytes")),
        Ok(_) => fs::read_to_string(path).map_err(|error| format!("can't be read: {error}")),
        Err(error) => Err(format!("can't be read: {error}")),
    };
    match text {
        Ok(text) => Some(text),
        Err(problem) => {
            let what = format!("the file {} {problem}", path.display());
            registry.report_problem(what, format!("set {setting} to a TOML file, or unset it"));
            None
        }
    }
}
