//! Child processes that are killed by SIGKILL after one of their statements, to test the state after a crash.
//!
//! With [`CrashCommand`], a test runs an ignored test of the same binary in a child process. The child builds its app
//! with [`CrashChild`], on the database of the test, and is killed at the end of its n-th statement. `begin` and
//! `commit` count as statements. The test then acts as the client or as another replica would, and checks the
//! guarantee. It repeats this with n + 1 until a child ends before it is killed.
//!
//! ```no_run
//! use omnistack_testkit::{TestApp, crash::{CrashChild, CrashCommand}};
//!
//! // With `#[tokio::test]` and `#[ignore = "a child process of other tests"]`, in the module `shop::crash`.
//! async fn child_that_works() {
//!     let Some(child) = CrashChild::from_env() else { return };
//!     let app = child.builder().build().unwrap();
//!     child.kill_after_statement(app.db(), |_| true);
//!     app.runner().run_until_idle().await.unwrap();
//! }
//!
//! async fn expect_one_result(app: &TestApp) {
//!     for statement in 1.. {
//!         let end = CrashCommand::new(app, "shop::crash::child_that_works", statement).run().await;
//!         // Check the guarantee here.
//!         if !end.was_killed {
//!             break;
//!         }
//!     }
//! }
//! ```

use std::{
    fmt::Display,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use omnistack_core::{
    app::{App, AppBuilder},
    clock::{MockClock, Timestamp},
    db::{Db, Dialect, QueryEvent, QueryObserver},
};

use crate::{
    TestApp,
    database::{test_settings, variable},
};

/// The variables by which a child gets the URL of the database, the time of its clock, and the statement after which it
/// is killed.
const URL_VARIABLE: &str = "TEST_CRASH_URL";
const CLOCK_VARIABLE: &str = "TEST_CRASH_CLOCK";
const STATEMENT_VARIABLE: &str = "TEST_CRASH_STATEMENT";

/// The number of the signal SIGKILL.
const SIGKILL: i32 = 9;

/// The longest time until a child has ended, and until the server has ended its transactions.
const CHILD_TIMEOUT: Duration = Duration::from_secs(90);

/// A command that runs an ignored test of this binary in a child process, which is killed after one of its statements.
#[derive(Debug)]
pub struct CrashCommand {
    command: Command,
    db: Db,
}

impl CrashCommand {
    /// Creates the command for the test with this path in the binary, on the database of an app and at the time of its
    /// clock. The child is killed after its `statement`-th statement, counted from 1.
    ///
    /// # Panics
    /// Panics if the path of the binary is unknown.
    pub fn new(app: &TestApp, test: &str, statement: usize) -> Self {
        let mut command = match std::env::current_exe() {
            Ok(binary) => Command::new(binary),
            Err(error) => panic!("the path of the test binary is unknown: {error}"),
        };
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        command.env(URL_VARIABLE, app.database().url()).env(STATEMENT_VARIABLE, statement.to_string());
        command.env(CLOCK_VARIABLE, app.clock().clock().now().as_micros().to_string());
        Self { command, db: app.db().clone() }
    }

    /// Sets an environment variable of the child, which reads it by [`CrashChild::variable`].
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Display) -> Self {
        self.command.env(name, value.to_string());
        self
    }

    /// Runs the child to its end, and waits until the database has ended its transactions.
    ///
    /// # Panics
    /// Panics if the child fails otherwise than by SIGKILL, or takes longer than 90 seconds.
    pub async fn run(self) -> CrashEnd {
        let Self { mut command, db } = self;
        let what = format!("{command:?}");
        let output = tokio::task::spawn_blocking(move || command.output());
        let Output { status, stdout, stderr } = match tokio::time::timeout(CHILD_TIMEOUT, output).await {
            Ok(Ok(Ok(output))) => output,
            Ok(Ok(Err(error))) => panic!("{what}: {error}"),
            Ok(Err(error)) => panic!("{what}: {error}"),
            Err(elapsed) => panic!("{what} did not end within {} seconds: {elapsed}", CHILD_TIMEOUT.as_secs()),
        };
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
        let was_killed = status.signal() == Some(SIGKILL);
        assert!(was_killed || status.success(), "{what}: {status}\n{stdout}\n{stderr}");
        wait_for_closed_sessions(&db).await;
        CrashEnd { was_killed, stdout }
    }

    /// Returns the command, for a child that the test starts and kills itself.
    pub fn into_command(self) -> Command {
        self.command
    }
}

