//! Tests of a command `restore --check` that is killed by SIGKILL while it restores into a scratch database on
//! PostgreSQL.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use omnistack_testkit::{TestApp, TestDatabase};
use tokio::{process::Child, task::yield_now, time::timeout};

use super::{command, expect, uuid};

const CHECK: &str = "restore saas.tar --check";
const DEADLINE: Duration = Duration::from_secs(60);

/// Returns the names of the scratch databases of checks of the app's database.
async fn scratch_databases(app: &TestApp) -> BTreeSet<String> {
    let names = "select datname::text from pg_database where starts_with(datname::text, 'omnistack_check_' ||
        (select oid from pg_database where datname = current_database())::text || '_')";
    let rows: Vec<(String,)> = app.db().query(names).fetch_all().await.unwrap();
    rows.into_iter().map(|(name,)| name).collect()
}

/// Starts a check, and waits until it has created its scratch database. Returns the check and the name of the database.
async fn start_check(app: &TestApp, folder: &Path) -> (Child, String) {
    let before = scratch_databases(app).await;
    let mut check = tokio::process::Command::from(command(folder, app.database().url(), CHECK));
    let check = check.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let look = async {
        loop {
            if let Some(name) = scratch_databases(app).await.difference(&before).next() {
                return name.clone();
            }
            yield_now().await;
        }
    };
    let name = timeout(DEADLINE, look).await.unwrap();
    (check, name)
}

fn signal(process: &Child, name: &str) {
    let id = process.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

/// Waits until `count` sessions hold the lock of a scratch database. The key of these locks consists of two numbers.
async fn wait_for_locks(app: &TestApp, count: i64) {
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and objsubid = 2 and granted
        and database = (select oid from pg_database where datname = current_database())";
    let look = async {
        while app.db().query(locks).fetch_one::<(i64,)>().await.unwrap().0 != count {
            yield_now().await;
        }
    };
    timeout(DEADLINE, look).await.unwrap();
}

#[tokio::test]
async fn a_check_drops_the_database_of_a_killed_check_and_keeps_that_of_a_running_check() {
    let app = TestApp::start(TestDatabase::postgres(), saas::app).await;
    let folder = std::env::temp_dir().join(format!("omnistack-killed-check-{}", uuid()));
    fs::create_dir_all(&folder).unwrap();
    let url = app.database().url().to_owned();
    expect(&folder, &url, "backup saas.tar", "written  saas.tar").await;

    let (mut running, kept) = start_check(&app, &folder).await;
    signal(&running, "-STOP");
    let (mut killed, left) = start_check(&app, &folder).await;
    killed.start_kill().unwrap();
    assert_eq!(timeout(DEADLINE, killed.wait()).await.unwrap().unwrap().signal(), Some(9));
    wait_for_locks(&app, 1).await;
    assert_eq!(scratch_databases(&app).await, [kept.clone(), left].into(), "the killed check has dropped nothing");

    expect(&folder, &url, CHECK, "checked  nothing was changed").await;
    assert_eq!(scratch_databases(&app).await, [kept].into());
    signal(&running, "-CONT");
    let ended = timeout(DEADLINE, running.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(scratch_databases(&app).await, BTreeSet::new());
    fs::remove_dir_all(&folder).unwrap();
}
