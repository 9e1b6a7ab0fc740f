//! hadolint, check-jsonschema, kubernetes-validate, zizmor and systemd: the files in `deploy` and the workflows of the
//! template. No image is built and no container runs, because the machine has no container engine. The session of the README
//! and the commands in the book's chapters about production run as printed, if the machine has the programs for them.

use std::{fs, path::Path, process::Command};

use super::{PeerContext, load, python};
use crate::{
    command,
    failure::{Context, Result},
    files::files_in,
    folder::TempFolder,
    host,
    report::Report,
};

/// The versions of Kubernetes whose schemas the manifests must fulfil.
const KUBERNETES_VERSIONS: [&str; 2] = ["1.32.0", "1.37.0"];
/// The largest exposure of a unit, in tenths, as `systemd-analyze security` computes it.
const MAX_EXPOSURE: &str = "20";

/// Checks the Dockerfile, the compose files, the files of the platforms, the manifests, the workflows and the units.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let (deploy, template) = (host::root().join("deploy"), host::root().join("templates/saas"));
    let program = |name: &str| Command::new(setting.programs.join(name));
    report.step("hadolint on deploy/Dockerfile", || {
        command::run(program("hadolint").args(["--failure-threshold", "style"]).arg(deploy.join("Dockerfile")))
    })?;
    report.step("the schemas of compose files and workflows", || {
        let workflows = files_in(&template.join(".github/workflows"))?;
        for (schema, files) in [
            (
                "compose-spec",
                ["compose.yaml", "compose.observability.yaml", "observability/compose.yaml", "elk/compose.yaml"]
                    .map(|file| deploy.join(file))
                    .to_vec(),
            ),
            ("github-workflows", workflows),
            ("github-actions", vec![template.join(".github/actions/deploy/action.yml")]),
            ("dependabot", vec![template.join(".github/dependabot.yml")]),
        ] {
            let schema = format!("vendor.{schema}");
            command::run(program("check-jsonschema").args(["--builtin-schema", &schema]).args(files))?;
        }
        Ok(())
    })?;
    report.step("the schemas of Kubernetes", || {
        let manifests = files_in(&deploy.join("kubernetes"))?;
        for version in KUBERNETES_VERSIONS {
            let mut validate = program("kubernetes-validate");
            validate.args(["--strict", "--quiet", "--kubernetes-version", version]);
            command::run(validate.args(&manifests))?;
        }
        Ok(())
    })?;
    report.step("zizmor on the template's workflows", || {
        let mut zizmor = program("zizmor");
        zizmor.args(["--offline", "--no-progress", "--min-severity", "medium"]);
        command::run(zizmor.arg(template.join(".github")))
    })?;
    check_units(&deploy.join("systemd"), report)?;
    let script = |name: &str| {
        let mut python = program("python");
        python.arg(host::root().join("xtask/peers").join(name)).arg(host::root()).arg(setting.app);
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    report.step("the session of the README, as printed", || command::run(&mut script("readme.py")))?;
    report.step("Fly.io, Railway, Render, and the commands in the book", || command::run(&mut script("deploy.py")))?;
    let locust = report.step_with_note("install Locust", || {
        load::install_locust().map(|program| (program.clone(), program.display().to_string()))
    })?;
    let moto = report.step_with_note("install moto", || {
        python::install(&python::PYTHON).map(|folder| (folder.join("python"), folder.display().to_string()))
    })?;
    report.step("the commands of the chapters about production, as printed", || {
        let mut chapters = script("chapters.py");
        setting.servers.set_environment(&mut chapters);
        command::run(chapters.arg(&setting.servers.postgres.url).arg(locust).arg(moto))
    })
}

/// Lets systemd verify the units and rate how much of the machine they reach. Without systemd it says so.
fn check_units(folder: &Path, report: &mut Report) -> Result {
    const STEP: &str = "systemd-analyze on the units";
    if host::find_program("systemd-analyze").is_none() {
        report.note(STEP, "not run", "systemd is not installed");
        return Ok(());
    }
    report.step(STEP, || {
        // The unit's program exists only where the app is installed.
        let copies = TempFolder::create("units")?;
        let mut units = Vec::new();
        for unit in files_in(folder)? {
            let text = fs::read_to_string(&unit).context(format_args!("reading {}", unit.display()))?;
            let copy = copies.path().join(unit.file_name().unwrap_or_default());
            fs::write(&copy, text.replace("/usr/local/bin/acme", "/bin/true"))
                .context(format_args!("writing {}", copy.display()))?;
            units.push(copy);
        }
        command::run(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units))?;
        for unit in &units {
            let mut security = Command::new("systemd-analyze");
            security.args(["security", "--offline=true", "--no-pager", "--threshold", MAX_EXPOSURE]).arg(unit);
            command::output_of(&mut security)?;
        }
        Ok(())
    })
}
