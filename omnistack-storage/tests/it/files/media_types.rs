//! Tests of media types, and of how browsers handle files.

use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{FILES, PNG, files_app, id, upload};

const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const SLIDES: &str = "application/vnd.openxmlformats-officedocument.presentationml.presentation";
const ODT: &str = "application/vnd.oasis.opendocument.text";

/// Documents created with the libraries after which they are named, with `Document().save(…)` and the like:
/// python-docx 1.2.0, openpyxl 3.1.5, python-pptx 1.0.2 and odfpy 1.4.1. The larger ones are cut off after the 8
/// KiB that are examined.
const DOCUMENTS: [(&str, &[u8]); 4] = [
    (WORD, include_bytes!("documents/python-docx.docx")),
    (SHEET, include_bytes!("documents/openpyxl.xlsx")),
    (SLIDES, include_bytes!("documents/python-pptx.pptx")),
    (ODT, include_bytes!("documents/odfpy.odt")),
];

on_each_database! {
    async fn documents_keep_their_types(database: TestDatabase) {
        let taken = [WORD, SHEET, SLIDES, ODT, "text/csv"].join(",");
        let shop = files_app(database, &[("FILES_TYPES", &taken)], None).await;
        let alice = shop.app.user();
        for (media_type, bytes) in DOCUMENTS {
            for claimed in [media_type, "application/zip", "application/octet-stream"] {
                let file = upload(&alice, "a", claimed, bytes).await.expect(201).json();
                assert_eq!(file["content_type"], media_type, "{claimed}");
            }
        }
        for (claimed, bytes, found) in [
            ("text/csv", b"Gr\xf6\xdfe;1".as_slice(), "text/csv"),
            ("text/csv; charset=windows-1252", b"Gr\xf6\xdfe;1", "text/csv; charset=windows-1252"),
            ("application/vnd.ms-excel", b"Gr\xf6\xdfe;1", "text/csv"),
            ("application/vnd.ms-excel", "Größe;1".as_bytes(), "text/csv; charset=utf-8"),
        ] {
            let file = upload(&alice, "a.csv", claimed, bytes).await.expect(201).json();
            assert_eq!(file["content_type"], found, "{claimed}");
            let content = alice.get(format!("{FILES}/{}/content", id(&file))).await.expect_ok();
            assert_eq!(content.header("content-type"), Some(found));
        }
        upload(&alice, "a", "application/zip", b"PK\x03\x04 and no more".as_slice()).await.expect(415);
        upload(&alice, "a", WORD, b"PK\x03\x04 and no more".as_slice()).await.expect(415);
    }

    async fn links_are_shown_on_pages_of_every_origin(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        for (content_type, bytes, found, sandboxed) in [
            ("image/png", PNG, "image/png", true),
            ("application/pdf", b"%PDF-1.7", "application/pdf", false),
            ("text/plain", "Привет".as_bytes(), "text/plain; charset=utf-8", true),
        ] {
            let file = upload(&alice, "a", content_type, bytes).await.expect(201).json();
            let path = format!("{FILES}/{}", id(&file));
            let link = alice.post(format!("{path}/link"), json!({ "inline": true })).await.expect_ok().json();
            let link = link["url"].as_str().unwrap().strip_prefix("http://127.0.0.1:8080").unwrap().to_owned();
            let by_link = shop.app.anonymous().get(link).await.expect_ok();
            let by_app = alice.get(format!("{path}/content?inline=true")).await.expect_ok();
            for answer in [&by_link, &by_app] {
                assert_eq!(answer.header("content-type"), Some(found));
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
                assert!(answer.header("content-disposition").unwrap().starts_with("inline;"));
                let policy = answer.header("content-security-policy").unwrap();
                assert!(policy.starts_with("default-src 'none';"), "{policy}");
                assert_eq!(policy.contains("sandbox"), sandboxed, "{policy}");
            }
            let policy = |answer: &omnistack_testkit::TestResponse| answer.header("content-security-policy").unwrap().to_owned();
            assert!(policy(&by_link).contains("frame-ancestors *"));
            assert_eq!(by_link.header("cross-origin-resource-policy"), Some("cross-origin"));
            assert!(policy(&by_app).contains("frame-ancestors 'self'"));
            assert_eq!(by_app.header("x-frame-options"), Some("SAMEORIGIN"));
            assert_eq!(by_app.header("cross-origin-resource-policy"), Some("same-origin"));
        }
    }

    async fn pages_of_allowed_origins_embed_files_with_the_cookies_of_the_user(database: TestDatabase) {
        const POLICY: &str = "cross-origin-resource-policy";
        let shop = files_app(database, &[("CORS_ORIGINS", "https://app.example.com")], None).await;
        let alice = shop.app.user();
        let file = upload(&alice, "a", "image/png", PNG).await.expect(201).json();
        let path = format!("{FILES}/{}/content?inline=true", id(&file));
        for (page, expected) in [
            ("https://app.example.com/teams/7", "same-site"),
            ("https://blog.example.com/", "same-origin"),
            ("http://127.0.0.1:8080/teams/7", "same-origin"),
        ] {
            let shown = alice.get(&path).header("referer", page).await.expect_ok();
            assert_eq!(shown.header(POLICY), Some(expected), "{page}");
            // A stored copy gets the policy for the page that shows it now.
            let known = alice.get(&path).header("referer", page).header("if-none-match", shown.header("etag").unwrap());
            assert_eq!(known.await.expect(304).header(POLICY), Some(expected), "{page}");
        }
        // With `crossorigin="use-credentials"`, browsers check these headers instead.
        let shown = alice.get(&path).header("origin", "https://app.example.com").await.expect_ok();
        assert_eq!(shown.header("access-control-allow-origin"), Some("https://app.example.com"));
        assert_eq!(shown.header("access-control-allow-credentials"), Some("true"));
    }

    async fn an_announced_file_is_given_by_its_link_as_what_was_found(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let text = "Привет";
        let body = json!({ "name": "a", "content_type": "text/plain", "size": text.len() });
        let answer = alice.post(format!("{FILES}/uploads"), body).await.expect(201).json();
        let sent = |url: &serde_json::Value| url.as_str().unwrap().strip_prefix("http://127.0.0.1:8080").unwrap().to_owned();
        let put = shop.app.anonymous().request(omnistack_core::http::Method::PUT, sent(&answer["upload"]["url"]));
        put.header("content-type", "text/plain").body(text).await.expect(204);
        let path = format!("{FILES}/{}", id(&answer["file"]));
        alice.post(format!("{path}/confirm"), ()).await.expect_ok();
        let link = alice.post(format!("{path}/link"), json!({})).await.expect_ok().json();
        let given = shop.app.anonymous().get(sent(&link["url"])).await.expect_ok();
        assert_eq!(given.header("content-type"), Some("text/plain; charset=utf-8"));
    }
}
