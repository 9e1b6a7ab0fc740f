//! The shutdown and maintenance: connections are closed one after another, so that clients reconnect one after another.

use std::{sync::Arc, time::Duration};

use omnistack_core::{ShutdownToken, maintenance::MaintenanceMode};

use super::{Hub, connection::Connection};
use crate::protocol::CloseCode;

/// Time between two slices of connections that are closed.
const SLICE_INTERVAL: Duration = Duration::from_millis(100);

impl Hub {
    /// Waits for the shutdown, then refuses new connections and closes the open ones over the time of the settings.
    pub(crate) async fn drain(&self, shutdown: ShutdownToken) {
        shutdown.cancelled().await;
        let connections = self.0.connections.begin_drain();
        self.0.meter.record(self.wall_time());
        self.close_in_slices(&connections).await;
    }

    /// Refuses new connections during maintenance, and closes those that are open when it begins over the time of the
    /// settings, until the shutdown.
    pub(crate) async fn follow_maintenance(&self, mode: MaintenanceMode, shutdown: ShutdownToken) {
        tokio::select! {
            () = self.pause_during(mode) => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn pause_during(&self, mode: MaintenanceMode) {
        loop {
            mode.wait_for_start().await;
            // Requests that were admitted before can still open connections, which this refuses.
            let connections = self.0.connections.pause();
            tokio::select! {
                () = self.close_in_slices(&connections) => mode.wait_for_end().await,
                () = mode.wait_for_end() => {}
            }
            self.0.connections.resume();
        }
    }

    async fn close_in_slices(&self, connections: &[Arc<Connection>]) {
        let slices = self.0.settings.drain.as_millis() / SLICE_INTERVAL.as_millis();
        let slices = usize::try_from(slices).unwrap_or(usize::MAX).max(1);
        let size = connections.len().div_ceil(slices).max(1);
        for (index, slice) in connections.chunks(size).enumerate() {
            if index > 0 {
                tokio::time::sleep(SLICE_INTERVAL).await;
            }
            for connection in slice {
                connection.outbound.close(CloseCode::Shutdown);
            }
        }
    }
}
