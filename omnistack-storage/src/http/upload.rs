//! Reading a file from the body of a request.

use std::{pin::pin, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest as _, Request},
};
use bytes::Bytes;
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{Either, select},
    stream,
};
use omnistack_core::{
    http::{self, FieldError, Multipart, StatusCode, header},
    idempotency,
    identity::Identity,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{ByteStream, Error, ErrorKind, FileService, NewFile, UploadResult};

/// Returns the bytes of a body as a stream. It fails with 408 `UPLOAD_STALLED` if no bytes arrive for the
/// duration `idle`.
pub(super) fn body_stream(body: Body, idle: Duration) -> ByteStream {
    let broken = |error: axum::Error| {
        let answer = http::Error::bad_request("UPLOAD_INTERRUPTED", "the upload ended early: send the file again")
            .with_source(error);
        Error::new(ErrorKind::Interrupted, answer)
    };
    with_idle_timeout(body.into_data_stream().map_err(broken).boxed(), idle)
}

fn with_idle_timeout(stream: ByteStream, idle: Duration) -> ByteStream {
    let next = move |stream: Option<ByteStream>| async move {
        let mut stream = stream?;
        match timeout(idle, stream.next()).await {
            Ok(next) => next.map(|next| (next, Some(stream))),
            Err(_) => Some((Err(upload_stalled(idle)), None)),
        }
    };
    stream::unfold(Some(stream), next).boxed()
}

fn upload_stalled(idle: Duration) -> Error {
    let message = format!("no bytes arrived for {} seconds: send the file again", idle.as_secs());
    Error::new(ErrorKind::Interrupted, http::Error::new(StatusCode::REQUEST_TIMEOUT, "UPLOAD_STALLED", message))
}

/// Returns the `Content-Length`, if it is valid.
pub(super) fn length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns the `Content-Type`.
///
/// # Errors
/// 422 if the header is not ASCII.
pub(super) fn content_type(headers: &http::HeaderMap) -> Result<Option<String>, http::Error> {
    let said = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().map(str::to_owned));
    said.transpose().map_err(|_| wrong("content-type", "must be ASCII"))
}

fn wrong(field: &str, message: &str) -> http::Error {
    http::Error::invalid([FieldError::new(field, message)])
}

impl FileService {
    /// Stores the file of a request, for an upload route of the app's own: the body is the file, or a form with the single
    /// field `file`, whose name counts if `new` has none. `Content-Type` is the media type, and an `Idempotency-Key` is
    /// carried out once.
    ///
    /// The mount needs a larger [`body_limit`](omnistack_core::module::Mount::body_limit) than the 1 MiB of other routes,
    /// [`without_idempotency`](omnistack_core::module::Mount::without_idempotency), because the layer would hold the file
    /// in memory, and a longer timeout.
    ///
    /// ```
    /// use axum::extract::{Request, State};
    /// use omnistack_core::{http::{Error, Json}, identity::Identity};
    /// use omnistack_storage::{File, FileService, NewFile};
    ///
    /// async fn upload_plan(
    ///     State(files): State<FileService>,
    ///     caller: Identity,
    ///     request: Request,
    /// ) -> Result<Json<File>, Error> {
    ///     let stored = files.upload_request(&caller, NewFile::new("floor-plan.pdf"), request).await?;
    ///     Ok(Json(stored.file))
    /// }
    /// ```
    ///
    /// # Errors
    /// Fails as [`upload`](Self::upload) does, and with 400 `MALFORMED_MULTIPART` or 422 `VALIDATION_FAILED` for a form
    /// that is not such a form, 408 `UPLOAD_STALLED` if no bytes arrive for a while.
    pub async fn upload_request(
        &self,
        caller: &Identity,
        new: NewFile,
        request: Request,
    ) -> Result<UploadResult, Error> {
        store_request_body(self, caller, new, request).await
    }
}

/// Stores the file of a request: the body, or the file in a form. Without a name in the query, a form's file has
/// the name that the form gives.
pub(super) async fn store_request_body(
    files: &FileService,
    caller: &Identity,
    said: NewFile,
    request: Request,
) -> Result<UploadResult, Error> {
    let headers = request.headers();
    let key = idempotency::read_key(headers)?;
    let content_type = content_type(headers)?;
    if content_type.as_deref().is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("multipart/")) {
        return store_form_file(files, caller, said, key, request).await;
    }
    if said.name.is_empty() {
        return Err(wrong("name", "is required").into());
    }
    let new = NewFile { content_type, size: length(headers), ..said };
    let body = body_stream(request.into_body(), files.idle_timeout());
    store(files, caller, key, new, body).await
}

async fn store(
    files: &FileService,
    caller: &Identity,
    key: Option<String>,
    new: NewFile,
    body: ByteStream,
) -> Result<UploadResult, Error> {
    match key {
        Some(key) => files.upload_idempotent(caller, &key, new, body).await,
        None => Ok(UploadResult { file: files.upload(caller, new, body).await?, replayed: false }),
    }
}

/// Stores the file of a form, in its only field `file`.
async fn store_form_file(
    files: &FileService,
    caller: &Identity,
    said: NewFile,
    key: Option<String>,
    request: Request,
) -> Result<UploadResult, Error> {
    let form = Multipart::from_request(request, &()).await?;
    let (tell, heard) = oneshot::channel();
    let (sender, receiver) = mpsc::channel(2);
    let reading = async move {
        if let Err(error) = read_form(form, tell, &sender).await {
            _ = sender.send(Err(Error::new(ErrorKind::Interrupted, error))).await;
        }
    };
    let body = stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) });
    let mut body = with_idle_timeout(body.boxed(), files.idle_timeout());
    let taking = async {
        let Ok(part) = timeout(files.idle_timeout(), heard).await.map_err(|_| upload_stalled(files.idle_timeout()))?
        else {
            // The form has no file; the channel holds the error instead of bytes.
            let reason = body.next().await.and_then(Result::err);
            return Err(reason.unwrap_or_else(|| wrong("file", "is required").into()));
        };
        let name = Some(said.name).filter(|name| !name.is_empty()).or(part.file_name);
        let name = name.ok_or_else(|| wrong("name", "is required"))?;
        let new = NewFile { name, content_type: part.content_type, size: None, ..said };
        store(files, caller, key, new, body).await
    };
    // A refused file gets its response while the client is still sending the form, which may never end.
    match select(pin!(taking), pin!(reading)).await {
        Either::Left((taken, _)) => taken,
        Either::Right(((), taking)) => taking.await,
    }
}

/// The name and media type of the file in a form.
struct FormFile {
    file_name: Option<String>,
    content_type: Option<String>,
}

/// Reads a form to its end. A form that ends early has no file, even if all bytes of the file arrived.
async fn read_form(
    mut form: Multipart,
    tell: oneshot::Sender<FormFile>,
    sender: &mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(), http::Error> {
    let Some(mut field) = form.next_field().await? else { return Err(wrong("file", "is required")) };
    if field.name() != Some("file") {
        return Err(wrong("file", "must be the only field of the form"));
    }
    let part =
        FormFile { file_name: field.file_name().map(Into::into), content_type: field.content_type().map(Into::into) };
    if tell.send(part).is_err() {
        return Ok(());
    }
    while let Some(bytes) = field.chunk().await? {
        if sender.send(Ok(bytes)).await.is_err() {
            return Ok(());
        }
    }
    drop(field);
    match form.next_field().await? {
        Some(_) => Err(wrong("file", "must be the only field of the form")),
        None => Ok(()),
    }
}
