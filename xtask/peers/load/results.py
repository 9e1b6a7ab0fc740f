"""Records what became of each request, and writes it to a file: one JSON object on each line, for each kind of user in
each window of time. `cargo xtask load` reads the file, prints the tables and judges."""

import json
import time
from collections import Counter, defaultdict

import gevent

# Seconds of a window.
WINDOW = 5
# Different failures that are written for a kind of user in a window.
MAX_FAILURES = 20


class Window:
    """The requests of one kind of user in a window."""

    def __init__(self):
        self.requests = 0
        self.times = Counter()
        self.failures = Counter()
        self.failed = 0
        self.refused = Counter()


class Results:
    """The requests since the start, by kind of user."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.started = None
        self.windows = defaultdict(Window)

    def passed(self):
        """Returns the seconds since the start."""
        return 0 if self.started is None else time.monotonic() - self.started

    def start(self):
        """Begins the first window, and writes each one when it has ended."""
        self.started = time.monotonic()
        self.windows.clear()
        gevent.spawn(self.write_windows)

    def add(self, kind, seconds, failure=None, refused=None):
        """Records a request: its duration, and the text of its failure, or the status by which it was refused and told
        when to come again."""
        window = self.windows[kind]
        window.requests += 1
        window.times[rounded(seconds * 1e6)] += 1
        if failure:
            window.failed += 1
            if failure in window.failures or len(window.failures) < MAX_FAILURES:
                window.failures[failure] += 1
        if refused:
            window.refused[str(refused)] += 1

    def write_windows(self):
        number = 0
        while True:
            number += 1
            gevent.sleep(max(0, self.started + number * WINDOW - time.monotonic()))
            self.write(number * WINDOW)

    def write(self, second):
        """Writes the requests that were not written yet, as those of the window that ends at this second."""
        windows, self.windows = self.windows, defaultdict(Window)
        for kind, window in windows.items():
            line = {
                "second": second,
                "kind": kind,
                "requests": window.requests,
                "times": window.times,
                "failed": window.failed,
                "failures": window.failures,
                "refused": window.refused,
            }
            self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def rounded(microseconds):
    """Returns the number with its two leading digits, so that there are few different ones."""
    digits = len(str(int(microseconds)))
    return int(round(microseconds, 2 - digits)) if digits > 2 else int(microseconds)
