//! Tests of the client's address, with and without proxies.

use axum::{Extension, routing::get};
use omnistack_core::{
    http::layer::ClientAddr,
    module::{Api, Mount},
};
use omnistack_testkit::TestClient;

use super::support::{routes, start};

async fn client(trusted: &str) -> TestClient {
    let api = Api::new()
        .hidden("/address", get(|Extension(client): Extension<ClientAddr>| async move { client.0.to_string() }));
    start(|app| app.with(routes(Mount::public(""), api)).set("TRUSTED_PROXIES", trusted)).await.anonymous()
}

/// The peer, its `X-Forwarded-For` header, and the expected client address.
type Case = (&'static str, &'static str, &'static str);

async fn check(trusted: &str, cases: &[Case]) {
    let client = client(trusted).await;
    for (peer, forwarded, expected) in cases {
        let request = client.get("/api/v1/public/address").client_ip(peer.parse().unwrap());
        let answer = request.header("x-forwarded-for", forwarded).await.expect(200);
        assert_eq!(answer.text(), *expected, "trusting `{trusted}`: {peer} says {forwarded:?}");
    }
}

#[tokio::test]
async fn without_trusted_proxies_nobody_is_believed() {
    check(
        "",
        &[
            ("10.0.0.1", "1.2.3.4", "10.0.0.1"),
            ("127.0.0.1", "1.2.3.4", "127.0.0.1"),
            ("::1", "1.2.3.4", "::1"),
            ("::ffff:10.0.0.1", "", "10.0.0.1"),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_first_from_the_right_that_is_no_proxy_is_the_client() {
    check(
        "10.0.0.0/8, 192.168.1.1/32, fd00::/8",
        &[
            ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", " 1.2.3.4 ", "1.2.3.4"),
            ("10.0.0.1", "1.2.3.4, 10.9.9.9", "1.2.3.4"),
            ("10.0.0.1", "1.2.3.4,192.168.1.1,10.9.9.9", "1.2.3.4"),
            // Addresses written by the client are left of those added by proxies.
            ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "10.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
            ("10.0.0.1", "1.2.3.4, 192.168.1.2", "192.168.1.2"),
            // All addresses are proxies: the farthest is taken.
            ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
            // The peer is not a trusted proxy.
            ("1.2.3.4", "6.6.6.6", "1.2.3.4"),
            ("11.0.0.1", "6.6.6.6, 10.0.0.1", "11.0.0.1"),
            ("fd00::1", "2001:db8::7", "2001:db8::7"),
            ("fe80::1", "2001:db8::7", "fe80::1"),
            ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_form_of_an_address_is_read_and_garbage_ends_the_walk() {
    check(
        "10.0.0.0/8",
        &[
            ("10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
            ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
            ("10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "1.2.3.4, ::ffff:10.1.1.1", "1.2.3.4"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", ",", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4,", "10.0.0.1"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, garbage, 10.9.9.9", "10.9.9.9"),
            ("10.0.0.1", "1.2.3.4.5", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4:99999", "10.0.0.1"),
            ("10.0.0.1", "\"1.2.3.4\"", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, \u{e9}", "10.0.0.1"),
        ],
    )
    .await;
}
