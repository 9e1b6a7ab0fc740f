//! [`MockResponse`], the bytes that the mock server sends and their timing.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use std::time::Duration;

/// A scripted response and its timing. A builder: `MockResponse::json(200, "{}").delay(Duration::from_secs(3))`.
///
/// Header names and values are sent as given, in the order given. A reply with a whole body gets a `content-length`
/// after them, unless the script sets a `content-length` or `transfer-encoding`, whose value is not checked. The
/// connection stays open for the next request, unless the client or the reply has a header `connection: close`.
#[derive(Clone, Debug)]
#[must_use = "a reply does nothing until an expectation gives it"]
pub struct MockResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    stop: Option<(usize, ReplyEnd)>,
    drip: Option<usize>,
    pub(super) delay: Duration,
    pub(super) pause: Duration,
}

impl MockResponse {
    /// Creates a reply with a status line, which has the registered reason phrase of the status if there is one, and
    /// an empty body.
    ///
    /// # Panics
    ///
    /// Panics if the status is not between 100 and 999.
    #[track_caller]
    pub fn status(status: u16) -> Self {
        Self::new(status, Body::Whole(Bytes::new()))
    }

    /// Creates a reply with a body of any content type.
    ///
    /// # Panics
    ///
    /// Panics if the status is not between 100 and 999.
    #[track_caller]
    pub fn content(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new(status, Body::Whole(copied(body))).header("content-type", content_type)
    }

