//! Tests that the README, the book and the template match the code.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use omnistack::{
    app::OwnRoutes,
    audit::{AuditLog, AuditStore},
    backup::Backups,
    cache::Cache,
    config::{self, Config, PublicUrl},
    dashboard::Dashboard,
    email::{MailOutbox, Mailer, UserContacts},
    flag_variant::FlagVariants,
    health::Health,
    http::RateLimits,
    identity::{Entitlements, LimitedResources, PermissionCatalog},
    maintenance::MaintenanceMode,
    metrics::ALL_METRICS,
    module::RoutesWithoutPlanLimits,
    notification::{NotificationKinds, Notifier},
    payment::PaymentProviders,
    prelude::*,
    pubsub::PubSub,
    realtime::RealtimePublisher,
    seed::Seeds,
    tenant_export::TenantExports,
    usage::UsageSink,
    webhook::{WebhookCatalogue, WebhookInbox, WebhookPublisher, WebhookSources},
};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the text between two markers.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("`{begin}` is missing"));
    rest.split_once(end).unwrap_or_else(|| panic!("`{end}` is missing")).0.trim()
}

#[tokio::test]
async fn the_configuration_reference_is_generated() {
    let app = saas::app(App::builder(Config::default())).build().unwrap();
    let page = read("docs/src/configuration.md");
    let shown = between(&page, "<!-- begin generated -->", "<!-- end generated -->");
    let made = config::reference(&app.config().sections());
    assert_eq!(
        shown,
        made.trim(),
        "run `cargo run -p saas -- config --reference` and put it into docs/src/configuration.md"
    );
}

#[test]
fn the_metrics_reference_is_generated() {
    let rows = ALL_METRICS.iter().map(|metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let otel = metric.otel.map(|name| format!("`{name}`")).unwrap_or_default();
        let (name, kind, unit) = (metric.name, metric.kind.as_str(), metric.unit);
        format!("| `{name}` | {kind} | `{unit}` | {} | {} | {otel} |", labels.join(", "), metric.help)
    });
    let head = "| metric | kind | unit | labels | what it is | OpenTelemetry |\n|---|---|---|---|---|---|";
    let made: Vec<_> = std::iter::once(head.to_owned()).chain(rows).collect();
    let page = read("docs/src/metrics.md");
    let shown = between(&page, "<!-- begin generated -->", "<!-- end generated -->");
    assert!(shown == made.join("\n"), "put this table into docs/src/metrics.md:\n\n{}\n", made.join("\n"));
}

#[test]
fn the_template_is_the_example() {
    for file in ["src/projects.rs", "migrations/postgres/0001_projects.sql", "migrations/sqlite/0001_projects.sql"] {
        // The first lines differ.
        let body = |folder: &str| read(&format!("{folder}/{file}")).split_once('\n').unwrap().1.to_owned();
        assert_eq!(body("templates/saas"), body("examples/saas"), "{file}");
    }
}

#[test]
fn the_template_of_resources_has_the_tables_of_the_template() {
    for database in ["postgres", "sqlite"] {
        let lines = |path: String| -> Vec<String> {
            let text = read(&path);
            // Only one of them has a unique value.
            let lines = text.lines().filter(|line| !line.contains("unique index") && !line.ends_with(['.', ':']));
            lines.map(str::to_owned).collect()
        };
        let projects = lines(format!("templates/saas/migrations/{database}/0001_projects.sql"));
        let resource = lines(format!("templates/resource/migrations/{database}/0001_{{{{crate_name}}}}.sql"));
        let renamed = resource.iter().map(|line| {
            let line = line.replace("{{crate_name}}", "projects");
            line.replace("title       text", "name        text").replace("title", "name")
        });
        assert_eq!(renamed.collect::<Vec<_>>(), projects, "{database}");
    }
}

/// Returns the rows of the tables whose first heading is `heading`, each as its cells.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let head = format!("| {heading} |");
    let tables = page.split("\n\n").filter(|block| block.starts_with(&head));
    let rows = tables.flat_map(|table| table.lines().skip(2));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// Returns the code in a cell.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the names of the methods in the table "method of `TYPE`".
fn documented_methods(page: &str, of: &str) -> BTreeSet<String> {
    let rows = rows(page, &format!("method of `{of}`"));
    let calls: Vec<&str> = rows.iter().flat_map(|row| code(row[0])).collect();
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let names = calls.iter().map(|call| call.trim_start_matches('.').split(|next| !is_name(next)).next());
    names.flatten().map(str::to_owned).collect()
}

/// Adds the public methods that the sources under `folder` declare for the type `of`.
fn add_methods(folder: &Path, of: &str, methods: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_methods(&path, of, methods);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut is_of_type = false;
        for line in text.lines() {
            // A block begins and ends at the margin.
            let is_margin = line.starts_with("impl") || line.starts_with('}');
            is_of_type = if is_margin { line.starts_with("impl") && declares(line, of) } else { is_of_type };
            let method = line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub async fn "));
            if let (true, Some(method)) = (is_of_type, method) {
                let name = method.split(['(', '<']).next().unwrap_or_default();
                methods.insert(name.to_owned());
            }
        }
    }
}

