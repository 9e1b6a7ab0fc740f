//! One connection of a scripted upstream.

use std::{io, sync::Arc};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use httparse::Status;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    ReceivedRequest, UpstreamScript,
    response::{Scripted, ScriptedEnd, ScriptedStep},
};

/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 128;

/// Accepts connections until the future is dropped, which closes them too.
pub(super) async fn serve(listener: TcpListener, shared: Arc<UpstreamScript>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Each chunk is a packet of its own. Fails only if the client has left already.
                let _ = stream.set_nodelay(true);
                let connection =
                    UpstreamConnection { stream, unread: BytesMut::new(), number, shared: Arc::clone(&shared) };
                connections.spawn(connection.run());
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
        while connections.try_join_next().is_some() {}
    }
}

struct UpstreamConnection {
    stream: TcpStream,
    /// Bytes that were received and not read.
    unread: BytesMut,
    number: usize,
    shared: Arc<UpstreamScript>,
}

/// The error of a client that left.
struct ClientLeft;

impl From<io::Error> for ClientLeft {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// The request line and the headers of a request.
struct RequestHead {
    method: Method,
    target: String,
    headers: HeaderMap,
    length: usize,
}

impl UpstreamConnection {
    async fn run(mut self) {
        while let Ok(request) = self.request().await {
            let stays = request.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
            let response = self.shared.receive(request);
            if self.send(&response).await.is_err() {
                return self.shared.record_abandoned();
            }
            match response.end {
                ScriptedEnd::Complete if stays => self.shared.record_finished(),
                ScriptedEnd::Complete | ScriptedEnd::Close => {
                    self.shared.record_finished();
                    return self.close().await;
                }
                ScriptedEnd::Reset => {
                    // With a zero linger time, closing the socket resets the connection.
                    let _ = self.stream.set_zero_linger();
                    return self.shared.record_finished();
                }
                ScriptedEnd::Hang => {
                    while self.read_more().await.is_ok() {}
                    return self.shared.record_abandoned();
                }
            }
        }
    }

    async fn send(&mut self, response: &Scripted) -> Result<(), ClientLeft> {
        if let Some(gate) = &response.head_gate {
            self.pass(gate.wait()).await?;
        }
        if response.is_silent() {
            return Ok(());
        }
        self.stream.write_all(response.head().as_bytes()).await?;
        let ends_chunks = response.is_chunked() && response.end == ScriptedEnd::Complete;
        for (index, step) in response.steps.iter().enumerate() {
            match step {
                ScriptedStep::Chunk(bytes) if response.is_chunked() => {
                    // The end is in the write of the last chunk, as most servers send it.
                    let is_last = ends_chunks && index + 1 == response.steps.len();
                    let end: &[u8] = if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                    let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes[..], end].concat();
                    self.stream.write_all(&framed).await?;
                }
                ScriptedStep::Chunk(bytes) => self.stream.write_all(bytes).await?,
                ScriptedStep::Gate(gate) => self.pass(gate.wait()).await?,
            }
        }
        let has_ended = matches!(response.steps.last(), Some(ScriptedStep::Chunk(_)));
        if ends_chunks && !has_ended {
            self.stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(())
    }

    /// Waits at a gate. Fails if the client leaves meanwhile.
    async fn pass(&mut self, gate: impl Future<Output = ()>) -> Result<(), ClientLeft> {
        let mut gate = std::pin::pin!(gate);
        loop {
            tokio::select! {
                biased;
                () = &mut gate => return Ok(()),
                more = self.read_more() => more?,
            }
        }
    }

    /// Closes the sending half, and reads until the client closes its half: closing a socket with unread bytes would
    /// reset the connection.
    async fn close(mut self) {
        let _ = self.stream.shutdown().await;
        while self.read_more().await.is_ok() {
            self.unread.clear();
        }
    }

    /// Reads more bytes. Fails at the end of the connection. Cancel safe.
    async fn read_more(&mut self) -> Result<(), ClientLeft> {
        self.unread.reserve(8 * 1024);
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(ClientLeft),
            _ => Ok(()),
        }
    }

    /// Reads the next request. Fails if the connection ends, or if the request is no HTTP.
    async fn request(&mut self) -> Result<ReceivedRequest, ClientLeft> {
        let head = loop {
            match RequestHead::parse(&self.unread).ok_or(ClientLeft)? {
                Some(head) => break head,
                None => self.read_more().await?,
            }
        };
        self.unread.advance(head.length);
        let RequestHead { method, target, headers, .. } = head;
        let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = match length {
            Some(length) => self.read_exactly(length).await?,
            None if headers.contains_key("transfer-encoding") => self.chunks().await?,
            None => Bytes::new(),
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target, None),
        };
        Ok(ReceivedRequest { method, path, query, headers, body, connection: self.number })
    }

    /// Reads a chunked body without trailers.
    async fn chunks(&mut self) -> Result<Bytes, ClientLeft> {
        let mut body = BytesMut::new();
        loop {
            let (line, size) = loop {
                match httparse::parse_chunk_size(&self.unread) {
                    Ok(Status::Complete(found)) => break found,
                    Ok(Status::Partial) => self.read_more().await?,
                    Err(_) => return Err(ClientLeft),
                }
            };
            self.unread.advance(line);
            let chunk = self.read_exactly(usize::try_from(size).map_err(|_| ClientLeft)?).await?;
            body.extend_from_slice(&chunk);
            self.read_exactly(2).await?;
            if size == 0 {
                return Ok(body.freeze());
            }
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Result<Bytes, ClientLeft> {
        while self.unread.len() < length {
            self.read_more().await?;
        }
        Ok(self.unread.split_to(length).freeze())
    }
}

impl RequestHead {
    /// Parses the head at the beginning of `bytes`. Returns `Some(None)` if it is not complete, and `None` if it is no
    /// HTTP.
    fn parse(bytes: &[u8]) -> Option<Option<Self>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        let Status::Complete(length) = request.parse(bytes).ok()? else { return Some(None) };
        let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
        let target = request.path?.to_owned();
        let mut headers = HeaderMap::new();
        for field in request.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        Some(Some(Self { method, target, headers, length }))
    }
}
