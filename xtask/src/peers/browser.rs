//! Chromium: the page `/live` of `examples/saas`, as its users see it.

use std::{fs, path::PathBuf};

use super::{PeerContext, node};
use crate::{
    app::App,
    apt, command,
    failure::{Context, Failure, Result},
    host,
    report::Report,
};

/// The names under which systems install Chromium.
const CHROMIUM_PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Opens the page in two tabs, with the channels in the process and in Redis.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let chromium = report.step_with_note("find Chromium", || {
        let chromium = install_chromium()?;
        Ok((chromium.clone(), chromium.display().to_string()))
    })?;
    // Node finds packages beside the script.
    let from = host::root().join("xtask/peers/browser/live.mjs");
    fs::copy(&from, setting.programs.join("live.mjs")).context(format_args!("copying {}", from.display()))?;
    let shared = vec![("REDIS_URL", setting.servers.redis.url.as_str())];
    for (name, settings) in [("in the process", vec![]), ("in Redis", shared)] {
        report.step(&format!("the live page in Chromium, channels {name}"), || {
            let app = App::start(setting.app, &settings)?;
            let (email, password) = &app.operator;
            let mut script = node::script(setting.programs, "live.mjs");
            script
                .env("APP_URL", format!("http://127.0.0.1:{}", app.port))
                .env("APP_EMAIL", email)
                .env("APP_PASSWORD", password)
                .env("CHROMIUM", &chromium);
            command::run(&mut script).map_err(|failure| app.with_log(&failure))
        })?;
    }
    Ok(())
}

/// Returns the path of Chromium, which is installed if it is missing. Fails if it can't be installed.
fn install_chromium() -> Result<PathBuf> {
    let find = || CHROMIUM_PROGRAMS.iter().find_map(|name| host::find_program(name));
    if let Some(found) = find() {
        return Ok(found);
    }
    apt::install(&["chromium"])?;
    find().ok_or_else(|| {
        Failure::new(
            "Chromium is missing: install it with the system's packages (on Debian: `apt-get install chromium`)",
        )
    })
}
