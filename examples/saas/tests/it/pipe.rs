//! Tests of commands whose reader closes the pipe early, as in `saas routes | head -1`.

use std::process::{Command, Stdio};

use omnistack_testkit::TestDatabase;

#[tokio::test]
async fn a_command_ends_well_when_its_reader_has_ended() {
    let database = TestDatabase::sqlite();
    let folder = std::env::temp_dir().join(format!("omnistack-pipe-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for line in [
        "migrate --plan",
        "migrate",
        "migrate --list",
        "routes",
        "config",
        "config --reference",
        "openapi",
        "jobs queues",
        "jobs crons",
        "audit verify",
        "webhooks sources",
        "maintenance on",
        "maintenance status",
        "maintenance off",
        "backup archive.tar",
        "doctor",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
        command.current_dir(&folder).args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("DATABASE_URL", database.url()).env("APP_ENV", "test").env("LOG_LEVEL", "error");
        let output = tokio::task::spawn_blocking(move || {
            let mut process = command.spawn()?;
            // The pipe now has no reader.
            drop(process.stdout.take());
            process.wait_with_output()
        });
        let output = output.await.unwrap().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
