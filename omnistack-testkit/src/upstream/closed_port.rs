//! A port that refuses connections, and goes on doing so.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpSocket;

/// An address of 127.0.0.1 that refuses every connection: a provider that is down.
///
/// The port stays reserved until this is dropped, so no other process can begin to listen there.
///
/// ```
/// use omnistack_testkit::upstream::ClosedPort;
/// use std::{io::ErrorKind, net::TcpStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let down = ClosedPort::reserve();
/// assert_eq!(TcpStream::connect(down.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the port is given back when this is dropped"]
pub struct ClosedPort {
    address: SocketAddr,
    /// Bound and never listening: that is what refuses.
    _socket: TcpSocket,
}

impl ClosedPort {
    /// Reserves a port.
    ///
    /// # Panics
    ///
    /// When the machine has no free port on 127.0.0.1.
    #[track_caller]
    pub fn reserve() -> Self {
        let bound = TcpSocket::new_v4().and_then(|socket| {
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            Ok((socket.local_addr()?, socket))
        });
        let (address, socket) = bound.unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        Self { address, _socket: socket }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that refuses.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
