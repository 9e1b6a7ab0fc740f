//! Tests of the addresses that clients connect to.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Method;
use reqwest::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{
    config::Environment,
    http::client::{Client, ClientSettings, lookup},
};

/// Addresses of the public internet.
const PUBLIC: [&str; 22] = [
    "1.0.0.0",
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "128.0.0.1",
    "168.63.129.17",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001:81b::200e",
];

/// Addresses that are not.
const NOT_PUBLIC: [&str; 71] = [
    // This network, loopback.
    "0.0.0.0",
    "0.255.255.255",
    "127.0.0.1",
    "127.255.255.254",
    // Private.
    "10.0.0.0",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    // Shared.
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    // Link-local, and the platform of Azure.
    "169.254.0.1",
    "169.254.169.254",
    "169.254.255.255",
    "168.63.129.16",
    // Protocols, relays, benchmarks, documentation.
    "192.0.0.0",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.255",
    // Multicast, reserved, broadcast.
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "254.255.255.255",
    "255.255.255.255",
    // Unspecified, loopback.
    "::",
    "::1",
    // IPv4-mapped.
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:172.16.0.1",
    "::ffff:192.168.1.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:100.64.0.1",
    "::ffff:255.255.255.255",
    // IPv4-compatible and IPv4-translated.
    "::10.0.0.1",
    "::8.8.8.8",
    "::ffff:0:10.0.0.1",
    // NAT64.
    "64:ff9b::a00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    // Discard.
    "100::",
    "100::ffff:ffff:ffff:ffff",
    // Teredo, benchmarks, ORCHID.
    "2001::1",
    "2001:0:ffff::",
    "2001:2::1",
    "2001:10::1",
    "2001:1f:ffff::",
    "2001:20::1",
    "2001:2f:ffff::",
    // Documentation.
    "2001:db8::1",
    "2001:db8:ffff::",
    "3fff::1",
    "3fff:fff:ffff::",
    // 6to4.
    "2002:a00:1::1",
    "2002:808:808::1",
    // Segment routing.
    "5f00::1",
    // Unique local, link-local, site-local.
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::1",
    "febf::1",
    "fec0::1",
    // Multicast.
    "ff02::1",
    "ff0e::1",
];

fn networks(texts: &[&str]) -> AddressGuard {
    AddressGuard::new(texts.iter().map(|text| text.parse::<IpNet>().unwrap()))
}

