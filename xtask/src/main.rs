//! The workspace's automation: see `cargo xtask --help`.
//!
//! Runs on Linux and macOS and needs only Rust, a C compiler and `sh`. A command finds or installs the other programs
//! it needs, and prints which ones.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints to its terminal")]

mod app;
mod apt;
mod architecture;
mod bench;
mod book;
mod ci;
mod clock;
mod command;
mod failure;
mod features;
mod files;
mod finding;
mod folder;
mod fuzz;
mod host;
mod http;
mod image;
mod limits;
mod load;
mod models;
mod peers;
mod report;
mod servers;
mod source;
mod supervise;
mod template;
mod test;
mod tools;
mod words;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::{
    bench::Benchmark,
    failure::Result,
    load::{LoadPlan, LoadProfile},
    models::PriceMap,
};

fn main() -> ExitCode {
    match dispatch(&cli().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            failure.exit_code()
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Result {
    match matches.subcommand() {
        Some(("test", matches)) if matches.get_flag("peers") => peers::run(),
        Some(("test", matches)) => {
            let nextest: Vec<OsString> = matches.get_many("nextest").unwrap_or_default().cloned().collect();
            test::run(&nextest)
        }
        Some(("ci", matches)) if matches.get_flag("list") => {
            ci::list();
            Ok(())
        }
        Some(("ci", matches)) => {
            let only: Vec<String> = matches.get_many("only").unwrap_or_default().cloned().collect();
            ci::run(&only)
        }
        Some(("bench", matches)) => match matches.get_one::<String>("which").map(String::as_str) {
            Some("http") => bench::run(&[Benchmark::HTTP]),
            Some("db") => bench::run(&[Benchmark::DB]),
            Some("lists") => bench::run(&[Benchmark::LISTS]),
            Some("jobs") => bench::run(&[Benchmark::JOBS]),
            Some("cache") => bench::run(&[Benchmark::CACHE]),
            Some("limit") => bench::run(&[Benchmark::LIMIT]),
            Some("auth") => bench::run(&[Benchmark::AUTH]),
            Some("flags") => bench::run(&[Benchmark::FLAGS]),
            Some("observability") => bench::run(&[Benchmark::OBSERVABILITY]),
            Some("webhooks") => bench::run(&[Benchmark::WEBHOOKS]),
            Some("usage") => bench::run(&[Benchmark::USAGE]),
            Some("payments") => bench::run(&[Benchmark::PAYMENTS]),
            Some("invoices") => bench::run(&[Benchmark::INVOICES]),
            Some("files") => bench::run(&[Benchmark::FILES]),
            Some("realtime") => bench::run(&[Benchmark::REALTIME]),
            Some("ai") => bench::run(&[Benchmark::AI]),
            _ => bench::run(&[
                Benchmark::HTTP,
                Benchmark::DB,
                Benchmark::LISTS,
                Benchmark::JOBS,
                Benchmark::CACHE,
                Benchmark::LIMIT,
                Benchmark::AUTH,
                Benchmark::FLAGS,
                Benchmark::FILES,
                Benchmark::OBSERVABILITY,
                Benchmark::WEBHOOKS,
                Benchmark::USAGE,
                Benchmark::PAYMENTS,
                Benchmark::INVOICES,
                Benchmark::REALTIME,
                Benchmark::AI,
            ]),
        },
        Some(("load", matches)) => load::run(&load_plan(matches)),
        Some(("image", matches)) => {
            let profile = matches.get_one::<String>("profile").map(String::as_str).unwrap_or_default();
            image::run(profile, matches.get_flag("twice"))
        }
        Some(("fuzz", matches)) => {
            let only = matches.get_one::<String>("target").map(String::as_str);
            fuzz::run(only, matches.get_one::<u64>("seconds").copied().unwrap_or_default())
        }
        Some(("book", _)) => book::write(&host::root()),
        Some(("features", matches)) => features::run(matches.get_flag("builds")),
        Some(("template", _)) => template::run(),
        Some(("models", matches)) => {
            let text = |name| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
            let map = PriceMap { source: Path::new(text("source")), release: text("release"), date: text("date") };
            models::run(&map, matches.get_flag("check"))
        }
        _ => unreachable!("clap requires one of the subcommands"),
    }
}

fn cli() -> Command {
    Command::new("cargo xtask")
        .about("OmniStack's automation: tests, checks and benchmarks")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("test")
                .about("Runs every test on SQLite, PostgreSQL and Redis")
                .long_about(
                    "Runs every unit, integration and documentation test on SQLite, PostgreSQL and Redis.\n\n\
                     PostgreSQL and Redis are temporary servers on free ports of this machine, which are stopped and \
                     deleted at the end. If TEST_DATABASE_URL or TEST_REDIS_URL is set, that server is used \
                     instead; it must be for tests only. The programs come from the PATH, the usual folders or, as \
                     root on Debian or Ubuntu, the system's packages.",
                )
                .arg(
                    Arg::new("peers")
                        .long("peers")
                        .action(ArgAction::SetTrue)
                        .conflicts_with("nextest")
                        .help("Run the tests against Python and Node programs instead, installed under target/"),
                )
                .arg(
                    Arg::new("nextest")
                        .last(true)
                        .num_args(1..)
                        .value_name("ARGS")
                        .value_parser(value_parser!(OsString))
                        .help("Arguments for cargo nextest, such as a filter; skips documentation tests"),
                ),
        )
        .subcommand(
            Command::new("ci")
                .about("Runs every check that a change must pass, and prints the duration of each")
                .arg(
                    Arg::new("only")
                        .long("only")
                        .value_name("NAME")
                        .action(ArgAction::Append)
                        .value_parser(ci::names())
                        .help("Run only this check; may be repeated"),
                )
                .arg(Arg::new("list").long("list").action(ArgAction::SetTrue).help("List the checks")),
        )
        .subcommand(
            Command::new("bench")
                .about("Runs benchmarks and writes their tables into docs/benchmarks.md")
                .arg(
                    Arg::new("which")
                        .required(true)
                        .value_parser(["http", "db", "lists", "jobs", "cache", "limit", "auth", "flags", "files", "observability", "webhooks", "usage", "payments", "invoices", "realtime", "ai", "all"])
                        .help("The benchmark: the HTTP stack against bare axum, the database against plain sqlx, lists with up to a million rows, the job queue, the cache, rate limits, authentication of callers, feature flags, uploads and signed URLs, observing requests, webhooks, usage with its quotas (BENCH_LARGE=1 adds runs among ten and a hundred million events), our time in a payment (BENCH_LARGE=1 adds 10,000 requests a minute for ten minutes), finalising invoices, connections of clients, what the AI gateway adds to a call and searches by vectors, or all"),
                ),
        )
        .subcommand(
            Command::new("load")
                .about("Loads the example app with six kinds of users; fails if a limit is exceeded")
                .long_about(
                    "Builds examples/saas for release, starts it and loads it by Locust (PyPI), with six kinds of \
                     users: browsers with a session, programs with an API key, uploaders, operators, senders of signed \
                     webhooks, and clients of realtime.\n\n\
                     smoke: a steady load for 3 minutes. Every minute must have 10,000 requests.\n\
                     spike: for 4 minutes, of 3,000 requests a minute. The users grow to ten times as many and return; \
                     some requests are refused, each with Retry-After, and p99 must return.\n\
                     soak: as smoke for 30 minutes; the memory must not grow.\n\n\
                     Prints p50, p95, p99 and failures by kind of user, and the resident memory over time. Without \
                     options, the app runs on its embedded defaults in one process. PostgreSQL and Redis are temporary \
                     servers, as for `test`; with both, two replicas and a worker run. Locust is installed under \
                     target/.",
                )
                .arg(
                    Arg::new("profile")
                        .value_parser(["smoke", "spike", "soak"])
                        .default_value("smoke")
                        .help("The course of the load"),
                )
                .arg(Arg::new("postgres").long("postgres").action(ArgAction::SetTrue).help("Run the app on PostgreSQL"))
                .arg(Arg::new("redis").long("redis").action(ArgAction::SetTrue).help("Run the app with Redis"))
                .arg(load_number("minutes", 2, "How long; for all but soak, a few minutes are enough"))
                .arg(load_number("rate", 600, "Requests a minute that must be sent; for spike, those before it"))
                .arg(load_limit("max-errors", "PERCENT", "0", "The percentage of the requests that may fail"))
                .arg(load_limit("max-p99", "MS", "1000", "The largest p99 of a kind of user, in milliseconds")),
        )
        .subcommand(
            Command::new("image")
                .about("Builds the program of the image of examples/saas; fails if the image would be too large")
                .long_about(
                    "Builds examples/saas as deploy/Dockerfile does, compresses the program, and adds the size of the base \
                     image. Fails if the sum is not below 60 MB. No image is built, so no container engine is needed.",
                )
                .arg(
                    Arg::new("profile")
                        .long("profile")
                        .default_value("dist")
                        .value_parser(["dist", "release"])
                        .help("The build profile, as the Dockerfile's argument PROFILE"),
                )
                .arg(
                    Arg::new("twice")
                        .long("twice")
                        .action(ArgAction::SetTrue)
                        .help("Build two times from scratch, and fail if the two programs differ; takes long"),
                ),
        )
        .subcommand(
            Command::new("fuzz")
                .about("Runs the fuzz targets: parsers of signatures, certificates, payloads and streams of models")
                .long_about(
                    "Runs the fuzz targets of webhooks and of the AI gateway with cargo-fuzz, one after another. Needs \
                     a C++ compiler. Inputs that reach new code are kept under target/fuzz/corpus/ for the next run. \
                     An input that fails is stored under fuzz/artifacts/ of the crate.",
                )
                .arg(Arg::new("target").value_parser(fuzz::names()).help("The target to run; without it, all"))
                .arg(
                    Arg::new("seconds")
                        .long("seconds")
                        .value_name("N")
                        .default_value("60")
                        .value_parser(value_parser!(u64).range(1..))
                        .help("How long each target runs"),
                ),
        )
        .subcommand(
            Command::new("models")
                .about("Makes the built-in AI models and prices from LiteLLM's map")
                .long_about(
                    "Makes omnistack-ai/src/catalog/models.toml from model_prices_and_context_window_backup.json, which is \
                     in the Python package litellm. Fails if the map has a price of an unknown form.",
                )
                .arg(models_text("source", "FILE", "The map"))
                .arg(models_text("release", "VERSION", "The release of LiteLLM, such as 1.110.2"))
                .arg(models_text("date", "DATE", "The date of the map, such as 2026-11-28"))
                .arg(
                    Arg::new("check")
                        .long("check")
                        .action(ArgAction::SetTrue)
                        .help("Only compare; fail if the file is not made of this map"),
                ),
        )
        .subcommand(
            Command::new("book")
                .about("Writes the code that the book and the pages of the root show")
                .long_about(
                    "Writes the code that the book and the pages of the root show, and prints the pages that changed.\n\n\
                     A page shows a file, or the lines between `ANCHOR: name` and `ANCHOR_END: name` in it, between the \
                     lines `<!-- include PATH[:name] -->` and `<!-- end include -->`. The check \
                     `cargo xtask ci --only book` fails if a page shows something else.",
                ),
        )
        .subcommand(
            Command::new("features")
                .about("Counts the crates that each feature of omnistack adds, and writes docs/src/picking-modules.md")
                .arg(
                    Arg::new("builds")
                        .long("builds")
                        .action(ArgAction::SetTrue)
                        .help("Also build apps with some features from nothing, which takes an hour or more, and measure them"),
                ),
        )
        .subcommand(
            Command::new("template")
                .about("Generates an app from templates/, builds it, sends it requests and runs its tests")
                .long_about(
                    "Generates an app from templates/saas and a resource from templates/resource with cargo-generate, \
                     builds it with this checkout, starts it on a free port, sends it HTTP requests and runs its tests. \
                     Also fails if the template is too long, or if its files of deployments differ from those in deploy/.",
                ),
        )
}

fn models_text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).required(true).help(help)
}

/// Returns the plan of the command `load`.
fn load_plan(matches: &ArgMatches) -> LoadPlan {
    let number = |name| matches.get_one::<u64>(name).copied();
    let limit = |name| matches.get_one::<f64>(name).copied().unwrap_or_default();
    let profile = matches.get_one::<String>("profile").and_then(|name| LoadProfile::named(name));
    let profile = profile.unwrap_or(LoadProfile::Smoke);
    LoadPlan::new(profile, (number("minutes"), number("rate")), (limit("max-errors"), limit("max-p99")))
        .on_servers(matches.get_flag("postgres"), matches.get_flag("redis"))
}

fn load_number(name: &'static str, least: u64, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u64).range(least..)).help(help)
}

fn load_limit(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).default_value(default).value_parser(value_parser!(f64)).help(help)
}
