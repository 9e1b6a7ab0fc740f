//! A test with ten thousand idle connections.
//!
//! Both ends in one process would need twice the file descriptors, so the server is this test binary again, in a
//! child process.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::peer::RawClient;
use crate::http::support::{soon, start};

/// Runs the server: prints its address and ends with its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "`ten_thousand_idle_connections_are_held` starts it in a process of its own"]
async fn server() {
    let app = start(|app| app).await;
    let listening = app.listen_with_defaults().await;
    println!("\nlistens at {}", listening.address);
    let input = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    input.await.unwrap().unwrap();
}

async fn start_server() -> (Child, SocketAddr) {
    let name = concat!(module_path!(), "::server");
    let name = name.split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = soon(async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the server ended");
            if let Some(address) = line.strip_prefix("listens at ") {
                return address.parse().unwrap();
            }
        }
    });
    let address = address.await;
    // Read the rest of its output, so that the pipe does not fill up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

/// Returns the process's memory in kilobytes, on Linux.
fn resident(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()?)).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

/// Returns `wanted`, or fewer if the limit of open files of a process is lower.
fn attainable(wanted: u64) -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    wanted.min(files.unwrap_or(u64::MAX).saturating_sub(150))
}

async fn open(address: SocketAddr, count: u64) -> Vec<RawClient> {
    // At most as many at once as the listener's queue holds.
    stream::iter(0..count).map(|_| RawClient::connect(address)).buffer_unordered(200).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_are_held() {
    let count = attainable(10_000);
    println!("holding {count} connections");
    assert!(count >= 100, "this machine lets a process open only {} files: raise `ulimit -n`", count + 150);
    let (mut server, address) = start_server().await;
    // Memory allocated by the first requests is not counted as that of connections.
    for mut peer in open(address, 50).await {
        assert_eq!(peer.get("/health").await.status, 200);
    }
    let before = resident(&server);
    let mut held = open(address, count / 2).await;
    let silent = resident(&server);
    // The other half have served a request and are kept alive.
    let used = stream::iter(open(address, count - count / 2).await).map(|mut peer| async move {
        assert_eq!(peer.get("/health").await.status, 200);
        peer
    });
    held.extend(used.buffer_unordered(50).collect::<Vec<_>>().await);
    assert_eq!(held.len() as u64, count);

    let prompt = Duration::from_secs(2);
    let mut new = RawClient::connect(address).await;
    let answer = tokio::time::timeout(prompt, new.get("/health")).await.expect("a new connection is served");
    assert_eq!(answer.status, 200);
    for index in [0, held.len() / 4, held.len() / 2, held.len() - 1] {
        let answer = tokio::time::timeout(prompt, held[index].get("/health")).await.expect("a held one is served");
        assert_eq!(answer.status, 200);
    }
    if let (Some(before), Some(silent), Some(after)) = (before, silent, resident(&server)) {
        let each = |from: u64, to: u64, count: u64| to.saturating_sub(from) as f64 / count as f64;
        let (fresh, used) = (each(before, silent, count / 2), each(silent, after, count - count / 2));
        println!("{before} kB before; {fresh:.1} kB each silent, {used:.1} kB each used");
        // hyper keeps two buffers of 8 KiB for a connection that has served a request.
        assert!(fresh < 10.0 && used < 26.0, "{fresh:.1} kB each silent, {used:.1} kB each used");
        assert!(each(before, after, count) < 20.0, "on average");
    }
    // All connections are still open.
    drop(held);
    assert_eq!(soon(new.get("/health")).await.status, 200);
    drop(server.stdin.take());
    assert!(soon(server.wait()).await.unwrap().success());
}
