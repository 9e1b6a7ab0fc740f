//! What the upstream says, byte by byte.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use std::time::Duration;

/// An answer, and how it travels. A builder: `Reply::json(200, "{}").delay(Duration::from_secs(3))`.
///
/// Header names and values are written as given, in the order given. A reply with a whole body gets a `content-length`
/// after them, unless the script gives a `content-length` or a `transfer-encoding` itself; whether that is true is
/// the script's affair. The connection stays open for the next request, unless the client or a header
/// `connection: close` of the reply says otherwise.
#[derive(Clone, Debug)]
#[must_use = "a reply does nothing until an expectation gives it"]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    stop: Option<(usize, Ending)>,
    drip: Option<usize>,
    pub(super) delay: Duration,
    pub(super) pause: Duration,
}

impl Reply {
    /// A status line, with the registered reason phrase if the status has one, and an empty body.
    ///
    /// # Panics
    ///
    /// When the status is not between 100 and 999.
    #[track_caller]
    pub fn status(status: u16) -> Self {
        Self::new(status, Body::Whole(Bytes::new()))
    }

    /// A body of any type.
    ///
    /// # Panics
    ///
    /// When the status is not between 100 and 999.
    #[track_caller]
    pub fn content(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new(status, Body::Whole(copied(body))).header("content-type", content_type)
    }

    /// `application/json`, with the body as given: nothing checks that it is JSON.
    ///
    /// # Panics
    ///
    /// When the status is not between 100 and 999.
    #[track_caller]
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::content(status, "application/json", body)
    }

    /// `text/plain; charset=utf-8`.
    ///
    /// # Panics
    ///
    /// When the status is not between 100 and 999.
    #[track_caller]
    pub fn text(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::content(status, "text/plain; charset=utf-8", body)
    }

    /// Status 200 with a chunked body (RFC 9112, section 7.1): each item one chunk and, on the wire, one write. Empty
    /// items are left out, since an empty chunk ends the body.
    pub fn chunked(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let chunks = chunks.into_iter().map(copied).filter(|chunk| !chunk.is_empty()).collect();
        Self::new(200, Body::Chunks(chunks)).header("transfer-encoding", "chunked")
    }

    /// Status 200 with a stream of server-sent events, each one chunk. Items are texts, pairs of an event's name
    /// and its data, or [`Event`]s.
    ///
    /// ```
    /// use omnistack_testkit::upstream::Reply;
    /// use std::time::Duration;
    ///
    /// let openai = Reply::sse([r#"{"delta":"Hel"}"#, r#"{"delta":"lo"}"#, "[DONE]"]);
    /// let anthropic = Reply::sse([("message_start", "{}"), ("message_stop", "{}")]).spaced(Duration::from_millis(50));
    /// let never_ends = Reply::sse(["{}"]).hang_after(usize::MAX);
    /// ```
    pub fn sse(events: impl IntoIterator<Item = impl Into<Event>>) -> Self {
        Self::chunked(events.into_iter().map(|event| event.into().0)).header("content-type", "text/event-stream")
    }

    /// These bytes and no others, from the status line on.
    ///
    /// The connection stays open afterwards if they are one complete response by their own `content-length` or
    /// chunking and don't say `connection: close`; otherwise it is closed after the last byte. No bytes at all is a
    /// server that closes without a word.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(200, Body::Raw(copied(bytes)))
    }

    /// Resets the connection (TCP RST) without a byte of answer.
    pub fn reset() -> Self {
        Self::raw("").reset_after(0)
    }

    /// Never answers, and keeps the connection until the client leaves.
    pub fn hang() -> Self {
        Self::raw("").hang_after(0)
    }

    /// Adds a header. The first one with the name that frames the body replaces what the upstream would say.
    ///
    /// # Panics
    ///
    /// When the reply is [raw](Self::raw), a [reset](Self::reset) or a [hang](Self::hang): it has only its bytes.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        assert!(!matches!(self.body, Body::Raw(_)), "a raw reply has no headers but those in its bytes: {name}");
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits before the first byte.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the body a few bytes at a time, with a pause between. The head travels with the first of them, chunk
    /// framing counts as body, and a raw reply is all body.
    ///
    /// # Panics
    ///
    /// When `bytes` is 0.
    #[track_caller]
    pub fn drip(mut self, bytes: usize, pause: Duration) -> Self {
        assert!(bytes > 0, "a body dripped 0 bytes at a time never ends: use `Reply::hang_after(0)`");
        self.drip = Some(bytes);
        self.spaced(pause)
    }

    /// Pauses between the chunks or events of the body.
    pub fn spaced(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Closes the connection after that many bytes of the body, while the head promises all of it.
    ///
    /// Only what the script gave as body counts, not the framing of chunks. Of a body that has no more than `bytes`,
    /// all is sent, but the chunk that marks the end of a chunked one is not: `cut_after(usize::MAX)` ends a stream
    /// after its last event.
    ///
    /// ```
    /// use omnistack_testkit::upstream::Reply;
    ///
    /// let truncated = Reply::json(200, r#"{"id":"ch_1"}"#).cut_after(7);
    /// let half_a_head = Reply::raw("HTTP/1.1 200 OK\r\ncontent-").cut_after(usize::MAX);
    /// let stream_breaks = Reply::sse(["one", "two"]).cut_after("data: one\n\nda".len());
    /// ```
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, Ending::Close));
        self
    }

    /// Resets the connection (TCP RST) after that many bytes of the body, counted as [`cut_after`](Self::cut_after)
    /// does.
    ///
    /// A reset may overtake bytes the network still holds: up to some tens of KiB arrive before it on Linux's loopback,
    /// while other systems may drop what the client has not read yet.
    pub fn reset_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, Ending::Reset));
        self
    }

    /// Falls silent after that many bytes of the body, counted as [`cut_after`](Self::cut_after) does, and keeps the
    /// connection until the client leaves.
    pub fn hang_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, Ending::Hang));
        self
    }

    #[track_caller]
    fn new(status: u16, body: Body) -> Self {
        assert!((100..=999).contains(&status), "a status has three digits: {status}");
        let (delay, pause) = (Duration::ZERO, Duration::ZERO);
        Self { status, headers: vec![], body, stop: None, drip: None, delay, pause }
    }

    /// The writes that make up this reply, each to be followed by the pause but for the last, and what comes then.
    /// A reply to HEAD has no body.
    pub(super) fn wire(&self, to_head: bool) -> (Vec<Bytes>, Ending) {
        let limit = self.stop.map_or(usize::MAX, |(bytes, _)| bytes);
        let body = match &self.body {
            Body::Raw(bytes) => vec![bytes.slice(..bytes.len().min(limit))],
            _ if to_head => vec![],
            Body::Whole(bytes) => vec![bytes.slice(..bytes.len().min(limit))],
            Body::Chunks(chunks) => framed(chunks, limit, self.stop.is_none()),
        };
        let mut writes = self.drip.map_or_else(|| body.clone(), |bytes| dripped(&body.concat(), bytes));
        if !matches!(self.body, Body::Raw(_)) {
            let first = if writes.is_empty() { Bytes::new() } else { writes.remove(0) };
            writes.insert(0, [self.head().as_bytes(), &first].concat().into());
        }
        let closes = match &self.body {
            Body::Raw(bytes) => !complete(bytes, to_head),
            _ => self
                .headers
                .iter()
                .any(|(name, value)| name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")),
        };
        (writes, self.stop.map_or(if closes { Ending::Close } else { Ending::Next }, |(_, ending)| ending))
    }

    fn head(&self) -> String {
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or_default());
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let framed = self.headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        });
        // RFC 9110, section 8.6: some have no body, and no length of one.
        if let (Body::Whole(body), false, false) = (&self.body, framed, bodiless(self.status)) {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        head + "\r\n"
    }
}

