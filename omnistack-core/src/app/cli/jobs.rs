//! The commands below `jobs`.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{
    RunError,
    app::{App, output::print_line},
    jobs::{JobFilter, JobId, JobInfo, JobState, Jobs},
};

/// Returns the subcommands and their arguments.
pub(super) fn command() -> Command {
    let select = |command: Command| {
        command
            .arg(
                Arg::new("state")
                    .long("state")
                    .help("Only jobs in this state: scheduled, ready, running, done, dead or cancelled"),
            )
            .arg(Arg::new("queue").long("queue").help("Only jobs of this queue"))
            .arg(Arg::new("name").long("name").help("Only jobs of this name"))
    };
    let change = |name: &'static str, about: &'static str| {
        select(Command::new(name).about(about)).arg(Arg::new("id").help("Only the job with this id")).arg(
            Arg::new("all").long("all").action(ArgAction::SetTrue).help("All jobs, if no other option selects some"),
        )
    };
    let queue = || Arg::new("queue").required(true).help("Name of the queue");
    Command::new("jobs")
        .about("Shows and changes background jobs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            select(Command::new("list").about("Lists jobs, newest first"))
                .arg(Arg::new("limit").long("limit").default_value("20").help("Largest number of jobs to list")),
        )
        .subcommand(
            Command::new("show")
                .about("Shows a job and its failed attempts")
                .arg(Arg::new("id").required(true).help("Id of the job")),
        )
        .subcommand(Command::new("queues").about("Counts the jobs of each queue by state"))
        .subcommand(Command::new("crons").about("Lists the schedules and their next run"))
        .subcommand(change("retry", "Runs dead, cancelled and scheduled jobs now"))
        .subcommand(change("cancel", "Cancels jobs that are not finished"))
        .subcommand(change("discard", "Deletes finished jobs, including dead letters"))
        .subcommand(Command::new("pause").about("Pauses a queue: no more of its jobs start").arg(queue()))
        .subcommand(Command::new("resume").about("Resumes a paused queue").arg(queue()))
}

/// Runs the selected subcommand.
pub(super) async fn run(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    let jobs: Jobs = app.context().get().map_err(|missing| RunError::new(missing.to_string()))?;
    match matches.subcommand() {
        Some(("list", matches)) => list(&jobs, matches).await,
        Some(("show", matches)) => show(&jobs, id(matches)?.unwrap_or(JobId::from_uuid(uuid::Uuid::nil()))).await,
        Some(("queues", _)) => queues(&jobs).await,
        Some(("crons", _)) => crons(app),
        Some(("pause", matches)) => Ok(jobs.pause(&text(matches, "queue").unwrap_or_default()).await?),
        Some(("resume", matches)) => Ok(jobs.resume(&text(matches, "queue").unwrap_or_default()).await?),
        Some((change, matches)) => {
            let filter = filter(matches)?;
            let some = filter.id.is_some() || filter.state.is_some() || filter.queue.is_some() || filter.name.is_some();
            if !some && !matches.get_flag("all") {
                return Err(RunError::new(format!(
                    "no jobs selected: use `jobs {change} ID`, `--state`, `--queue`, `--name` or `--all`"
                )));
            }
            let changed = match change {
                "retry" => jobs.retry(&filter).await?,
                "cancel" => jobs.cancel(&filter).await?,
                _ => jobs.delete(&filter).await?,
            };
            print_line(format_args!("{changed} job{} changed", if changed == 1 { "" } else { "s" }))?;
            Ok(())
        }
        None => Ok(()),
    }
}

