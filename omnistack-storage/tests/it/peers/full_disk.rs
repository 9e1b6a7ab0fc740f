//! A test with a full disk: a file system of 4 MiB in memory that only this process sees.

use omnistack_storage::{Files, Local};
use omnistack_testkit::TestDatabase;
use tokio::process::Command;

use crate::{
    conformance::TempDirectory,
    files::{FILES, upload, with},
};

const DISK: &str = "TEST_SMALL_DISK";

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn a_disk_that_is_full() {
    let folder = TempDirectory::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=4m none \"$1\" || exit 77; {DISK}=\"$1\" exec \"$2\" --ignored --exact peers::full_disk::on_it"
    );
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(&folder.0)
        .arg(std::env::current_exe().unwrap())
        .output()
        .await
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "without user namespaces this can't be run: {said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// The part of `a_disk_that_is_full` that runs on the small disk.
#[tokio::test]
#[ignore = "a part of `a_disk_that_is_full`"]
#[expect(clippy::disallowed_methods, reason = "a test's setting, not the app's")]
async fn on_it() {
    let Ok(disk) = std::env::var(DISK) else { return };
    let files = Files::new(Local::new(&disk));
    let shop = with(TestDatabase::sqlite(), files, &[], Some(1 << 30)).await;
    let alice = shop.app.user();
    for _ in 0..3 {
        upload(&alice, "a", "application/octet-stream", vec![1; 8 << 20]).await.expect_error(507, "STORAGE_FULL");
        assert_eq!(shop.objects().await, 0);
        let left: Vec<_> = std::fs::read_dir(format!("{disk}/tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 0);
    }
    // Smaller files are still stored until the disk is full.
    for _ in 0..3 {
        upload(&alice, "a", "application/octet-stream", vec![1; 1 << 20]).await.expect(201);
    }
    upload(&alice, "a", "application/octet-stream", vec![1; 1 << 20]).await.expect_error(507, "STORAGE_FULL");
    assert_eq!(shop.objects().await, 3);
}
