//! The sign-in of connections: by the request that opens them, by a token in the connect command, or by a ticket. A
//! connection keeps its [`Credential`], with which its caller is authenticated again when the caller's rights change.

mod credential;
mod ticket;

use std::fmt;

use http::request::Parts;
use omnistack_core::{
    cache::Cache,
    clock::Clock,
    crypto::KeyRing,
    http::{Error, StatusCode},
    identity::{Authenticator, Identity, RequestOrigin},
    metrics::AUTH_FAILURES,
    module::{Context, MissingDependency, Mount, Registry},
};

use crate::protocol::CloseCode;
pub(crate) use credential::Credential;
use ticket::Tickets;

/// The error code for a token that was valid and has expired. The client gets a new token, and signs in again.
pub(crate) const TOKEN_EXPIRED: &str = "TOKEN_EXPIRED";

/// Registers the route for tickets, and the sign-in for the other rooms.
pub(crate) fn register(registry: &mut Registry) {
    let clock = registry.clock();
    registry
        .require::<Authenticator>()
        .require::<KeyRing>()
        .provide_from(move |ctx: &Context| {
            Ok::<_, MissingDependency>(SignIn::new(ctx.get()?, ctx.get()?, ctx.get()?, clock.clone()))
        })
        // A stored answer would contain the ticket.
        .routes(Mount::app("/ws").without_idempotency(), ticket::api(), |ctx| ctx.get::<SignIn>());
}

/// The sign-in of connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SignIn {
    authenticator: Authenticator,
    clock: Clock,
    tickets: Tickets,
}

impl SignIn {
    /// Creates the sign-in. Tickets are stored in the cache, sealed with the keys.
    pub(crate) fn new(authenticator: Authenticator, cache: Cache, keys: KeyRing, clock: Clock) -> Self {
        Self { authenticator, clock: clock.clone(), tickets: Tickets { cache, keys, clock } }
    }

    /// Returns the caller of a request by its headers and cookies, or `None` without a credential.
    ///
    /// # Errors
    /// 401 and 403 for a credential that is refused, with the code [`TOKEN_EXPIRED`] for an expired token; 503 if it
    /// can't be checked now.
    pub(crate) async fn identify(&self, request: &Parts) -> Result<Option<(Identity, Credential)>, Error> {
        let authenticated = self.authenticator.authenticate(request).await;
        let credential = Credential::from_request(request);
        let identity = authenticated.map_err(|error| self.explain(error, &credential))?;
        Ok(identity.map(|mut identity| {
            identity.origin = RequestOrigin::from_request(request);
            (identity, credential)
        }))
    }

    /// Returns the caller of a token in a command. `base` is the request that opened the connection, which selects the
    /// tenant.
    ///
    /// # Errors
    /// The errors of [`from_request`](Self::from_request).
    pub(crate) async fn with_token(&self, token: &str, base: &Parts) -> Result<(Identity, Credential), Error> {
        self.refresh(token, &Credential::from_request(base)).await
    }

    /// Returns the caller of a new token, for the tenant of an earlier credential.
    ///
    /// # Errors
    /// The errors of [`from_request`](Self::from_request).
    pub(crate) async fn refresh(&self, token: &str, earlier: &Credential) -> Result<(Identity, Credential), Error> {
        let credential = earlier.with_token(token).ok_or_else(refused)?;
        let identity = self.again(&credential).await?;
        Ok((identity, credential))
    }

    /// Returns the caller of a ticket, which is used up.
    ///
    /// # Errors
    /// 401 `TICKET_INVALID`, and the errors of [`from_request`](Self::from_request).
    pub(crate) async fn with_ticket(&self, ticket: &str) -> Result<(Identity, Credential), Error> {
        let credential = self.tickets.redeem(ticket).await.inspect_err(count_failure)?;
        let identity = self.again(&credential).await?;
        Ok((identity, credential))
    }

    /// Authenticates the caller of a connection again.
    ///
    /// # Errors
    /// The errors of [`from_request`](Self::from_request).
    pub(crate) async fn again(&self, credential: &Credential) -> Result<Identity, Error> {
        let request = credential.to_request();
        let identity = self.authenticator.authenticate(&request).await;
        let mut identity = identity
            .and_then(|identity| identity.ok_or_else(refused))
            .map_err(|error| self.explain(error, credential))?;
        identity.origin = RequestOrigin::from_request(&request);
        Ok(identity)
    }

    /// Replaces the error for a token that has expired by one that says so. The token says so itself, and its signature
    /// may be wrong: then the client gets a new token for nothing.
    fn explain(&self, error: Error, credential: &Credential) -> Error {
        count_failure(&error);
        if error.status() == StatusCode::UNAUTHORIZED && credential.has_expired_token(self.clock.now()) {
            let message = "the access token has expired; get a new one and sign in again";
            return Error::new(StatusCode::UNAUTHORIZED, TOKEN_EXPIRED, message);
        }
        error
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignIn")
    }
}

/// Returns the code with which a connection is closed whose caller could not be authenticated. After an expired token
/// and an outage the client reconnects.
pub(crate) fn close_code(error: &Error) -> CloseCode {
    match error.status() {
        StatusCode::UNAUTHORIZED if error.code() == TOKEN_EXPIRED => CloseCode::Expired,
        StatusCode::UNAUTHORIZED => CloseCode::InvalidToken,
        StatusCode::TOO_MANY_REQUESTS => CloseCode::TooManyRequests,
        status if status.is_client_error() => CloseCode::PermissionDenied,
        _ => CloseCode::Server,
    }
}

fn count_failure(error: &Error) {
    AUTH_FAILURES.counter([error.code().to_ascii_lowercase()]).increment(1);
}

fn refused() -> Error {
    Error::unauthorized("the token is not valid; sign in again")
}
