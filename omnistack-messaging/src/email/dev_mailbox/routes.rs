//! The routes of the dev mailbox, `/dev/mailbox`, for developers and their tests. They do not exist in production.

use axum::{
    extract::State,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::{DevMailbox, ReceivedMail, page};
use crate::email::{
    Address,
    template::{FALLBACK_LOCALE, Templates},
};
use omnistack_core::{
    clock::Timestamp,
    http::{Error, Json, Path, Query},
    module::Api,
};

/// The state of the dev mailbox's routes.
#[derive(Clone, Debug)]
pub(crate) struct DevMailboxState {
    pub(crate) mailbox: DevMailbox,
    pub(crate) templates: Templates,
    #[cfg(feature = "sms")]
    pub(crate) sms_mailbox: Option<crate::sms::DevSmsMailbox>,
}

pub(crate) fn routes() -> Api<DevMailboxState> {
    Api::new()
        .hidden("/dev/mailbox", get(list))
        .hidden("/dev/mailbox.json", get(list_json))
        .hidden("/dev/mailbox/preview/{name}", get(preview))
        .hidden("/dev/mailbox/preview/{name}/html", get(preview_html))
        .hidden("/dev/mailbox/{id}", get(show))
        .hidden("/dev/mailbox/{id}/html", get(show_html))
}

/// Content security policy of the pages: inline styles, and frames of the same origin.
const PAGE_CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'none'; \
                    base-uri 'none'; form-action 'none'";

/// Content security policy of a mail in its frame: no scripts run and nothing is loaded. Links open in a new
/// window.
const FRAME_CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; form-action 'none'; \
                     sandbox allow-popups allow-popups-to-escape-sandbox";

fn page(html: String) -> Response {
    ([(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_CSP))], Html(html)).into_response()
}

fn frame(html: &str) -> Response {
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(FRAME_CSP)),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
    ];
    // A link that opened inside the frame could not leave the sandbox.
    let base = "<base target=\"_blank\">";
    let html = match html.find("<head>") {
        Some(at) => format!("{}{base}{}", &html[..at + 6], &html[at + 6..]),
        None => format!("<!doctype html><head><meta charset=\"utf-8\">{base}</head>{html}"),
    };
    (headers, Html(html)).into_response()
}

async fn list(State(pages): State<DevMailboxState>) -> Response {
    #[cfg(feature = "sms")]
    let more = pages.sms_mailbox.as_ref().map(|texts| page::texts(&texts.messages())).unwrap_or_default();
    #[cfg(not(feature = "sms"))]
    let more = String::new();
    page(page::list(&pages.mailbox.mails(), &more, &pages.templates))
}

/// A mail in the JSON list, for tests.
#[derive(Serialize)]
struct MailListItem {
    id: u64,
    at: Timestamp,
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    bcc: Vec<Address>,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    attachments: Vec<String>,
}

async fn list_json(State(pages): State<DevMailboxState>) -> Json<Vec<MailListItem>> {
    let shown = |ReceivedMail { id, at, email }| MailListItem {
        id,
        at,
        from: email.from,
        to: email.to,
        cc: email.cc,
        bcc: email.bcc,
        subject: email.subject,
        text: email.text,
        html: email.html,
        attachments: email.attachments.into_iter().map(|file| file.name).collect(),
    };
    Json(pages.mailbox.mails().into_iter().rev().map(shown).collect())
}

fn find(pages: &DevMailboxState, id: u64) -> Result<ReceivedMail, Error> {
    pages.mailbox.get(id).ok_or_else(|| Error::not_found("the mail, of which only the last 200 are kept,"))
}

async fn show(State(pages): State<DevMailboxState>, Path(id): Path<u64>) -> Result<Response, Error> {
    Ok(page(page::mail(&find(&pages, id)?)))
}

async fn show_html(State(pages): State<DevMailboxState>, Path(id): Path<u64>) -> Result<Response, Error> {
    Ok(frame(&page::with_images(&find(&pages, id)?.email)))
}

#[derive(Deserialize)]
struct PreviewQuery {
    locale: Option<String>,
}

// Implemented by hand, because there is nothing to validate and `garde` requires an implementation.
impl garde::Validate for PreviewQuery {
    type Context = ();

    fn validate_into(&self, (): &(), _: &mut dyn FnMut() -> garde::Path, _: &mut garde::Report) {}
}

async fn preview(
    State(pages): State<DevMailboxState>,
    Path(name): Path<String>,
    Query(query): Query<PreviewQuery>,
) -> Result<Response, Error> {
    let locale = query.locale.as_deref().unwrap_or(FALLBACK_LOCALE);
    let rendered = pages.templates.preview(&name, locale).map_err(|error| Error::not_found(error.to_string()))?;
    Ok(page(page::preview(&name, &rendered, &pages.templates)))
}

async fn preview_html(
    State(pages): State<DevMailboxState>,
    Path(name): Path<String>,
    Query(query): Query<PreviewQuery>,
) -> Result<Response, Error> {
    let locale = query.locale.as_deref().unwrap_or(FALLBACK_LOCALE);
    let rendered = pages.templates.preview(&name, locale).map_err(|error| Error::not_found(error.to_string()))?;
    Ok(frame(&rendered.html))
}
