//! A TCP proxy to a PostgreSQL server that counts round trips and can lose bytes.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::timeout,
};

/// A TCP proxy. A round trip is counted when the client sends after the server has sent.
pub(super) struct TcpProxy {
    url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// The number of changes of direction. Odd while the client waits for the server.
    turns: AtomicUsize,
    passed: Notify,
    loses: AtomicBool,
    opened: AtomicUsize,
    /// Connections with a lower number lose all bytes for good.
    lost_below: AtomicUsize,
}

impl TcpProxy {
    /// Starts a proxy to the server of a URL such as `postgres://user:password@host:port/name`.
    pub(super) async fn to(url: &str) -> Self {
        let (before, rest) = url.split_once('@').unwrap();
        let (host, after) = rest.split_once('/').unwrap();
        let host = host.to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("{before}@{}/{after}", listener.local_addr().unwrap());
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (client, server) = (client.into_split(), TcpStream::connect(&host).await.unwrap().into_split());
                let number = counting.opened.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass(client.0, server.1, Arc::clone(&counting), 1, number));
                tokio::spawn(pass(server.0, client.1, Arc::clone(&counting), 0, number));
            }
        });
        Self { url, counts }
    }

    /// Returns the URL of the server through the proxy.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn round_trips(&self) -> usize {
        self.counts.turns.load(Ordering::SeqCst).div_ceil(2)
    }

    /// Makes the proxy accept bytes and drop them, like a failing network device that acknowledges them, or pass them
    /// on again.
    pub(super) fn set_losing(&self, loses: bool) {
        self.counts.loses.store(loses, Ordering::SeqCst);
    }

    /// Drops all bytes on the connections that are open now, for good. Later connections work.
    pub(super) fn lose_open_connections(&self) {
        self.counts.lost_below.store(self.counts.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Waits until no bytes have passed for a moment.
    pub(super) async fn wait_until_quiet(&self) {
        while timeout(Duration::from_millis(50), self.counts.passed.notified()).await.is_ok() {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counts: Arc<Counts>, parity: usize, number: usize) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let turn = |turns: usize| (turns % 2 != parity).then_some(turns + 1);
        _ = counts.turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, turn);
        counts.passed.notify_one();
        if counts.loses.load(Ordering::SeqCst) || number < counts.lost_below.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
}
