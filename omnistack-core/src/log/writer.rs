//! Buffered writing of log lines.

use std::{
    fmt,
    io::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Longest time that a line is buffered.
const MAX_LINE_DELAY: Duration = Duration::from_millis(20);
/// Number of buffered bytes above which the thread that logs writes them itself: a blocked output slows the app down
/// instead of filling its memory.
const MAX_BUFFERED_BYTES: usize = 1 << 20;

/// A writer that buffers lines for a thread, which writes them in batches.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<WriterState>);

struct WriterState {
    lines: Mutex<Vec<u8>>,
    came: Condvar,
    writer: Mutex<Box<dyn Write + Send>>,
}

impl LogWriter {
    pub(crate) fn start(writer: impl Write + Send + 'static) -> Self {
        let shared =
            WriterState { lines: Mutex::default(), came: Condvar::new(), writer: Mutex::new(Box::new(writer)) };
        let sink = Self(Arc::new(shared));
        let writing = sink.clone();
        // Without the thread, lines are written when the buffer is full, or at once if they are warnings or errors.
        _ = std::thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                let lines = lock(&writing.0.lines);
                let lines =
                    writing.0.came.wait_while(lines, |lines| lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
                // Nothing notifies at the end of the pause, so that more lines are batched meanwhile.
                drop(writing.0.came.wait_timeout(lines, MAX_LINE_DELAY));
                writing.flush();
            }
        });
        sink
    }

    /// Adds a line. With `now` it is written at once.
    pub(crate) fn write(&self, line: &[u8], now: bool) {
        let mut lines = lock(&self.0.lines);
        if lines.is_empty() && !now {
            self.0.came.notify_one();
        }
        lines.extend_from_slice(line);
        let many = lines.len() > MAX_BUFFERED_BYTES;
        drop(lines);
        if now || many {
            self.flush();
        }
    }

    /// Writes the buffered lines. The writer is locked first, so that lines keep their order.
    pub(crate) fn flush(&self) {
        let mut writer = lock(&self.0.writer);
        let lines = std::mem::take(&mut *lock(&self.0.lines));
        // An error of the log itself can't be logged.
        _ = writer.write_all(&lines).and_then(|()| writer.flush());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
