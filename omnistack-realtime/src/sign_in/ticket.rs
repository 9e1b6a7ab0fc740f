//! Tickets: single-use texts with which a client that can set no header opens a connection.

use std::time::Duration;

use axum::extract::State;
use http::request::Parts;
use omnistack_core::{
    ExposeSecret as _, SecretString,
    cache::Cache,
    clock::{Clock, Timestamp},
    crypto::{KeyRing, SealContext, Sha256, Token},
    http::{Error, ErrorEnvelope, Json, StatusCode},
    module::Api,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Credential, SignIn};

/// The time in which a ticket must be used.
const TICKET_TTL: Duration = Duration::from_secs(30);
/// The prefix of tickets, by which core's log redacts them.
const TICKET_PREFIX: &str = "omni_ticket_";

/// Tickets and the credentials that they stand for. Only the hash of a ticket is stored, beside the sealed credential.
#[derive(Clone, Debug)]
pub(super) struct Tickets {
    pub(super) cache: Cache,
    pub(super) keys: KeyRing,
    pub(super) clock: Clock,
}

impl Tickets {
    /// Creates a ticket for a credential. Fails with 503 `REALTIME_UNAVAILABLE` if it can't be stored.
    async fn create(&self, credential: &Credential) -> Result<(SecretString, Timestamp), Error> {
        let ticket = Token::with_prefix(TICKET_PREFIX);
        let hash = ticket.hash();
        let text = credential.to_secret_text().map_err(Error::internal)?;
        let sealed = self.keys.seal(text.expose_secret(), &place(&hash))?;
        let (key, expires_at) = (key(&hash), self.clock.now() + TICKET_TTL);
        self.cache.set(&key, &sealed, TICKET_TTL).await;
        if self.cache.ttl(&key).await.is_none() {
            return Err(Error::unavailable("REALTIME_UNAVAILABLE", "the ticket can't be stored now; try again"));
        }
        Ok((ticket.into_secret(), expires_at))
    }

    /// Uses a ticket up and returns its credential. Fails with 401 `TICKET_INVALID`.
    pub(super) async fn redeem(&self, ticket: &str) -> Result<Credential, Error> {
        let hash = Sha256::digest(ticket);
        let key = key(&hash);
        let sealed: String = self.cache.get(&key).await.ok_or_else(refused)?;
        // Of requests that use the ticket at the same time, one deletes it.
        if !self.cache.delete(&key).await {
            return Err(refused());
        }
        let text = self.keys.open_text(&sealed, &place(&hash)).map_err(|_| refused())?;
        Credential::from_secret_text(&text).map_err(|_| refused())
    }
}

fn key(hash: &Sha256) -> String {
    format!("realtime:ticket:{hash}")
}

fn place(hash: &Sha256) -> SealContext {
    SealContext::row("realtime", "ticket", hash)
}

fn refused() -> Error {
    let message = "the ticket is not valid, was used or has expired; get another one";
    Error::new(StatusCode::UNAUTHORIZED, "TICKET_INVALID", message)
}

/// Returns the route under `/api/v1/app/ws`.
pub(super) fn api() -> Api<SignIn> {
    Api::new().routes(routes!(create))
}

/// A ticket for one connection.
#[derive(Debug, Serialize, ToSchema)]
struct RealtimeTicket {
    /// The ticket. Open the connection with `?ticket=`.
    ticket: String,
    /// The time until which the connection must be opened.
    expires_at: Timestamp,
}

/// Create a ticket for a realtime connection
///
/// A ticket opens one connection for the caller within 30 seconds, as `/api/v1/app/ws?ticket=…`. It is for clients that
/// can neither set headers nor send a token in the connect command.
#[utoipa::path(post, path = "/ticket", operation_id = "create_realtime_ticket", responses(
    (status = 200, body = RealtimeTicket),
    (status = 503, body = ErrorEnvelope, description = "The ticket can't be stored now."),
))]
async fn create(State(sign_in): State<SignIn>, request: Parts) -> Result<Json<RealtimeTicket>, Error> {
    let (ticket, expires_at) = sign_in.tickets.create(&Credential::from_request(&request)).await?;
    Ok(Json(RealtimeTicket { ticket: ticket.expose_secret().to_owned(), expires_at }))
}
