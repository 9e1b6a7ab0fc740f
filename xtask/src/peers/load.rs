//! Locust, by which `cargo xtask load` sends its requests.

use std::path::PathBuf;

use super::python;
use crate::failure::Result;

/// Installs Locust under `target/peers` and returns the path of its program.
pub(crate) fn install_locust() -> Result<PathBuf> {
    python::install(&python::LOAD).map(|programs| programs.join("locust"))
}
