//! `cargo xtask test --peers`: programs nobody here wrote, in Python or Node, that speak to ours.

mod aiosmtpd;
mod buckets;
mod clients;
mod maildev;
pub(crate) mod node;
mod passkeys;
mod python;
mod schemathesis;
mod tokens;
mod twilio;
mod unleash;

use std::path::{Path, PathBuf};

use crate::{
    command,
    failure::{Failure, Result},
    host,
    report::Report,
    servers::Servers,
};

/// One foreign program.
#[derive(Debug)]
struct Peer {
    name: &'static str,
    ecosystem: Ecosystem,
    run: fn(&Setting, &mut Report) -> Result,
}

/// Every peer. A new one is one more line and a file beside `schemathesis.rs`.
const PEERS: &[Peer] = &[
    Peer { name: "schemathesis", ecosystem: Ecosystem::Python, run: schemathesis::run },
    Peer { name: "openapi-python-client", ecosystem: Ecosystem::Client, run: clients::run },
    Peer { name: "aiosmtpd", ecosystem: Ecosystem::Python, run: aiosmtpd::run },
    Peer { name: "maildev", ecosystem: Ecosystem::Node, run: maildev::run },
    Peer { name: "moto, botocore and cloudinary", ecosystem: Ecosystem::Python, run: buckets::run },
    Peer { name: "jose, joserfc and oidc-provider", ecosystem: Ecosystem::Python, run: tokens::run },
    Peer { name: "Twilio's SDK", ecosystem: Ecosystem::Python, run: twilio::run },
    Peer { name: "soft-webauthn", ecosystem: Ecosystem::Passkeys, run: passkeys::run },
    Peer { name: "Unleash's client specification", ecosystem: Ecosystem::Node, run: unleash::run },
];

/// Where a peer's packages come from.
#[derive(Debug, Clone, Copy)]
enum Ecosystem {
    Python,
    /// Python as well, with packages that don't go with those of the others.
    Passkeys,
    /// Python, for what is generated from the API's description.
    Client,
    Node,
}

impl Ecosystem {
    /// Installs the pinned packages under `target/peers`, and answers the folder of their programs.
    fn install(self) -> Result<PathBuf> {
        match self {
            Self::Python => python::install(&python::PYTHON),
            Self::Passkeys => python::install(&python::PASSKEYS),
            Self::Client => python::install(&python::CLIENTS),
            Self::Node => node::packages(),
        }
    }
}

/// What a peer works with.
#[derive(Debug)]
struct Setting<'a> {
    /// The folder with the peer's programs.
    programs: &'a Path,
    /// The built `examples/saas`.
    app: &'a Path,
    servers: &'a Servers,
}

/// Installs the peers, builds the example app, and lets each peer at it.
pub(crate) fn run() -> Result {
    let mut report = Report::default();
    let outcome = steps(&mut report);
    report.print();
    outcome
}

fn steps(report: &mut Report) -> Result {
    let servers = Servers::start(report, false)?;
    report.step("build examples/saas", || {
        // As the tests build it, so that nothing is compiled twice.
        command::run(command::cargo().args(["build", "--workspace", "--all-features", "--bin", "saas"]))
    })?;
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

impl Peer {
    /// Installs it and runs it against the app.
    fn meet(&self, app: &Path, servers: &Servers, report: &mut Report) -> Result {
        let programs = report.step_with_note(&format!("install {}", self.name), || {
            self.ecosystem.install().map(|folder| (folder.clone(), folder.display().to_string()))
        })?;
        (self.run)(&Setting { programs: &programs, app, servers }, report)
    }
}
