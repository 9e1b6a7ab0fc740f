//! Tests of what operators run: reports, clean-up, seeds, backups and maintenance, by the commands of the program.

mod killed_backup;
mod killed_check;

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use omnistack::seed::Seeds;
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use saas::reports::{CleanUpProjects, MailDailyReport};
use serde_json::json;

const PROJECTS: &str = "/api/v1/app/projects";

/// Returns a command of the program in a directory, on a database.
fn command(folder: &Path, url: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command.current_dir(folder).args(line.split_whitespace());
    command.env("DATABASE_URL", url).env("APP_ENV", "test").env("LOG_LEVEL", "error");
    command
}

/// Runs a command of the program in a directory, on a database.
async fn run_command(folder: &Path, url: &str, line: &str) -> Output {
    let mut command = command(folder, url, line);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

async fn expect(folder: &Path, url: &str, line: &str, text: &str) {
    let output = run_command(folder, url, line).await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(text), "{line}: {said}");
}

on_each_database! {
    async fn the_daily_report_is_mailed(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let (alice, bob) = (app.user(), app.user());
        for (client, name) in [(&alice, "Apollo"), (&alice, "Voyager"), (&bob, "Rosetta")] {
            client.post(PROJECTS, json!({ "name": name })).await.expect(201);
        }
        app.jobs().enqueue(MailDailyReport {}).await.unwrap();
        app.run_jobs().await;
        let mails = app.sent_mails().to("team@acme.example");
        assert_eq!(mails.last().text.as_deref(), Some("New projects: 3, of 2 teams\nDead jobs: 0\n"));
    }

    async fn abandoned_projects_are_deleted_after_a_year(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let alice = app.user();
        alice.post(PROJECTS, json!({ "name": "abandoned" })).await.expect(201);
        alice.post(PROJECTS, json!({ "name": "described", "description": "." })).await.expect(201);
        app.clock().advance(Duration::from_hours(366 * 24));
        alice.post(PROJECTS, json!({ "name": "new" })).await.expect(201);
        app.jobs().enqueue(CleanUpProjects {}).await.unwrap();
        app.run_jobs().await;
        let left = alice.get(format!("{PROJECTS}?sort=name")).await.expect(200).json();
        let names: Vec<_> = left["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["described", "new"]);
    }

    async fn seeds_create_the_same_rows_once(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let seeds: Seeds = app.app().context().get().unwrap();
        for _ in 0..2 {
            seeds.run("projects").await.unwrap();
        }
        let mut tx = app.db().all_tenants().begin_read().await.unwrap();
        let (count,): (i64,) = tx.query("select count(*) from projects").fetch_one().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count, 3);
    }

    async fn the_commands_back_up_check_and_restore(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        app.user().post(PROJECTS, json!({ "name": "Apollo" })).await.expect(201);
        let folder = std::env::temp_dir().join(format!("omnistack-operations-{}", uuid()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = app.database().url().to_owned();
        expect(&folder, &url, "backup saas.tar", "written  saas.tar").await;
        expect(&folder, &url, "restore saas.tar --check", "checked  nothing was changed").await;
        let refused = run_command(&folder, &url, "restore saas.tar").await;
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is not empty"));

        let target = match app.database().dialect() {
            omnistack::db::Dialect::Sqlite => TestDatabase::sqlite(),
            omnistack::db::Dialect::Postgres => TestDatabase::postgres(),
        };
        expect(&folder, target.url(), "restore saas.tar", "restored 1 database").await;
        expect(&folder, target.url(), "audit verify", "intact").await;
        let restored = target.open_db();
        let mut tx = restored.all_tenants().begin_read().await.unwrap();
        let (name,): (String,) = tx.query("select name from projects").fetch_one().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(name, "Apollo");
        restored.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }

    async fn the_command_maintenance_is_seen_by_all_replicas(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let folder = std::env::temp_dir().join(format!("omnistack-operations-{}", uuid()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = app.database().url().to_owned();
        let mode: omnistack::maintenance::MaintenanceMode = app.app().context().get().unwrap();
        let alice = app.user();
        expect(&folder, &url, "maintenance status", "off").await;
        expect(&folder, &url, "maintenance on --for 1h", "on").await;
        mode.refresh().await.unwrap();
        alice.get(PROJECTS).await.expect_error(503, "MAINTENANCE");
        expect(&folder, &url, "maintenance off", "off").await;
        mode.refresh().await.unwrap();
        alice.get(PROJECTS).await.expect(200);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// Returns a random name.
fn uuid() -> String {
    omnistack::crypto::Token::random().hash().to_string()
}
