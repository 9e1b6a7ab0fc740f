//! One connection of a mock server: reads requests and writes their replies, one after another.

use super::{
    request::ReceivedRequest,
    response::{MockResponse, ReplyEnd},
    script::Script,
};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use httparse::Status;
use std::{io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

const MAX_HEADERS: usize = 256;

/// Accepts connections until the future is dropped, which closes them too.
pub(super) async fn serve(listener: TcpListener, script: Arc<watch::Sender<Script>>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Sends each write at once. Fails only if the client has already disconnected, so the error is ignored.
                let _ = stream.set_nodelay(true);
                let connection = Connection { stream, unread: BytesMut::new(), number, script: script.clone() };
                connections.spawn(connection.run());
            }
            // The client disconnected before the connection was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                return script.send_modify(|script| script.record_malformed(format!("stopped accepting: {error}")));
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

struct Connection {
    stream: TcpStream,
    /// The bytes received but not parsed yet.
    unread: BytesMut,
    number: usize,
    script: Arc<watch::Sender<Script>>,
}

/// The reason why a request could not be read.
enum RequestReadError {
    /// The client disconnected within the request.
    Incomplete(String),
    Malformed(String),
}

/// The error of a client that disconnected before its reply was complete.
struct ClientDisconnected;

impl From<io::Error> for ClientDisconnected {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// The request line and the headers of a request.
struct Head {
    method: Method,
    target: String,
    headers: HeaderMap,
    keep_alive: bool,
    length: usize,
}

impl Connection {
    async fn run(mut self) {
        loop {
            let (request, keep_alive) = match self.request().await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(RequestReadError::Incomplete(what)) => {
                    return self.script.send_modify(|script| script.record_incomplete(what));
                }
                Err(RequestReadError::Malformed(what)) => {
                    self.script.send_modify(|script| script.record_malformed(what.clone()));
                    let reply = MockResponse::text(400, what).header("connection", "close");
                    let _ = self.send(&reply, false).await;
                    return self.close().await;
                }
            };
            let to_head = request.method == Method::HEAD;
            let mut reply = None;
            self.script.send_modify(|script| reply = Some(script.reply_to(request)));
            let Some(reply) = reply else { return };
            match self.send(&reply, to_head).await {
                Ok(ReplyEnd::Next) if keep_alive => {}
                Ok(ReplyEnd::Next | ReplyEnd::Close) => return self.close().await,
                Ok(ReplyEnd::Reset) => {
                    // With a zero linger time, closing the socket resets the connection (TCP RST).
                    let _ = self.stream.set_zero_linger();
                    return;
                }
                Ok(ReplyEnd::Hang) => {
                    while self.read_more().await {}
                    return self.script.send_modify(Script::record_abandoned);
                }
                Err(ClientDisconnected) => return self.script.send_modify(Script::record_abandoned),
            }
        }
    }

    async fn send(&mut self, reply: &MockResponse, to_head: bool) -> Result<ReplyEnd, ClientDisconnected> {
        self.pause(reply.delay).await?;
        let (writes, ending) = reply.writes(to_head);
        for (index, bytes) in writes.iter().enumerate() {
            if index > 0 {
                self.pause(reply.pause).await?;
            }
            self.stream.write_all(bytes).await?;
        }
        Ok(ending)
    }

    /// Waits for `length`. Fails if the client disconnects meanwhile.
    async fn pause(&mut self, length: Duration) -> Result<(), ClientDisconnected> {
        if length.is_zero() {
            return Ok(());
        }
        let mut over = pin!(sleep(length));
        loop {
            tokio::select! {
                biased;
                () = &mut over => return Ok(()),
                stays = self.read_more() => if !stays { return Err(ClientDisconnected) },
            }
        }
    }

    /// Closes the sending half and reads until the client closes its half, because closing a socket with unread bytes
    /// would reset the connection.
    async fn close(mut self) {
        let _ = self.stream.shutdown().await;
        while self.read_more().await {
            self.unread.clear();
        }
    }

    /// Reads more bytes into `unread`. Returns `false` at the end of the connection. Cancel safe.
    async fn read_more(&mut self) -> bool {
        self.unread.reserve(8 * 1024);
        self.stream.read_buf(&mut self.unread).await.is_ok_and(|read| read > 0)
    }

    /// Reads the next request. Returns it with whether the connection stays open afterwards, or `None` if the client
    /// has closed the connection. Fails if the request is incomplete or malformed.
    async fn request(&mut self) -> Result<Option<(ReceivedRequest, bool)>, RequestReadError> {
        let head = loop {
            match Head::parse(&self.unread)? {
                Some(head) => break head,
                None if self.read_more().await => {}
                None if self.unread.is_empty() => return Ok(None),
                None => {
                    return Err(RequestReadError::Incomplete(format!("after {} bytes of a head", self.unread.len())));
                }
            }
        };
        self.unread.advance(head.length);
        let Head { method, target, mut headers, keep_alive, .. } = head;
        let body = self.body(&mut headers).await.map_err(|fault| match fault {
            RequestReadError::Incomplete(what) => RequestReadError::Incomplete(format!("{method} {target} {what}")),
            RequestReadError::Malformed(what) => RequestReadError::Malformed(format!("{method} {target} {what}")),
        })?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target, None),
        };
        Ok(Some((ReceivedRequest { method, path, query, headers, body, connection: self.number }, keep_alive)))
    }

    /// Reads the body (RFC 9112, section 6).
    async fn body(&mut self, headers: &mut HeaderMap) -> Result<Bytes, RequestReadError> {
        let malformed = |what: &str| Err(RequestReadError::Malformed(format!("has {what}")));
        let lengths: Vec<&HeaderValue> = headers.get_all("content-length").iter().collect();
        let length = match (headers.get("transfer-encoding"), lengths.as_slice()) {
            (None, []) => return Ok(Bytes::new()),
            (None, [length, others @ ..]) if others.iter().all(|other| other == length) => {
                // Only digits are valid, while `parse` alone would accept a sign.
                let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                match digits.and_then(|digits| digits.parse().ok()) {
                    Some(length) => Some(length),
                    None => return malformed("a content-length that is not a number"),
                }
            }
            (None, _) => return malformed("two different content-lengths"),
            (Some(coding), []) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
            (Some(_), []) => return malformed("a transfer-encoding other than chunked"),
            (Some(_), _) => return malformed("both a content-length and a transfer-encoding"),
        };
        let asks = headers.get("expect").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if asks && self.unread.is_empty() {
            // If the client has disconnected, reading the body fails, so this error is ignored.
            let _ = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        match length {
            Some(length) => self.read_exactly(length).await,
            None => self.chunks(headers).await,
        }
    }

    /// Reads a chunked body (RFC 9112, section 7.1) and adds its trailers to the headers.
    async fn chunks(&mut self, headers: &mut HeaderMap) -> Result<Bytes, RequestReadError> {
        let malformed = |what: &str| RequestReadError::Malformed(format!("has {what}"));
        let mut body = BytesMut::new();
        loop {
            let (line, size) = loop {
                match httparse::parse_chunk_size(&self.unread) {
                    Ok(Status::Complete(found)) => break found,
                    Ok(Status::Partial) => self.read_more_body(body.len()).await?,
                    Err(_) => return Err(malformed("a chunk size that is not a hexadecimal number")),
                }
            };
            self.unread.advance(line);
            if size == 0 {
                break;
            }
            body.extend_from_slice(&self.read_exactly(usize::try_from(size).unwrap_or(usize::MAX)).await?);
            if self.read_exactly(2).await? != "\r\n" {
                return Err(malformed("a chunk that is longer than its size"));
            }
        }
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
            match httparse::parse_headers(&self.unread, &mut fields) {
                Ok(Status::Complete((length, fields))) => {
                    append(headers, fields).ok_or_else(|| malformed("an invalid trailer"))?;
                    self.unread.advance(length);
                    return Ok(body.freeze());
                }
                Ok(Status::Partial) => {}
                Err(error) => return Err(malformed(&format!("invalid trailers: {error}"))),
            }
            self.read_more_body(body.len()).await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Result<Bytes, RequestReadError> {
        while self.unread.len() < length {
            self.read_more_body(self.unread.len()).await?;
        }
        Ok(self.unread.split_to(length).freeze())
    }

    /// Reads more of a body of which `so_far` bytes were read. Fails if the connection ends.
    async fn read_more_body(&mut self, so_far: usize) -> Result<(), RequestReadError> {
        if self.read_more().await {
            Ok(())
        } else {
            Err(RequestReadError::Incomplete(format!("after {so_far} bytes of the body")))
        }
    }
}

impl Head {
    /// Parses the head at the beginning of `bytes`. Returns `None` if the head is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, RequestReadError> {
        let malformed = |what: &str| {
            let text = String::from_utf8_lossy(bytes);
            RequestReadError::Malformed(format!("{what}: {}", text.lines().next().unwrap_or_default()))
        };
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(bytes) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(error) => return Err(malformed(&error.to_string())),
        };
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            return Err(malformed("no request line"));
        };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| malformed("no method"))?;
        let mut headers = HeaderMap::new();
        append(&mut headers, request.headers).ok_or_else(|| malformed("an invalid header"))?;
        let says = |what: &str| {
            let mut values = headers.get_all("connection").iter().filter_map(|value| value.to_str().ok());
            values.any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(what)))
        };
        let keep_alive = if version == 0 { says("keep-alive") } else { !says("close") };
        Ok(Some(Self { method, target: target.to_owned(), headers, keep_alive, length }))
    }
}

fn append(headers: &mut HeaderMap, fields: &[httparse::Header<'_>]) -> Option<()> {
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(())
}
