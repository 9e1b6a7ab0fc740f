//! [`ClosedPort`], a port that refuses connections.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that refuses every connection, like a provider that is down.
///
/// The port is reserved until this is dropped, so no other process can listen on it.
///
/// ```
/// use omnistack_testkit::mock_server::ClosedPort;
/// use std::{io::ErrorKind, net::TcpStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let down = ClosedPort::reserve();
/// assert_eq!(TcpStream::connect(down.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the port is released when this is dropped"]
pub struct ClosedPort {
    address: SocketAddr,
    /// A socket that is bound but does not listen, so that the system refuses connections.
    _socket: TcpSocket,
}

impl ClosedPort {
    /// Reserves a free port.
    ///
    /// # Panics
    ///
    /// Panics if 127.0.0.1 has no free port, or outside of a tokio runtime with I/O enabled.
    #[track_caller]
    pub fn reserve() -> Self {
        let bound = TcpSocket::new_v4().and_then(|socket| {
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            Ok((socket.local_addr()?, socket))
        });
        let (address, socket) = bound.unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        Self { address, _socket: socket }
    }

    /// Returns `http://127.0.0.1:PORT`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the address that refuses connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
