//! The metrics of the process.

use std::time::Duration;

use metrics::{Counter, Gauge};
use omnistack_core::{
    clock::Clock,
    metrics::{APP_UPTIME, NO_LABELS, PROCESS_CPU, PROCESS_MEMORY, PROCESS_OPEN_FDS, PROCESS_THREADS, SYSTEM_INFO},
};

/// The memory, CPU time, file descriptors and threads of the process, and the age of the app.
#[derive(Clone)]
pub(crate) struct ProcessMetrics {
    clock: Clock,
    started: Duration,
    memory: Gauge,
    cpu: Counter,
    open_fds: Gauge,
    threads: Gauge,
    uptime: Gauge,
}

impl ProcessMetrics {
    /// Creates the metrics of an app that starts now.
    pub(crate) fn new(clock: Clock, version: &str) -> Self {
        SYSTEM_INFO
            .gauge([version.to_owned(), std::env::consts::OS.to_owned(), std::env::consts::ARCH.to_owned()])
            .set(1.0);
        Self {
            started: clock.elapsed(),
            clock,
            memory: PROCESS_MEMORY.gauge(NO_LABELS),
            cpu: PROCESS_CPU.counter(NO_LABELS),
            open_fds: PROCESS_OPEN_FDS.gauge(NO_LABELS),
            threads: PROCESS_THREADS.gauge(NO_LABELS),
            uptime: APP_UPTIME.gauge(NO_LABELS),
        }
    }

    /// Reads the numbers from the operating system. A number that it does not report keeps its value.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a 64-bit float, exact up to 2^53")]
    pub(crate) fn refresh(&self) {
        let now = metrics_process::collector::collect();
        let gauges =
            [(&self.memory, now.resident_memory_bytes), (&self.open_fds, now.open_fds), (&self.threads, now.threads)];
        for (gauge, value) in gauges {
            if let Some(value) = value {
                gauge.set(value as f64);
            }
        }
        if let Some(seconds) = now.cpu_seconds_total {
            self.cpu.absolute(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs());
        }
        self.uptime.set(self.clock.elapsed().saturating_sub(self.started).as_secs_f64());
    }
}
