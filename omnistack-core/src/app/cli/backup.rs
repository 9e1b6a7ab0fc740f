//! The commands `backup` and `restore`.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{
    RunError,
    app::{App, output::print_line},
    backup::{BackupReport, Backups, RestoreReport},
};

/// Skipped objects that are printed; the others are counted.
const MAX_SKIPPED_LINES: usize = 20;

/// Returns the command `backup`.
pub(super) fn backup_command() -> Command {
    Command::new("backup").about("Backs up the databases and files into one archive, while the app runs").arg(
        Arg::new("place")
            .value_name("FILE|URL")
            .required(true)
            .help("The archive: a file, or a URL such as s3://bucket/name.tar. With a `/` at its end, a name is added"),
    )
}

/// Returns the command `restore`.
pub(super) fn restore_command() -> Command {
    Command::new("restore")
        .about("Restores an archive into empty databases, and its files")
        .arg(Arg::new("place").value_name("FILE|URL").required(true).help("The archive, as for `backup`"))
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Restores into a scratch database, verifies rows and audit chains, and removes it"),
        )
}

/// Makes a backup.
pub(super) async fn create(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    let report = backups(app)?.create(&place(matches)).await?;
    let BackupReport { archive, databases, tables, rows, objects, bytes, skipped, key } = report;
    print_line(format_args!(
        "copied   {} with {tables} tables and {rows} rows; {}",
        counted(databases, "database"),
        counted(objects, "file")
    ))?;
    print_skipped(&skipped)?;
    let encrypted = key.map_or_else(
        || "not encrypted (set BACKUP_KEYS to encrypt backups)".into(),
        |key| format!("encrypted with the key `{key}`"),
    );
    print_line(format_args!("written  {archive}, {}, {encrypted}", ByteSize::b(bytes)))
}

/// Restores a backup, or checks that it can be restored.
pub(super) async fn restore(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    let (backups, place) = (backups(app)?, place(matches));
    let is_check = matches.get_flag("check");
    let report = if is_check { backups.check(&place).await? } else { backups.restore(&place).await? };
    let RestoreReport { archive, created_at, app: made_by, databases, tables, rows, objects, skipped, .. } = &report;
    let (chains, entries) = (report.audit_chains, report.audit_entries);
    print_line(format_args!("archive  {archive}, made at {created_at} by {made_by}"))?;
    print_line(format_args!("whole    {}", counted(databases + objects, "entry of the right size and hash")))?;
    print_line(format_args!("verified {} with {tables} tables and {rows} rows", counted(*databases, "database")))?;
    print_line(format_args!("intact   {} with {entries} entries", counted(chains, "audit chain")))?;
    print_skipped(skipped)?;
    if is_check {
        return print_line(format_args!("checked  nothing was changed"));
    }
    print_line(format_args!("restored {} and {}", counted(*databases, "database"), counted(*objects, "file")))?;
    print_line(format_args!("next     run `migrate`, then start the app"))
}

fn backups(app: &App) -> crate::Result<Backups> {
    app.context().get().map_err(|missing| RunError::new(missing.to_string()))
}

fn place(matches: &ArgMatches) -> String {
    matches.get_one::<String>("place").cloned().unwrap_or_default()
}

fn print_skipped(skipped: &BTreeMap<String, String>) -> crate::Result<()> {
    for (name, reason) in skipped.iter().take(MAX_SKIPPED_LINES) {
        print_line(format_args!("left out {name}: {reason}"))?;
    }
    match skipped.len().saturating_sub(MAX_SKIPPED_LINES) {
        0 => Ok(()),
        more => print_line(format_args!("left out {more} more; the manifest of the archive names them")),
    }
}

/// Returns a number with a noun, of which the first word gets the plural.
fn counted(count: usize, noun: &str) -> String {
    let (first, rest) =
        noun.split_once(" of ").map_or((noun, String::new()), |(first, rest)| (first, format!(" of {rest}")));
    match (count, first.strip_suffix('y')) {
        (1, _) => format!("1 {first}{rest}"),
        (_, Some(stem)) => format!("{count} {stem}ies{rest}"),
        _ => format!("{count} {first}s{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_are_counted() {
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "audit chain"), "0 audit chains");
        assert_eq!(counted(2, "entry of the right size"), "2 entries of the right size");
    }
}
