//! The app's HTTP client as an HTTP service of `object_store`.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    },
};
use tokio::time::Sleep;

/// The longest duration of a request, including the body of its response.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(6 * 60 * 60);

/// A client of a bucket, which sends requests with the app's HTTP client.
///
/// The client's own timeout covers a whole call, which is too short for large objects. Here the timeout covers
/// the time without progress: until the response begins, and between the pieces of its body.
#[derive(Clone, Debug)]
pub(crate) struct AppHttpClient {
    pub(crate) client: omnistack_core::http::client::Client,
    pub(crate) idle_timeout: Duration,
}

impl HttpConnector for AppHttpClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for AppHttpClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let wrong =
            |error: Box<dyn std::error::Error + Send + Sync>| HttpError::new_boxed(HttpErrorKind::Unknown, error);
        let url = parts.uri.to_string().parse().map_err(|error| wrong(Box::new(error)))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.timeout_mut() = Some(MAX_REQUEST_TIME);
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => reqwest::Body::wrap(body),
        });
        let silence = || HttpError::new(HttpErrorKind::Timeout, IdleTimeout(self.idle_timeout));
        let answer = tokio::time::timeout(self.idle_timeout, self.client.execute(request)).await;
        let answer = answer.map_err(|_| silence())?.map_err(failure)?;
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        let sleep = Box::pin(tokio::time::sleep(self.idle_timeout));
        let body = HttpResponseBody::new(IdleTimeoutBody { body, patience: self.idle_timeout, sleep });
        Ok(HttpResponse::from_parts(parts, body))
    }
}

fn failure(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_decode() => HttpErrorKind::Decode,
        () => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error.without_url())
}

#[derive(Debug, thiserror::Error)]
#[error("no bytes arrived for {0:?}")]
struct IdleTimeout(Duration);

/// A response body that fails if no bytes arrive for a while.
struct IdleTimeoutBody {
    body: reqwest::Body,
    patience: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Body for IdleTimeoutBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let later = tokio::time::Instant::now() + self.patience;
            self.sleep.as_mut().reset(later);
            return Poll::Ready(frame.map(|frame| frame.map_err(failure)));
        }
        let silence = IdleTimeout(self.patience);
        self.sleep.as_mut().poll(cx).map(|()| Some(Err(HttpError::new(HttpErrorKind::Timeout, silence))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
