//! `cargo xtask image`: checks of the image of `deploy/Dockerfile` that need no container engine. Builds the program of
//! the image, estimates the compressed size of the image and, with `--twice`, checks that a second build gives the same
//! program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    failure::{Context, Failure, Result},
    folder::TempFolder,
    host,
    report::Report,
};

/// The compressed size that the image must not reach, in bytes, as in the template's workflow `deploy.yml`.
const MAX_IMAGE_BYTES: u64 = 60_000_000;
/// An upper estimate of the compressed size of the base image, in bytes. The READMEs of distroless's images `base` and
/// `cc` name its packages. The files of these packages have 24.7 MB in Debian 12, and 9.2 MB compressed. In Debian 13
/// they may be larger.
const MAX_BASE_BYTES: u64 = 12_000_000;
/// The program of the example app.
const PROGRAM: &str = "saas";

/// Builds the program of the image with a build profile, and fails if the image would be too large. With `twice`, builds
/// the program two times, each time in the same empty folder, and fails if the two programs differ.
pub(crate) fn run(profile: &str, twice: bool) -> Result {
    let mut report = Report::default();
    let outcome = steps(profile, twice, &mut report);
    report.print();
    outcome
}

fn steps(profile: &str, twice: bool, report: &mut Report) -> Result {
    let folder = TempFolder::create("image")?;
    let program = if twice {
        let first = folder.path().join(PROGRAM);
        let target = folder.path().join("target");
        report.step("build the program", || {
            let built = build(profile, &target, true)?;
            fs::rename(built, &first).context("moving the program")
        })?;
        report.step("build it again", || {
            fs::remove_dir_all(&target).context("removing the first build")?;
            let second = build(profile, &target, true)?;
            let read = |path: &Path| fs::read(path).context(format_args!("reading {}", path.display()));
            if read(&first)? == read(&second)? {
                return Ok(());
            }
            Err(Failure::new("the second build of the same sources gives another program"))
        })?;
        first
    } else {
        report.step_with_note("build the program", || {
            build(profile, &host::target(), false).map(|program| (program.clone(), program.display().to_string()))
        })?
    };
    report.step_with_note("the compressed size of the image", || {
        let bytes = compressed_size(&program)?;
        let text = format!(
            "at most {} MB: the program has {:.1} MB, and the base at most {} MB",
            (bytes + MAX_BASE_BYTES).div_ceil(1_000_000),
            bytes as f64 / 1e6,
            MAX_BASE_BYTES / 1_000_000
        );
        if bytes + MAX_BASE_BYTES < MAX_IMAGE_BYTES {
            return Ok(((), text));
        }
        Err(Failure::new(format!("{text}; the image must have less than {} MB", MAX_IMAGE_BYTES / 1_000_000)))
    })
}

/// Builds the program, and returns its path. With `as_in_image`, sets the variables that the Dockerfile sets.
fn build(profile: &str, target: &Path, as_in_image: bool) -> Result<PathBuf> {
    let mut build = command::cargo();
    build.args(["build", "--locked", "--profile", profile, "--package", PROGRAM, "--bin", PROGRAM]);
    build.env("CARGO_TARGET_DIR", target);
    if as_in_image {
        let home = host::env_var("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| host::env_var("HOME").map(|home| Path::new(&home).join(".cargo")));
        let home = home.ok_or_else(|| Failure::new("neither CARGO_HOME nor HOME is set"))?;
        let paths = [(host::root(), "."), (home, "cargo")];
        let flags = paths.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()));
        build.env("RUSTFLAGS", flags.join(" ")).envs([("SOURCE_DATE_EPOCH", "0"), ("CARGO_INCREMENTAL", "0")]);
    }
    command::run(&mut build)?;
    Ok(target.join(profile).join(PROGRAM))
}

/// Returns the size of a file after compression with gzip, in bytes.
fn compressed_size(program: &Path) -> Result<u64> {
    let mut count = Command::new("sh");
    count.args(["-c", "gzip -6 -c \"$0\" | wc -c"]).arg(program);
    let answer = command::output_of(&mut count)?;
    answer.trim().parse().context(format_args!("compressing {}", program.display()))
}
