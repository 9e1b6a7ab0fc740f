//! A server that is killed while many providers send webhooks and it processes them.

use std::{net::Ipv4Addr, process::Stdio, time::Duration};

use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    ShutdownToken,
    app::{Server, ServerSettings},
    http::client::{Client, ClientSettings},
};
use omnistack_testkit::{TestApp, TestDatabase, crash::wait_for_closed_sessions, on_each_database};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};

use super::{AFTER_THE_LEASES, child, command, event, expect_soon};
use crate::inbox::{PUBLIC, Probe, app, rows, signature};

/// Number of webhooks that are sent.
const WEBHOOKS: usize = 200;
/// Number of responses after which the server is killed.
const ANSWERS: usize = 60;
/// Requests at once.
const CONNECTIONS: usize = 16;

/// The word that a child prints before its address.
const LISTENING: &str = "listening on ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child process of other tests"]
async fn child_that_serves() {
    let Some((_, app)) = child(|_| false) else { return };
    let settings = ServerSettings { header_timeout: Duration::from_secs(75), grace: Duration::from_secs(30) };
    let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), settings).await.unwrap();
    println!("{LISTENING}{}", server.local_addr().unwrap());
    tokio::join!(server.run(app.service(), ShutdownToken::new()), app.run_workers(ShutdownToken::new()));
}

/// Starts a server, and returns it with its URL.
async fn serve(app: &TestApp) -> (Child, String) {
    let mut command = Command::from(command(app, "server::child_that_serves", 1).into_command());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, address)) = line.split_once(LISTENING) {
                return format!("http://{address}");
            }
        }
        panic!("the server ended")
    };
    let url = expect_soon("the address of the server", address).await;
    (process, url)
}

/// Sends a webhook. Returns whether it was answered with 2xx.
async fn post(client: &Client, url: &str, id: &str, seconds: i64) -> bool {
    let body = event(id).to_string();
    let request = client.post(format!("{url}{PUBLIC}")).header("content-type", "application/json");
    let request = request.header("x-probe-signature", signature(seconds, body.as_bytes())).body(body);
    request.send().await.is_ok_and(|response| response.status().is_success())
}

/// Sends webhooks, several at once. Counts the answers, and returns the ids of the webhooks that got none.
async fn post_all(app: &TestApp, url: &str, ids: Vec<String>, answers: &watch::Sender<usize>) -> Vec<String> {
    let client = ClientSettings::default().client().unwrap();
    let seconds = app.clock().clock().now().as_seconds();
    let sent = stream::iter(ids).map(|id| {
        let client = &client;
        async move {
            let is_answered = post(client, url, &id, seconds).await;
            if is_answered {
                answers.send_modify(|count| *count += 1);
            }
            (id, is_answered)
        }
    });
    let sent: Vec<_> = sent.buffer_unordered(CONNECTIONS).collect().await;
    sent.into_iter().filter(|(_, is_answered)| !is_answered).map(|(id, _)| id).collect()
}

/// Returns the ids of the events whose webhooks are stored with one of these statuses, sorted.
async fn stored_ids(app: &TestApp, statuses: &[&str]) -> Vec<String> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select event_id, status from omni_webhooks order by event_id";
    let all: Vec<(String, String)> = tx.query(sql).fetch_all().await.unwrap();
    all.into_iter().filter(|(_, status)| statuses.contains(&status.as_str())).map(|(id, _)| id).collect()
}

on_each_database! {
    async fn a_server_that_is_killed_under_load_has_kept_what_it_has_answered(database: TestDatabase) {
        let app = app(database, &Probe::default(), |app| app).await;
        let all: Vec<String> = (0..WEBHOOKS).map(|number| format!("evt_{number:03}")).collect();
        let (mut server, url) = serve(&app).await;
        let (answers, mut answered) = watch::channel(0);
        let kill = async {
            answered.wait_for(|count| *count >= ANSWERS).await.unwrap();
            server.kill().await.unwrap();
        };
        let load = async { tokio::join!(post_all(&app, &url, all.clone(), &answers), kill).0 };
        let unanswered = expect_soon("the responses", load).await;
        assert!(!unanswered.is_empty(), "the server was killed too late");
        wait_for_closed_sessions(app.db()).await;
        let stored = stored_ids(&app, &["received", "processed"]).await;
        for id in all.iter().filter(|id| !unanswered.contains(id)) {
            assert!(stored.contains(id), "{id} was answered and is not stored");
        }

        // The provider sends the others again, to the server that is started anew.
        app.clock().advance(AFTER_THE_LEASES);
        let (mut server, url) = serve(&app).await;
        let unanswered = expect_soon("the responses", post_all(&app, &url, unanswered, &answers)).await;
        assert_eq!(unanswered, Vec::<String>::new());
        let processed = async {
            while stored_ids(&app, &["processed"]).await != all {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        expect_soon("the end of all webhooks", processed).await;
        server.kill().await.unwrap();
        assert_eq!(rows(&app).await, all, "each was processed once");
    }
}