/// Returns whether a line such as `impl<S: Clone> Api<S>` begins the methods of the type itself.
fn declares(line: &str, of: &str) -> bool {
    let end = line.trim_end_matches(['{', ' ']);
    let end = end.split(" where").next().unwrap_or_default();
    !line.contains(" for ") && (end.ends_with(&format!(" {of}")) || end.contains(&format!(" {of}<")))
}

fn methods(of: &str) -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../omnistack-core/src");
    add_methods(&sources, of, &mut methods);
    methods
}

#[test]
fn the_book_lists_every_method_of_the_registry_and_no_other() {
    let page = read("docs/src/modules.md");
    assert_eq!(documented_methods(&page, "Registry"), methods("Registry"));
    for of in ["Mount", "Api"] {
        let (documented, methods) = (documented_methods(&page, of), methods(of));
        let unknown: Vec<_> = documented.difference(&methods).collect();
        assert!(!documented.is_empty() && unknown.is_empty(), "{of} has no {unknown:?}: {methods:?}");
    }
}

#[tokio::test]
async fn the_book_lists_the_values_that_context_always_has() {
    let app = App::builder(Config::default()).build().unwrap();
    let ctx = app.context();
    let mut provided = BTreeSet::new();
    macro_rules! provided {
        ($($value:ident),+ $(,)?) => {$(
            assert!(ctx.get::<$value>().is_ok(), "{}", stringify!($value));
            provided.insert(stringify!($value).to_owned());
        )+};
    }
    provided![
        Db,
        Jobs,
        Events,
        Cache,
        Clock,
        Config,
        Health,
        Dashboard,
        LimitedResources,
        PublicUrl,
        RateLimits,
        PermissionCatalog,
        RoutesWithoutPlanLimits,
        AuditStore,
        WebhookSources,
        WebhookCatalogue,
        NotificationKinds,
        Backups,
        MaintenanceMode,
        Seeds,
        TenantExports,
        OwnRoutes
    ];
    provided![
        AuditLog,
        Mailer,
        MailOutbox,
        PubSub,
        UsageSink,
        Entitlements,
        WebhookInbox,
        WebhookPublisher,
        RealtimePublisher,
        Notifier,
        UserContacts,
        PaymentProviders,
        FlagVariants
    ];

    let shown = format!("{ctx:?}");
    let all: BTreeSet<String> =
        code(&shown.replace('"', "`")).map(|path| path.rsplit("::").next().unwrap_or(path).to_owned()).collect();
    // Only core reads the layer and the forms of errors, and adds them to the routes.
    let own = ["IdempotencyLayer", "ErrorForms"];
    let readable: BTreeSet<String> = all.into_iter().filter(|name| !own.contains(&name.as_str())).collect();
    assert_eq!(readable, provided, "the values of an app without modules, and those that this test reads");

    let page = read("docs/src/modules.md");
    let rows = rows(&page, "value");
    let always = rows.iter().filter(|row| row[1].starts_with("always"));
    let documented: BTreeSet<String> = always.flat_map(|row| code(row[0])).map(str::to_owned).collect();
    assert_eq!(documented, provided);
}

