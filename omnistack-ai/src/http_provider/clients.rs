//! The HTTP clients of a provider.
//!
//! One client is not enough. Over HTTP/2 it sends all requests to a host over one connection, and a server accepts only
//! so many streams on a connection, commonly 100: the next requests wait in the client, without a word, until an answer
//! ends. Answers of models take minutes. So a provider that speaks HTTP/2 gets another client, and with it another
//! connection, for each 100 calls at a time. Over HTTP/1.1 a client opens a connection for each call, and one is enough.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use omnistack_core::http::client::{Client, ClientSettings};

/// The calls at a time for which one connection is used.
const MAX_CALLS_PER_CLIENT: usize = 100;

/// Maximum number of clients of a provider. Further calls wait for the connections of these.
const MAX_CLIENTS: usize = 32;

/// The clients of a provider.
#[derive(Debug)]
pub(super) struct ClientPool {
    clients: Mutex<Vec<PooledClient>>,
    /// The settings of further clients. `None`: there are none.
    settings: Option<ClientSettings>,
    speaks_http2: AtomicBool,
    is_growing: AtomicBool,
}

#[derive(Clone, Debug)]
struct PooledClient {
    client: Client,
    calls: Arc<AtomicUsize>,
}

/// A client for one call. Dropping it ends the call.
#[derive(Debug)]
pub(super) struct ClientLease(PooledClient);

impl ClientPool {
    /// Creates a pool of one client.
    pub(super) fn new(client: Client) -> Self {
        Self {
            clients: Mutex::new(vec![PooledClient::new(client)]),
            settings: None,
            speaks_http2: AtomicBool::new(false),
            is_growing: AtomicBool::new(false),
        }
    }

    /// Sets the settings of further clients.
    pub(super) fn set_settings(&mut self, settings: ClientSettings) {
        self.settings = Some(settings);
    }

    /// Notes that the provider answered over HTTP/2.
    pub(super) fn note_http2(&self) {
        self.speaks_http2.store(true, Ordering::Relaxed);
    }

    /// Returns the client for a call: the first that has room, or the one with the fewest calls.
    pub(super) fn lease(&self) -> ClientLease {
        let found = self.find();
        if found.is_full() && self.may_grow() {
            return self.grow().unwrap_or(found);
        }
        found
    }

    fn find(&self) -> ClientLease {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = |pooled: &&PooledClient| pooled.calls.load(Ordering::Relaxed);
        let with_room = clients.iter().find(|pooled| calls(pooled) < MAX_CALLS_PER_CLIENT);
        let found = with_room.or_else(|| clients.iter().min_by_key(calls));
        // There is always a client: the first is never removed.
        found.map_or_else(|| ClientLease::of(&clients[0]), ClientLease::of)
    }

    fn may_grow(&self) -> bool {
        self.settings.is_some() && self.speaks_http2.load(Ordering::Relaxed)
    }

    /// Adds a client, unless another call is adding one or there are enough. The lock is not held meanwhile, because a
    /// new client reads the certificates of the system.
    fn grow(&self) -> Option<ClientLease> {
        let settings = self.settings.as_ref()?;
        if self.is_growing.swap(true, Ordering::AcqRel) {
            return None;
        }
        let count = self.clients.lock().unwrap_or_else(PoisonError::into_inner).len();
        let client = if count < MAX_CLIENTS { settings.client().ok() } else { None };
        let lease = client.map(|client| {
            let pooled = PooledClient::new(client);
            let lease = ClientLease::of(&pooled);
            self.clients.lock().unwrap_or_else(PoisonError::into_inner).push(pooled);
            lease
        });
        self.is_growing.store(false, Ordering::Release);
        lease
    }
}

impl PooledClient {
    fn new(client: Client) -> Self {
        Self { client, calls: Arc::default() }
    }
}

impl ClientLease {
    fn of(pooled: &PooledClient) -> Self {
        pooled.calls.fetch_add(1, Ordering::Relaxed);
        Self(pooled.clone())
    }

    /// Returns the client.
    pub(super) const fn client(&self) -> &Client {
        &self.0.client
    }

    /// Returns whether the client has more calls than its connection takes.
    fn is_full(&self) -> bool {
        self.0.calls.load(Ordering::Relaxed) > MAX_CALLS_PER_CLIENT
    }
}

impl Drop for ClientLease {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_count(pool: &ClientPool) -> usize {
        pool.clients.lock().unwrap().len()
    }

    #[tokio::test]
    async fn a_provider_of_http2_gets_a_client_for_each_hundred_calls() {
        let settings = ClientSettings::default();
        let mut pool = ClientPool::new(settings.client().unwrap());
        pool.set_settings(settings);
        let http1: Vec<_> = (0..250).map(|_| pool.lease()).collect();
        assert_eq!(client_count(&pool), 1);
        drop(http1);

        pool.note_http2();
        let leases: Vec<_> = (0..250).map(|_| pool.lease()).collect();
        assert_eq!(client_count(&pool), 3);
        drop(leases);
        let again: Vec<_> = (0..250).map(|_| pool.lease()).collect();
        assert_eq!(client_count(&pool), 3);
        drop(again);
        let clients = pool.clients.lock().unwrap();
        assert!(clients.iter().all(|pooled| pooled.calls.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test]
    async fn without_settings_all_calls_share_the_client() {
        let pool = ClientPool::new(ClientSettings::default().client().unwrap());
        pool.note_http2();
        let leases: Vec<_> = (0..250).map(|_| pool.lease()).collect();
        assert_eq!((client_count(&pool), leases.len()), (1, 250));
    }
}
