//! Runs other programs.

use std::{
    io,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use crate::{
    failure::{Context, Failure, Result},
    host,
};

/// Returns a command of the Cargo that started xtask, in the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(host::env_var("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.current_dir(host::root());
    command
}

/// Prints the command and runs it on this terminal. Fails with its exit code.
pub(crate) fn run(command: &mut Command) -> Result {
    let line = command_line(command);
    eprintln!("$ {line}");
    check(&line, command.status())
}

/// Prints the command, runs it and returns its standard output. Its standard error goes to this terminal. Fails with
/// its exit code.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    eprintln!("$ {line}");
    let output = command.stderr(Stdio::inherit()).output().context(&line)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    check(&line, Ok(output.status)).inspect_err(|_| eprint!("{text}"))?;
    Ok(text)
}

/// Runs the command without printing anything and returns its standard output. Fails with its exit code and all of
/// its output.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command.stdin(Stdio::null()).output().context(&line)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match check(&line, Ok(output.status)) {
        Ok(()) => Ok(text),
        Err(failure) => Err(Failure::new(format!("{failure}\n{text}{}", String::from_utf8_lossy(&output.stderr)))),
    }
}

fn check(line: &str, status: io::Result<ExitStatus>) -> Result {
    let status = status.context(line)?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failure::new(format!("`{line}` failed: {status}")).with_code(code))
}

fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or_default()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
