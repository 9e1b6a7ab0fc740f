//! A test of the memory that sign-ins allocate.

use futures_util::{StreamExt as _, stream};

use super::*;

/// Each hash takes 19 MiB. The memory is kept for as many hashes as run at once, and reused.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_leave_as_much_memory_as_hashes_run_at_once() {
    const AT_ONCE: u64 = 2;
    const HASH_KIB: u64 = 19 * 1024;
    /// The allowance for everything besides hashes, in KiB: caches of the database, threads, sessions.
    const REST_KIB: u64 = 24 * 1024;
    let post = start_with(TestDatabase::sqlite(), |app| {
        app.set("AUTH_ARGON2_MEMORY", HASH_KIB.to_string()).set("AUTH_PASSWORD_HASH_CONCURRENCY", AT_ONCE.to_string())
    })
    .await;
    let before = anonymous_kib();
    let emails: Vec<_> = (0..8).map(|number| format!("user{number}@example.com")).collect();
    for email in &emails {
        post.registered(email).await;
    }
    let sign_ins = emails.iter().cycle().take(60).map(|email| post.login(email, PASSWORD));
    let answers: Vec<_> = stream::iter(sign_ins).buffer_unordered(8).collect().await;
    assert!(answers.iter().all(|answer| answer.status.is_success()));
    let grown = anonymous_kib().saturating_sub(before);
    assert!(grown <= AT_ONCE * HASH_KIB + REST_KIB, "{grown} KiB more");
}

/// Returns the anonymous memory of the process in KiB (proc(5)).
#[cfg(target_os = "linux")]
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
