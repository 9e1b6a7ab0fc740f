//! `/api/v1/public/contact` for visitors, `/api/v1/admin/contact` for operators.

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

use super::{ContactMessage, ContactMessageId, ContactStatus, Inbox, NewContactMessage, inbox::Judged};
use crate::{
    app::Api,
    http::{
        Error, ErrorEnvelope, FieldProblem, Idempotency, Json, Page, PageRequest, Path, Query, Response, header_parts,
        layer::ClientAddr,
    },
    identity::Identity,
};

pub(super) fn public() -> Api<Inbox> {
    Api::new().routes(routes!(send)).routes(routes!(status))
}

pub(super) fn admin() -> Api<Inbox> {
    Api::new().routes(routes!(list)).routes(routes!(get, change, remove))
}

/// Who sends a message, as far as the request tells.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) address: Option<IpAddr>,
    pub(super) locale: Option<String>,
}

impl Visitor {
    /// Whose messages are counted together: of IPv6 the network of 64 bits, which is one customer's.
    pub(super) fn network(&self) -> IpAddr {
        match self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
            address @ IpAddr::V4(_) => address,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The first is the one a browser's user has chosen.
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

/// A message was taken.
#[derive(Serialize, ToSchema)]
struct ContactReceipt {
    /// What to name the message by.
    reference: String,
}

/// Sends a message to whoever runs the app.
#[utoipa::path(post, path = "/", operation_id = "send_contact_message", request_body = NewContactMessage, responses(
    (status = 202, body = ContactReceipt, description = "It was taken."),
    (status = 403, body = ErrorEnvelope, description = "Messages are not taken at present."),
    (status = 422, body = ErrorEnvelope, description = "Something is missing or not acceptable; each problem names a field."),
    (status = 429, body = ErrorEnvelope, description = "Too many messages came from this address."),
))]
async fn send(
    State(inbox): State<Inbox>,
    visitor: Visitor,
    idempotency: Idempotency,
    Json(new): Json<NewContactMessage>,
) -> Result<Response, Error> {
    let answer = |reference| (StatusCode::ACCEPTED, Json(ContactReceipt { reference }));
    match inbox.judge(&new, &visitor).await? {
        Judged::Bot(reference) => Ok(answer(reference).into_response()),
        Judged::Message(prepared) => {
            let mut tx = inbox.db().begin().await?;
            inbox.keep_in(&mut tx, &prepared).await?;
            idempotency.commit(tx, answer(prepared.message.reference)).await
        }
    }
}

/// What the form is.
#[derive(Serialize, ToSchema)]
struct ContactForm {
    /// Whether messages are taken.
    open: bool,
    /// Fields a message must have.
    required: Vec<&'static str>,
    /// Fields it may have.
    optional: Vec<&'static str>,
    /// To be sent with the message; none when it is not asked for. It says when the form was opened.
    #[schema(required)]
    token: Option<String>,
    /// How long the token holds, in seconds.
    expires_in: u64,
}

/// Tells what the contact form is, and gives the token to send it with: to be asked when the form is shown.
#[utoipa::path(get, path = "/status", operation_id = "get_contact_status", responses((status = 200, body = ContactForm)))]
async fn status(State(inbox): State<Inbox>) -> Result<Response, Error> {
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
struct ListQuery {
    /// Those of this status alone.
    #[garde(skip)]
    status: Option<ContactStatus>,
    /// At most this many.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// What the page before said comes next.
    #[garde(length(max = 100))]
    cursor: Option<String>,
}

/// Lists messages, the newest first.
#[utoipa::path(get, path = "/", operation_id = "list_contact_messages", params(ListQuery),
    responses((status = 200, body = Page<ContactMessage>)))]
async fn list(State(inbox): State<Inbox>, Query(query): Query<ListQuery>) -> Result<Json<Page<ContactMessage>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let before = query.cursor.as_deref().map(str::parse::<ContactMessageId>).transpose();
    let before = before.map_err(|_| Error::invalid([FieldProblem::new("cursor", "is none that a page gave")]))?;
    let mut items = inbox.list(query.status, before, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > most;
    items.truncate(most);
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { items, next_cursor }))
}

fn no_message() -> Error {
    Error::not_found("the message")
}

/// Shows a message.
#[utoipa::path(get, path = "/{id}", operation_id = "get_contact_message", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = ContactMessage), (status = 404, body = ErrorEnvelope)))]
async fn get(State(inbox): State<Inbox>, Path(id): Path<ContactMessageId>) -> Result<Json<ContactMessage>, Error> {
    inbox.get(id).await?.map(Json).ok_or_else(no_message)
}

/// How far a message is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ContactChange {
    /// Its status.
    #[garde(skip)]
    status: ContactStatus,
}

/// Says how far a message is.
#[utoipa::path(patch, path = "/{id}", operation_id = "update_contact_message", request_body = ContactChange,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = ContactMessage),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "Somebody else has just changed it."),
))]
async fn change(
    State(inbox): State<Inbox>,
    caller: Identity,
    Path(id): Path<ContactMessageId>,
    Json(change): Json<ContactChange>,
) -> Result<Json<ContactMessage>, Error> {
    inbox.set_status(id, change.status, &caller).await?.map(Json).ok_or_else(no_message)
}

/// Forgets a message.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_contact_message",
    params(("id" = String, Path, format = Uuid)), responses((status = 204), (status = 404, body = ErrorEnvelope)))]
async fn remove(
    State(inbox): State<Inbox>,
    caller: Identity,
    Path(id): Path<ContactMessageId>,
) -> Result<StatusCode, Error> {
    if !inbox.remove(id, &caller).await? {
        return Err(no_message());
    }
    Ok(StatusCode::NO_CONTENT)
}