#[test]
fn getting_started_shows_the_screen_that_serve_prints() {
    let folder = std::env::temp_dir().join(format!("omnistack-screen-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_saas"));
    serve.current_dir(&folder).env_clear().envs([("PORT", "0"), ("LOG_LEVEL", "error")]).stdout(Stdio::piped());
    let mut process = serve.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut screen: Vec<String> = Vec::new();
    for line in lines.by_ref() {
        let is_last = line.starts_with("  mail ");
        screen.push(line);
        if is_last {
            break;
        }
    }
    let port = screen.iter().find_map(|line| line.rsplit_once("127.0.0.1:").filter(|_| line.contains("serves")));
    let port = port.map(|(_, port)| port.trim().to_owned()).unwrap_or_default();
    let password = screen.iter().find_map(|line| Some(between_words(line, "password ", " (")?.to_owned()));
    let password = password.unwrap_or_default();
    let signed_in = sign_in(&port, &password);
    process.kill().unwrap();
    process.wait().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(signed_in.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")), "{signed_in:?}");

    // The example has another name than the app of the page.
    screen[1] = screen[1].replace(&format!("Acme {}", env!("CARGO_PKG_VERSION")), "acme 0.1.0");
    let printed = screen.join("\n").replace(&format!(":{port}"), ":8080").replace(&password, "…");

    let page = read("docs/src/getting-started.md");
    assert_eq!(between(&page, "```text\n", "\n```"), printed.trim());
}

/// Signs the first operator in. Returns the response.
fn sign_in(port: &str, password: &str) -> std::io::Result<String> {
    let body = format!(r#"{{"email":"owner@example.com","password":"{password}"}}"#);
    let mut connection = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    write!(
        connection,
        "POST /api/v1/public/auth/login HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    Ok(response)
}

fn between_words<'a>(line: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    line.split_once(begin)?.1.split_once(end).map(|(word, _)| word)
}

#[test]
fn the_projects_module_has_fewer_lines_than_the_prose_says() {
    let lines = read("examples/saas/src/projects.rs").lines().count();
    for page in ["README.md", "omnistack-core/src/lib.rs"] {
        let text = read(page);
        let numbers = text.split(" under ").filter_map(|rest| rest.split_once(" lines")?.0.parse::<usize>().ok());
        let said = numbers.last().unwrap_or_else(|| panic!("{page} says no number of lines"));
        assert!(lines < said, "{page} says under {said} lines; projects.rs has {lines}");
    }
}

#[test]
fn the_front_page_of_the_facade_lists_every_room() {
    let facade = read("omnistack/src/lib.rs");
    let front_page = facade.lines().filter_map(|line| line.strip_prefix("//! ")).collect::<Vec<_>>().join("\n");
    let core = read("omnistack-core/src/lib.rs");
    let of_core = core.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let of_features = facade.lines().filter(|line| line.starts_with("pub use omnistack_") && !line.contains('*'));
    let of_features = of_features.filter_map(|line| line.trim_end_matches(';').rsplit([' ', ':']).next());
    let is_missing = |room: &&str| !front_page.contains(&format!("[`{room}`]"));
    let missing: Vec<_> = of_core.chain(of_features).filter(is_missing).collect();
    assert!(missing.is_empty(), "add these rooms to the table in omnistack/src/lib.rs: {missing:?}");
}

/// Returns the version that a manifest states for a dependency, without its comparison operator.
fn stated_version<'a>(manifest: &'a str, dependency: &str) -> Option<&'a str> {
    let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{dependency} = ")))?;
    Some(line.split('"').nth(1)?.trim_start_matches(['~', '=']))
}

#[test]
fn the_versions_of_crates_in_the_docs_are_those_of_the_workspace() {
    let (workspace, template) = (read("Cargo.toml"), read("templates/saas/Cargo.toml"));
    let front_page = read("omnistack/src/lib.rs").replace("//! ", "").replace("//!", "");
    let page = read("docs/src/modules.md");
    let rows = rows(&front_page, "crate");
    assert!(rows.len() > 5, "{rows:?}");
    for row in rows {
        let (name, version) = (row[0].trim_matches([' ', '|']), row[1]);
        let stated = stated_version(&workspace, name).unwrap_or_default();
        assert!(format!("{stated}.").starts_with(&format!("{version}.")), "{name}: {version} in the docs, {stated}");
        assert!(page.contains(&format!("{name} {version}")), "modules.md has another version of {name} than {version}");
        let of_template = stated_version(&template, name).unwrap_or(version);
        assert_eq!(of_template, version, "{name} in the template");
    }
}

/// Returns the names by which rustdoc finds items of the sources under `folder`, beside their own.
fn add_aliases(folder: &Path, aliases: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_aliases(&path, aliases);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let attributes = text.lines().filter_map(|line| line.trim_start().strip_prefix("#[doc(alias"));
        aliases.extend(attributes.flat_map(|names| names.split('"').skip(1).step_by(2)).map(str::to_owned));
    }
}

#[test]
fn the_api_documentation_and_the_book_are_found_by_the_usual_words() {
    let mut aliases = BTreeSet::new();
    for name in ["core", "auth", "webhooks"] {
        let folder = format!("../../omnistack-{name}/src");
        add_aliases(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut aliases);
    }
    let pages = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")).unwrap();
    let book: String = pages.map(|page| fs::read_to_string(page.unwrap().path()).unwrap()).collect();
    for word in [
        "CORS",
        "CSRF",
        "impersonation",
        "multi-tenant",
        "pagination",
        "rate limit",
        "refresh token",
        "soft delete",
        "webhook",
    ] {
        assert!(aliases.contains(word), "no item has #[doc(alias = \"{word}\")]");
        assert!(book.contains(word), "no chapter has the words `{word}`");
    }
}

#[test]
fn docs_rs_shows_every_feature_of_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let names = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let crates: Vec<_> = names.filter(|name| name.starts_with("omnistack")).collect();
    assert!(crates.len() > 10, "{crates:?}");
    for name in crates {
        let manifest = read(&format!("{name}/Cargo.toml"));
        assert!(manifest.contains("[package.metadata.docs.rs]\nall-features = true\n"), "{name}");
        // docs.rs then shows beside each item the feature that it needs.
        let library = read(&format!("{name}/src/lib.rs"));
        assert!(library.contains("#![cfg_attr(docsrs, feature(doc_cfg))]"), "{name}");
    }
}
