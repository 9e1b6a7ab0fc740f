//! Tests of a `backup` command that is killed by SIGKILL before it ends. `restore` refuses the incomplete file, and the
//! next `backup` to the same file succeeds.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use omnistack::db::Dialect;
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use tokio::{task::yield_now, time::timeout};

use super::{command, expect, run_command, uuid};

/// Rows, and bytes of each, that make a backup take long enough to be killed in the middle.
const ROWS: i64 = 4;
const ROW_BYTES: usize = 4 * 1024 * 1024;
/// Backups that may end before they are killed.
const MAX_ATTEMPTS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// The work that a backup does when it is killed.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It copies the database into its temporary directory.
    Copies,
    /// It writes the archive.
    Writes,
}

impl Stage {
    /// Returns whether a backup in a directory is at this stage.
    fn is_reached(self, folder: &Path) -> bool {
        let has_bytes = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        match self {
            Self::Copies => copies(folder).iter().any(|copy| has_bytes(&copy.join("0.copy"))),
            Self::Writes => has_bytes(&folder.join("saas.tar.partial")),
        }
    }
}

/// Returns the directories of temporary copies.
fn copies(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("temporary")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Returns whether a file is an archive to its end, which only has no name yet.
fn is_whole(archive: &Path) -> bool {
    let bytes = fs::read(archive).unwrap_or_default();
    let end = &bytes[bytes.len().saturating_sub(2048)..];
    end.windows(15).any(|name| name == b"manifest.sha256")
}

/// Starts backups and kills them at a stage, until one has not ended before.
async fn kill_backup(folder: &Path, url: &str, stage: Stage) {
    for _ in 0..MAX_ATTEMPTS {
        let mut backup = command(folder, url, "backup saas.tar").stdout(Stdio::null()).spawn().unwrap();
        let status = timeout(DEADLINE, kill_at(&mut backup, folder, stage)).await.unwrap();
        if status.signal() == Some(9) && !is_whole(&folder.join("saas.tar.partial")) {
            return;
        }
        assert!(status.success() || status.signal() == Some(9), "{status}");
        for left in ["saas.tar", "saas.tar.partial"] {
            _ = fs::remove_file(folder.join(left));
        }
    }
    panic!("{MAX_ATTEMPTS} backups ended before they were killed at {stage:?}");
}

async fn kill_at(backup: &mut Child, folder: &Path, stage: Stage) -> ExitStatus {
    loop {
        if stage.is_reached(folder) {
            backup.kill().unwrap();
            return backup.wait().unwrap();
        }
        if let Some(status) = backup.try_wait().unwrap() {
            return status;
        }
        yield_now().await;
    }
}

/// Waits until the server has ended the transactions of killed clients and of the programs that they have started. Nothing is
/// locked then.
async fn wait_for_closed_sessions(app: &TestApp) {
    if app.db().dialect() == Dialect::Sqlite {
        return;
    }
    let open = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and (xact_start is not null or application_name = 'pg_dump')";
    let look = async {
        while app.db().query(open).fetch_one::<(i64,)>().await.unwrap().0 > 0 {
            yield_now().await;
        }
    };
    timeout(DEADLINE, look).await.unwrap();
    let locks = "select count(*) from pg_locks where relation = 'ballast'::regclass and mode = 'AccessShareLock'";
    assert_eq!(app.db().query(locks).fetch_one::<(i64,)>().await.unwrap().0, 0);
}

/// Returns hexadecimal digits that can't be compressed further.
fn ballast() -> String {
    let mut state = 1_u64;
    let digits = std::iter::repeat_with(|| {
        // A linear congruential generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    });
    digits.take(ROW_BYTES / 8).collect()
}

on_each_database! {
    async fn a_killed_backup_is_no_archive_and_the_next_one_is_as_any_other(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        app.db().query("create table ballast (number bigint not null, digits text not null)").execute().await.unwrap();
        let digits = ballast();
        for number in 0..ROWS {
            let insert = app.db().query("insert into ballast values ($1, $2)");
            insert.bind(number).bind(digits.clone()).execute().await.unwrap();
        }
        let folder = std::env::temp_dir().join(format!("omnistack-killed-{}", uuid()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(".env"), format!("BACKUP_DIRECTORY={}\n", folder.join("temporary").display())).unwrap();
        let url = app.database().url().to_owned();
        let target = match app.db().dialect() {
            Dialect::Sqlite => TestDatabase::sqlite(),
            Dialect::Postgres => TestDatabase::postgres(),
        };

        for stage in [Stage::Copies, Stage::Writes] {
            kill_backup(&folder, &url, stage).await;
            assert!(!folder.join("saas.tar").exists(), "{stage:?}");
            wait_for_closed_sessions(&app).await;
            if folder.join("saas.tar.partial").exists() {
                for line in ["restore saas.tar.partial --check", "restore saas.tar.partial"] {
                    let refused = run_command(&folder, target.url(), line).await;
                    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                    let is_named = said.contains("the archive saas.tar.partial is damaged");
                    assert!(!refused.status.success() && is_named, "{line}: {said}");
                }
            }

            expect(&folder, &url, "backup saas.tar", "written  saas.tar").await;
            assert!(!folder.join("saas.tar.partial").exists(), "{stage:?}");
            assert_eq!(copies(&folder), Vec::<PathBuf>::new(), "{stage:?}");
            expect(&folder, &url, "restore saas.tar --check", "checked  nothing was changed").await;
            fs::remove_file(folder.join("saas.tar")).unwrap();
        }

        // The refused archives have changed nothing.
        expect(&folder, &url, "backup saas.tar", "written  saas.tar").await;
        expect(&folder, target.url(), "restore saas.tar", "restored 1 database").await;
        fs::remove_dir_all(&folder).unwrap();
    }
}
