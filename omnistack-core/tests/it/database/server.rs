//! A PostgreSQL server of a test's own, to be stopped and killed.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use omnistack_core::{clock::Clock, id::Id};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long it may take to start, after a crash too.
const START: Duration = Duration::from_mins(1);

/// Dropped, it is killed and its files are removed.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// A new one, with a password.
    pub(crate) async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-server-{}", Id::<()>::new(Clock::system().now())));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("password"), "secret").unwrap();
        if user().is_some() {
            run(Command::new("chown").arg("-R").arg(user().unwrap()).arg(&folder)).await;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self { folder, port, process: None };
        let password = server.folder.join("password");
        run(server
            .program("initdb")
            .args(["-U", "postgres", "-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale=C"])
            .arg("--pwfile")
            .arg(password)
            .arg("-D")
            .arg(server.data()))
        .await;
        server.resume().await;
        server
    }

    /// How its superuser reaches it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres:secret@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends every session at once, and the server in good order.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        run(Command::new("kill").arg("-INT").arg(process.id().unwrap().to_string())).await;
        process.wait().await.unwrap();
    }

    /// As a crash does.
    pub(crate) async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// Starts it again, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let started = timeout(START, self.answer()).await;
        started.unwrap_or_else(|_| panic!("the server at {} did not start", self.folder.display()));
    }

    async fn answer(&mut self) {
        loop {
            // After a crash it refuses to start until the last of its old processes is gone.
            let running = self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none());
            if !running {
                let mut server = self.program("postgres");
                server.arg("-D").arg(self.data()).arg("-k").arg(&self.folder).args(["-p", &self.port.to_string()]);
                server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=30"]);
                self.process =
                    Some(server.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap());
            }
            let mut asking = self.program("pg_isready");
            asking.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if asking.status().await.unwrap().success() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let Some(folder) = variable("TEST_POSTGRES_BIN") else {
            panic!(
                "this test starts a server: run `cargo xtask test`, or set TEST_POSTGRES_BIN to the folder of initdb"
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

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            _ = process.start_kill();
        }
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn user() -> Option<String> {
    variable("TEST_POSTGRES_USER")
}

#[expect(clippy::disallowed_methods, reason = "tests are told where programs are by the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn run(command: &mut Command) {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