    /// Creates a reply with the content type `application/json`. The body is sent as given, valid JSON or not.
    ///
    /// # Panics
    ///
    /// Panics if the status is not between 100 and 999.
    #[track_caller]
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::content(status, "application/json", body)
    }

    /// Creates a reply with the content type `text/plain; charset=utf-8`.
    ///
    /// # Panics
    ///
    /// Panics if the status is not between 100 and 999.
    #[track_caller]
    pub fn text(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::content(status, "text/plain; charset=utf-8", body)
    }

    /// Creates a reply with status 200 and a chunked body (RFC 9112, section 7.1). Each item is one chunk, sent by
    /// one write. Empty items are left out, since an empty chunk ends the body.
    pub fn chunked(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let chunks = chunks.into_iter().map(copied).filter(|chunk| !chunk.is_empty()).collect();
        Self::new(200, Body::Chunks(chunks)).header("transfer-encoding", "chunked")
    }

    /// Creates a reply with status 200 and a stream of server-sent events, each in one chunk. Items are strings,
    /// pairs of an event name and its data, or [`ServerSentEvent`]s.
    ///
    /// ```
    /// use omnistack_testkit::mock_server::MockResponse;
    /// use std::time::Duration;
    ///
    /// let openai = MockResponse::sse([r#"{"delta":"Hel"}"#, r#"{"delta":"lo"}"#, "[DONE]"]);
    /// let anthropic = MockResponse::sse([("message_start", "{}"), ("message_stop", "{}")]).pause_between_chunks(Duration::from_millis(50));
    /// let never_ends = MockResponse::sse(["{}"]).hang_after(usize::MAX);
    /// ```
    pub fn sse(events: impl IntoIterator<Item = impl Into<ServerSentEvent>>) -> Self {
        Self::chunked(events.into_iter().map(|event| event.into().0)).header("content-type", "text/event-stream")
    }

    /// Creates a reply of exactly these bytes, including the status line.
    ///
    /// The connection stays open afterwards if the bytes are one complete response by their own `content-length` or
    /// chunking, without `connection: close`. Otherwise it is closed after the last byte. With no bytes, the server
    /// closes the connection without a response.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(200, Body::Raw(copied(bytes)))
    }

    /// Creates a reply that resets the connection (TCP RST) without sending a byte.
    pub fn reset() -> Self {
        Self::raw("").reset_after(0)
    }

    /// Creates a reply that sends nothing and keeps the connection open until the client disconnects.
    pub fn hang() -> Self {
        Self::raw("").hang_after(0)
    }

    /// Adds a header. A `content-length` or `transfer-encoding` replaces the generated `content-length`.
    ///
    /// # Panics
    ///
    /// Panics if the reply is [raw](Self::raw), a [reset](Self::reset) or a [hang](Self::hang), which consist only of
    /// their bytes.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        assert!(
            !matches!(self.body, Body::Raw(_)),
            "a raw reply can't have a header besides those in its bytes: {name}"
        );
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the delay before the first byte.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the body in writes of `bytes` bytes, with a pause between them. The head is sent with the first of them.
    /// The framing of chunks counts as body, and so do all bytes of a raw reply.
    ///
    /// # Panics
    ///
    /// Panics if `bytes` is 0.
    #[track_caller]
    pub fn drip(mut self, bytes: usize, pause: Duration) -> Self {
        assert!(bytes > 0, "`drip` needs at least 1 byte at a time: use `Reply::hang_after(0)` to send nothing");
        self.drip = Some(bytes);
        self.pause_between_chunks(pause)
    }

    /// Sets the pause between the chunks or events of the body.
    pub fn pause_between_chunks(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Closes the connection after `bytes` bytes of the body, although the head announces the whole body.
    ///
    /// Only the scripted body counts, not the framing of chunks. If the body has at most `bytes` bytes, all of it is
    /// sent, except for the last chunk that marks the end of a chunked body: `cut_after(usize::MAX)` ends a stream
    /// after its last event.
    ///
    /// ```
    /// use omnistack_testkit::mock_server::MockResponse;
    ///
    /// let truncated = MockResponse::json(200, r#"{"id":"ch_1"}"#).cut_after(7);
    /// let half_a_head = MockResponse::raw("HTTP/1.1 200 OK\r\ncontent-").cut_after(usize::MAX);
    /// let stream_breaks = MockResponse::sse(["one", "two"]).cut_after("data: one\n\nda".len());
    /// ```
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, ReplyEnd::Close));
        self
    }

    /// Resets the connection (TCP RST) after `bytes` bytes of the body, counted as in [`cut_after`](Self::cut_after).
    ///
    /// A reset may overtake bytes in transit. On Linux's loopback, up to some tens of KiB arrive before it. Other
    /// systems may drop bytes that the client has not read yet.
    pub fn reset_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, ReplyEnd::Reset));
        self
    }

    /// Stops sending after `bytes` bytes of the body, counted as in [`cut_after`](Self::cut_after), and keeps the
    /// connection open until the client disconnects.
    pub fn hang_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, ReplyEnd::Hang));
        self
    }

    #[track_caller]
    fn new(status: u16, body: Body) -> Self {
        assert!((100..=999).contains(&status), "a status has three digits: {status}");
        let (delay, pause) = (Duration::ZERO, Duration::ZERO);
        Self { status, headers: vec![], body, stop: None, drip: None, delay, pause }
    }

    /// Returns the writes of this reply, to be separated by the pause, and what happens after the last one. A reply
    /// to HEAD has no body.
    pub(super) fn writes(&self, to_head: bool) -> (Vec<Bytes>, ReplyEnd) {
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
        (writes, self.stop.map_or(if closes { ReplyEnd::Close } else { ReplyEnd::Next }, |(_, ending)| ending))
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
        // RFC 9110, section 8.6: responses with these status codes have no body and no `content-length`.
        if let (Body::Whole(body), false, false) = (&self.body, framed, bodiless(self.status)) {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        head + "\r\n"
    }
}

/// A server-sent event, for [`MockResponse::sse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSentEvent(String);

impl ServerSentEvent {
    /// Creates an event from raw text of the stream, including line ends: a comment (`": ping\n\n"`), an `id` field,
    /// or invalid text.
    pub fn verbatim(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Creates an event with this data: one `data:` line for each line of it, and a blank line.
impl From<&str> for ServerSentEvent {
    fn from(data: &str) -> Self {
        let lines: String = data.split('\n').flat_map(|line| ["data: ", line, "\n"]).collect();
        Self(lines + "\n")
    }
}

impl From<String> for ServerSentEvent {
    fn from(data: String) -> Self {
        data.as_str().into()
    }
}

/// Creates an event with this name and data.
impl From<(&str, &str)> for ServerSentEvent {
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

/// The action after the last byte of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyEnd {
    Next,
    Close,
    Reset,
    Hang,
}

fn copied(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

/// Returns the chunks with their framing, up to `limit` bytes of payload. `ends` appends the last chunk.
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
        // The end goes into the write of the last chunk, so that no pause precedes it.
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

/// Returns whether these bytes are one complete response, after which the connection can be reused.
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