#[test]
fn only_public_addresses_are_permitted() {
    let guard = AddressGuard::default();
    for text in PUBLIC {
        assert!(guard.permits(text.parse().unwrap()), "{text}");
    }
    for text in NOT_PUBLIC {
        assert!(!guard.permits(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn allowed_networks_are_permitted_and_no_others() {
    let guard = networks(&["10.1.0.0/16", "fd00:1::/32", "127.0.0.1/32"]);
    for text in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd00:1::7", "127.0.0.1", "1.1.1.1"] {
        assert!(guard.permits(text.parse().unwrap()), "{text}");
    }
    for text in ["10.0.255.255", "10.2.0.0", "::ffff:10.2.0.0", "::10.1.0.1", "fd00:2::7", "127.0.0.2", "::1"] {
        assert!(!guard.permits(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn what_is_permitted_depends_on_source_and_environment() {
    let plain = ClientSettings { allowed_networks: vec!["10.1.0.0/16".parse().unwrap()], ..ClientSettings::default() };
    let open = ClientSettings { allow_private_addresses: true, ..plain.clone() };
    let (users, settings) = (UrlSource::Users, UrlSource::Settings);
    let (development, test, production) = (Environment::Development, Environment::Test, Environment::Production);
    for (source, environment, permitted) in [
        // Of 10.1.0.1, 127.0.0.1, ::1, 169.254.169.254; then the same if private addresses are allowed.
        (users, development, [false, false, false, false, true, true, true, true]),
        (users, test, [false, false, false, false, true, true, true, true]),
        (users, production, [false; 8]),
        (settings, development, [true, true, true, false, true, true, true, true]),
        (settings, test, [true, true, true, false, true, true, true, true]),
        (settings, production, [true, false, false, false, true, false, false, false]),
    ] {
        let guards = [plain.guard(source, environment), open.guard(source, environment)];
        let addresses = ["10.1.0.1", "127.0.0.1", "::1", "169.254.169.254"];
        let found: Vec<_> =
            guards.iter().flat_map(|guard| addresses.map(|address| guard.permits(address.parse().unwrap()))).collect();
        assert_eq!(found, permitted, "{source:?} in {environment}");
        assert!(guards.iter().all(|guard| guard.permits(IpAddr::from([1, 1, 1, 1]))));
    }
}

/// Returns a lookup that finds, for any name, the first answer, then the second and so on. The last one stays.
fn answers(answers: &[&[&str]]) -> Lookup {
    let answers: Vec<Vec<SocketAddr>> = answers
        .iter()
        .map(|texts| texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect())
        .collect();
    let answers = Mutex::new(answers);
    Arc::new(move |_: String| -> LookupFuture {
        let mut answers = answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(std::future::ready(Ok(answer)))
    })
}

async fn resolve(resolver: &GuardedResolver, name: &str) -> Result<Vec<String>, BoxError> {
    let found = resolver.resolve(name.parse().unwrap()).await?;
    Ok(found.map(|address| address.ip().to_string()).collect())
}

fn resolver(found: &[&[&str]]) -> GuardedResolver {
    GuardedResolver { guard: AddressGuard::default(), source: UrlSource::Users, lookup: answers(found) }
}

#[tokio::test]
async fn a_name_leads_to_its_public_addresses_only() {
    for (found, expected) in [
        (&["1.1.1.1", "2606:4700::1111"][..], Some(&["1.1.1.1", "2606:4700::1111"][..])),
        (&["10.0.0.1"], None),
        (&["127.0.0.1", "::1"], None),
        (&["::ffff:10.0.0.1"], None),
        (&["::ffff:169.254.169.254", "fe80::1"], None),
        (&["10.0.0.1", "1.1.1.1", "::1", "::ffff:8.8.8.8"], Some(&["1.1.1.1", "::ffff:8.8.8.8"][..])),
    ] {
        match (resolve(&resolver(&[found]), "hooks.example.com").await, expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, expected),
            (Err(error), None) => {
                assert!(error.is::<RefusedAddress>(), "{found:?}: {error}");
                assert!(found.iter().all(|address| !error.to_string().contains(address)), "{error}");
            }
            (result, expected) => panic!("{found:?}: {result:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn each_lookup_is_checked() {
    let resolver = resolver(&[&["1.1.1.1"], &["10.0.0.1"], &["1.1.1.1", "127.0.0.1"]]);
    assert_eq!(resolve(&resolver, "rebind.example.com").await.unwrap(), ["1.1.1.1"]);
    assert!(resolve(&resolver, "rebind.example.com").await.unwrap_err().is::<RefusedAddress>());
    assert_eq!(resolve(&resolver, "rebind.example.com").await.unwrap(), ["1.1.1.1"]);
}

#[tokio::test]
async fn names_of_this_machine_are_refused() {
    let resolver =
        GuardedResolver { guard: AddressGuard::default(), source: UrlSource::Settings, lookup: lookup::system() };
    let error = resolve(&resolver, "localhost").await.unwrap_err();
    assert!(error.to_string().contains("HTTP_CLIENT_ALLOWED_NETWORKS"), "{error}");
}

fn client(guard: AddressGuard, lookup: Lookup) -> Client {
    ClientSettings::default().guarded_client_with(guard, UrlSource::Users, lookup).unwrap()
}

#[tokio::test]
async fn an_address_in_a_url_is_refused_in_every_notation() {
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = lookups.clone();
    let client = client(
        AddressGuard::default(),
        Arc::new(move |_: String| -> LookupFuture {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::ready(Ok(Vec::new())))
        }),
    );
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0X7F.1",
        "017700000001",
        "0177.0.0.01",
        "①②⑦.0.0.1",
        "１２７.0.0.1",
        "%31%32%37.0.0.1",
        "user:password@127.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "0xa9fea9fe",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::FFFF:169.254.169.254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ] {
        for scheme in ["http", "https"] {
            let url: Url = format!("{scheme}://{host}:8443/path?key=1").parse().unwrap();
            assert!(!client.permits(&url), "{url}");
            let built = client.post(url.clone()).header("x-a", "b").bearer_auth("secret").body("body").send().await;
            let executed = client.execute(Request::new(Method::GET, url.clone())).await;
            for error in [built.unwrap_err(), executed.unwrap_err()] {
                assert!(is_refused(&error), "{url}: {error:?}");
                assert_eq!(error.url().and_then(Url::host_str), url.host_str());
                assert!(is_refused(&error.without_url()));
            }
        }
    }
    assert_eq!(lookups.load(Ordering::Relaxed), 0);
    assert!(client.permits(&"https://1.1.1.1/".parse().unwrap()));
    assert!(client.permits(&"https://hooks.example.com/".parse().unwrap()));
}

#[tokio::test]
async fn the_name_that_stands_for_refused_addresses_is_looked_up_nowhere() {
    let client = client(AddressGuard::default(), Arc::new(|name: String| -> LookupFuture { panic!("{name}") }));
    for url in [REFUSED_URL, "https://REFUSED-address.invalid:8443/a"] {
        assert!(is_refused(&client.get(url).send().await.unwrap_err()), "{url}");
    }
}

#[tokio::test]
async fn other_failures_are_not_refusals() {
    let missing = Arc::new(|_: String| -> LookupFuture {
        Box::pin(std::future::ready(Err(io::Error::new(ErrorKind::NotFound, "no such host"))))
    });
    let error = client(AddressGuard::default(), missing).get("http://a.example/").send().await.unwrap_err();
    assert!(error.is_connect() && !is_refused(&error), "{error:?}");
    let error = client(AddressGuard::default(), answers(&[&[]])).get("http://a.example/").send().await.unwrap_err();
    assert!(!is_refused(&error), "{error:?}");
    let error = client(AddressGuard::default(), answers(&[&[]])).get("ftp://a.example/").send().await.unwrap_err();
    assert!(!is_refused(&error), "{error:?}");
}

/// Returns a listener on this machine, and its port. Accepting fails while no connection waits.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[track_caller]
fn has_no_connection(listener: &TcpListener) {
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Answers one request with a redirect to `target`, and returns the request.
async fn redirect_once(listener: &tokio::net::TcpListener, target: &str) -> String {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(connection.read_u8().await.unwrap());
    }
    let head = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap()
}

#[tokio::test]
async fn a_refused_host_gets_no_connection() {
    let (listener, port) = listener();
    let client = client(AddressGuard::default(), answers(&[&["127.0.0.1"]]));
    for host in ["internal.example.com", "127.0.0.1", "[::ffff:127.0.0.1]"] {
        let error = client.post(format!("http://{host}:{port}/")).body("{}").send().await.unwrap_err();
        assert!(is_refused(&error), "{host}: {error:?}");
    }
    has_no_connection(&listener);
}

#[tokio::test]
async fn a_name_that_later_leads_elsewhere_is_refused_then() {
    let (listener, port) = listener();
    // 127.0.0.1 stands for a public address.
    let client = client(networks(&["127.0.0.1/32"]), answers(&[&["127.0.0.1"], &["127.0.0.2"], &["10.0.0.1"]]));
    let url = format!("http://rebind.example.com:{port}/first");
    let first = tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
    let (response, request) =
        tokio::join!(client.get(&url).send(), redirect_once(&first, "http://169.254.169.254/latest/meta-data"));
    // A redirect is a response like any other, and is not followed.
    assert_eq!(response.unwrap().status(), 302);
    assert!(request.starts_with("GET /first HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: rebind.example.com:{port}\r\n")), "{request}");
    assert!(!request.contains("accept-encoding"), "bodies are read as they are sent: {request}");
    for _ in 0..2 {
        assert!(is_refused(&client.get(&url).send().await.unwrap_err()));
    }
    has_no_connection(&listener);
}
