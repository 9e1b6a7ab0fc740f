//! `cargo xtask soak`: two replicas and a worker under a steady load, whose memory must not grow and which must not fail.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    app::{self, App},
    clock::{self, Stopwatch},
    command,
    failure::{Failure, Result},
    host, http,
    report::Report,
    servers::Servers,
    supervise::SupervisedProcess,
};

/// Requests under way at most.
const CONNECTIONS: u64 = 16;
/// Growth of a process's anonymous memory between the end of its warm-up and the end, in MiB.
const MAX_GROWTH: f64 = 8.0;
const PROJECTS: &str = "/api/v1/app/projects";

/// Runs `rate` requests a second for so many minutes. The first fifth, in which pools and caches fill, is the warm-up.
pub(crate) fn run(minutes: u64, rate: u64) -> Result {
    command::run(command::cargo().args(["build", "--release", "-p", "saas"]))?;
    let binary = host::target().join("release/saas");
    let mut report = Report::default();
    let servers = Servers::start(&mut report, true)?;
    let settings = [
        ("DATABASE_URL", servers.postgres.url.as_str()),
        ("REDIS_URL", servers.redis.url.as_str()),
        ("JOBS_IN_SERVE", "false"),
    ];
    let first = App::start(&binary, &settings)?;
    let (second, second_port) = app::serve(&binary, &settings)?;
    let worker = app::work(&binary, &settings)?;
    let processes = [("replica 1", first.process()), ("replica 2", &second), ("worker", &worker)];

    let load = Load { app: &first, ports: [first.port, second_port], statuses: Mutex::default(), sent: 0.into() };
    let length = Duration::from_secs(minutes * 60);
    let ended = AtomicBool::new(false);
    let watch = Stopwatch::start();
    let samples = thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (load, ended) = (&load, &ended);
            scope.spawn(move || load.run(connection, rate, watch, ended));
        }
        let mut samples = Vec::new();
        println!("\n| minute | requests | replica 1 | replica 2 | worker |\n|---:|---:|---:|---:|---:|");
        while watch.elapsed() < length {
            clock::wait_until(watch, length.mul_f64((samples.len() + 1) as f64 / 15.0));
            let memory = processes.map(|(_, process)| anonymous(process));
            let [one, two, three] = memory.map(|memory| memory.unwrap_or(f64::NAN));
            let (minute, sent) = (watch.elapsed().as_secs_f64() / 60.0, load.sent.load(Ordering::Relaxed));
            println!("| {minute:.1} | {sent} | {one:.1} MiB | {two:.1} MiB | {three:.1} MiB |");
            samples.push(memory);
        }
        ended.store(true, Ordering::Relaxed);
        samples
    });

    let statuses = load.statuses.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!();
    for (what, count) in &statuses {
        println!("{count:>8}  {what}");
    }
    let mut wrong = Vec::new();
    if let Some((what, count)) = statuses.iter().find(|(what, _)| !what.ends_with(" as expected")) {
        wrong.push(format!("{count} responses were not as expected: {what}"));
    }
    for (at, (name, process)) in processes.iter().enumerate() {
        let after = |sample: Option<&[Option<f64>; 3]>| sample.and_then(|sample| sample[at]);
        match (after(samples.get(samples.len() / 5)), after(samples.last())) {
            (Some(warm), Some(end)) if end - warm <= MAX_GROWTH => {}
            (Some(warm), Some(end)) => wrong.push(format!("{name} grew from {warm:.1} to {end:.1} MiB")),
            _ => wrong.push(format!("{name} ended: {}", process.log_tail())),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong.join("\n"))) }
}

/// The load and what came of it.
struct Load<'a> {
    app: &'a App,
    ports: [u16; 2],
    statuses: Mutex<BTreeMap<String, u64>>,
    sent: AtomicU64,
}

impl Load<'_> {
    /// Sends this connection's share of the requests, each at its time.
    fn run(&self, connection: u64, rate: u64, watch: Stopwatch, ended: &AtomicBool) {
        let mut number = connection;
        while !ended.load(Ordering::Relaxed) {
            clock::wait_until(watch, Duration::from_micros(number * 1_000_000 / rate));
            let what = self.send(number).unwrap_or_else(|failure| failure.to_string());
            self.sent.fetch_add(1, Ordering::Relaxed);
            let mut statuses = self.statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *statuses.entry(what).or_default() += 1;
            number += CONNECTIONS;
        }
    }

    fn send(&self, number: u64) -> Result<String> {
        let authorization = self.app.authorization();
        let signed_in = [authorization.as_str()];
        let port = self.ports[(number / CONNECTIONS % 2) as usize];
        let (email, password) = &self.app.operator;
        let (method, path, headers, body, expected): (_, _, &[&str], _, _) = match number % 40 {
            0 => {
                let body = format!(r#"{{"email":"{email}","password":"{password}"}}"#);
                ("POST", "/api/v1/public/auth/login", &[], body, 200)
            }
            1..=4 => ("POST", PROJECTS, &signed_in, format!(r#"{{"name":"Project {number}"}}"#), 201),
            5 => ("POST", "/api/v1/app/files?name=soak.json", &signed_in, format!(r#"{{"number":{number}}}"#), 201),
            6 => ("GET", "/openapi.json", &[], String::new(), 200),
            7 => ("GET", PROJECTS, &[], String::new(), 401),
            8 => ("GET", "/nowhere", &signed_in, String::new(), 404),
            9 => ("POST", PROJECTS, &signed_in, r#"{"name":""}"#.to_owned(), 422),
            10..=14 => ("GET", "/api/v1/app/users/me", &signed_in, String::new(), 200),
            15..=19 => ("GET", "/api/v1/app/files?limit=10", &signed_in, String::new(), 200),
            20..=24 => ("GET", "/api/v1/admin/users?page=1", &signed_in, String::new(), 200),
            25..=29 => ("GET", "/api/v1/app/projects?q=Project&limit=10", &signed_in, String::new(), 200),
            _ => ("GET", "/api/v1/app/projects?limit=20", &signed_in, String::new(), 200),
        };
        let response = http::request(port, method, path, headers, &body)?;
        let path = path.split('?').next().unwrap_or(path);
        Ok(match response.status {
            status if status == expected => format!("{method} {path}: {status} as expected"),
            status => format!("{method} {path}: {status} in place of {expected}: {}", response.body),
        })
    }
}

/// The anonymous memory of a running program, in MiB.
fn anonymous(process: &SupervisedProcess) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.program()?)).ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"))?;
    kibibytes.parse::<f64>().ok().map(|kibibytes| kibibytes / 1024.0)
}
