//! The open connections, and their shutdown.
//!
//! hyper's own header timeout sets and cancels a timer per request, and a future that waits for the shutdown is
//! polled with every read. Here a connection records its activity with one atomic store, one task checks all
//! connections periodically, and a shutdown order wakes exactly the connections it is for.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::task::AtomicWaker;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::Notify;

use crate::ShutdownToken;
use crate::http::Response;

/// Idle checks per idle timeout. More checks make the timeout more exact.
const CHECKS_PER_IDLE_TIMEOUT: u8 = 4;

/// Order to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Keep serving.
    Serve,
    /// Close after the open requests.
    Finish,
    /// Close now.
    Cut,
}

/// State of a connection, shared with the tasks that watch it.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Requests whose response is not complete.
    requests: AtomicUsize,
    /// Number of times that the connection was found idle since its last activity.
    idle: AtomicU8,
    /// Whether a write is blocked because the client does not read.
    blocked: AtomicBool,
    /// Whether the connection has changed to another protocol, such as WebSocket.
    upgraded: AtomicBool,
    /// Whether hyper's task has ended, so that the handler of the other protocol has the connection.
    handed_over: AtomicBool,
    order: AtomicU8,
    waker: AtomicWaker,
}

impl Connection {
    /// Records activity.
    pub(super) fn record_activity(&self) {
        self.idle.store(0, Ordering::Relaxed);
        self.blocked.store(false, Ordering::Relaxed);
    }

    /// Records that a write is blocked because the client does not read.
    pub(super) fn record_blocked_write(&self) {
        self.blocked.store(true, Ordering::Relaxed);
    }

    /// Records that the connection changes to another protocol. The handler of that protocol closes it when it is idle,
    /// and at shutdown.
    pub(super) fn record_upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// Records that hyper's task has ended.
    pub(super) fn record_hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Returns whether the connection has changed to another protocol.
    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// Returns the current order, and wakes `cx` when it changes.
    pub(super) fn order(&self, cx: &Context<'_>) -> Order {
        self.waker.register(cx.waker());
        self.current_order()
    }

    /// Returns the current order.
    pub(super) fn current_order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Finish,
            _ => Order::Cut,
        }
    }

    fn send_order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Release);
        self.waker.wake();
    }
}

/// Guard of an open request: its connection is not idle.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<Connection>);

impl RequestGuard {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        connection.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connection))
    }

    /// Keeps the guard until the last byte of the response is sent, if the length of the body is not known.
    pub(super) fn hold_until_sent(self, response: Response) -> Response {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.0.record_upgrade();
        }
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|inner| Body::new(GuardedBody { inner, _busy: self }))
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.record_activity();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    struct GuardedBody {
        #[pin]
        inner: Body,
        _busy: RequestGuard,
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    closed: Notify,
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. It is removed when the returned guard is dropped.
    pub(super) fn add(self: &Arc<Self>) -> (Arc<Connection>, ConnectionGuard) {
        let connection = Arc::new(Connection::default());
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(key, Arc::clone(&connection));
        (connection, ConnectionGuard { connections: Arc::clone(self), key })
    }

    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    pub(super) fn send_order_to_all(&self, order: Order) {
        self.open().values().for_each(|connection| connection.send_order(order));
    }

    /// Closes connections that are idle for longer than `after`, until `stop` is cancelled.
    pub(super) async fn cut_idle(&self, after: Duration, stop: ShutdownToken) {
        let mut looks =
            tokio::time::interval((after / u32::from(CHECKS_PER_IDLE_TIMEOUT)).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            for connection in self.open().values() {
                // Until then the client may hold up the response that changes the protocol.
                if connection.handed_over.load(Ordering::Relaxed) {
                    continue;
                }
                if connection.requests.load(Ordering::Relaxed) > 0 && !connection.blocked.load(Ordering::Relaxed) {
                    continue;
                }
                if connection.idle.fetch_add(1, Ordering::Relaxed) >= CHECKS_PER_IDLE_TIMEOUT {
                    connection.send_order(Order::Cut);
                }
            }
        }
    }

    /// Waits until all connections are closed.
    pub(super) async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open().is_empty() {
                return;
            }
            closed.await;
        }
    }
}

/// Guard that removes a connection from the table when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    connections: Arc<Connections>,
    key: u64,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.open().remove(&self.key);
        self.connections.closed.notify_waiters();
    }
}
