//! Grafana's types in TypeScript: the boards in `deploy/observability` must be values of them.

use std::{fs, process::Command};

use super::PeerContext;
use crate::{
    command,
    failure::{Context, Result},
    files, host,
    report::Report,
};

/// Writes each board as a constant of Grafana's type, and compiles the constants.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("boards as Grafana's types", || {
        // The compiler finds packages in the folders above the workspace.
        let workspace = setting.programs.join("workspace");
        if workspace.exists() {
            fs::remove_dir_all(&workspace).context(format_args!("removing {}", workspace.display()))?;
        }
        fs::create_dir_all(&workspace).context(format_args!("creating {}", workspace.display()))?;
        for name in ["board.ts", "tsconfig.json"] {
            let from = host::root().join("xtask/peers/grafana").join(name);
            fs::copy(&from, workspace.join(name)).context(format_args!("copying {}", from.display()))?;
        }
        let folder = host::root().join("deploy/observability/grafana/dashboards");
        for entry in fs::read_dir(&folder).context(format_args!("reading {}", folder.display()))? {
            let path = entry.context(format_args!("reading {}", folder.display()))?.path();
            let (_, board) = files::read(&host::root(), &path)?;
            let name = path.with_extension("ts");
            let script =
                format!("import type {{ Board }} from \"./board.js\";\nexport const board: Board = {board};\n");
            fs::write(workspace.join(name.file_name().unwrap_or_default()), script)
                .context(format_args!("writing {}", name.display()))?;
        }
        let mut compiler = Command::new("node");
        compiler.arg(setting.programs.join("node_modules/typescript/bin/tsc")).arg("--project").arg(&workspace);
        command::run(&mut compiler)
    })
}
