//! The load: requests at a rate, over connections that stay open.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// A token of each answer.
pub(crate) const TOKEN: &str = "tokentoken";
/// The word in a question that asks for a slow stream.
pub(crate) const SLOW: &str = "slowly";
/// Requests at a time. Beyond them, a request counts as one without an answer.
const MAX_RUNNING: usize = 1_000;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The time between two looks at the memory while streams run.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Whole,
    Stream,
    Slow,
}

/// A request, and connections on which it is sent.
#[derive(Clone)]
pub(crate) struct LoadRequest(Arc<LoadShared>);

struct LoadShared {
    address: SocketAddr,
    bytes: Vec<u8>,
    idle: Mutex<Vec<TcpStream>>,
}

/// The times until the first token, the shortest first once they are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadTimes {
    times: Vec<Duration>,
    failed: usize,
}

impl LoadRequest {
    /// Creates a request of OpenAI's chat completions.
    pub(crate) fn new(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        model: &str,
        question: Question,
    ) -> Self {
        let word = if question == Question::Slow { SLOW } else { "hello" };
        let streams = question != Question::Whole;
        let messages = format!(r#"[{{"role":"user","content":"Say {word}."}}]"#);
        let body = format!(r#"{{"model":"{model}","stream":{streams},"max_tokens":100,"messages":{messages}}}"#);
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{headers}\r\n"
        );
        let bytes = format!("{head}{body}").into_bytes();
        Self(Arc::new(LoadShared { address, bytes, idle: Mutex::default() }))
    }

    /// Sends requests, each at its time whether or not the earlier ones have ended.
    pub(crate) async fn at_rate(&self, rate: u32, length: Duration) -> LoadTimes {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut measured, mut running) = (LoadTimes::default(), JoinSet::new());
        for _ in 0..length.as_secs() * u64::from(rate) {
            ticks.tick().await;
            while let Some(ended) = running.try_join_next() {
                measured.record(ended.ok().flatten());
            }
            if running.len() >= MAX_RUNNING {
                measured.failed += 1;
                continue;
            }
            let request = self.clone();
            running.spawn(async move { request.send().await });
        }
        while let Some(ended) = running.join_next().await {
            measured.record(ended.ok().flatten());
        }
        measured
    }

    /// Sends requests at once. Returns the largest of what `look` returns until all have ended.
    pub(crate) async fn all_at_once(&self, count: usize, look: impl Fn() -> u64) -> u64 {
        let mut running = JoinSet::new();
        for _ in 0..count {
            let request = self.clone();
            running.spawn(async move { request.send().await });
        }
        let (mut looks, mut largest, mut answered) = (interval(LOOK_INTERVAL), 0, 0);
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(ended) => answered += usize::from(ended.is_ok_and(|time| time.is_some())),
                    None => break,
                },
                _ = looks.tick() => largest = largest.max(look()),
            }
        }
        assert_eq!(answered, count, "streams without an answer");
        largest
    }

    /// Returns whether a request is answered.
    pub(crate) async fn works(&self) -> bool {
        self.send().await.is_some()
    }

    /// Returns the time until the first token. Returns `None` without a complete answer.
    async fn send(&self) -> Option<Duration> {
        let begun = Instant::now();
        let idle = self.0.idle.lock().unwrap().pop();
        let stream = match idle {
            Some(stream) => stream,
            None => TcpStream::connect(self.0.address).await.ok()?,
        };
        let mut exchange = LoadExchange { stream, answer: Vec::new(), begun, first: None };
        let whole = timeout(REQUEST_TIMEOUT, exchange.run(&self.0.bytes)).await.ok()?;
        if whole.ok()? {
            self.0.idle.lock().unwrap().push(exchange.stream);
            exchange.first
        } else {
            None
        }
    }
}

/// A request that is answered.
struct LoadExchange {
    stream: TcpStream,
    answer: Vec<u8>,
    begun: Instant,
    first: Option<Duration>,
}

impl LoadExchange {
    /// Sends the request and reads the answer. Returns whether its status is 200.
    async fn run(&mut self, request: &[u8]) -> io::Result<bool> {
        self.stream.set_nodelay(true)?;
        self.stream.write_all(request).await?;
        loop {
            let seen = self.answer.len().saturating_sub(TOKEN.len());
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let found = |window: &[u8]| window == TOKEN.as_bytes();
            if self.first.is_none() && self.answer[seen..].windows(TOKEN.len()).any(found) {
                self.first = Some(self.begun.elapsed());
            }
            if let Some(is_ok) = self.is_complete() {
                return Ok(is_ok);
            }
        }
    }

    /// Returns whether the status is 200, once the answer is complete.
    fn is_complete(&self) -> Option<bool> {
        let end = self.answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let is_complete = match length.and_then(|length| length.trim().parse::<usize>().ok()) {
            Some(length) => self.answer.len() >= end + length,
            None => self.answer.ends_with(b"0\r\n\r\n"),
        };
        is_complete.then(|| head.starts_with("http/1.1 200"))
    }
}

impl LoadTimes {
    fn record(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => self.times.push(time),
            None => self.failed += 1,
        }
    }

    /// Adds another measurement of the same.
    pub(crate) fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.times.sort_unstable();
        self.failed += other.failed;
    }

    pub(crate) fn answered(&self) -> usize {
        self.times.len()
    }

    /// Returns the time at a percentile.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times.get((self.times.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }

    /// Returns whether 99 % of the requests were answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.failed * 100 <= self.times.len()
    }

    /// Returns the share of requests that were answered.
    pub(crate) fn share(&self) -> String {
        format!("{} %", self.times.len() * 100 / (self.times.len() + self.failed).max(1))
    }
}
