//! Commands that arrive in requests of their own, for connections over SSE.

use std::sync::Arc;

use omnistack_core::{http::Error, identity::Identity};

use crate::{
    engine::ControlMessage,
    hub::{Hub, connection::Connection, lock},
    protocol::CloseCode,
};

impl Hub {
    /// Sends commands to the process of their connection. Returns false if that process has ended.
    ///
    /// # Errors
    /// 503 if the other processes can't be reached.
    pub(crate) async fn forward_commands(
        &self,
        node: String,
        session: String,
        caller: String,
        data: String,
    ) -> Result<bool, Error> {
        self.0.engine.control(&ControlMessage::Commands { node, session, caller, data }).await
    }

    /// Executes commands of a connection of this process, after those that wait. `caller` is the user of the request,
    /// or empty if it was not signed in: the session secret suffices. Returns false if the process has no connection
    /// with this secret, or if it is another user's.
    pub(crate) fn commands(&self, session: &str, caller: &str, frame: String) -> bool {
        let Some(connection) = self.0.connections.by_session(session) else { return false };
        let is_caller = |present: Arc<Identity>| caller.is_empty() || present.user.to_string() == caller;
        let is_caller = connection.caller().is_some_and(is_caller);
        let Some(emulation) = connection.emulation.as_deref().filter(|_| is_caller) else { return false };
        let mut inbox = lock(&emulation.inbox);
        if inbox.bytes.saturating_add(size_of_frame(&frame)) > connection.outbound.limit() {
            drop(inbox);
            connection.outbound.close(CloseCode::TooManyRequests);
            return true;
        }
        inbox.bytes += size_of_frame(&frame);
        inbox.frames.push_back(frame);
        let must_serve = !std::mem::replace(&mut inbox.is_served, true);
        drop(inbox);
        if must_serve {
            let (hub, connection) = (self.clone(), Arc::clone(&connection));
            tokio::spawn(async move { hub.serve_inbox(&connection).await });
        }
        true
    }

    /// Executes the frames that wait. One task at a time does so, which keeps their order.
    async fn serve_inbox(&self, connection: &Arc<Connection>) {
        let _end = InboxEnd(connection);
        while let Some(frame) = connection.next_frame() {
            // After the sign-in only: the session secret is in the reply to the connect command.
            let result = if connection.is_connected() {
                self.execute_later_frame(connection, &frame).await
            } else {
                Err(CloseCode::ConnectionClosed)
            };
            if let Err(code) = result {
                connection.outbound.close(code);
            }
        }
    }
}

/// A guard that closes a connection whose frames are not served any more, because a rule of the app has panicked.
struct InboxEnd<'a>(&'a Connection);

impl Drop for InboxEnd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.outbound.close(CloseCode::Server);
        }
    }
}

/// Returns the memory that a frame takes in the inbox.
fn size_of_frame(frame: &str) -> usize {
    frame.len() + size_of::<String>()
}

impl Connection {
    fn next_frame(&self) -> Option<String> {
        let mut inbox = lock(&self.emulation.as_deref()?.inbox);
        let frame = inbox.frames.pop_front();
        match &frame {
            Some(frame) => inbox.bytes -= size_of_frame(frame),
            None => inbox.is_served = false,
        }
        frame
    }
}
