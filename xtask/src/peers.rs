//! `cargo xtask test --peers`: tests against independent programs in Python and Node.

pub(crate) mod ai;
mod aiosmtpd;
mod browser;
mod buckets;
mod clients;
mod deploy;
mod grafana;
mod invoices;
pub(crate) mod load;
mod logstash;
mod maildev;
pub(crate) mod node;
mod passkeys;
mod payment_sdks;
mod prometheus;
mod python;
mod realtime;
mod schemathesis;
mod stripe;
mod telemetry;
mod tokens;
mod twilio;
mod unleash;
mod usage;
mod webhooks;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    failure::{Context, Failure, Result},
    host,
    report::Report,
    servers::Servers,
};

/// An independent program to test against.
struct Peer {
    name: &'static str,
    ecosystem: PackageSet,
    run: fn(&PeerContext, &mut Report) -> Result,
}

/// All peers. To add one, add a line here and a module beside `schemathesis.rs`.
const PEERS: &[Peer] = &[
    Peer { name: "schemathesis", ecosystem: PackageSet::Python, run: schemathesis::run },
    Peer { name: "openapi-python-client", ecosystem: PackageSet::Client, run: clients::run },
    Peer { name: "aiosmtpd", ecosystem: PackageSet::Python, run: aiosmtpd::run },
    Peer { name: "maildev", ecosystem: PackageSet::Node, run: maildev::run },
    Peer { name: "moto, botocore and cloudinary", ecosystem: PackageSet::Python, run: buckets::run },
    Peer { name: "jose, joserfc and oidc-provider", ecosystem: PackageSet::Python, run: tokens::run },
    Peer { name: "Twilio's SDK", ecosystem: PackageSet::Python, run: twilio::run },
    Peer { name: "soft-webauthn", ecosystem: PackageSet::Passkeys, run: passkeys::run },
    Peer {
        name: "rotel, opentelemetry-proto, py_zipkin and Bugsink",
        ecosystem: PackageSet::Telemetry,
        run: telemetry::run,
    },
    Peer { name: "the providers' libraries for webhooks", ecosystem: PackageSet::Webhooks, run: webhooks::run },
    Peer { name: "Stripe's libraries and localstripe", ecosystem: PackageSet::Webhooks, run: stripe::run },
    Peer { name: "PayPal's and Razorpay's clients", ecosystem: PackageSet::PaymentSdks, run: payment_sdks::run },
    Peer { name: "factur-x, Saxon and pypdf", ecosystem: PackageSet::Invoices, run: invoices::run },
    Peer { name: "Unleash's client specification", ecosystem: PackageSet::Node, run: unleash::run },
    Peer { name: "Prometheus and Alertmanager", ecosystem: PackageSet::Python, run: prometheus::run },
    Peer { name: "Grafana's types", ecosystem: PackageSet::Boards, run: grafana::run },
    Peer { name: "logstash-pipeline-parser", ecosystem: PackageSet::Python, run: logstash::run },
    Peer {
        name: "hadolint, check-jsonschema, kubernetes-validate and zizmor",
        ecosystem: PackageSet::Deploy,
        run: deploy::run,
    },
    Peer { name: "DuckDB", ecosystem: PackageSet::Python, run: usage::run },
    Peer { name: "OpenAI's, Anthropic's, Google's and Groq's clients", ecosystem: PackageSet::Ai, run: ai::run },
    Peer { name: "Chromium", ecosystem: PackageSet::Browser, run: browser::run },
    Peer { name: "centrifuge, websockets and wsproto", ecosystem: PackageSet::Realtime, run: realtime::run },
];

/// The package set of a peer.
#[derive(Debug, Clone, Copy)]
enum PackageSet {
    Python,
    /// A separate Python environment, because its packages conflict with those of other peers.
    Passkeys,
    /// A separate Python environment for the receivers of traces, metrics and errors.
    Telemetry,
    /// A separate Python environment for the libraries of providers that send webhooks, and localstripe.
    Webhooks,
    /// A separate Python environment for PayPal's and Razorpay's clients.
    PaymentSdks,
    /// A separate Python environment for the readers of invoices.
    Invoices,
    /// A separate Python environment for the clients of realtime.
    Realtime,
    /// A separate Python environment for the providers' clients of models.
    Ai,
    /// A separate Python environment for the client generator.
    Client,
    /// A separate Python environment for the validators of the files of deployments.
    Deploy,
    Node,
    /// The types of Grafana's boards.
    Boards,
    /// The driver of a browser.
    Browser,
}

