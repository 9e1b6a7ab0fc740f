use bytes::Bytes;

use super::*;
use crate::chat::{Message, Role, ToolResult};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....";
const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0....";
const SVG_BYTES: &[u8] = b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>";
const PDF: &[u8] = b"%PDF-1.7\n";

fn request(part: Part) -> ChatRequest {
    ChatRequest::new("m", [Message::user("Hi"), Message::new(Role::User, vec![Part::text("See"), part])])
}

fn media_of(request: &ChatRequest) -> &Media {
    match request.messages[1].parts.last() {
        Some(Part::Image(media) | Part::File(media)) => media,
        part => panic!("{part:?}"),
    }
}

/// Returns the type of media after normalisation, or the problem.
fn normalized(part: Part) -> Result<String, String> {
    let mut request = request(part);
    match normalize(&mut request, 1_000) {
        Ok(()) => Ok(media_of(&request).media_type.clone().unwrap_or_default()),
        Err(error) => {
            assert_eq!((error.status().as_u16(), error.code()), (422, "VALIDATION_FAILED"));
            Err(error.to_string())
        }
    }
}

#[test]
fn images_have_the_type_of_their_bytes() {
    for (bytes, claimed, expected) in [
        (JPEG, "image/jpg", "image/jpeg"),
        (JPEG, "image/png", "image/jpeg"),
        (PNG, "application/octet-stream", "image/png"),
        (b"GIF89a....", "image/png", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/png", "image/webp"),
    ] {
        assert_eq!(normalized(Part::Image(Media::bytes(bytes, claimed))), Ok(expected.to_owned()));
    }
    for (bytes, problem) in [
        (SVG_BYTES, "image/svg+xml"),
        (b"<!-- a --><svg/>", "image/svg+xml"),
        (b"\xEF\xBB\xBF <SVG/>", "image/svg+xml"),
        (b"BM......", "image/bmp"),
        (PDF, "application/pdf"),
        (b"text", "is not an image"),
        (b"", "is empty"),
    ] {
        let error = normalized(Part::Image(Media::bytes(bytes, "image/png"))).unwrap_err();
        assert!(error.contains(problem) && error.contains("messages[1].content[1]"), "{error}");
    }
}

#[test]
fn files_have_the_detected_type_or_the_claimed_one() {
    for (bytes, claimed, expected) in [
        (PDF, "text/plain; charset=utf-8", "text/plain"),
        (PDF, "application/octet-stream", "application/pdf"),
        (b"a,b", "text/CSV; header=present", "text/csv"),
        (b"BMW is a brand", "text/plain", "text/plain"),
        (b"a,b", "nonsense", "text/plain"),
        (b"a,b", "application/octet-stream", "text/plain"),
        (b"\x00\x9F\x92", "nonsense", "application/octet-stream"),
        (b"{}", "application/json", "application/json"),
        (PNG, "application/pdf", "image/png"),
    ] {
        assert_eq!(normalized(Part::File(Media::bytes(bytes, claimed))), Ok(expected.to_owned()), "{claimed}");
    }
    assert!(normalized(Part::File(Media::bytes(&b"text"[..], "application/pdf"))).is_err());
    assert!(normalized(Part::File(Media::bytes(&b""[..], "text/plain"))).is_err());
}

#[test]
fn the_size_of_all_media_is_limited() {
    let image = || Part::Image(Media::bytes([PNG, &[0; 500]].concat(), "image/png"));
    let mut request = ChatRequest::new("m", [Message::new(Role::User, vec![image()])]);
    assert!(normalize(&mut request, 600).is_ok());
    let mut result = ToolResult::text("a", "");
    result.parts.push(image());
    request.messages.push(Message::tool_results([result]));
    assert!(normalize(&mut request, 600).unwrap_err().to_string().contains("messages[1].content[0]"));
}

#[test]
fn urls_remain_and_data_urls_become_bytes() {
    let mut with_url = request(Part::Image(Media::url("https://example.com/a.png")));
    normalize(&mut with_url, 10).unwrap();
    assert_eq!(media_of(&with_url).source, MediaSource::Url("https://example.com/a.png".to_owned()));
    let mut with_data = request(Part::Image(Media::url("data:image/jpg;base64,iVBORw0KGgo=")));
    normalize(&mut with_data, 10).unwrap();
    assert_eq!(media_of(&with_data).source, MediaSource::Bytes(Bytes::from_static(b"\x89PNG\r\n\x1a\n")));
    assert_eq!(media_of(&with_data).media_type.as_deref(), Some("image/png"));
    assert!(normalize(&mut request(Part::Image(Media::url("data:image/png;base64,§"))), 10).is_err());
}

#[test]
fn data_urls_are_parsed_as_clients_write_them() {
    for (url, bytes, media_type) in [
        ("data:image/png;base64,AAAA", &[0, 0, 0][..], "image/png"),
        ("data:image/png;base64, AAA", &[0, 0], "image/png"),
        ("  DATA:image/jpg;BASE64,AA\nAA\r\n", &[0, 0, 0], "image/jpeg"),
        ("data:text/plain;charset=utf-8;base64,aGk=", b"hi", "text/plain"),
        ("data:image/png;base64,-_8", &[0xFB, 0xFF], "image/png"),
        ("data:image/png;base64,%2B%2F8%3D", &[0xFB, 0xFF], "image/png"),
        ("data:image/png;base64,+/9", &[0xFB, 0xFF], "image/png"),
        ("data:,a%20b", b"a b", "text/plain"),
        ("data:text/html,<p>", b"<p>", "text/html"),
    ] {
        let media = parse_data_url(url).unwrap();
        assert_eq!(media.source, MediaSource::Bytes(Bytes::copy_from_slice(bytes)), "{url}");
        assert_eq!(media.media_type.as_deref(), Some(media_type), "{url}");
    }
    for url in ["", "data:", "data:image/png;base64", "http://a/b,c", "data:a/b;base64,====", "data:a/b;base64,AAAAA"] {
        assert!(parse_data_url(url).is_err(), "{url}");
    }
}

#[cfg(feature = "providers")]
mod fetching {
    use omnistack_core::{
        config::Environment,
        http::client::{ClientSettings, GuardedClient, UrlSource},
    };

    use super::*;

    fn client() -> GuardedClient {
        GuardedClient(ClientSettings::default().guarded_client(UrlSource::Users, Environment::Production).unwrap())
    }

    async fn resolved(url: &str, provider_accepts_urls: bool, client: Option<&GuardedClient>) -> Result<(), String> {
        let mut request = request(Part::Image(Media::url(url)));
        let resolved = resolve(&mut request, provider_accepts_urls, client, 1_000).await;
        resolved.map_err(|error| {
            assert_eq!(error.status().as_u16(), 422);
            error.to_string()
        })
    }

    #[tokio::test]
    async fn urls_of_private_networks_are_not_fetched() {
        for url in
            ["http://127.0.0.1/a.png", "http://169.254.169.254/latest", "https://[::1]/a.png", "http://2130706433/"]
        {
            let error = resolved(url, false, Some(&client())).await.unwrap_err();
            assert!(error.contains("no public address"), "{url} {error}");
        }
    }

    #[tokio::test]
    async fn urls_are_checked_before_anything_is_fetched() {
        for url in ["ftp://example.com/a", "file:///etc/passwd", "http://user:secret@example.com/a", "a.png", ""] {
            for accepts in [true, false] {
                let error = resolved(url, accepts, Some(&client())).await.unwrap_err();
                assert!(error.contains("messages[1].content[1]") && !error.contains("secret"), "{url} {error}");
            }
        }
        assert!(resolved("https://example.com/a.png", false, None).await.unwrap_err().contains("data URL"));
        assert_eq!(resolved("https://example.com/a.png", true, Some(&client())).await, Ok(()));
        let many = vec![Part::Image(Media::url("https://example.com/a.png")); 21];
        let mut request = ChatRequest::new("m", [Message::new(Role::User, many)]);
        let error = resolve(&mut request, false, Some(&client()), 1_000).await.unwrap_err();
        assert!(error.to_string().contains("20 URLs"));
    }
}
