//! A raw TCP client that sends exactly the given bytes.

use std::{net::SocketAddr, str::FromStr};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::http::support::soon;

pub(super) struct RawClient(BufReader<TcpStream>);

/// A response as received.
#[derive(Debug)]
pub(super) struct RawResponse {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl RawResponse {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl RawClient {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(soon(TcpStream::connect(address)).await.unwrap()))
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends bytes and ignores an error, since the server may have closed the connection.
    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        _ = soon(self.0.write_all(bytes.as_ref())).await;
    }

    pub(super) async fn get(&mut self, path: &str) -> RawResponse {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        self.reply().await
    }

    /// Reads the next response, with a body of the length in `Content-Length`.
    pub(super) async fn reply(&mut self) -> RawResponse {
        soon(self.read_reply(true)).await
    }

    /// Reads the next response to a `HEAD` request.
    pub(super) async fn reply_to_head(&mut self) -> RawResponse {
        soon(self.read_reply(false)).await
    }

    async fn read_reply(&mut self, with_body: bool) -> RawResponse {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).await.unwrap() > 0, "hung up after {head:?}");
        }
        let status = u16::from_str(head.split(' ').nth(1).unwrap()).unwrap();
        let mut reply = RawResponse { status, head, body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if with_body { length } else { 0 }];
        self.0.read_exact(&mut body).await.unwrap();
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    /// Reads the next bytes, of any number.
    pub(super) async fn read_some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let length = soon(self.0.read(&mut bytes)).await.unwrap();
        bytes.truncate(length);
        bytes
    }

    /// Returns the number of bytes read next, or 0 at the end of the connection or after a reset.
    pub(super) async fn try_some(&mut self) -> usize {
        let mut bytes = vec![0; 1 << 16];
        soon(self.0.read(&mut bytes)).await.unwrap_or(0)
    }

    /// Reads until the server closes the connection.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset counts as the end.
        _ = soon(self.0.read_to_end(&mut rest)).await;
        rest
    }
}
