//! Tests of the command `saas migrate …`, of replicas that start at once, and of the plan that the book shows.

use std::{
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use omnistack::{
    crypto::KeyRing,
    db::{MigrateOptions, Migration, Migrations},
};
use omnistack_testkit::{TestDatabase, on_each_database};

const REPLICAS: usize = 10;

fn program(url: &str, arguments: &str) -> Command {
    let folder: PathBuf = std::env::temp_dir().join(format!("omnistack-migrations-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command.current_dir(folder).args(arguments.split_whitespace());
    command.envs([("DATABASE_URL", url), ("APP_ENV", "test"), ("LOG_LEVEL", "error")]);
    command
}

async fn run(url: &str, arguments: &str) -> Output {
    let mut command = program(url, arguments);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

async fn prints(url: &str, arguments: &str) -> String {
    let output = run(url, arguments).await;
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A replica that is starting or serves.
struct Replica {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: Vec<String>,
}

impl Replica {
    fn start(url: &str) -> Self {
        let mut command = program(url, "serve");
        command.envs([("PORT", "0"), ("LOG_LEVEL", "error,omnistack::db=info"), ("DATABASE_MAX_CONNECTIONS", "4")]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines, log: Vec::new() }
    }

    /// Waits until the replica serves, and requests its readiness.
    fn status_line(&mut self) -> String {
        let port = loop {
            let line = self.lines.next().unwrap().unwrap();
            let port = line.rsplit_once("127.0.0.1:").filter(|_| line.contains("serves"));
            if let Some((_, port)) = port {
                break port.trim().parse::<u16>().unwrap();
            }
            self.log.push(line);
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.lines().next().unwrap_or_default().to_owned()
    }

    /// Ends the replica and returns its log.
    fn end(mut self) -> Vec<String> {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.log.extend(self.lines.map(Result::unwrap));
        assert!(self.process.wait().unwrap().success());
        self.log
    }
}

#[tokio::test]
async fn of_ten_replicas_that_start_at_once_one_migrates_and_all_serve() {
    let database = TestDatabase::postgres();
    let url = database.url().to_owned();
    let logs = tokio::task::spawn_blocking(move || {
        let mut replicas: Vec<_> = (0..REPLICAS).map(|_| Replica::start(&url)).collect();
        for replica in &mut replicas {
            assert_eq!(replica.status_line(), "HTTP/1.1 200 OK");
        }
        replicas.into_iter().map(Replica::end).collect::<Vec<_>>()
    });
    let logs = logs.await.unwrap();
    let migrated = logs.iter().filter(|log| log.iter().any(|line| line.contains("runs a migration"))).count();
    assert_eq!(migrated, 1, "{logs:?}");
}

#[tokio::test]
async fn the_book_shows_the_plan_of_its_example() {
    const PROJECTS: Migration =
        Migration { name: "0001_projects", postgres: "create table projects (tenant_id bigint not null);", sqlite: "" };
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/migrations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = |begin: &str| page.split_once(begin).unwrap().1.split_once("\n```").unwrap().0.to_owned();
    let archive = Migration { name: "0002_archive", postgres: block("```sql\n").leak(), sqlite: "" };
    let migrations: Migrations = vec![PROJECTS, archive].leak();

    let database = TestDatabase::postgres();
    let db = database.open_db();
    db.migrate("projects", &[PROJECTS]).await.unwrap();
    db.query("insert into projects select i from generate_series(1, 2000) i").execute().await.unwrap();
    db.query("analyze projects").execute().await.unwrap();
    let planned = db.plan_migrations(&[("projects", migrations)], &MigrateOptions::new()).await.unwrap();
    let printed = planned[0].to_string().replace("about 2000 rows", "about 1200000 rows");
    let shown = block("```text\n");
    let (plan, refusal) = shown.split_once("\n\n").unwrap();
    assert_eq!(printed.trim_end(), plan);
    assert_eq!((planned.len(), planned[0].long_locks(2000).count()), (1, 2));
    assert!(refusal.starts_with("  REFUSED without `--allow-lock projects/0002_archive`: projects\n"), "{refusal}");
}

on_each_database! {
    async fn in_production_nothing_starts_while_migrations_are_missing(database: TestDatabase) {
        let key = KeyRing::new_key("2030");
        for command in ["serve", "worker"] {
            let mut command = program(database.url(), command);
            command.envs([
                ("APP_ENV", "production"),
                ("PUBLIC_URL", "https://app.example.com"),
                ("SECRET_KEYS", key.as_str()),
                ("EMAIL_PROVIDER", "smtp"),
                ("EMAIL_FROM", "hello@example.com"),
                ("SMTP_URL", "smtps://mail.example.com"),
                ("PAYMENTS_PROVIDER", "fake"),
                ("SMS_PROVIDER", "twilio"),
                ("SMS_FROM", "+15005550006"),
                ("TWILIO_ACCOUNT_SID", "AC00000000000000000000000000000000"),
                ("TWILIO_AUTH_TOKEN", "token"),
            ]);
            let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && said.contains("migrations are pending (core/0001_core, "), "{said}");
        }
        assert!(!prints(database.url(), "migrate --list").await.contains("applied"), "nothing ran");
    }

    async fn operators_look_at_migrations_before_they_run_them(database: TestDatabase) {
        let url = database.url();
        let plan = prints(url, "migrate --plan").await;
        assert!(plan.contains("core/0001_core, in one transaction"), "{plan}");
        assert!(plan.contains("rollback: the previous build runs on this schema"), "{plan}");
        assert!(plan.trim_end().ends_with("migrations would run"), "{plan}");
        assert!(!prints(url, "migrate --list").await.contains("applied"), "nothing ran");

        let ran = prints(url, "migrate --to core/0001_core").await;
        assert!(ran.lines().last().unwrap().split_whitespace().eq(["applied", "core", "0001_core"]), "{ran}");
        let plan = prints(url, "migrate --plan --to projects/0001_projects").await;
        assert!(plan.contains("projects/0001_projects") && !plan.contains("core/0001_core"), "{plan}");
        prints(url, "migrate").await;
        assert!(prints(url, "migrate --plan").await.contains("nothing to do"));

        let explained = prints(url, "migrate --explain projects/0001_projects").await;
        assert!(explained.contains("drop table projects;"), "{explained}");

        for (arguments, why) in [
            ("migrate --to projects/0009_lost", "there is no migration `projects/0009_lost`"),
            ("migrate --allow-lock projects", "there is no migration `projects`"),
            ("migrate --explain lost", "there is no migration `lost`"),
            ("migrate --plan --list", "cannot be used with"),
        ] {
            let output = run(url, arguments).await;
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && said.contains(why), "{arguments}: {said}");
        }
    }
}
