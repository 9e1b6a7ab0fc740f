//! `cargo xtask features`: counts the crates that each feature of `omnistack` adds, and measures builds of apps with
//! some of them. Writes the tables of the chapter "Picking modules".

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::{
    bench::PageSection,
    clock::Stopwatch,
    command,
    failure::{Context, Failure, Result},
    folder::TempFolder,
    host,
    report::Report,
};

/// The page with the tables.
const PAGE: &str = "docs/src/picking-modules.md";
/// The features that name no module: what is on by default, and what turns all others on.
const FEATURE_SETS: [&str; 2] = ["default", "full"];
const BYTES_PER_MEGABYTE: f64 = 1_000_000.0;

/// An app whose build is measured.
struct MeasuredApp {
    name: &'static str,
    /// The features of `omnistack`, separated by commas, beside those that are on by default.
    features: &'static str,
    /// The modules that the program adds, so that their code is in it.
    modules: &'static [&'static str],
}

const ACCOUNTS: &str = "auth::Auth::from_env()";
const MAIL: &str = "email::Mail::default()";

/// The apps, from the smallest to the largest.
const APPS: &[MeasuredApp] = &[
    MeasuredApp { name: "the quickstart", features: "sqlite", modules: &[] },
    MeasuredApp { name: "accounts", features: "auth", modules: &[ACCOUNTS] },
    MeasuredApp { name: "the template", features: "auth,backup,email,postgres,redis", modules: &[ACCOUNTS, MAIL] },
    MeasuredApp {
        name: "the template and files",
        features: "auth,backup,email,postgres,redis,storage",
        modules: &[ACCOUNTS, MAIL, "storage::Files::from_env()"],
    },
    MeasuredApp {
        name: "the template, observability, webhooks and realtime",
        features: "auth,backup,email,observability,postgres,realtime,redis,webhooks",
        modules: &[
            ACCOUNTS,
            MAIL,
            "observability::Observability::from_env()",
            "realtime::Realtime::from_env()",
            "webhooks::Webhooks::from_env()",
        ],
    },
    MeasuredApp {
        name: "the template, billing and Stripe",
        features: "auth,backup,billing,email,postgres,redis,stripe,webhooks",
        modules: &[
            ACCOUNTS,
            MAIL,
            "billing::Billing::from_env()",
            "payments::Payments::from_env()",
            "webhooks::Webhooks::from_env()",
        ],
    },
    MeasuredApp {
        name: "the template and models",
        features: "ai,auth,backup,email,postgres,redis",
        modules: &[ACCOUNTS, MAIL, "ai::Ai::from_env()"],
    },
    MeasuredApp {
        name: "`full`",
        features: "full",
        modules: &[
            ACCOUNTS,
            MAIL,
            "ai::Ai::from_env()",
            "billing::Billing::from_env()",
            "contact::Contact::default()",
            "flags::FeatureFlags::default()",
            "observability::Observability::from_env()",
            "payments::Payments::from_env()",
            "realtime::Realtime::from_env()",
            "sms::Sms::default()",
            "storage::Files::from_env()",
            "webhooks::Webhooks::from_env()",
        ],
    },
];

/// Counts crates and, with `builds`, measures builds; writes the tables into the chapter and prints them.
pub(crate) fn run(builds: bool) -> Result {
    let mut sections = vec![PageSection { name: "crates".to_owned(), body: crates_table()? }];
    if builds {
        let mut report = Report::default();
        let table = builds_table(&mut report);
        report.print();
        sections.push(PageSection { name: "builds".to_owned(), body: table? });
    }
    let path = host::root().join(PAGE);
    let page = fs::read_to_string(&path).context(format_args!("reading {PAGE}"))?;
    let page = sections.iter().fold(page, |page, section| section.replace_in(&page));
    fs::write(&path, page).context(format_args!("writing {PAGE}"))?;
    for section in &sections {
        println!("\n{}", section.body);
    }
    Ok(())
}

/// Returns the table of features with the number of crates that a program with each of them contains.
fn crates_table() -> Result<String> {
    let manifest = fs::read_to_string(host::root().join("omnistack/Cargo.toml")).context("reading the features")?;
    let smallest = crates(&["--no-default-features", "--features", "sqlite"])?;
    let default = crates(&[])?;
    let mut rows = vec![
        "| features | crates | more than the default |".to_owned(),
        "|---|---|---|".to_owned(),
        format!("| only `sqlite` | {} | |", smallest.len()),
        format!("| those that are on by default | {} | |", default.len()),
    ];
    for feature in feature_names(&manifest) {
        let with = crates(&["--features", feature])?;
        let more = with.difference(&default).count();
        if more > 0 {
            rows.push(format!("| `{feature}` beside them | {} | {more} |", with.len()));
        }
    }
    let full = crates(&["--features", "full"])?;
    rows.push(format!("| `full` | {} | {} |", full.len(), full.difference(&default).count()));
    Ok(rows.join("\n"))
}

/// Returns the packages that the facade depends on with these features.
fn crates(features: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = command::cargo();
    tree.args(["tree", "--package", "omnistack", "--prefix", "none", "--format", "{p}", "--edges", "normal"]);
    let printed = command::output_of(tree.args(features))?;
    let packages = printed.lines().map(|line| line.trim_end_matches("(*)").trim());
    Ok(packages.filter(|package| !package.is_empty()).map(str::to_owned).collect())
}

