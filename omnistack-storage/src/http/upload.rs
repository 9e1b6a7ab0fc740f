//! Bodies that are files.

use axum::{
    body::Body,
    extract::{FromRequest as _, Request},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use omnistack_core::{
    http::{self, FieldProblem, Multipart, header},
    identity::Identity,
};
use tokio::sync::{mpsc, oneshot};

use crate::{ByteStream, Error, ErrorKind, File, FileService, NewFile};

/// The body's bytes as they come.
pub(super) fn bytes_of(body: Body) -> ByteStream {
    let broken = |error: axum::Error| {
        let answer = http::Error::bad_request("UPLOAD_INTERRUPTED", "the upload ended early").cause(error);
        Error::new(ErrorKind::Interrupted, answer)
    };
    body.into_data_stream().map_err(broken).boxed()
}

/// What `Content-Length` says.
pub(super) fn length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns what `Content-Type` says.
///
/// # Errors
/// 422 for a type that is not ASCII.
pub(super) fn content_type(headers: &http::HeaderMap) -> Result<Option<String>, http::Error> {
    let said = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().map(str::to_owned));
    said.transpose().map_err(|_| wrong("content-type", "is not ASCII"))
}

fn wrong(field: &str, message: &str) -> http::Error {
    http::Error::invalid([FieldProblem::new(field, message)])
}

/// Takes a file whose body is the file, or a form with one. Without a name it is called as the form says.
pub(super) async fn take(
    files: &FileService,
    caller: &Identity,
    said: NewFile,
    request: Request,
) -> Result<File, Error> {
    let headers = request.headers();
    let content_type = content_type(headers)?;
    if content_type.as_deref().is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("multipart/")) {
        return form(files, caller, said, request).await;
    }
    if said.name.is_empty() {
        return Err(wrong("name", "is required").into());
    }
    let new = NewFile { content_type, size: length(headers), ..said };
    files.upload(caller, new, bytes_of(request.into_body())).await
}

/// The one file of a form, in its field `file`.
async fn form(files: &FileService, caller: &Identity, said: NewFile, request: Request) -> Result<File, Error> {
    let form = Multipart::from_request(request, &()).await?;
    let (tell, heard) = oneshot::channel();
    let (sender, receiver) = mpsc::channel(2);
    let reading = async move {
        if let Err(error) = read(form, tell, &sender).await {
            _ = sender.send(Err(Error::new(ErrorKind::Interrupted, error))).await;
        }
    };
    let body = stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) });
    let mut body = body.boxed();
    let taking = async {
        let Ok(part) = heard.await else {
            // It has no file, and the reason is in place of its bytes.
            let reason = body.next().await.and_then(Result::err);
            return Err(reason.unwrap_or_else(|| wrong("file", "is required").into()));
        };
        let name = Some(said.name).filter(|name| !name.is_empty()).or(part.file_name);
        let name = name.ok_or_else(|| wrong("name", "is required"))?;
        let new = NewFile { name, content_type: part.content_type, size: None, ..said };
        files.upload(caller, new, body).await
    };
    let (taken, ()) = tokio::join!(taking, reading);
    taken
}

/// What a form says of its file.
struct Part {
    file_name: Option<String>,
    content_type: Option<String>,
}

/// Reads a form to its end: one that ends in the middle has no file, though the file's own bytes may all have come.
async fn read(
    mut form: Multipart,
    tell: oneshot::Sender<Part>,
    sender: &mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(), http::Error> {
    let Some(mut field) = form.next_field().await? else { return Err(wrong("file", "is required")) };
    if field.name() != Some("file") {
        return Err(wrong("file", "is the form's only field"));
    }
    let part =
        Part { file_name: field.file_name().map(Into::into), content_type: field.content_type().map(Into::into) };
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
        Some(_) => Err(wrong("file", "is the form's only field")),
        None => Ok(()),
    }
}
