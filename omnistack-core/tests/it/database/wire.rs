//! The wire to a PostgreSQL server, counting what goes over it.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
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

/// Passes bytes on. A round trip is counted when the client speaks after the server has.
pub(super) struct Wire {
    url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Odd while the client waits: its turns and the server's.
    turns: AtomicUsize,
    passed: Notify,
}

impl Wire {
    /// To the server of a URL such as `postgres://user:password@host:port/name`.
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
                tokio::spawn(pass(client.0, server.1, Arc::clone(&counting), 1));
                tokio::spawn(pass(server.0, client.1, Arc::clone(&counting), 0));
            }
        });
        Self { url, counts }
    }

    /// The way to the server over this wire.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn round_trips(&self) -> usize {
        self.counts.turns.load(Ordering::SeqCst).div_ceil(2)
    }

    /// Waits until nothing has passed for a moment.
    pub(super) async fn quiet(&self) {
        while timeout(Duration::from_millis(50), self.counts.passed.notified()).await.is_ok() {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counts: Arc<Counts>, parity: usize) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let turn = |turns: usize| (turns % 2 != parity).then_some(turns + 1);
        _ = counts.turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, turn);
        counts.passed.notify_one();
        if to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
}
