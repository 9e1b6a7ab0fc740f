//! Tests that the page at `/docs` loads nothing from other servers.

use super::support::start;

const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

#[tokio::test]
async fn the_page_and_all_it_loads_are_ours() {
    let client = start(|app| app).await.anonymous();
    assert_eq!(client.get("/docs").await.expect(308).header("location"), Some("/docs/"));
    let page = client.get("/docs/").await.expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert_eq!(page.header("content-security-policy"), Some(POLICY));
    let html = page.text();
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for link in html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let file = link.strip_prefix("./").unwrap_or(link);
            assert!(!file.contains("//"), "{link} is of another host");
            let asset = client.get(format!("/docs/{file}")).await.expect(200);
            assert_eq!(asset.header("content-security-policy"), Some(POLICY), "{file}");
            assert_eq!(asset.header("x-content-type-options"), Some("nosniff"), "{file}");
            let kind = asset.header("content-type").unwrap();
            let expected = match file.rsplit('.').next().unwrap() {
                "js" => "javascript",
                "css" => "text/css",
                _ => "image/",
            };
            assert!(kind.contains(expected), "{file} is {kind}, and `nosniff` makes browsers believe it");
            loaded += 1;
        }
    }
    assert!(loaded > 3, "{html}");
    // The content security policy forbids inline scripts.
    for script in html.split("<script").skip(1) {
        let (head, rest) = script.split_once('>').unwrap();
        assert!(head.contains("src="), "{script}");
        assert!(rest.trim_start().starts_with("</script>"), "{script}");
    }
}

#[tokio::test]
async fn it_shows_our_description() {
    let client = start(|app| app).await.anonymous();
    let script = client.get("/docs/swagger-initializer.js").await.expect(200).text();
    assert!(script.contains("/openapi.json"), "{script}");
    assert!(!script.contains("petstore"), "{script}");
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let client = start(|app| app).await.anonymous();
    for path in
        ["/docs/nothing.js", "/docs/../Cargo.toml", "/docs/%2e%2e/%2e%2e/etc/passwd", "/docs//etc/passwd", "/docs/%00"]
    {
        let answer = client.get(path).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        assert!(answer.json()["error"]["code"].is_string(), "{path}");
    }
}
