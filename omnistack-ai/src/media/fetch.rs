//! Images and files at URLs, for providers that don't fetch them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use http::{StatusCode, header};
use omnistack_core::http::{
    Error,
    client::{Client, GuardedClient, is_refused},
};
use reqwest::{Response, Url};

use super::{decode_data_url, for_each, invalid, normalize, too_large};
use crate::chat::{ChatRequest, MediaSource, Part};

/// Maximum number of URLs in a request that are fetched.
const MAX_URLS_PER_REQUEST: usize = 20;

/// Longest URL that is fetched, in bytes.
const MAX_URL_BYTES: usize = 8 * 1024;

/// Maximum number of redirects of a URL.
const MAX_REDIRECTS: usize = 3;

/// Time limit of all fetches of a request.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// A URL to fetch, and its place in the request.
struct MediaUrl {
    url: Url,
    path: String,
}

/// The bytes at a URL, and the type that its server claims.
struct FetchedMedia {
    bytes: Bytes,
    media_type: Option<String>,
}

/// Prepares the images and files of a request for a provider: fetches URLs that the provider does not fetch, by a
/// client that connects only to public addresses, and gives all of them the type that their bytes have.
///
/// HTTPS URLs remain if `provider_accepts_urls`. Without a client, no URL is fetched.
///
/// Fails with 422 `VALIDATION_FAILED` that names the field: if a URL may not or can't be fetched, if there are more
/// than [`MAX_URLS_PER_REQUEST`], if an image is none that providers accept, or if the media are larger than
/// `max_bytes` together.
pub(crate) async fn resolve(
    request: &mut ChatRequest,
    provider_accepts_urls: bool,
    client: Option<&GuardedClient>,
    max_bytes: u64,
) -> Result<(), Error> {
    let urls = urls(request, provider_accepts_urls, client.is_some())?;
    if let Some(GuardedClient(client)) = client.filter(|_| !urls.is_empty()) {
        let rest = AtomicU64::new(max_bytes);
        let fetches = try_join_all(urls.iter().map(|url| fetch_for(client, url, &rest, max_bytes)));
        let fetched = match tokio::time::timeout(FETCH_TIMEOUT, fetches).await {
            Ok(fetched) => fetched?,
            Err(_) => {
                let path = urls.first().map_or("messages", |url| url.path.as_str());
                let problem = "could not be fetched in time; send the file itself as a data URL";
                return Err(invalid(path, problem.to_owned()));
            }
        };
        let mut fetched = fetched.into_iter();
        for_each(request, &mut |part, _| {
            let (Part::Image(media) | Part::File(media)) = part else { return Ok(()) };
            if is_to_fetch(&media.source, provider_accepts_urls, true)
                && let Some(fetched) = fetched.next()
            {
                media.source = MediaSource::Bytes(fetched.bytes);
                media.media_type = media.media_type.take().or(fetched.media_type);
            }
            Ok(())
        })?;
    }
    normalize(request, max_bytes)
}

/// Returns the URLs to fetch, in the order of the request. Data URLs become bytes.
fn urls(request: &mut ChatRequest, provider_accepts_urls: bool, has_client: bool) -> Result<Vec<MediaUrl>, Error> {
    let mut urls = Vec::new();
    for_each(request, &mut |part, path| {
        let (Part::Image(media) | Part::File(media)) = part else { return Ok(()) };
        decode_data_url(media).map_err(|problem| invalid(path, problem))?;
        let MediaSource::Url(text) = &media.source else { return Ok(()) };
        let url = parse(text).map_err(|problem| invalid(path, problem))?;
        if !is_to_fetch(&media.source, provider_accepts_urls, has_client) {
            return Ok(());
        }
        if !has_client {
            let problem = "is a URL, which is not fetched; send the file itself as a data URL";
            return Err(invalid(path, problem.to_owned()));
        }
        if urls.len() == MAX_URLS_PER_REQUEST {
            let problem = format!("is one of more than {MAX_URLS_PER_REQUEST} URLs; send the files themselves");
            return Err(invalid(path, problem));
        }
        urls.push(MediaUrl { url, path: path.to_owned() });
        Ok(())
    })?;
    Ok(urls)
}

/// Returns whether the gateway fetches a source. Providers that fetch URLs fetch only those of HTTPS.
fn is_to_fetch(source: &MediaSource, provider_accepts_urls: bool, has_client: bool) -> bool {
    let MediaSource::Url(url) = source else { return false };
    let is_https = url.trim().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    !provider_accepts_urls || (has_client && !is_https)
}

fn parse(text: &str) -> Result<Url, String> {
    const MALFORMED: &str = "is no URL of a file; send one such as `https://example.com/image.png`, or a data URL";
    if text.len() > MAX_URL_BYTES {
        return Err(format!("is a URL of more than {MAX_URL_BYTES} bytes; send the file itself as a data URL"));
    }
    let url: Url = text.trim().parse().map_err(|_| MALFORMED.to_owned())?;
    check(&url)?;
    Ok(url)
}

fn check(url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return Err("leads to a URL that is not HTTPS; send an HTTPS URL, or the file itself as a data URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains a password; send a URL without one, or the file itself as a data URL".to_owned());
    }
    Ok(())
}

async fn fetch_for(client: &Client, media: &MediaUrl, rest: &AtomicU64, max_bytes: u64) -> Result<FetchedMedia, Error> {
    let fetched = fetch(client, media.url.clone(), rest, max_bytes).await;
    fetched.map_err(|problem| invalid(&media.path, problem))
}

async fn fetch(client: &Client, mut url: Url, rest: &AtomicU64, max_bytes: u64) -> Result<FetchedMedia, String> {
    for _ in 0..=MAX_REDIRECTS {
        let response = client.get(url.clone()).timeout(FETCH_TIMEOUT).send().await;
        let response = response.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return read(response, rest, max_bytes).await;
        }
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let (true, Some(location)) = (status.is_redirection(), location) else {
            return Err(format!("could not be fetched: its server answered with status {}", status.as_u16()));
        };
        // Each redirect is a request of its own to the guarded client.
        url = url.join(location).map_err(|_| "could not be fetched: its server redirects to no URL".to_owned())?;
        check(&url)?;
    }
    Err(format!("could not be fetched: its server redirects more than {MAX_REDIRECTS} times"))
}

async fn read(mut response: Response, rest: &AtomicU64, max_bytes: u64) -> Result<FetchedMedia, String> {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.map(str::to_owned);
    if response.content_length().is_some_and(|length| length > rest.load(Ordering::Relaxed)) {
        return Err(too_large(max_bytes));
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let taken = rest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rest| rest.checked_sub(length));
        if taken.is_err() {
            return Err(too_large(max_bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(FetchedMedia { bytes: bytes.freeze(), media_type })
}

fn unreachable(error: &reqwest::Error) -> String {
    let reason = match () {
        () if is_refused(error) => "its host has no public address",
        () if error.is_timeout() => "its server took too long",
        () => "its server can't be reached",
    };
    format!("could not be fetched: {reason}; send the file itself as a data URL")
}
