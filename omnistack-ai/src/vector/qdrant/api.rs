//! Requests to Qdrant.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use omnistack_core::{BoxError, http::client::Client};
use reqwest::{Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::vector::error::VectorError;

/// Timeout of a request, from the connection to the last byte of the response.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest response that is read, in bytes: 1,000 points with 4,096 dimensions.
const MAX_RESPONSE_BYTES: usize = 128 * 1024 * 1024;
/// Largest length of a message of Qdrant in an error, in characters.
const MAX_MESSAGE_LENGTH: usize = 500;

/// The REST API.
#[derive(Debug)]
pub(super) struct QdrantApi {
    client: Client,
    /// Without a slash at its end.
    base: String,
    /// Marked as sensitive, so that it is not shown.
    api_key: Option<HeaderValue>,
}

impl QdrantApi {
    pub(super) fn new(client: Client, url: &str, api_key: Option<SecretString>) -> Result<Self, BoxError> {
        let parsed = Url::parse(url)?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err("it must begin with http:// or https://".into());
        }
        let api_key = match api_key {
            Some(key) => {
                let mut key = HeaderValue::from_str(key.expose_secret())?;
                key.set_sensitive(true);
                Some(key)
            }
            None => None,
        };
        Ok(Self { client, base: url.trim_end_matches('/').to_owned(), api_key })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, VectorError> {
        self.request(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, VectorError> {
        self.request(Method::POST, path, Some(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, VectorError> {
        self.request(Method::PUT, path, Some(body)).await
    }

    /// Creates a collection, if it does not exist.
    pub(super) async fn create_collection(&self, name: &str, body: &Value) -> Result<(), VectorError> {
        let exists = self.get(&format!("/collections/{name}/exists")).await?;
        if exists["exists"] == true {
            return Ok(());
        }
        match self.put(&format!("/collections/{name}"), body).await {
            Ok(_) => Ok(()),
            // Another process has created it meanwhile.
            Err(VectorError::Rejected { message }) if message.contains("already exists") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the names of the collections that begin with a prefix.
    pub(super) async fn collections(&self, prefix: &str) -> Result<Vec<String>, VectorError> {
        let result = self.get("/collections").await?;
        let all = result["collections"].as_array().ok_or_else(|| unreadable("there are no `collections`"))?;
        let names = all.iter().filter_map(|collection| collection["name"].as_str());
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    /// Returns the number of points that a filter selects.
    pub(super) async fn count(&self, name: &str, filter: &Value) -> Result<u64, VectorError> {
        let body = serde_json::json!({ "filter": filter, "exact": true });
        let result = self.post(&format!("/collections/{name}/points/count"), &body).await?;
        result["count"].as_u64().ok_or_else(|| unreadable("a count has no number"))
    }

    /// Sends a request, and returns the `result` of its response.
    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, VectorError> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).timeout(TIMEOUT);
        if let Some(key) = &self.api_key {
            request = request.header("api-key", key.clone());
        }
        if let Some(body) = body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let body = read(response).await?;
        let mut body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(body["result"].take());
        }
        let message = body["status"]["error"].as_str().unwrap_or(status.as_str());
        let message: String = message.chars().take(MAX_MESSAGE_LENGTH).collect();
        Err(match status {
            StatusCode::NOT_FOUND => VectorError::UnknownCollection,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => VectorError::Unavailable { message },
            status if status.is_server_error() => VectorError::Unavailable { message },
            _ => VectorError::Rejected { message },
        })
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, VectorError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(unreadable("it is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unavailable(error: reqwest::Error) -> VectorError {
    VectorError::Unavailable { message: error.without_url().to_string() }
}

/// Returns the error of a response with a problem.
pub(super) fn unreadable(message: &str) -> VectorError {
    VectorError::Protocol { message: message.to_owned() }
}