/// A server-sent event, for [`Reply::sse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(String);

impl Event {
    /// Text of the stream as it stands, line ends included: a comment (`": ping\n\n"`), an `id`, or something wrong.
    pub fn verbatim(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// An event of that data: `data: …` for each line of it, and a blank line.
impl From<&str> for Event {
    fn from(data: &str) -> Self {
        let lines: String = data.split('\n').flat_map(|line| ["data: ", line, "\n"]).collect();
        Self(lines + "\n")
    }
}

impl From<String> for Event {
    fn from(data: String) -> Self {
        data.as_str().into()
    }
}

/// An event of that name and data.
impl From<(&str, &str)> for Event {
    fn from((name, data): (&str, &str)) -> Self {
        Self(format!("event: {name}\n{}", Self::from(data).0))
    }
}

#[derive(Clone, Debug)]
enum Body {
    Whole(Bytes),
    Chunks(Vec<Bytes>),
    Raw(Bytes),
}

/// What follows the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Next,
    Close,
    Reset,
    Hang,
}

fn copied(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

/// The chunks in their framing, up to `limit` bytes of payload.
fn framed(chunks: &[Bytes], mut limit: usize, ends: bool) -> Vec<Bytes> {
    let mut writes = Vec::new();
    for chunk in chunks {
        if limit == 0 {
            break;
        }
        let shown = chunk.len().min(limit);
        limit -= shown;
        let end: &[u8] = if shown < chunk.len() { b"" } else { b"\r\n" };
        writes.push([format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk[..shown], end].concat());
    }
    if ends {
        // With the last chunk, so that the end of a paused stream doesn't wait for one more pause.
        let mut last = writes.pop().unwrap_or_default();
        last.extend_from_slice(b"0\r\n\r\n");
        writes.push(last);
    }
    writes.into_iter().map(Bytes::from).collect()
}

fn dripped(body: &[u8], bytes: usize) -> Vec<Bytes> {
    let mut body = BytesMut::from(body).freeze();
    let mut writes = Vec::new();
    while !body.is_empty() {
        writes.push(body.split_to(bytes.min(body.len())));
    }
    writes
}

fn bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Whether a client can tell that these bytes are one whole response, after which the connection is free again.
fn complete(bytes: &[u8], to_head: bool) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(bytes) else {
        return false;
    };
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(header.value).ok().map(str::to_ascii_lowercase)
    };
    let body = &bytes[head..];
    let status = response.code.unwrap_or_default();
    let whole = if to_head || bodiless(status) {
        body.is_empty() && status >= 200
    } else if value("transfer-encoding").is_some() {
        body.ends_with(b"\r\n0\r\n\r\n") || body == b"0\r\n\r\n"
    } else {
        value("content-length").is_some_and(|length| length == body.len().to_string())
    };
    whole && response.version == Some(1) && value("connection").is_none_or(|value| value != "close")
}