impl PackageSet {
    /// Installs the pinned packages under `target/peers` and returns the folder of their programs.
    fn install(self) -> Result<PathBuf> {
        match self {
            Self::Python => python::install(&python::PYTHON),
            Self::Passkeys => python::install(&python::PASSKEYS),
            Self::Telemetry => python::install(&python::TELEMETRY),
            Self::Webhooks => python::install(&python::WEBHOOKS),
            Self::PaymentSdks => python::install(&python::PAYMENT_SDKS),
            Self::Invoices => python::install(&python::INVOICES),
            Self::Realtime => python::install(&python::REALTIME),
            Self::Ai => python::install(&python::AI),
            Self::Client => python::install(&python::CLIENTS),
            Self::Deploy => python::install(&python::DEPLOY),
            Self::Node => node::install_common_packages(),
            Self::Boards => node::install_packages(&node::GRAFANA),
            Self::Browser => node::install_packages(&node::BROWSER),
        }
    }
}

/// The inputs of a peer.
#[derive(Debug)]
struct PeerContext<'a> {
    /// The folder with the peer's programs.
    programs: &'a Path,
    /// The built `examples/saas`.
    app: &'a Path,
    servers: &'a Servers,
}

/// Installs the peers, builds the example app and runs each peer. Fails at the first peer that fails.
pub(crate) fn run() -> Result {
    let mut report = Report::default();
    let outcome = steps(&mut report);
    report.print();
    outcome
}

fn steps(report: &mut Report) -> Result {
    let servers = Servers::start(report, false)?;
    // Building the tests builds the app too. Without them, dependencies would be compiled again with the features that
    // only tests need left out.
    report.step("build the tests and examples/saas", build)?;
    let app = host::target().join("debug/saas");
    // All of them, whatever became of the one before: one run shows everything that is wrong.
    let mut failures = Vec::new();
    for peer in PEERS {
        if let Err(failure) = peer.meet(&app, &servers, report) {
            eprintln!("\nerror: {failure}");
            failures.push(format!("{}: {failure}", peer.name));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::new(failures.join("\n"))) }
}

/// Builds the tests of the workspace, and the programs of the examples.
fn build() -> Result {
    if host::find_program("cargo-nextest").is_none() {
        return command::run(command::cargo().args(["test", "--workspace", "--all-features", "--no-run"]));
    }
    let mut list = command::cargo();
    list.args(["nextest", "list", "--all-features", "--list-type", "binaries-only", "--message-format", "json"]);
    let mut metadata = command::cargo();
    metadata.args(["metadata", "--format-version", "1", "--all-features"]);
    let [programs, packages] = build_lists();
    fs::create_dir_all(host::target().join("peers")).context("creating the folder of peers")?;
    fs::write(&programs, command::capture(&mut list)?).context(format_args!("writing {}", programs.display()))?;
    fs::write(&packages, command::output_of(&mut metadata)?).context(format_args!("writing {}", packages.display()))
}

/// Returns the paths of the lists of test programs and of packages that [`build`] writes.
fn build_lists() -> [PathBuf; 2] {
    ["test-programs.json", "packages.json"].map(|name| host::target().join("peers").join(name))
}

/// Returns the command with which nextest runs tests that [`build`] has built, also while another command of Cargo, such as
/// Clippy, locks the target folder.
fn nextest_run() -> Command {
    let [programs, packages] = build_lists();
    let mut tests = command::cargo();
    tests.args(["nextest", "run", "--profile", "peers", "--binaries-metadata"]).arg(programs);
    tests.arg("--cargo-metadata").arg(packages);
    tests
}

/// Returns the command that runs ignored tests of a package, those whose names contain one of `names`.
///
/// With nextest it selects them from the test programs of the whole workspace, which the other tests have built. Without
/// it, Cargo builds the package by itself, with other features of its dependencies.
fn ignored_tests(package: &str, names: &[&str]) -> Command {
    if host::find_program("cargo-nextest").is_some() {
        let names: Vec<_> = names.iter().map(|name| format!("test({name})")).collect();
        let selected = format!("package({package}) & ({})", names.join(" | "));
        let mut tests = nextest_run();
        tests.args(["--run-ignored", "only", "--filterset", &selected]);
        tests
    } else {
        let mut tests = command::cargo();
        tests.args(["test", "--package", package, "--all-features", "--test", "it", "--", "--ignored"]);
        tests.args(names);
        tests
    }
}

impl Peer {
    /// Installs it and runs it against the app.
    fn meet(&self, app: &Path, servers: &Servers, report: &mut Report) -> Result {
        let programs = report.step_with_note(&format!("install {}", self.name), || {
            self.ecosystem.install().map(|folder| (folder.clone(), folder.display().to_string()))
        })?;
        (self.run)(&PeerContext { programs: &programs, app, servers }, report)
    }
}