async fn list(jobs: &Jobs, matches: &ArgMatches) -> crate::Result<()> {
    let limit = text(matches, "limit").unwrap_or_default();
    let limit = limit.parse().map_err(|_| RunError::new(format!("--limit: `{limit}` is not a number")))?;
    print_line(format_args!(
        "{:<36}  {:<9}  {:<12}  {:<24}  {:>8}  LAST ERROR",
        "ID", "STATE", "QUEUE", "NAME", "ATTEMPTS"
    ))?;
    for job in jobs.list(&filter(matches)?, None, limit).await? {
        let JobInfo { id, state, queue, name, attempt, max_attempts, error, .. } = job;
        let error = error.unwrap_or_default();
        let error = error.lines().next().unwrap_or_default();
        let line =
            format!("{id}  {state:<9}  {queue:<12}  {name:<24}  {:>8}  {error}", format!("{attempt}/{max_attempts}"));
        print_line(format_args!("{}", line.trim_end()))?;
    }
    Ok(())
}

async fn show(jobs: &Jobs, id: JobId) -> crate::Result<()> {
    let Some((job, failures)) = jobs.get(id).await? else {
        return Err(RunError::new(format!("job {id} does not exist")));
    };
    let show = |label: &str, text: String| print_line(format_args!("{label:<10} {text}"));
    show("id", job.id.to_string())?;
    show("name", job.name)?;
    show("queue", job.queue)?;
    show("state", job.state.to_string())?;
    show("attempts", format!("{}/{}", job.attempt, job.max_attempts))?;
    show("payload", job.payload.to_string())?;
    show("due", job.run_at.to_string())?;
    for (label, at) in [("started", job.started_at), ("finished", job.finished_at)] {
        if let Some(at) = at {
            show(label, at.to_string())?;
        }
    }
    if let Some(progress) = job.progress {
        show("progress", format!("{progress} % {}", job.note.unwrap_or_default()))?;
    }
    for failure in failures {
        show("failure", format!("{} attempt {}: {}", failure.at, failure.attempt, failure.error))?;
    }
    Ok(())
}

async fn queues(jobs: &Jobs) -> crate::Result<()> {
    let columns = |name: &str, mut cells: Vec<String>| {
        cells.insert(0, format!("{name:<16}"));
        print_line(format_args!("{}", cells.join(" ").trim_end()))
    };
    columns("QUEUE", JobState::ALL.map(|state| format!("{:>9}", state.as_str().to_uppercase())).to_vec())?;
    for queue in jobs.queues().await? {
        let count = |state| format!("{:>9}", queue.jobs.get(&state).copied().unwrap_or(0));
        let paused = if queue.paused { " paused" } else { "" };
        columns(&queue.queue, JobState::ALL.map(count).into_iter().chain([paused.to_owned()]).collect())?;
    }
    Ok(())
}

fn crons(app: &App) -> crate::Result<()> {
    let crons = app.runner().crons();
    let names = crons.iter().map(|cron| cron.name.len()).max().unwrap_or_default();
    let patterns = crons.iter().map(|cron| cron.pattern.len()).max().unwrap_or_default().max("PATTERN".len());
    print_line(format_args!("{:<names$}  {:<patterns$}  {:<20}  NEXT", "NAME", "PATTERN", "ZONE"))?;
    for cron in crons {
        let next = cron.next.map_or_else(|| "never".into(), |next| next.to_string());
        print_line(format_args!("{:<names$}  {:<patterns$}  {:<20}  {next}", cron.name, cron.pattern, cron.time_zone))?;
    }
    Ok(())
}

fn filter(matches: &ArgMatches) -> crate::Result<JobFilter> {
    let state = text(matches, "state").map(|state| state.parse()).transpose().map_err(RunError::new)?;
    let id = if matches.try_contains_id("id").is_ok() { id(matches)? } else { None };
    Ok(JobFilter { state, queue: text(matches, "queue"), name: text(matches, "name"), id, tenant: None })
}

fn id(matches: &ArgMatches) -> crate::Result<Option<JobId>> {
    let read = |text: String| text.parse().map_err(|_| RunError::new(format!("`{text}` is not a job id")));
    text(matches, "id").map(read).transpose()
}

fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.get_one::<String>(name).cloned()
}