/// The end of a child process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashEnd {
    /// Whether the child was killed before its test ended.
    pub was_killed: bool,
    /// The standard output of the child, with the lines of the test harness.
    pub stdout: String,
}

impl CrashEnd {
    /// Returns the text after `mark` of each printed line that contains `mark`, without surrounding spaces. The test
    /// harness may have begun such a line.
    pub fn printed_after<'a>(&'a self, mark: &'a str) -> impl Iterator<Item = &'a str> {
        self.stdout.lines().filter_map(move |line| Some(line.split_once(mark)?.1.trim()))
    }
}

/// The child process of a [`CrashCommand`].
#[derive(Debug)]
pub struct CrashChild {
    url: String,
    now: Timestamp,
    statement: usize,
}

impl CrashChild {
    /// Reads the variables that [`CrashCommand`] has set. Returns `None` if this process is not a child.
    ///
    /// # Panics
    /// Panics if a variable is missing or invalid.
    pub fn from_env() -> Option<Self> {
        let url = variable(URL_VARIABLE)?;
        let micros = variable(CLOCK_VARIABLE).and_then(|micros| micros.parse().ok());
        let statement = variable(STATEMENT_VARIABLE).and_then(|number| number.parse().ok());
        match (micros, statement) {
            (Some(micros), Some(statement)) => Some(Self { url, now: Timestamp::from_micros(micros), statement }),
            _ => panic!("`{CLOCK_VARIABLE}` and `{STATEMENT_VARIABLE}` must be numbers; set them by `CrashCommand`"),
        }
    }

    /// Returns a builder with test settings, the database of the test, and a clock that stands at the time of the
    /// test's clock.
    pub fn builder(&self) -> AppBuilder {
        App::builder(test_settings(&self.url)).clock(MockClock::at(self.now).clock())
    }

    /// Returns the time of the test's clock when the test started the child.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the value of a variable that the test has set by [`CrashCommand::env`].
    ///
    /// # Panics
    /// Panics if the variable is not set.
    #[expect(clippy::unused_self, reason = "only a child has such variables")]
    pub fn variable(&self, name: &str) -> String {
        variable(name).unwrap_or_else(|| panic!("`{name}` is not set; set it by `CrashCommand::env`"))
    }

    /// Kills this process at the end of the statement on `db` with the number that the test has given. Only statements
    /// count for whose SQL `counts` returns `true`.
    pub fn kill_after_statement(&self, db: &Db, counts: impl Fn(&str) -> bool + Send + Sync + 'static) {
        db.observe(KillAfter { left: AtomicUsize::new(self.statement), counts });
    }
}

/// A query observer that kills its process at the end of the n-th statement that counts.
struct KillAfter<F> {
    left: AtomicUsize,
    counts: F,
}

impl<F: Fn(&str) -> bool + Send + Sync + 'static> QueryObserver for KillAfter<F> {
    fn observe(&self, event: QueryEvent<'_>) {
        if (self.counts)(event.sql) && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
            loop {
                std::thread::park();
            }
        }
    }
}

/// Waits until PostgreSQL has ended the transactions of disconnected clients. Returns at once on SQLite.
///
/// # Panics
/// Panics if that takes longer than 90 seconds.
pub async fn wait_for_closed_sessions(db: &Db) {
    if db.dialect() == Dialect::Sqlite {
        return;
    }
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null";
    let look = async {
        loop {
            match db.query(open).fetch_one::<(i64,)>().await {
                Ok((0,)) => return,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let ended = tokio::time::timeout(CHILD_TIMEOUT, look).await;
    assert!(ended.is_ok(), "the transactions of clients did not end within {} seconds", CHILD_TIMEOUT.as_secs());
}
