//! `multipart/form-data` bodies.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, multipart as inner},
};
use http::StatusCode;

use super::{
    Error,
    json::{beyond_limit, too_large},
};

/// A form with files, read field by field as it arrives.
///
/// # Errors
/// 415 for another `Content-Type`; while reading, 413 beyond the route's limit and 400 for a body that ends early or is
/// malformed.
#[derive(Debug)]
pub struct Multipart(inner::Multipart);

impl<S: Send + Sync> FromRequest<S> for Multipart {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        inner::Multipart::from_request(request, state).await.map(Self).map_err(|_| {
            let message = "send the body as `Content-Type: multipart/form-data` with a boundary";
            Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
        })
    }
}

impl Multipart {
    /// The next field, once the one before was read or dropped.
    pub async fn next_field(&mut self) -> Result<Option<Field<'_>>, Error> {
        Ok(self.0.next_field().await.map_err(|error| unreadable(&error))?.map(Field))
    }
}

/// One field of a form.
#[derive(Debug)]
pub struct Field<'a>(inner::Field<'a>);

impl Field<'_> {
    /// Its name in the form.
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// The file name the client gave. Not to be trusted as a path.
    pub fn file_name(&self) -> Option<&str> {
        self.0.file_name()
    }

    /// The content type the client claimed.
    pub fn content_type(&self) -> Option<&str> {
        self.0.content_type()
    }

    /// The next piece of its content.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.chunk().await.map_err(|error| unreadable(&error))
    }

    /// All of its content.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        self.0.bytes().await.map_err(|error| unreadable(&error))
    }

    /// All of its content as text without NUL.
    pub async fn text(self) -> Result<String, Error> {
        let name = self.name().unwrap_or("body").to_owned();
        let bytes = self.bytes().await?;
        match String::from_utf8(bytes.into()) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(Error::invalid([super::FieldProblem::new(name, "is not UTF-8 text without NUL")])),
        }
    }
}

fn unreadable(error: &inner::MultipartError) -> Error {
    if beyond_limit(error) {
        return too_large();
    }
    Error::bad_request("MALFORMED_MULTIPART", format!("the form can't be read: {}", error.body_text()))
}
