//! logstash-pipeline-parser: a parser of Logstash pipelines, for the files in `deploy/elk`.

use std::process::Command;

use super::PeerContext;
use crate::{command, failure::Result, host, report::Report};

/// Checks the pipeline, the index template and the stack, and compares their names of fields with those of the app's log.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("the pipeline of Logstash", || {
        let mut script = Command::new(setting.programs.join("python"));
        command::run(script.arg(host::root().join("xtask/peers/logstash.py")).arg(host::root()))
    })
}
