//! The routes of the contact form: `/api/v1/public/contact` for visitors, `/api/v1/admin/contact` for operators.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::{
    extract::{FromRequestParts, State},
    response::IntoResponse as _,
};
use garde::Validate;
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{ContactInbox, ContactMessage, ContactMessageId, ContactStatus, NewContactMessage, inbox::SpamCheck};
use omnistack_core::{
    http::{
        CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query, Response, header_parts,
        layer::ClientAddr,
    },
    idempotency::Idempotency,
    identity::Identity,
    module::Api,
};

pub(super) fn public() -> Api<ContactInbox> {
    Api::new().routes(routes!(send)).routes(routes!(status))
}

pub(super) fn admin() -> Api<ContactInbox> {
    Api::new().routes(routes!(list)).routes(routes!(get, change, remove))
}

/// The IP address and language of the client that sends a message.
#[derive(Clone, Debug)]
pub(super) struct ContactClient {
    pub(super) address: Option<IpAddr>,
    pub(super) locale: Option<String>,
}

impl ContactClient {
    /// Returns the network whose messages share one rate limit: the IPv4 address, or the /64 network of an IPv6
    /// address, which belongs to one customer.
    pub(super) fn network(&self) -> IpAddr {
        match self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
            address @ IpAddr::V4(_) => address,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ContactClient {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The first language of the header is the one that the browser's user prefers.
        let first = header_parts(&parts.headers, &header::ACCEPT_LANGUAGE, b',').next();
        let first = first.and_then(|text| text.split(';').next()).map(str::trim);
        let is_language = |text: &&str| {
            (2..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        Ok(Self {
            address: parts.extensions.get::<ClientAddr>().map(|client| client.0),
            locale: first.filter(is_language).map(str::to_owned),
        })
    }
}

/// The receipt for an accepted message.
#[derive(Serialize, ToSchema)]
struct ContactReceipt {
    /// The reference number, by which the sender can refer to the message.
    reference: String,
}

/// Send a message by the contact form
#[utoipa::path(post, path = "/", operation_id = "send_contact_message", request_body = NewContactMessage, responses(
    (status = 202, body = ContactReceipt, description = "The message was accepted."),
    (status = 403, body = ErrorEnvelope, description = "The contact form is closed."),
    (status = 422, body = ErrorEnvelope, description = "A field is missing or not valid; each problem names its field."),
    (status = 429, body = ErrorEnvelope, description = "Too many messages were sent from this address."),
))]
async fn send(
    State(inbox): State<ContactInbox>,
    visitor: ContactClient,
    idempotency: Idempotency,
    Json(new): Json<NewContactMessage>,
) -> Result<Response, Error> {
    let answer = |reference| (StatusCode::ACCEPTED, Json(ContactReceipt { reference }));
    match inbox.prepare(&new, &visitor).await? {
        SpamCheck::Bot(reference) => Ok(answer(reference).into_response()),
        SpamCheck::Accepted(prepared) => {
            let mut tx = inbox.db().begin().await?;
            inbox.store_in(&mut tx, &prepared).await?;
            idempotency.commit(tx, answer(prepared.message.reference)).await
        }
    }
}

/// The contact form, as it is configured.
#[derive(Serialize, ToSchema)]
struct ContactForm {
    /// Whether messages are accepted.
    open: bool,
    /// The fields that a message must have.
    required: Vec<&'static str>,
    /// The fields that a message may have.
    optional: Vec<&'static str>,
    /// The token to be sent with the message, which contains the time at which the form was opened; `null` if none
    /// is required.
    #[schema(required)]
    token: Option<String>,
    /// The validity of the token, in seconds.
    expires_in: u64,
}

/// Get the contact form
///
/// Request it when the form is shown: the response has the form's fields and the token to be sent with the message.
#[utoipa::path(get, path = "/status", operation_id = "get_contact_status", responses((status = 200, body = ContactForm)))]
async fn status(State(inbox): State<ContactInbox>) -> Result<Response, Error> {
    let settings = inbox.settings();
    let asked = [
        ("subject", settings.require_subject),
        ("phone", settings.require_phone),
        ("company", settings.require_company),
    ];
    let of = |wanted: bool| asked.iter().filter(move |(_, required)| *required == wanted).map(|(name, _)| *name);
    let token = if settings.open && !settings.min_time.is_zero() {
        Some(inbox.tokens().issue().map_err(Error::internal)?)
    } else {
        None
    };
    let needs_token = token.is_some().then_some("token");
    let form = ContactForm {
        open: settings.open,
        required: ["name", "email", "message"].into_iter().chain(of(true)).chain(needs_token).collect(),
        optional: of(false).chain(["extra_fields", "source", "locale"]).collect(),
        token,
        expires_in: settings.max_time.as_secs(),
    };
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(form)).into_response())
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContactMessageListQuery {
    /// Only messages with this status.
    #[garde(skip)]
    status: Option<ContactStatus>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List messages
///
/// The newest come first.
#[utoipa::path(get, path = "/", operation_id = "list_contact_messages", params(ContactMessageListQuery),
    responses((status = 200, body = CursorPage<ContactMessage>)))]
async fn list(
    State(inbox): State<ContactInbox>,
    Query(query): Query<ContactMessageListQuery>,
) -> Result<Json<CursorPage<ContactMessage>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let before = query.cursor.as_deref().map(str::parse::<ContactMessageId>).transpose();
    let before = before.map_err(|_| Error::invalid([FieldError::new("cursor", "must be a `next_cursor` value")]))?;
    let mut items = inbox.list(query.status, before, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > most;
    items.truncate(most);
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(CursorPage { items, next_cursor }))
}

fn no_message() -> Error {
    Error::not_found("the message")
}

/// Get a message
#[utoipa::path(get, path = "/{id}", operation_id = "get_contact_message", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = ContactMessage), (status = 404, body = ErrorEnvelope)))]
async fn get(
    State(inbox): State<ContactInbox>,
    Path(id): Path<ContactMessageId>,
) -> Result<Json<ContactMessage>, Error> {
    inbox.get(id).await?.map(Json).ok_or_else(no_message)
}

/// A change of a message.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ContactChange {
    /// The new status.
    #[garde(skip)]
    status: ContactStatus,
}

/// Change the status of a message
#[utoipa::path(patch, path = "/{id}", operation_id = "update_contact_message", request_body = ContactChange,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = ContactMessage),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "Another request has just changed the message."),
))]
async fn change(
    State(inbox): State<ContactInbox>,
    caller: Identity,
    Path(id): Path<ContactMessageId>,
    Json(change): Json<ContactChange>,
) -> Result<Json<ContactMessage>, Error> {
    inbox.set_status(id, change.status, &caller).await?.map(Json).ok_or_else(no_message)
}

/// Delete a message
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_contact_message",
    params(("id" = String, Path, format = Uuid)), responses((status = 204), (status = 404, body = ErrorEnvelope)))]
async fn remove(
    State(inbox): State<ContactInbox>,
    caller: Identity,
    Path(id): Path<ContactMessageId>,
) -> Result<StatusCode, Error> {
    if !inbox.remove(id, &caller).await? {
        return Err(no_message());
    }
    Ok(StatusCode::NO_CONTENT)
}
