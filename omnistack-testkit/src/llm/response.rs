//! [`Scripted`], the bytes of a response.

use bytes::Bytes;
use http::StatusCode;

use super::gate::Gate;

/// A response: its head, and the steps of its body. A builder.
///
/// Each [chunk](Self::chunk) is one chunk of a chunked body (RFC 9112, section 7.1), written at once. A response of
/// [`json`](Self::json) and [`body`](Self::body) has a `content-length`. After the last step the response ends as the
/// script says: properly if it says nothing.
#[derive(Clone, Debug)]
#[must_use]
pub struct Scripted {
    status: u16,
    headers: Vec<(String, String)>,
    /// Whether the body has a `content-length`: that of its steps.
    has_length: bool,
    /// A gate before the head.
    pub(super) head_gate: Option<Gate>,
    pub(super) steps: Vec<ScriptedStep>,
    pub(super) end: ScriptedEnd,
}

#[derive(Clone, Debug)]
pub(super) enum ScriptedStep {
    Chunk(Bytes),
    Gate(Gate),
}

/// The end of a response, after its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptedEnd {
    /// The end of the body. The connection stays open.
    Complete,
    /// The connection is closed before the end of the body.
    Close,
    /// The connection is reset.
    Reset,
    /// The connection stays open until the client leaves.
    Hang,
}

impl Scripted {
    /// Begins a response with a chunked body.
    ///
    /// # Panics
    /// Panics if the status is not between 100 and 999.
    #[track_caller]
    pub fn status(status: u16) -> Self {
        assert!((100..=999).contains(&status), "a status has three digits: {status}");
        let (headers, steps) = (Vec::new(), Vec::new());
        Self { status, headers, has_length: false, head_gate: None, steps, end: ScriptedEnd::Complete }
    }

