//! The WebSocket of a client.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Uri};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use super::{ClientError, connection_end::ConnectionEnd};

/// Largest frame that the client reads. A server sends half of its `REALTIME_QUEUE` at once.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Longest time for opening a connection, TLS included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type ClientSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The address of the server, with the headers of the request that opens a connection.
#[derive(Debug)]
pub(super) struct SocketTarget {
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl SocketTarget {
    /// Creates a target. Fails for a URL that is not that of a WebSocket.
    pub(super) fn new(url: &str, headers: Vec<(HeaderName, HeaderValue)>) -> Result<Self, ClientError> {
        let url: Uri = url.parse().map_err(|_| ClientError::InvalidUrl)?;
        let is_websocket = matches!(url.scheme_str(), Some("ws" | "wss"));
        let target = Self { url, headers };
        if is_websocket && target.request().is_some() { Ok(target) } else { Err(ClientError::InvalidUrl) }
    }

    /// Opens a connection.
    pub(super) async fn open(&self) -> Result<ClientSocket, ConnectionEnd> {
        let Some(request) = self.request() else { return Err(ConnectionEnd::Final(ClientError::InvalidUrl)) };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_FRAME_BYTES)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        // In a box, because a TLS handshake is large.
        let opening = Box::pin(connect_async_with_config(request, Some(config), true));
        match timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ConnectionEnd::lost("the connection was not opened in time")),
        }
    }

    fn request(&self) -> Option<Request<()>> {
        let mut request = self.url.clone().into_client_request().ok()?;
        for (name, value) in &self.headers {
            request.headers_mut().append(name.clone(), value.clone());
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_websockets_are_taken() {
        for (url, is_valid) in [
            ("ws://127.0.0.1:8080/api/v1/app/ws", true),
            ("wss://app.example.com/api/v1/app/ws?ticket=x", true),
            ("wss://app.example.com", true),
            ("https://app.example.com/api/v1/app/ws", false),
            ("app.example.com/api/v1/app/ws", false),
            ("wss://", false),
            ("/api/v1/app/ws", false),
            ("", false),
        ] {
            assert_eq!(SocketTarget::new(url, Vec::new()).is_ok(), is_valid, "{url}");
        }
    }
}
