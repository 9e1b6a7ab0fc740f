//! [`TestPostgres`], a PostgreSQL server for one test.

use std::{
    fmt::Display,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use crate::{database::variable, random::random_uuid};

/// The longest duration of a start, including recovery after a crash.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The password of the superuser.
const PASSWORD: &str = "secret";

/// A PostgreSQL server for one test, on a free port of 127.0.0.1. Dropping it kills the server and deletes its files.
///
/// ```no_run
/// # use omnistack_testkit::TestPostgres;
/// # async fn test() {
/// let mut server = TestPostgres::start().await;
/// let url = server.url(); // the superuser's
/// server.stop().await; // an orderly shutdown that ends every session
/// server.restart().await; // on the same port, with all committed data
/// server.kill().await; // as in a crash
/// server.restart().await;
///
/// let standby = server.start_standby().await; // follows the server
/// server.wait_for_standby_at_commits().await;
/// server.kill().await;
/// standby.promote().await; // has everything that was committed
/// # }
/// ```
#[derive(Debug)]
pub struct TestPostgres {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl TestPostgres {
    /// Creates a database cluster with the programs in the folder `TEST_POSTGRES_BIN` and starts it, as the user
    /// `TEST_POSTGRES_USER` if that is set (PostgreSQL refuses to run as root).
    ///
    /// # Panics
    /// Panics if `TEST_POSTGRES_BIN` is not set or the server doesn't start within 60 seconds.
    pub async fn start() -> Self {
        let mut server = Self::new().await;
        server.create_cluster().await;
        server.restart().await;
        server
    }

    /// Starts a standby that follows this server by streaming replication, a moment behind it.
    ///
    /// # Panics
    /// Panics if this server is not running or the standby doesn't start within 60 seconds.
    pub async fn start_standby(&self) -> Self {
        let mut standby = Self::new().await;
        let mut copy = standby.program("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-c", "fast", "-R", "-D"]);
        copy.arg(standby.data()).env("PGPASSWORD", PASSWORD);
        run(copy).await;
        standby.restart().await;
        standby
    }

    /// Makes each commit of this server wait until its standby has it. Waits until the standby is connected.
    ///
    /// # Panics
    /// Panics if no standby is connected within 60 seconds.
    pub async fn wait_for_standby_at_commits(&self) {
        self.query("alter system set synchronous_standby_names = '*'").await;
        self.query("select pg_reload_conf()").await;
        let connected = async {
            while self.query("select count(*) from pg_stat_replication where sync_state = 'sync'").await != "1" {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let connected = timeout(START_TIMEOUT, connected).await;
        assert!(connected.is_ok(), "no standby was connected within {START_TIMEOUT:?}");
    }

    /// Promotes this standby to a server of its own, which accepts writes.
    ///
    /// # Panics
    /// Panics if this is no running standby.
    pub async fn promote(&self) {
        assert_eq!(self.query("select pg_promote()").await, "t", "the standby was not promoted");
    }

    /// Replaces the data by that of a new, empty cluster, as `pg_upgrade` does before it copies tables, and starts the
    /// server on the same port. A server that is running is shut down before.
    ///
    /// # Panics
    /// Panics if the server accepts no connections within 60 seconds.
    pub async fn recreate(&mut self) {
        if self.process.is_some() {
            self.stop().await;
        }
        expect_ok("removing its data", std::fs::remove_dir_all(self.data()));
        self.create_cluster().await;
        self.restart().await;
    }

    async fn create_cluster(&self) {
        let mut initdb = self.program("initdb");
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale=C", "--pwfile"]);
        initdb.arg(self.folder.join("password")).arg("-D").arg(self.data());
        run(initdb).await;
    }

    /// Creates the folder of a server, with the password of its superuser in a file.
    async fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-postgres-{}", random_uuid()));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join("password"), PASSWORD));
        expect_ok("creating its folder", written);
        if let Some(user) = user() {
            let mut chown = Command::new("chown");
            chown.arg("-R").arg(user).arg(&folder);
            run(chown).await;
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = expect_ok("finding a free port", free).port();
        Self { folder, port, process: None }
    }

    /// Returns the `DATABASE_URL` of the superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a statement as the superuser, and returns the first column of its rows.
    async fn query(&self, sql: &str) -> String {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-t", "-A", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-c", sql]).env("PGPASSWORD", PASSWORD);
        run(psql).await.trim().to_owned()
    }

    /// Shuts the server down in order, which ends every session at once (PostgreSQL's "fast" shutdown).
    ///
    /// # Panics
    /// Panics if the server is not running.
    pub async fn stop(&mut self) {
        let Some(process) = self.process.take() else { panic!("the PostgreSQL server is not running") };
        let mut kill = Command::new("kill");
        kill.args(["-INT", &process.id().to_string()]);
        run(kill).await;
        expect_ok("waiting for its exit", wait(process).await);
    }

    /// Kills the server, as in a crash.
    ///
    /// # Panics
    /// Panics if the server is not running.
    pub async fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { panic!("the PostgreSQL server is not running") };
        expect_ok("killing it", process.kill());
        expect_ok("waiting for its exit", wait(process).await);
    }

    /// Starts the server again and waits until it accepts connections.
    ///
    /// # Panics
    /// Panics if the server accepts no connections within 60 seconds.
    pub async fn restart(&mut self) {
        let started = timeout(START_TIMEOUT, self.wait_until_ready()).await;
        assert!(
            started.is_ok(),
            "the PostgreSQL in {} did not accept connections within {START_TIMEOUT:?}",
            self.folder.display()
        );
    }

    async fn wait_until_ready(&mut self) {
        let port = self.port.to_string();
        loop {
            // After a crash PostgreSQL refuses to start until all of its old processes have ended.
            let running = self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)));
            if !running {
                let mut server = self.program("postgres");
                server.arg("-D").arg(self.data()).arg("-k").arg(&self.folder).args(["-p", &port]);
                server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=30"]);
                server.stdout(Stdio::null()).stderr(Stdio::null());
                self.process = Some(expect_ok("starting it", server.spawn()));
            }
            let mut asking = self.program("pg_isready");
            asking.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            if output(asking).await.status.success() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the command of a PostgreSQL program, run as `TEST_POSTGRES_USER` if that is set.
    fn program(&self, name: &str) -> Command {
        let Some(folder) = variable("TEST_POSTGRES_BIN") else {
            panic!(
                "this test starts PostgreSQL: run `cargo xtask test`, or set TEST_POSTGRES_BIN to the folder of initdb"
            );
        };
        let program = PathBuf::from(folder).join(name);
        let mut command = match user() {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(&self.folder);
        command
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            _ = process.kill();
            _ = process.wait();
        }
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn user() -> Option<String> {
    variable("TEST_POSTGRES_USER")
}

/// Runs a program to its end, and returns its output.
async fn run(command: Command) -> String {
    let shown = format!("{command:?}");
    let output = output(command).await;
    assert!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program to its end. The feature `process` of `tokio` would be turned on in the app under test too.
async fn output(mut command: Command) -> Output {
    let output = expect_ok("running a program", tokio::task::spawn_blocking(move || command.output()).await);
    expect_ok("running a program", output)
}

async fn wait(mut process: Child) -> std::io::Result<ExitStatus> {
    expect_ok("waiting for its exit", tokio::task::spawn_blocking(move || process.wait()).await)
}

fn expect_ok<T, E: Display>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("a PostgreSQL server for a test: {what} failed: {error}"),
    }
}
