//! Where lines go.

use std::{
    fmt,
    io::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Longest a line waits for others.
const PAUSE: Duration = Duration::from_millis(20);
/// With more than this waiting, whoever logs writes: a reader that stands still slows the app down instead of filling its
/// memory.
const MOST: usize = 1 << 20;

/// Collects lines for a thread that writes them together.
#[derive(Clone)]
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    lines: Mutex<Vec<u8>>,
    came: Condvar,
    writer: Mutex<Box<dyn Write + Send>>,
}

impl Sink {
    pub(super) fn start(writer: impl Write + Send + 'static) -> Self {
        let shared = Shared { lines: Mutex::default(), came: Condvar::new(), writer: Mutex::new(Box::new(writer)) };
        let sink = Self(Arc::new(shared));
        let writing = sink.clone();
        // Without the thread lines are written when there are many, or at once when they matter.
        _ = std::thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                let lines = guard(&writing.0.lines);
                let lines =
                    writing.0.came.wait_while(lines, |lines| lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
                // Nobody announces the end of the pause: others may come meanwhile.
                drop(writing.0.came.wait_timeout(lines, PAUSE));
                writing.flush();
            }
        });
        sink
    }

    /// Takes a line; `now` for one that should not wait.
    pub(super) fn write(&self, line: &[u8], now: bool) {
        let mut lines = guard(&self.0.lines);
        if lines.is_empty() && !now {
            self.0.came.notify_one();
        }
        lines.extend_from_slice(line);
        let many = lines.len() > MOST;
        drop(lines);
        if now || many {
            self.flush();
        }
    }

    /// Writes what there is. The writer is locked first, so that lines keep their order.
    pub(super) fn flush(&self) {
        let mut writer = guard(&self.0.writer);
        let lines = std::mem::take(&mut *guard(&self.0.lines));
        // Nobody is left to tell when the log itself can't be written.
        _ = writer.write_all(&lines).and_then(|()| writer.flush());
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
