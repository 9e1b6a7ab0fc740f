//! The addresses that a client may connect to, and the resolver that leaves out all others.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::{
    UrlSource,
    lookup::{Lookup, LookupFuture},
};
use crate::BoxError;

/// A URL without an address: RFC 6761 reserves `.invalid`, and the [`GuardedResolver`] refuses this name at once.
pub(super) const REFUSED_URL: &str = "http://refused-address.invalid/";
/// The host of [`REFUSED_URL`].
const REFUSED_HOST: &str = "refused-address.invalid";

/// This machine.
pub(super) const LOOPBACK: [IpNet; 2] = [v4([127, 0, 0, 0], 8), v6(Ipv6Addr::LOCALHOST, 128)];
/// All addresses.
pub(super) const ALL_ADDRESSES: [IpNet; 2] = [v4([0, 0, 0, 0], 0), v6(Ipv6Addr::UNSPECIFIED, 0)];

/// The IPv4 networks that are not public.
const NOT_PUBLIC_V4: [IpNet; 15] = [
    // "This network" (RFC 791). Linux connects to itself by 0.0.0.0.
    v4([0, 0, 0, 0], 8),
    // Private (RFC 1918).
    v4([10, 0, 0, 0], 8),
    // Shared by the customers of a carrier (RFC 6598); some clouds have their metadata service there.
    v4([100, 64, 0, 0], 10),
    // Loopback (RFC 1122).
    v4([127, 0, 0, 0], 8),
    // The platform of Azure, which only its virtual machines reach.
    v4([168, 63, 129, 16], 32),
    // Link-local (RFC 3927), with the metadata services of clouds.
    v4([169, 254, 0, 0], 16),
    // Private (RFC 1918).
    v4([172, 16, 0, 0], 12),
    // Assigned to protocols (RFC 6890).
    v4([192, 0, 0, 0], 24),
    // Documentation (RFC 5737).
    v4([192, 0, 2, 0], 24),
    // Relays of 6to4 (RFC 7526).
    v4([192, 88, 99, 0], 24),
    // Private (RFC 1918).
    v4([192, 168, 0, 0], 16),
    // Benchmarks (RFC 2544).
    v4([198, 18, 0, 0], 15),
    // Documentation (RFC 5737).
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Multicast (RFC 5771), reserved (RFC 1112) and broadcast.
    v4([224, 0, 0, 0], 3),
];

/// The global unicast addresses of IPv6 (RFC 4291). Outside are the unspecified address and loopback, addresses with
/// an IPv4 address in them (`::/96`, NAT64), unique local and link-local ones, multicast, and all that is reserved.
const GLOBAL_V6: IpNet = v6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The IPv6 networks in [`GLOBAL_V6`] that are not public.
const NOT_PUBLIC_V6: [IpNet; 4] = [
    // Assigned to protocols (RFC 2928): Teredo, ORCHID, benchmarks.
    v6(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation (RFC 3849).
    v6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4 (RFC 3056), whose addresses contain an IPv4 address.
    v6(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // Documentation (RFC 9637).
    v6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(address: Ipv6Addr, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}

/// Returns whether an address is one of the public internet. An IPv4-mapped IPv6 address must be converted before.
fn is_public(address: IpAddr) -> bool {
    let is_in = |network: &IpNet| network.contains(&address);
    match address {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(is_in),
        IpAddr::V6(_) => is_in(&GLOBAL_V6) && !NOT_PUBLIC_V6.iter().any(is_in),
    }
}

/// The addresses that a client may connect to: public ones, and those of allowed networks.
///
/// All others are refused: addresses of this machine, of private and link-local networks, of the metadata services of
/// clouds, multicast, and addresses reserved for documentation, benchmarks and protocols. An IPv4-mapped IPv6 address
/// counts as its IPv4 address. Other IPv6 addresses that contain an IPv4 address are refused (6to4, NAT64, Teredo).
///
/// ```
/// use omnistack_core::http::client::AddressGuard;
///
/// let guard = AddressGuard::new(["10.1.0.0/16".parse()?]);
/// assert!(guard.permits("1.1.1.1".parse()?));
/// assert!(guard.permits("10.1.2.3".parse()?));
/// assert!(!guard.permits("10.2.2.3".parse()?));
/// assert!(!guard.permits_host(&"https://169.254.169.254/latest/meta-data".parse()?));
/// # Ok::<(), omnistack_core::BoxError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    allowed: Arc<[IpNet]>,
}

impl AddressGuard {
    /// Creates a guard that permits public addresses and those of the `allowed` networks.
    pub fn new(allowed: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    /// Returns whether a client may connect to the address.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|network| network.contains(&address))
    }

    /// Returns whether a URL may be called, as far as its text shows: `false` if its host is an address that is not
    /// permitted, in any notation. The addresses of a host name are checked when a client connects.
    pub fn permits_host(&self, url: &Url) -> bool {
        // `url` has normalised the address, and the connector reads it from the same text. What is no address here is
        // a name for the connector, which it passes to the resolver.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        host.parse().map_or(true, |address: IpAddr| self.permits(address))
    }
}

/// A resolver that returns permitted addresses only. The client connects to what it returns, without another lookup;
/// therefore a name whose addresses change between two lookups (DNS rebinding) is of no use to an attacker.
pub(super) struct GuardedResolver {
    pub(super) guard: AddressGuard,
    pub(super) source: UrlSource,
    pub(super) lookup: Lookup,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        if name.as_str() == REFUSED_HOST {
            let refused: Result<Addrs, BoxError> = Err(RefusedAddress(self.source).into());
            return Box::pin(std::future::ready(refused));
        }
        Box::pin(permitted((self.lookup)(name.as_str().to_owned()), self.guard.clone(), self.source))
    }
}

/// Returns the permitted addresses that a lookup finds. Fails if it finds others only.
async fn permitted(lookup: LookupFuture, guard: AddressGuard, source: UrlSource) -> Result<Addrs, BoxError> {
    let mut addresses = lookup.await?;
    let found = addresses.len();
    addresses.retain(|address| guard.permits(address.ip()));
    if addresses.is_empty() && found > 0 {
        return Err(RefusedAddress(source).into());
    }
    Ok(Box::new(addresses.into_iter()))
}

/// The error of a request whose host has no address that the client may connect to. It does not name the addresses,
/// which may be those of the operator's own network.
#[derive(Debug)]
struct RefusedAddress(UrlSource);

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no public address")?;
        match self.0 {
            UrlSource::Users => Ok(()),
            UrlSource::Settings => {
                f.write_str("; to permit a private one, add its network to HTTP_CLIENT_ALLOWED_NETWORKS")
            }
        }
    }
}

impl Error for RefusedAddress {}

/// Returns whether a request was not sent because its host has no address that the client may connect to. Repeating
/// it helps only if the host gets another address.
pub fn is_refused(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<RefusedAddress>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
