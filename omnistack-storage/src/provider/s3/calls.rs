//! Requests that `object_store` does not make: reading the metadata of an object with its storage class, changing
//! the class, and restoring an object.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use omnistack_core::{
    clock::Timestamp,
    http::{HeaderMap, StatusCode},
    resilience::{Classification, Retry, RetrySafety},
};
use reqwest::Method;

use super::S3;
use crate::{
    Error, ErrorKind, ObjectKey,
    object::{ObjectMetadata, RestoreStatus, RestoreTier},
    provider::{
        MAX_RETRY_TIME,
        sigv4::{SignableRequest, encode_path},
    },
};

/// Maximum number of bytes of a response that are read.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// The response to a request.
struct S3Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl S3Response {
    fn text(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.body).chars().take(500).collect();
        text.replace(char::is_control, " ")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the error for a status that is no success.
    fn error(&self, key: &ObjectKey) -> Error {
        let kind = match self.status.as_u16() {
            404 => return Error::not_found(key),
            403 if self.text().contains("InvalidObjectState") => ErrorKind::Archived,
            301 | 307 | 400 | 401 | 403 => ErrorKind::Configuration,
            408 | 429 | 500.. => ErrorKind::Unavailable,
            409 | 412 => ErrorKind::Exists,
            _ => ErrorKind::Other,
        };
        Error::new(kind, format!("{}: {}", self.status, self.text()))
    }
}

impl S3 {
    pub(super) async fn head_object(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        let answer = self.send(Method::HEAD, key, &[], BTreeMap::new(), "").await?;
        if !answer.status.is_success() {
            return Err(answer.error(key));
        }
        let size = answer.header("content-length").and_then(|text| text.parse().ok());
        let size =
            size.ok_or_else(|| Error::new(ErrorKind::Other, "the response of the bucket has no `Content-Length`"))?;
        let modified = answer.header("last-modified").and_then(date).unwrap_or_default();
        let mut info = ObjectMetadata::new(key.clone(), size, modified);
        info.etag = answer.header("etag").map(Into::into);
        info.content_type = answer.header("content-type").map(Into::into);
        info.sha256 = answer.header("x-amz-meta-sha256").and_then(|text| text.parse().ok());
        info.storage_class = answer.header("x-amz-storage-class").filter(|class| *class != "STANDARD").map(Into::into);
        info.restore_status = restore_status(info.storage_class.as_deref(), answer.header("x-amz-restore"));
        Ok(info)
    }

    pub(super) async fn copy_to_class(&self, from: &ObjectKey, to: &ObjectKey, class: &str) -> Result<(), Error> {
        let headers = BTreeMap::from([
            ("x-amz-copy-source".to_owned(), format!("/{}/{}", self.settings.bucket, encode_path(from.as_str()))),
            ("x-amz-storage-class".to_owned(), class.to_owned()),
        ]);
        let answer = self.send(Method::PUT, to, &[], headers, "").await?;
        match answer.status.is_success() {
            // S3 sends the status 200 before the copy is complete, and reports a failure in the body.
            true if answer.text().contains("<Error>") => Err(Error::new(ErrorKind::Unavailable, answer.text())),
            true => Ok(()),
            false => Err(answer.error(from)),
        }
    }

    pub(super) async fn restore_object(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<(), Error> {
        let tier = match tier {
            RestoreTier::Expedited => "Expedited",
            RestoreTier::Standard => "Standard",
            RestoreTier::Bulk => "Bulk",
        };
        let body = format!(
            "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>{days}</Days>\
             <GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
        );
        let answer = self.send(Method::POST, key, &[("restore", "")], BTreeMap::new(), &body).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            // The object is already being restored.
            StatusCode::CONFLICT if answer.text().contains("RestoreAlreadyInProgress") => Ok(()),
            // The object is not archived.
            StatusCode::FORBIDDEN if answer.text().contains("InvalidObjectState") => {
                Err(Error::new(ErrorKind::Unsupported, "the object is not archived"))
            }
            _ => Err(answer.error(key)),
        }
    }

    /// Sends a request, and repeats it after a temporary failure. All requests of this module are idempotent.
    async fn send(
        &self,
        method: Method,
        key: &ObjectKey,
        query: &[(&str, &str)],
        headers: BTreeMap<String, String>,
        body: &str,
    ) -> Result<S3Response, Error> {
        let attempt = async || {
            let answer = self.send_once(method.clone(), key, query, &headers, body).await?;
            if !matches!(answer.status.as_u16(), 429 | 500..) {
                return Ok(answer);
            }
            let class = Classification::from_response(answer.status, &answer.headers, self.clock.now());
            Err(answer.error(key).with_retry_after(class.retry_delay()))
        };
        Retry::new(self.settings.retries, MAX_RETRY_TIME).run(RetrySafety::Idempotent, attempt).await
    }

    async fn send_once(
        &self,
        method: Method,
        key: &ObjectKey,
        query: &[(&str, &str)],
        headers: &BTreeMap<String, String>,
        body: &str,
    ) -> Result<S3Response, Error> {
        let credential = self.credential().await?;
        let path = self.path(key);
        let request = SignableRequest {
            method: method.as_str(),
            host: &self.host,
            path: &path,
            query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            headers: headers.clone(),
        };
        let headers = self.signer(&credential).headers(request, body.as_bytes())?;
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let mut request = self.client.request(method, format!("{}{path}{query}", self.origin));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let away = |error: reqwest::Error| Error::new(ErrorKind::Unavailable, error.without_url());
        let sent = request.body(body.to_owned()).timeout(self.settings.patience).send();
        let mut answer = sent.await.map_err(away)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(away)? {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_RESPONSE_BYTES {
                break;
            }
        }
        Ok(S3Response { status, headers, body })
    }
}

/// Returns the archive status from the headers `x-amz-storage-class` and `x-amz-restore`.
fn restore_status(class: Option<&str>, restore: Option<&str>) -> RestoreStatus {
    if !matches!(class, Some("GLACIER" | "DEEP_ARCHIVE")) {
        return RestoreStatus::None;
    }
    let Some(restore) = restore else { return RestoreStatus::Archived };
    if restore.contains("ongoing-request=\"true\"") {
        return RestoreStatus::Restoring;
    }
    let until = restore.split("expiry-date=\"").nth(1).and_then(|rest| rest.split('"').next()).and_then(date);
    until.map_or(RestoreStatus::Archived, RestoreStatus::RestoredUntil)
}

fn date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok().map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_status_of_headers() {
        let until = "2012-12-21T00:00:00Z".parse().unwrap();
        for (class, restore, archive_is) in [
            (None, None, RestoreStatus::None),
            (Some("STANDARD_IA"), None, RestoreStatus::None),
            (Some("GLACIER_IR"), None, RestoreStatus::None),
            (Some("GLACIER"), None, RestoreStatus::Archived),
            (Some("DEEP_ARCHIVE"), Some("ongoing-request=\"true\""), RestoreStatus::Restoring),
            (
                Some("GLACIER"),
                Some("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""),
                RestoreStatus::RestoredUntil(until),
            ),
        ] {
            assert_eq!(restore_status(class, restore), archive_is, "{class:?} {restore:?}");
        }
    }
}
