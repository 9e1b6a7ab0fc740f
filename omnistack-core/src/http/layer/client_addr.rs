//! The client's address, also behind proxies.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderName};
use ipnet::IpNet;

use super::{RequestHook, step_layer};
use crate::http::{Request, Response, header_parts};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Layer that adds the client's address to the request's extensions, as [`ClientAddr`].
///
/// `X-Forwarded-For` is read from the right, and only as long as each hop is a trusted proxy: entries that a client
/// adds itself are ignored. Without trusted proxies, the client is the peer of the connection.
#[derive(Clone, Debug, Default)]
pub struct ClientAddrLayer {
    trusted: Arc<[IpNet]>,
}

impl ClientAddrLayer {
    /// Creates a layer that trusts these proxies.
    pub fn new(trusted: impl IntoIterator<Item = IpNet>) -> Self {
        Self { trusted: trusted.into_iter().collect() }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    fn client(&self, peer: IpAddr, request: &Request) -> IpAddr {
        if self.trusted.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let mut client = peer;
        for hop in header_parts(request.headers(), &FORWARDED_FOR, b',').rev() {
            let Some(address) = parse(hop) else {
                return client;
            };
            client = address;
            if !self.trusts(address) {
                return client;
            }
        }
        client
    }
}

step_layer!(ClientAddrLayer);

/// The client's address, in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub IpAddr);

/// The peer address of the connection, which the server adds to every request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl RequestHook for ClientAddrLayer {
    type After = ();

    fn request(&self, request: &mut Request) -> Result<(), Response> {
        let peer = peer_address(request).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let client = self.client(peer, request);
        request.extensions_mut().insert(ClientAddr(client));
        Ok(())
    }
}

/// Returns the connection's peer, which this server or axum's adds to a request. Returns `None` if neither does.
pub(crate) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let peer = extensions.get::<PeerAddr>().map(|peer| peer.0);
    peer.or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
}

/// Returns the address of the connection's peer. Returns `None` if it is not known.
pub(crate) fn peer_address(request: &Request) -> Option<IpAddr> {
    peer(request.extensions()).map(|peer| peer.ip().to_canonical())
}

/// Parses `1.2.3.4`, `1.2.3.4:567`, `::1` or `[::1]:567`.
fn parse(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|hop| hop.ip()));
    let address = address.or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}
