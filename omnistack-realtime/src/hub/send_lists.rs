//! The sending of frames on many sockets by few tasks.
//!
//! To wake the task of each connection would cost more than to write the frame. So a connection that gets a frame while
//! none waits is listed, and one task for each thread of the runtime writes what waits for the listed ones. A socket
//! that does not take all of it is left to the task of its connection, which waits until the client reads.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::upgrade::Upgraded;
use tokio::{runtime::Handle, task::yield_now};

use super::{
    Hub, lock,
    outbound::{Outbound, OutboundReader, OutboundSocket},
};

/// Sockets that are written before other tasks have their turn. Each write takes some of what the runtime lets a task
/// do in one turn.
const SOCKETS_PER_TURN: usize = 32;

/// The lists of a hub.
#[derive(Debug, Default)]
pub(super) struct SendLists {
    /// One for each thread of the runtime that serves the connections.
    lists: OnceLock<Vec<Arc<SendList>>>,
    /// Number of connections that have got a list.
    assigned: AtomicUsize,
}

/// Connections for which frames wait.
pub(super) struct SendList {
    runtime: Handle,
    state: Mutex<SendListState>,
}

#[derive(Default)]
struct SendListState {
    listed: Vec<Arc<Outbound>>,
    /// Whether a task sends what waits for them.
    is_served: bool,
}

impl Hub {
    /// Attaches the socket of a connection, on which its frames are sent from now on.
    pub(crate) fn attach(&self, reader: OutboundReader, socket: Upgraded) -> OutboundSocket {
        reader.attach(socket, self.0.send_lists.next())
    }
}

impl SendLists {
    /// Returns the list for another connection of the current runtime.
    fn next(&self) -> Arc<SendList> {
        let lists = self.lists.get_or_init(|| {
            let runtime = Handle::current();
            let list = |_| Arc::new(SendList { runtime: runtime.clone(), state: Mutex::default() });
            (0..runtime.metrics().num_workers()).map(list).collect()
        });
        let number = self.assigned.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&lists[number % lists.len()])
    }
}

impl SendList {
    /// Adds a connection for which a frame waits.
    pub(super) fn add(self: &Arc<Self>, outbound: Arc<Outbound>) {
        let mut state = lock(&self.state);
        state.listed.push(outbound);
        let must_serve = !mem::replace(&mut state.is_served, true);
        drop(state);
        if must_serve {
            let list = Arc::clone(self);
            self.runtime.spawn(async move { list.serve().await });
        }
    }

    /// Sends what waits for the connections of the list, until there are no more.
    async fn serve(&self) {
        let (mut taken, mut sent) = (Vec::new(), 0_usize);
        while self.take(&mut taken) {
            for outbound in taken.drain(..) {
                if outbound.send_now() {
                    // Others have their turn before the frames that were added meanwhile.
                    lock(&self.state).listed.push(outbound);
                }
                sent = sent.wrapping_add(1);
                if sent.is_multiple_of(SOCKETS_PER_TURN) {
                    yield_now().await;
                }
            }
        }
    }

    /// Takes the listed connections, in place of an empty list. Returns false if there are none: then the task has
    /// ended.
    fn take(&self, taken: &mut Vec<Arc<Outbound>>) -> bool {
        let mut state = lock(&self.state);
        mem::swap(&mut state.listed, taken);
        state.is_served = !taken.is_empty();
        state.is_served
    }
}

/// Without the connections, which refer to their list.
impl fmt::Debug for SendList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendList").finish_non_exhaustive()
    }
}
