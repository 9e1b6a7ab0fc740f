//! Keys of rate limits.

use std::{fmt, net::IpAddr};

use crate::{
    http::{
        Request,
        layer::{ClientAddr, peer_address},
    },
    identity::{ApiKeyId, Identity, TenantId, UserId},
};

/// Which requests a rate limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitKey {
    /// The requests of each client address; for IPv6, of each /64 network, which usually belongs to one customer.
    Address,
    /// The requests of each signed-in user; of each address, if the caller is not signed in.
    Identity,
    /// The requests of each tenant; of each address, if the caller has no tenant.
    Tenant,
    /// The requests of each API key; of each signed-in user without one; of each address, if the caller is not signed
    /// in.
    ApiKey,
    /// All requests together.
    Global,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RateLimitSubject {
    Address(IpAddr),
    User(UserId),
    Tenant(TenantId),
    ApiKey(ApiKeyId),
    Everybody,
}

impl RateLimitSubject {
    /// Returns what a request is counted by. Returns `None` if that is the client's address, and the request has none.
    pub(crate) fn of(by: RateLimitKey, request: &Request) -> Option<Self> {
        let identity = || request.extensions().get::<Identity>();
        let known = match by {
            RateLimitKey::Address => None,
            RateLimitKey::Identity => identity().map(|identity| Self::User(identity.user)),
            RateLimitKey::Tenant => identity().and_then(|identity| identity.tenant).map(Self::Tenant),
            RateLimitKey::ApiKey => {
                identity().map(|identity| identity.api_key.map_or(Self::User(identity.user), Self::ApiKey))
            }
            RateLimitKey::Global => Some(Self::Everybody),
        };
        known.or_else(|| network(request).map(Self::Address))
    }
}

/// Name of the key in Redis.
impl fmt::Display for RateLimitSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address:{address}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::ApiKey(key) => write!(f, "key:{key}"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

/// Returns the client's address, or the network of an IPv6 address. Without `ClientAddrLayer`, the client is the peer of
/// the connection.
fn network(request: &Request) -> Option<IpAddr> {
    let client = request.extensions().get::<ClientAddr>().map(|client| client.0);
    let address = client.filter(|address| !address.is_unspecified()).or_else(|| peer_address(request))?;
    Some(match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    })
}
