//! Tests that no setting is ignored silently: those of features, and those of the deployment files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use omnistack::{
    app::{App, AppBuilder},
    auth::Auth,
    config::Config,
    email::Mail,
};

/// The prefixes of settings that only a feature reads, with the feature.
const FEATURES: [(&str, &str); 4] =
    [("REDIS_", "redis"), ("STORAGE_", "storage"), ("METRICS_", "observability"), ("OTEL_", "observability")];

/// The modules that a whole feature consists of: an app that does not add the module does not know its settings. Clients
/// for calls to other services, and secrets that are sealed at rest, are compiled in as soon as a module needs them.
const WHOLE_MODULES: [&str; 5] = [
    "omnistack-core/src/crypto/settings",
    "omnistack-core/src/http/client",
    "omnistack-messaging/src/contact",
    "omnistack-messaging/src/email",
    "omnistack-messaging/src/sms",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Adds the files of a folder and of all folders in it.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// Returns the names of all settings that an app reads.
fn settings_of(builder: AppBuilder) -> BTreeSet<&'static str> {
    let app = builder.build().unwrap();
    app.config().sections().iter().flat_map(|(_, settings)| settings).map(|setting| setting.name).collect()
}

#[tokio::test]
async fn the_deployment_files_set_what_the_template_reads_or_name_the_feature() {
    let all = settings_of(saas::app(App::builder(Config::default())));
    let template = settings_of(App::builder(Config::default()).with(Auth::from_env()).with(Mail::default()));
    let manifest = fs::read_to_string(root().join("templates/saas/Cargo.toml")).unwrap();
    let (_, features) = manifest.split_once("{{omnistack_dependency}}, features = [").unwrap();
    let features: Vec<_> = features.split(']').next().unwrap_or_default().split('"').skip(1).step_by(2).collect();
    for feature in ["auth", "email", "postgres"] {
        assert!(features.contains(&feature), "{features:?}");
    }

    let mut files = Vec::new();
    collect(&root().join("templates/saas/deploy"), &mut files);
    let mut seen = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        for name in words.filter_map(|word| all.get(word).copied()) {
            seen.insert(name);
            let read = match FEATURES.iter().find(|(prefix, _)| name.starts_with(prefix)) {
                Some((_, feature)) => features.contains(feature) || text.contains(&format!("feature `{feature}`")),
                None => template.contains(name),
            };
            assert!(read, "{} sets {name}, which the template does not read: name its feature", file.display());
        }
    }
    for name in ["DATABASE_URL", "REDIS_URL", "SMTP_URL", "STORAGE_BUCKET", "METRICS_ADDRESS"] {
        assert!(seen.contains(name), "{name} is in no deployment file: {seen:?}");
    }
}

/// Returns the modules that a file compiles only with a feature, as the paths of their files without `.rs`.
fn modules_of_features(file: &Path, text: &str) -> Vec<PathBuf> {
    let is_root = file.file_name().is_some_and(|name| name == "lib.rs");
    let folder = if is_root { file.with_file_name("") } else { file.with_extension("") };
    let mut is_of_feature = false;
    let mut modules = Vec::new();
    for line in text.lines() {
        if line.starts_with("#[") {
            is_of_feature |= line.starts_with("#[cfg(") && line.contains("feature = ") && !line.contains("not(");
            continue;
        }
        let module = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
        if let (true, Some((_, name))) = (is_of_feature, module) {
            modules.push(folder.join(name));
        }
        is_of_feature = false;
    }
    modules
}

#[test]
fn settings_that_only_a_feature_reads_are_declared_with_it() {
    let mut sources = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let folder = entry.unwrap().path();
        if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("omnistack")) {
            collect(&folder.join("src"), &mut sources);
        }
    }
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let texts: Vec<_> = sources.iter().map(|path| (path, fs::read_to_string(path).unwrap())).collect();
    let of_features: Vec<_> = texts.iter().flat_map(|(path, text)| modules_of_features(path, text)).collect();
    let mut declared = 0;
    for (path, text) in &texts {
        let module = path.with_extension("");
        let is_whole = WHOLE_MODULES.iter().any(|whole| module.starts_with(root().join(whole)));
        let is_of_feature = !is_whole && of_features.iter().any(|of_feature| module.starts_with(of_feature));
        let lines: Vec<_> = text.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.ends_with("settings! {")) {
            let names_feature = lines.get(at + 1).is_some_and(|line| line.trim_start().starts_with("feature \""));
            let has_condition = at > 0 && lines[at - 1].starts_with("#[cfg(");
            declared += usize::from(names_feature);
            assert!(
                names_feature || !(is_of_feature || has_condition),
                "{}: begin this section with `feature \"…\" of \"omnistack\";`, so that its settings are reported without \
                 the feature, and read it there too",
                path.display()
            );
        }
    }
    assert!(declared > 10, "{declared} sections of features");
}
