//! `cargo xtask template`: checks that an app generated from `templates/saas`, with a resource generated from
//! `templates/resource`, builds, passes its tests and serves requests, that the app is short, and that the template
//! brings the files of `deploy` that its user picks.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    app::App,
    command,
    failure::{Context, Failure, Result},
    folder::TempFolder,
    host,
    http::{self, Response},
    report::Report,
    tools::Tool,
};

/// The limit of lines of Rust in a generated app, without blank lines and comments. Fixes in library code reach users
/// by `cargo update`, while generated code must be fixed by hand.
const MAX_LINES: usize = 149;

/// The answers of a user who picks every way to deploy.
const ALL_WAYS: [&str; 7] = ["docker", "fly", "railway", "render", "kubernetes", "systemd", "github"];
/// The entries of `deploy` that the template does not bring: stacks for a checkout of OmniStack.
const NOT_IN_TEMPLATE: [&str; 3] = ["compose.observability.yaml", "elk", "observability"];

/// Generates an app, counts its lines, builds it, starts it and sends it requests. Fails at the first step that fails.
pub(crate) fn run() -> Result {
    let mut report = Report::default();
    let outcome = steps(&mut report);
    report.print();
    outcome
}

fn steps(report: &mut Report) -> Result {
    // Outside the repository, because the new app is not part of its workspace.
    let folder = TempFolder::create("template")?;
    let app = folder.path().join("acme");
    report.step("generate from templates/saas", || generate(folder.path(), true))?;
    report.step_with_note("compare its files of deployments with deploy/", || {
        let (ours, copies) = (host::root().join("deploy"), app.join("deploy"));
        let count = compare(&ours, &copies, &NOT_IN_TEMPLATE)?;
        Ok(((), format!("{count} files")))
    })?;
    report.step("generate without files of deployments", || {
        let plain = TempFolder::create("template")?;
        generate(plain.path(), false)?;
        for name in ["deploy", ".github", "deny.toml"] {
            if plain.path().join("acme").join(name).exists() {
                return Err(Failure::new(format!("an app that is deployed in none of the ways has `{name}`")));
            }
        }
        Ok(())
    })?;
    report.step_with_note("count its lines of Rust", || {
        let lines = count_lines(&app.join("src"))?;
        if lines > MAX_LINES {
            return Err(Failure::new(format!(
                "the template has {lines} lines of Rust, more than the limit of {MAX_LINES}"
            )));
        }
        Ok(((), format!("{lines} lines")))
    })?;
    report.step("add a resource from templates/resource", || add_resource(&app))?;
    report.step("build it", || build(&app))?;
    report.step("compare the features of its build and its tests", || compare_features(&app))?;
    report.step("send it requests", || {
        let app = App::start(&host::target().join("debug/acme"), &[])?;
        send_requests(&app).map_err(|failure| app.with_log(&failure))
    })?;
    report.step("refuse settings of features that it lacks", || refuse_settings(&app))?;
    report.step("run its tests", || cargo(&app, &["test"]))
}

/// Generates the app `acme`, with the files of all ways to deploy it, or of none.
fn generate(destination: &Path, with_deployment: bool) -> Result {
    // By default, the app depends on the repository on the network.
    let checkout = format!("omnistack_dependency=path = \"{}\"", host::root().join("omnistack").display());
    let mut generate = Tool::GENERATE.command()?;
    generate.args(["generate", "--path", "templates/saas", "--name", "acme", "--vcs", "none"]);
    generate.args(["--silent", "--define", &checkout, "--destination"]).arg(destination);
    for way in ALL_WAYS {
        generate.args(["--define", &format!("{way}={with_deployment}")]);
    }
    // Sets the author, which cargo-generate would otherwise ask git for.
    command::run(generate.env("CARGO_NAME", "acme"))
}

/// Compares two folders, and returns the number of files. Fails with each file that only one of them has, and each
/// that differs.
fn compare(ours: &Path, copies: &Path, left_out: &[&str]) -> Result<usize> {
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    collect(ours, Path::new(""), left_out, &mut expected)?;
    collect(copies, Path::new(""), &[], &mut found)?;
    let mut wrong = Vec::new();
    for path in expected.iter().chain(&found) {
        let read = |folder: &Path| fs::read(folder.join(path)).ok();
        if read(ours) != read(copies) && !wrong.contains(path) {
            wrong.push(path.clone());
        }
    }
    if wrong.is_empty() {
        return Ok(expected.len());
    }
    let names: Vec<_> = wrong.iter().map(|path| path.display().to_string()).collect();
    Err(Failure::new(format!(
        "these files of deploy/ and templates/saas/deploy/, where `{{{{project-name}}}}` stands for `acme`, differ: {}",
        names.join(", ")
    )))
}

