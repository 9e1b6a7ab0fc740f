//! Tests of the commands `saas jobs …`.

use std::process::{Command, Output};

use omnistack::{
    jobs::{JobState, NewJob},
    prelude::*,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Letter {
    to: String,
}

#[async_trait]
impl Job for Letter {
    const NAME: &'static str = "letter";
    type State = ();

    async fn run(self, (): &(), ctx: &JobContext) -> Result<(), JobError> {
        ctx.progress(40, "sealed").await;
        if self.to == "nobody" { Err(JobError::fatal("no such\naddress")) } else { Ok(()) }
    }
}

struct Letters;

impl Module for Letters {
    fn name(&self) -> &'static str {
        "letters"
    }

    fn register(&self, registry: &mut Registry) {
        registry.job::<Letter>(|_| Ok(()));
    }
}

/// The program, with a temporary working directory.
struct Program {
    url: String,
    folder: std::path::PathBuf,
}

impl Program {
    async fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
        command.current_dir(&self.folder).arg("jobs").args(line.split_whitespace());
        command.env("DATABASE_URL", &self.url).env("APP_ENV", "test").env("LOG_LEVEL", "error");
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    /// Runs a command, which must succeed, and returns the words of each line of its output.
    async fn prints(&self, line: &str) -> Vec<Vec<String>> {
        let output = self.run(line).await;
        assert!(output.status.success(), "jobs {line}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }

    async fn refuses(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert!(!output.status.success(), "jobs {line}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

on_each_database! {
    async fn operators_look_and_change_from_a_terminal(database: TestDatabase) {
        let folder = std::env::temp_dir().join(format!("omnistack-jobs-{}", Id::<Letter>::new(Clock::system().now())));
        std::fs::create_dir_all(&folder).unwrap();
        let program = Program { url: database.url().into(), folder };
        let app = TestApp::start(database, |app| saas::app(app).with(Letters)).await;
        let jobs = app.jobs();
        let done = jobs.enqueue(Letter { to: "Ada".into() }).await.unwrap().id.to_string();
        let dead = jobs.enqueue(Letter { to: "nobody".into() }).await.unwrap().id.to_string();
        app.run_jobs().await;
        app.clock().advance(Duration::from_millis(1));
        let waits = jobs.enqueue(NewJob::new(Letter { to: "Grace".into() }).queue("post")).await.unwrap().id.to_string();

        let list = program.prints("list").await;
        assert_eq!(list[0], ["ID", "STATE", "QUEUE", "NAME", "ATTEMPTS", "LAST", "ERROR"]);
        assert_eq!(list.len(), 4);
        assert!(list.contains(&[done.as_str(), "done", "default", "letter", "1/10"].map(str::to_owned).to_vec()), "{list:?}");
        let line = [dead.as_str(), "dead", "default", "letter", "1/10", "no", "such"];
        assert!(list.contains(&line.map(str::to_owned).to_vec()), "one line a job: {list:?}");
        let ids = async |line: &str| {
            let list = program.prints(line).await;
            list[1..].iter().map(|words| words[0].clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids("list --limit 1").await, [waits.as_str()], "the newest first");
        assert_eq!(ids("list --state dead").await, [dead.as_str()]);
        assert_eq!(ids("list --queue post --name letter").await, [waits.as_str()]);
        assert!(ids("list --name telegram").await.is_empty());

        let shown = program.prints(&format!("show {dead}")).await;
        let value = |label: &str| {
            let line = shown.iter().find(|words| words[0] == label);
            line.unwrap_or_else(|| panic!("no {label} in {shown:?}"))[1..].join(" ")
        };
        for (label, expected) in [
            ("id", dead.as_str()),
            ("name", "letter"),
            ("state", "dead"),
            ("attempts", "1/10"),
            ("payload", r#"{"to":"nobody"}"#),
            ("due", "2030-01-01T00:00:00Z"),
            ("finished", "2030-01-01T00:00:00Z"),
            ("progress", "40 % sealed"),
            ("failure", "2030-01-01T00:00:00Z attempt 1: no such"),
        ] {
            assert_eq!(value(label), expected);
        }

        let queues = program.prints("queues").await;
        assert_eq!(queues[0], ["QUEUE", "SCHEDULED", "READY", "RUNNING", "DONE", "DEAD", "CANCELLED"]);
        assert_eq!(queues[1], ["default", "0", "0", "0", "1", "1", "0"]);
        assert_eq!(queues[2], ["post", "0", "1", "0", "0", "0", "0"]);
        program.prints("pause post").await;
        assert_eq!(program.prints("queues").await[2].last().unwrap(), "paused");
        program.prints("resume post").await;
        assert_eq!(program.prints("queues").await[2].last().unwrap(), "0");

        let crons = program.prints("crons").await;
        let purge = crons.iter().find(|cron| cron[0] == "crud.purge_deleted_rows").unwrap();
        assert_eq!(purge[..7], ["crud.purge_deleted_rows", "27", "3", "*", "*", "*", "UTC"]);

        let changed = |words: &str| vec![words.split(' ').map(str::to_owned).collect::<Vec<_>>()];
        assert_eq!(program.prints(&format!("retry {dead}")).await, changed("1 job changed"));
        assert_eq!(app.run_jobs().await, 1);
        assert_eq!(program.prints("cancel --queue post").await, changed("1 job changed"));
        assert_eq!(program.prints(&format!("cancel {done}")).await, changed("0 jobs changed"), "it is finished");
        assert_eq!(program.prints("discard --state dead").await, changed("1 job changed"));
        assert_eq!(program.prints("discard --all").await, changed("2 jobs changed"));
        assert_eq!(program.prints("list").await.len(), 1);
        assert!(jobs.queues().await.unwrap().iter().all(|queue| !queue.jobs.contains_key(&JobState::Done)));

        for (line, why) in [
            ("cancel", "no jobs selected"),
            ("discard", "--all"),
            ("retry --state lost", "is not one of scheduled"),
            ("show 7", "is not a job id"),
            (&format!("show {done}"), "does not exist"),
            ("list --limit many", "is not a number"),
            ("pause", "<queue>"),
            ("juggle", "juggle"),
        ] {
            let said = program.refuses(line).await;
            assert!(said.contains(why), "jobs {line}: {said}");
        }
    }
}