/// Returns the features of a manifest in their order, without those that only turn others on.
fn feature_names(manifest: &str) -> Vec<&str> {
    let (_, section) = manifest.split_once("[features]\n").unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once(" = [").map(|(name, _)| name));
    names.filter(|name| !name.starts_with(['#', ' ']) && !FEATURE_SETS.contains(name)).collect()
}

fn builds_table(report: &mut Report) -> Result<String> {
    let heads = ["app", "features", "first build, processor time", "a change, until it is built", "`dev`", "`release`"];
    let mut rows = vec![format!("| {} |", heads.join(" | ")), "|---|---|---|---|---|---|".to_owned()];
    for app in APPS {
        let row = report.step_with_note(app.name, || {
            let row = measure(app)?;
            Ok((row.clone(), row))
        })?;
        rows.push(row);
    }
    Ok(rows.join("\n"))
}

/// Builds the app in a folder of its own, and returns its row of the table.
fn measure(app: &MeasuredApp) -> Result<String> {
    let folder = TempFolder::create("features")?;
    let folder = folder.path();
    let main = folder.join("src/main.rs");
    let write = |path: &Path, text: &str| fs::write(path, text).context(format_args!("writing {}", path.display()));
    fs::create_dir_all(folder.join("src")).context("creating the app")?;
    write(&folder.join("Cargo.toml"), &manifest(app))?;
    write(&main, &program(app))?;
    // The versions of this workspace.
    fs::copy(host::root().join("Cargo.lock"), folder.join("Cargo.lock")).context("copying Cargo.lock")?;

    let seconds = build(folder, "")?;
    write(&main, &format!("{}// Changed.\n", program(app)))?;
    let watch = Stopwatch::start();
    build(folder, "")?;
    let change = watch.elapsed().as_secs_f64();
    build(folder, "--release")?;
    let megabytes = |profile: &str| {
        let path = folder.join("target").join(profile).join("app");
        let bytes = fs::metadata(&path).context(format_args!("reading {}", path.display()))?.len();
        Ok::<_, Failure>(bytes as f64 / BYTES_PER_MEGABYTE)
    };
    let (dev, release) = (megabytes("debug")?, megabytes("release")?);
    let (name, features) = (app.name, app.features.replace(',', "`, `"));
    Ok(format!("| {name} | `{features}` | {seconds:.0} s | {change:.1} s | {dev:.0} MB | {release:.0} MB |"))
}

/// Builds the app, and returns the processor time of Cargo and of the compilers that it runs, in seconds.
fn build(app: &Path, arguments: &str) -> Result<f64> {
    let mut shell = Command::new("sh");
    // The builtin `times` prints the time of the shell, and in a second line that of its children.
    shell.arg("-c").arg(format!("\"$CARGO\" build --quiet {arguments} && times")).current_dir(app);
    shell.env("CARGO", command::cargo().get_program()).env("CARGO_TARGET_DIR", app.join("target"));
    let printed = command::capture(&mut shell)?;
    processor_seconds(&printed).ok_or_else(|| Failure::new(format!("`times` printed `{printed}`")))
}

fn processor_seconds(times: &str) -> Option<f64> {
    let seconds = |text: &str| -> Option<f64> {
        let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    times.lines().nth(1)?.split_whitespace().map(seconds).sum()
}

fn manifest(app: &MeasuredApp) -> String {
    let path = host::root().join("omnistack");
    let features = app.features.replace(',', "\", \"");
    format!(
        r#"[package]
name = "app"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
omnistack = {{ path = "{}", features = ["{features}"] }}
tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}

[profile.dev]
debug = "line-tables-only"

[profile.release]
opt-level = "s"
strip = "debuginfo"
lto = "off"
"#,
        path.display()
    )
}

fn program(app: &MeasuredApp) -> String {
    let modules: Vec<_> = app.modules.iter().map(|module| format!(".with(omnistack::{module})")).collect();
    let modules = modules.concat();
    format!(
        "#[tokio::main]\nasync fn main() -> omnistack::Result<()> {{\n    \
         omnistack::app::App::from_env(){modules}.run().await\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{APPS, feature_names, processor_seconds, program};

    #[test]
    fn features_are_read_from_the_manifest() {
        let manifest = r#"[package]
name = "a"

[features]
default = ["sqlite"]
# All.
full = [
    "sqlite", "auth",
]
sqlite = [
    "core/sqlite",
]
auth = ["dep:auth"]

[dependencies]
b = { features = ["c"] }
"#;
        assert_eq!(feature_names(manifest), ["sqlite", "auth"]);
        assert!(feature_names("[package]\n").is_empty());
    }

    #[test]
    fn the_time_of_children_is_the_second_line() {
        for (times, expected) in [
            ("0m0.00s 0m0.01s\n1m30.50s 0m9.5s\n", Some(100.0)),
            ("0m0.000000s 0m0.000000s\n0m1.000000s 0m2.000000s\n", Some(3.0)),
            ("0m0.00s 0m0.01s\n", None),
            ("a\nb\n", None),
        ] {
            assert_eq!(processor_seconds(times), expected, "{times}");
        }
    }

    #[test]
    fn a_program_adds_its_modules() {
        let program = program(&APPS[1]);
        assert!(program.contains("App::from_env().with(omnistack::auth::Auth::from_env()).run().await"), "{program}");
    }
}