/// Adds the paths of all files below a folder, relative to it.
fn collect(root: &Path, folder: &Path, left_out: &[&str], paths: &mut Vec<PathBuf>) -> Result {
    let absolute = root.join(folder);
    let entries = fs::read_dir(&absolute).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    for entry in entries.context(format_args!("reading {}", absolute.display()))? {
        let path = folder.join(entry.file_name());
        if left_out.iter().any(|name| path == Path::new(name)) {
            continue;
        }
        if root.join(&path).is_dir() {
            collect(root, &path, left_out, paths)?;
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(())
}

/// Adds the resource `notes` to the app, and registers it as the template tells its user to.
fn add_resource(app: &Path) -> Result {
    let mut generate = Tool::GENERATE.command()?;
    generate.args(["generate", "--init", "--silent", "--name", "notes", "--define", "one=note", "--path"]);
    generate.arg(host::root().join("templates/resource")).current_dir(app);
    command::run(generate.env("CARGO_NAME", "acme"))?;
    for (file, before, line) in [
        ("src/lib.rs", "pub mod projects;", "pub mod notes;"),
        ("src/lib.rs", "        .with(projects::Projects)", "        .with(notes::Notes)"),
        ("tests/it/main.rs", "use acme::app;", "mod notes;\n"),
    ] {
        let path = app.join(file);
        let text = fs::read_to_string(&path).context(format_args!("reading {}", path.display()))?;
        if !text.contains(before) {
            return Err(Failure::new(format!("{file} of the template has no line `{before}`")));
        }
        let text = text.replacen(before, &format!("{line}\n{before}"), 1);
        fs::write(&path, text).context(format_args!("writing {}", path.display()))?;
    }
    Ok(())
}

fn build(app: &Path) -> Result {
    // With the versions, settings and target folder of this workspace, few crates are compiled again.
    let lock = (host::root().join("Cargo.lock"), app.join("Cargo.lock"));
    fs::copy(&lock.0, &lock.1).context("copying Cargo.lock")?;
    delete_earlier_builds(&host::target().join("debug"))?;
    cargo(app, &["build"])
}

/// Deletes what earlier runs have built of the app, which had other paths. `cargo clean --package acme` would also delete
/// the test programs of the workspace, which have the same name as that of the app.
fn delete_earlier_builds(folder: &Path) -> Result {
    let (fingerprints, outputs) = (folder.join(".fingerprint"), folder.join("deps"));
    let files = names_in(&outputs)?;
    for name in names_in(&fingerprints)? {
        let Some(hash) = name.strip_prefix("acme-") else { continue };
        for file in files.iter().filter(|file| is_output_of(file, hash)) {
            fs::remove_file(outputs.join(file)).context(format_args!("deleting {file}"))?;
        }
        fs::remove_dir_all(fingerprints.join(&name)).context(format_args!("deleting {name}"))?;
    }
    Ok(())
}

/// Returns the names of the entries of a folder; none if there is no such folder.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.context(format_args!("reading {}", folder.display()))?;
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Returns whether Cargo has made a file, such as `libacme-HASH.rlib` or `it-HASH`, in the build with this hash.
fn is_output_of(file: &str, hash: &str) -> bool {
    let stem = file.split('.').next().unwrap_or_default();
    stem.rsplit_once('-').is_some_and(|(_, found)| found == hash)
}

fn cargo(app: &Path, arguments: &[&str]) -> Result {
    let mut cargo = command::cargo();
    cargo.args(arguments).current_dir(app).env("CARGO_TARGET_DIR", host::target());
    // The variable is unset for a user, and with another value all dependencies would be compiled again.
    let debug = host::env_var("CARGO_PROFILE_DEV_DEBUG").unwrap_or_else(|| "line-tables-only".to_owned());
    command::run(cargo.env("CARGO_PROFILE_DEV_DEBUG", debug))
}

/// Fails if the tests of the app need a dependency with other features than its build, so that `cargo test` after
/// `cargo build` compiles it, and all that depends on it, a second time.
fn compare_features(app: &Path) -> Result {
    let tree = |edges: &str| {
        let mut cargo = command::cargo();
        cargo.args(["tree", "--prefix", "none", "--format", "{p} {f}", "--edges", edges]).current_dir(app);
        command::output_of(&mut cargo)
    };
    let again = compiled_again(&tree("normal,build")?, &tree("normal,build,dev")?);
    if again.is_empty() {
        return Ok(());
    }
    let names = again.join("\n  ");
    Err(Failure::new(format!(
        "the tests turn on features of these dependencies of the app, which Cargo compiles a second time: turn them on in \
         the app, or not at all:\n  {names}"
    )))
}

/// Returns the packages with their features that are in the tree of a build and not in that of the tests.
fn compiled_again(build: &str, tests: &str) -> Vec<String> {
    let packages = |tree: &str| -> BTreeSet<String> {
        tree.lines()
            .map(|line| line.trim_end_matches("(*)").trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    };
    let (build, tests) = (packages(build), packages(tests));
    build.difference(&tests).cloned().collect()
}

/// Sends the requests that the template's README shows. Fails if a response is not as expected.
fn send_requests(app: &App) -> Result {
    const PROJECTS: &str = "/api/v1/app/projects";
    const NOTES: &str = "/api/v1/app/notes";
    let signed_in = app.authorization();
    let ask = |method, path, headers: &[&str], body, status, contains: &str| {
        let answer: Response = http::request(app.port, method, path, headers, body)?;
        if answer.status == status && answer.body.contains(contains) {
            eprintln!("{method} {path}: {status}");
            return Ok(());
        }
        let expected = format!("{method} {path}: expected {status} with `{contains}`");
        Err(Failure::new(format!("{expected}, got {} {}", answer.status, answer.body)))
    };
    ask("GET", "/health", &[], "", 200, "")?;
    ask("GET", "/openapi.json", &[], "", 200, PROJECTS)?;
    ask("GET", PROJECTS, &[], "", 401, "\"error\"")?;
    ask("POST", PROJECTS, &[&signed_in], r#"{"name":"Northwind"}"#, 201, "Northwind")?;
    ask("GET", PROJECTS, &[&signed_in], "", 200, "Northwind")?;
    ask("POST", NOTES, &[&signed_in], r#"{"title":"Call Ada"}"#, 201, "Call Ada")?;
    ask("GET", NOTES, &[&signed_in], "", 200, "Call Ada")
}

/// Fails unless the app names each setting that is set and that only a feature reads which the template lacks, with that
/// feature, in one report.
fn refuse_settings(app: &Path) -> Result {
    const SETTINGS: [(&str, &str, &str); 2] =
        [("AUTH_PASSKEY_DOMAIN", "example.com", "passkeys"), ("AUTH_SMS_CODES", "true", "sms")];
    let mut routes = Command::new(host::target().join("debug/acme"));
    routes.arg("routes").current_dir(app).envs(SETTINGS.map(|(name, value, _)| (name, value)));
    let Err(failure) = command::output_of(&mut routes) else {
        return Err(Failure::new("the app ignores settings of features that it lacks"));
    };
    let report = failure.to_string();
    for (name, _, feature) in SETTINGS {
        let fix = format!("add the feature `{feature}` to `omnistack` in Cargo.toml, or remove {name}");
        if !report.contains(&fix) {
            return Err(Failure::new(format!("the app does not say `{fix}`, but: {report}")));
        }
    }
    Ok(())
}

/// Returns the number of lines of Rust in a folder, without blank lines and comments.
fn count_lines(folder: &Path) -> Result<usize> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut lines = 0;
    for entry in entries.context(format_args!("reading {}", folder.display()))? {
        let path: PathBuf = entry.path();
        if path.is_dir() {
            lines += count_lines(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).context(format_args!("reading {}", path.display()))?;
            lines += text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{compiled_again, delete_earlier_builds, names_in};
    use crate::folder::TempFolder;

    #[test]
    fn only_earlier_builds_of_the_app_are_deleted() {
        let folder = TempFolder::create("template-test").unwrap();
        let path = |name: &str| folder.path().join(name);
        delete_earlier_builds(folder.path()).unwrap();
        for build in ["acme-0a", "acme-1b", "omnistack-core-2c"] {
            fs::create_dir_all(path(".fingerprint").join(build)).unwrap();
        }
        fs::create_dir(path("deps")).unwrap();
        for file in ["acme-0a", "acme-0a.d", "libacme-1b.rlib", "it-1b", "it-2c", "it-2c.d", "libacme_macros-3d.so"] {
            fs::write(path("deps").join(file), "").unwrap();
        }
        delete_earlier_builds(folder.path()).unwrap();
        assert_eq!(names_in(&path(".fingerprint")).unwrap(), ["omnistack-core-2c"]);
        let mut left = names_in(&path("deps")).unwrap();
        left.sort();
        assert_eq!(left, ["it-2c", "it-2c.d", "libacme_macros-3d.so"]);
    }

    #[test]
    fn packages_with_other_features_in_tests_are_compiled_again() {
        let build = "acme v0.1.0\ntokio v1.54.1 net,time\nserde v1.0.0 default (*)\n\n";
        let tests = "acme v0.1.0\nserde v1.0.0 default\ntokio v1.54.1 net,process,time\ntestkit v0.1.0 sqlite\n";
        assert_eq!(compiled_again(build, tests), ["tokio v1.54.1 net,time"]);
        assert!(compiled_again(build, build).is_empty());
    }
}