    /// Creates a response with a whole body of the type `application/json`. The body is sent as it is, also if it is
    /// no JSON.
    #[track_caller]
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::status(status).header("content-type", "application/json").body(body)
    }

    /// Begins a response with status 200 and the type `text/event-stream`.
    pub fn event_stream() -> Self {
        Self::status(200).header("content-type", "text/event-stream")
    }

    /// Creates a response that never begins: the server sends nothing until the client leaves.
    pub fn hang() -> Self {
        let mut response = Self::status(200).stall();
        response.status = 0;
        response
    }

    /// Creates a response that is a reset of the connection, before any byte.
    pub fn reset() -> Self {
        let mut response = Self::status(200).abort();
        response.status = 0;
        response
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a body with a `content-length`.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.has_length = true;
        self.steps = vec![ScriptedStep::Chunk(Bytes::copy_from_slice(body.as_ref()))];
        self
    }

    /// Adds a chunk to the body. An empty chunk adds nothing, since it would end the body.
    pub fn chunk(mut self, bytes: impl AsRef<[u8]>) -> Self {
        if !bytes.as_ref().is_empty() {
            self.steps.push(ScriptedStep::Chunk(Bytes::copy_from_slice(bytes.as_ref())));
        }
        self
    }

    /// Adds an event of a stream with this data, as one chunk.
    pub fn event(self, data: &str) -> Self {
        self.chunk(format!("data: {data}\n\n"))
    }

    /// Adds an event of a stream with this name and data, as one chunk.
    pub fn named_event(self, name: &str, data: &str) -> Self {
        self.chunk(format!("event: {name}\ndata: {data}\n\n"))
    }

    /// Adds a point at which the server waits until the test opens the gate. Before the first chunk, it is after the
    /// headers.
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.steps.push(ScriptedStep::Gate(gate.clone()));
        self
    }

    /// Puts a gate before the whole response, its head included.
    pub fn gate_first(mut self, gate: &Gate) -> Self {
        self.head_gate = Some(gate.clone());
        self
    }

    /// Adds bytes that are sent in chunks of `size` bytes, each after one pass of the gate: a slow drip whose pace is
    /// the test's.
    pub fn drip(mut self, bytes: impl AsRef<[u8]>, size: usize, gate: &Gate) -> Self {
        for chunk in bytes.as_ref().chunks(size.max(1)) {
            self = self.gate(gate).chunk(chunk);
        }
        self
    }

    /// Puts a gate before each chunk of the body.
    pub fn gate_each(mut self, gate: &Gate) -> Self {
        let steps = std::mem::take(&mut self.steps);
        self.steps = steps
            .into_iter()
            .flat_map(|step| match step {
                chunk @ ScriptedStep::Chunk(_) => vec![ScriptedStep::Gate(gate.clone()), chunk],
                gate @ ScriptedStep::Gate(_) => vec![gate],
            })
            .collect();
        self
    }

    /// Ends the body properly after the last step. This is the default.
    pub fn end(mut self) -> Self {
        self.end = ScriptedEnd::Complete;
        self
    }

    /// Closes the connection after the last step, without the end of the body.
    pub fn close(mut self) -> Self {
        self.end = ScriptedEnd::Close;
        self
    }

    /// Resets the connection after the last step. The reset can overtake bytes that the client has not read.
    pub fn abort(mut self) -> Self {
        self.end = ScriptedEnd::Reset;
        self
    }

    /// Keeps the connection open after the last step, without the end of the body, until the client leaves.
    pub fn stall(mut self) -> Self {
        self.end = ScriptedEnd::Hang;
        self
    }

    /// Keeps only the first `bytes` bytes of the body, and ends it properly there, as a server does that crashes behind
    /// a proxy. Add [`close`](Self::close) for a connection that breaks. A whole body keeps the `content-length` of all
    /// its bytes, so the connection is closed.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        if self.has_length {
            let length = self.to_bytes().len();
            self.has_length = false;
            self = self.header("content-length", &length.to_string()).close();
        }
        let mut left = bytes;
        let mut kept = Vec::new();
        for step in std::mem::take(&mut self.steps) {
            match step {
                ScriptedStep::Chunk(chunk) => {
                    let shown = chunk.slice(..chunk.len().min(left));
                    left -= shown.len();
                    if !shown.is_empty() {
                        kept.push(ScriptedStep::Chunk(shown));
                    }
                }
                gate @ ScriptedStep::Gate(_) if left > 0 => kept.push(gate),
                ScriptedStep::Gate(_) => {}
            }
        }
        self.steps = kept;
        self
    }

    /// Sends the same body in chunks of these sizes, which are repeated until the body ends. Gates are removed.
    ///
    /// # Panics
    /// Panics if a size is 0, or if there is none.
    #[track_caller]
    pub fn rechunk(mut self, sizes: &[usize]) -> Self {
        assert!(!sizes.is_empty() && !sizes.contains(&0), "chunks have sizes above 0: {sizes:?}");
        let mut body = Bytes::from(self.to_bytes());
        self.steps.clear();
        for size in sizes.iter().cycle() {
            if body.is_empty() {
                break;
            }
            self.steps.push(ScriptedStep::Chunk(body.split_to(body.len().min(*size))));
        }
        self
    }

    /// Replaces a text in the body by another of any length, such as the name of the model.
    pub fn replace(mut self, from: &str, to: &str) -> Self {
        for step in &mut self.steps {
            if let ScriptedStep::Chunk(chunk) = step
                && let Ok(text) = str::from_utf8(chunk)
            {
                *chunk = Bytes::from(text.replace(from, to));
            }
        }
        self
    }

    /// Replaces the model of the constructors of wire formats, `scripted-model`.
    pub fn model(self, name: &str) -> Self {
        self.replace(super::wire::MODEL, name)
    }

    /// Returns the whole body, without the framing of chunks.
    pub fn to_bytes(&self) -> Vec<u8> {
        let chunks = self.steps.iter().filter_map(|step| match step {
            ScriptedStep::Chunk(bytes) => Some(bytes.as_ref()),
            ScriptedStep::Gate(_) => None,
        });
        chunks.collect::<Vec<_>>().concat()
    }

    /// Returns whether the response has no byte, not even a head.
    pub(super) fn is_silent(&self) -> bool {
        self.status == 0
    }

    /// Returns whether the body is chunked.
    pub(super) fn is_chunked(&self) -> bool {
        let is_framed = |name: &str| name.eq_ignore_ascii_case("content-length");
        !self.has_length && !self.headers.iter().any(|(name, _)| is_framed(name))
    }

    /// Returns the status line and the headers.
    pub(super) fn head(&self) -> String {
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or_default());
        for (name, value) in &self.headers {
            head.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
        }
        if self.has_length {
            head.extend(["content-length: ", &self.to_bytes().len().to_string(), "\r\n"]);
        } else if self.is_chunked() {
            head.push_str("transfer-encoding: chunked\r\n");
        }
        head + "\r\n"
    }
}
