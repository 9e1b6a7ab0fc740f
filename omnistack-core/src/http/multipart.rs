//! `multipart/form-data` bodies.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, multipart as inner},
};
use http::StatusCode;

use super::{
    Error,
    json::{is_too_large, too_large},
};

/// Extractor of a form with files, which are read field by field as they arrive.
///
/// # Errors
/// Fails with 415 for another `Content-Type`; while reading, with 413 beyond the route's limit and with 400 for a
/// body that ends early or is malformed.
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
    /// Returns the next field, or `None` at the end. The previous field must have been read or dropped.
    ///
    /// # Errors
    /// Fails with 413 `PAYLOAD_TOO_LARGE` beyond the route's limit, and with 400 `MALFORMED_MULTIPART` for a
    /// malformed body.
    pub async fn next_field(&mut self) -> Result<Option<Field<'_>>, Error> {
        Ok(self.0.next_field().await.map_err(|error| unreadable(&error))?.map(Field))
    }
}

/// A field of a form.
#[derive(Debug)]
pub struct Field<'a>(inner::Field<'a>);

impl Field<'_> {
    /// Returns the field's name in the form.
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// Returns the file name that the client sent. It must not be used as a path.
    pub fn file_name(&self) -> Option<&str> {
        self.0.file_name()
    }

    /// Returns the content type that the client sent.
    pub fn content_type(&self) -> Option<&str> {
        self.0.content_type()
    }

    /// Returns the next chunk of the content, or `None` at the end.
    ///
    /// # Errors
    /// Fails like [`Multipart::next_field`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.chunk().await.map_err(|error| unreadable(&error))
    }

    /// Returns the whole content.
    ///
    /// # Errors
    /// Fails like [`Multipart::next_field`].
    pub async fn bytes(self) -> Result<Bytes, Error> {
        self.0.bytes().await.map_err(|error| unreadable(&error))
    }

    /// Returns the whole content as text.
    ///
    /// # Errors
    /// Fails like [`Multipart::next_field`], and with 422 for text that is not UTF-8 or contains NUL.
    pub async fn text(self) -> Result<String, Error> {
        let name = self.name().unwrap_or("body").to_owned();
        let bytes = self.bytes().await?;
        match String::from_utf8(bytes.into()) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(Error::invalid([super::FieldError::new(name, "must be UTF-8 text without NUL")])),
        }
    }
}

fn unreadable(error: &inner::MultipartError) -> Error {
    if is_too_large(error) {
        return too_large();
    }
    Error::bad_request("MALFORMED_MULTIPART", format!("the form can't be read: {}", error.body_text()))
}
