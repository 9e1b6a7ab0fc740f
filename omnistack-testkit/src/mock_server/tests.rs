//! Tests the mock server over raw TCP, because an HTTP client would hide details of the connection.

use super::{ClosedPort, MockResponse, MockServer, Script, ServerSentEvent};
use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

async fn connect(upstream: &MockServer) -> TcpStream {
    TcpStream::connect(upstream.address()).await.unwrap()
}

async fn send(upstream: &MockServer, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = connect(upstream).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    stream
}

/// Reads all bytes until the server closes the connection. Returns them with the error that ended the connection, if
/// any.
async fn rest(stream: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await.err().map(|error| error.kind());
    (String::from_utf8(bytes).unwrap(), end)
}

/// Reads as many bytes as `expected` has and asserts that they are equal. The connection stays open.
async fn reads(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

/// Sends a request with `connection: close` on a new connection and returns the response.
async fn exchange(upstream: &MockServer, request_line: &str, more: &str) -> String {
    let request = format!("{request_line} HTTP/1.1\r\nconnection: close\r\n{more}");
    let request = if more.contains("\r\n\r\n") { request } else { request + "\r\n" };
    let (answer, end) = rest(&mut send(upstream, request).await).await;
    assert_eq!(end, None);
    answer
}

async fn answer_to(reply: MockResponse) -> (String, Option<ErrorKind>) {
    let upstream = MockServer::script([reply]).await;
    rest(&mut send(&upstream, GET).await).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// Drops the server and returns the message of its panic.
fn failure(upstream: MockServer) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(upstream))).expect_err("the upstream should fail the test");
    *panic.downcast::<String>().unwrap()
}

// Bytes

#[tokio::test]
async fn replies_are_the_scripted_bytes() {
    let open_ended = "HTTP/1.1 200 Fine\r\nX-Odd:1\r\n\r\nuntil close";
    let close = |reply: MockResponse| reply.header("Connection", "close");
    let cases = [
        (
            close(MockResponse::json(200, r#"{"id":1}"#)),
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nConnection: close\r\ncontent-length: 8\r\n\r\n{\"id\":1}",
        ),
        (
            close(MockResponse::status(503).header("retry-after", "1")),
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nConnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        (close(MockResponse::status(599)), "HTTP/1.1 599 \r\nConnection: close\r\ncontent-length: 0\r\n\r\n"),
        (close(MockResponse::status(204)), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        (
            close(MockResponse::content(200, "x/y", b"abc").header("Content-Length", "9")),
            "HTTP/1.1 200 OK\r\ncontent-type: x/y\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc",
        ),
        (
            close(MockResponse::chunked(["Hello, wide", "", " world"])),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\nb\r\nHello, wide\r\n6\r\n world\r\n0\r\n\r\n",
        ),
        (MockResponse::raw(open_ended), open_ended),
        (MockResponse::raw(""), ""),
    ];
    for (reply, expected) in cases {
        assert_eq!(answer_to(reply).await, (expected.to_owned(), None));
    }
}

#[tokio::test]
async fn events_are_framed_as_server_sent_events() {
    let events: [ServerSentEvent; 4] =
        ["two\nlines".into(), ("stop", "{}").into(), ServerSentEvent::verbatim(": ping\n\n"), "é".into()];
    let (answer, _) = answer_to(MockResponse::sse(events).header("connection", "close")).await;
    let body = "17\r\ndata: two\ndata: lines\n\n\r\n16\r\nevent: stop\ndata: {}\n\n\r\n8\r\n: ping\n\n\r\na\r\ndata: é\n\n\r\n0\r\n\r\n";
    assert!(answer.contains("content-type: text/event-stream\r\n"), "{answer}");
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body);
}

#[tokio::test]
async fn head_has_the_length_and_not_the_body() {
    let upstream = MockServer::script([MockResponse::text(200, "twelve bytes")]).await;
    let answer = exchange(&upstream, "HEAD /", "").await;
    assert!(answer.ends_with("content-length: 12\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_connection_is_reused_and_pipelined() {
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let upstream = MockServer::script([
        MockResponse::raw(raw),
        MockResponse::raw(chunked),
        MockResponse::status(204),
        MockResponse::raw(raw),
    ])
    .await;
    let mut stream = send(&upstream, format!("{GET}{GET}")).await;
    reads(&mut stream, &format!("{raw}{chunked}")).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    reads(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(exchange(&upstream, "GET /", "").await, raw);
    assert_eq!(upstream.requests().iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 0, 0, 1]);
}

#[tokio::test]
async fn http_1_0_closes_unless_asked_to_stay() {
    let upstream = MockServer::script([MockResponse::status(204), MockResponse::status(204)]).await;
    let mut stream = send(&upstream, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").await;
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    reads(&mut stream, answer).await;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, (answer.to_owned(), None));
}

// Requests

#[tokio::test]
async fn requests_are_kept_as_they_came() {
    let upstream = MockServer::script([MockResponse::status(204)]).await;
    exchange(&upstream, "PATCH /a%20b?q=c%2Bd+e&q=2&empty", "X-Id: 7\r\nContent-Length: 3\r\n\r\nabc").await;
    let request = &upstream.requests()[0];
    assert_eq!(request.to_string(), "PATCH /a%20b?q=c%2Bd+e&q=2&empty");
    assert_eq!((request.path.as_str(), request.query.as_deref()), ("/a%20b", Some("q=c%2Bd+e&q=2&empty")));
    assert_eq!((request.header("x-id"), request.text().as_ref()), (Some("7"), "abc"));
    assert_eq!(request.query_value("q").as_deref(), Some("c+d e"));
    assert_eq!(request.query_value("empty").as_deref(), Some(""));
    assert_eq!(request.query_value("none"), None);
}

#[tokio::test]
async fn chunked_bodies_are_put_together_however_they_arrive() {
    let upstream = MockServer::script([MockResponse::status(204)]).await;
    let request = "POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\nC\r\npedia in\r\n\r\n\r\n0\r\nX-Sum: 9\r\n\r\n";
    let mut stream = connect(&upstream).await;
    stream.set_nodelay(true).unwrap();
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&rest(&mut stream).await.0), "204");
    let request = &upstream.requests()[0];
    assert_eq!((request.text().as_ref(), request.header("x-sum")), ("Wikipedia in\r\n\r\n", Some("9")));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() {
    let upstream = MockServer::script([MockResponse::status(204)]).await;
    let head = "PUT / HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length: 4\r\n\r\n";
    let mut stream = send(&upstream, head).await;
    reads(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(upstream.requests().is_empty());
    stream.write_all(b"body").await.unwrap();
    reads(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(upstream.requests()[0].body, "body");
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_fails_the_test() {
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n";
    let cases = [
        ("nonsense\r\n\r\n".to_owned(), "nonsense"),
        ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\na".to_owned(), "a content-length that is not a number"),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na".to_owned(), "two different"),
        (format!("{chunked}content-length: 1\r\n\r\n"), "both a content-length and a transfer-encoding"),
        (format!("{chunked}\r\nxyz\r\n"), "a chunk size that is not a hexadecimal number"),
        (format!("{chunked}\r\n1\r\nabc"), "a chunk that is longer than its size"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(), "other than chunked"),
    ];
    for (request, why) in cases {
        let upstream = MockServer::start().await;
        let (answer, end) = rest(&mut send(&upstream, request).await).await;
        assert_eq!((status(&answer), end), ("400", None));
        assert!(answer.contains(why), "{answer}");
        assert!(failure(upstream).contains(why));
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_is_only_told() {
    let upstream = MockServer::start().await;
    let mut stream = send(&upstream, "POST /half HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc").await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, (String::new(), None));
    upstream.verify();
    upstream.expect("GET", "/").reply(MockResponse::status(200));
    assert!(failure(upstream).contains("broke off: POST /half after 3 bytes of the body"));
}

// Expectations

#[tokio::test]
async fn the_first_that_matches_and_has_a_use_left_answers() {
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/a").times(2).reply(MockResponse::status(503));
    upstream.expect("GET", "/b").times(..).reply(MockResponse::status(202));
    upstream.expect("GET", "/a").times(1..).reply(MockResponse::status(200));
    upstream.expect("GET", "/never").times(..=3).reply(MockResponse::status(500));
    let mut statuses = vec![];
    for path in ["/a", "/b", "/a", "/b", "/a", "/a?x=1"] {
        statuses.push(status(&exchange(&upstream, &format!("GET {path}"), "").await).to_owned());
    }
    assert_eq!(statuses, ["503", "202", "503", "202", "200", "200"]);
    upstream.verify();
}

#[tokio::test]
async fn conditions_narrow_an_expectation() {
    let upstream = MockServer::start().await;
    upstream
        .expect("POST", "/x")
        .query("q", "a b")
        .header("X-Key", "k")
        .body_contains("ount=12")
        .matching("an even length", |request| request.body.len() % 2 == 0)
        .times(1)
        .reply_with(|request| MockResponse::text(200, request.header("x-key").unwrap_or_default()));
    let length = "content-length: 10\r\n\r\namount=123";
    let body = |key: &str| format!("x-key: other\r\nx-key: {key}\r\n{length}");

    assert!(exchange(&upstream, "POST /x?p=1&q=a+b", &body("k")).await.ends_with("\r\n\r\nother"));
    let told = exchange(&upstream, "POST /x?q=a%20b", &body("k")).await;
    assert!(told.contains("is used up, 1 of 1"), "{told}");
    let told = exchange(&upstream, "PUT /y", &body("K")).await;
    assert_eq!(status(&told), "501");
    assert!(told.contains("unexpected request PUT /y\n"), "{told}");
    assert!(told.contains("differs: method, path, query q=a b, header X-Key: k\n"), "{told}");
    assert!(told.contains("POST /x with query q=a b, header X-Key: k, body containing ount=12, an even length ("));
    assert!(told.contains("x-key: K\n") && told.contains("amount=123"), "{told}");
    let wrong = failure(upstream);
    assert!(wrong.contains("2 problem(s)") && wrong.contains("unexpected request PUT /y"), "{wrong}");
}

#[tokio::test]
async fn a_path_with_a_query_fixes_the_query() {
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/x?b=2&a=1").reply(MockResponse::status(200));
    assert_eq!(status(&exchange(&upstream, "GET /x?a=1&b=2", "").await), "501");
    assert_eq!(status(&exchange(&upstream, "GET /x?b=2&a=1", "").await), "200");
    assert!(failure(upstream).contains("unexpected request GET /x?a=1&b=2"));
}

#[tokio::test]
async fn unmet_expectations_fail_the_test() {
    let upstream = MockServer::start().await;
    let line = line!() + 1;
    upstream.expect("GET", "/a").times(2).reply(MockResponse::status(200));
    upstream.expect("GET", "/b").times(1..=2).reply(MockResponse::status(200));
    exchange(&upstream, "GET /a", "").await;
    assert!(catch_unwind(AssertUnwindSafe(|| upstream.verify())).is_err());
    let wrong = failure(upstream);
    assert!(wrong.contains("2 problem(s)"), "{wrong}");
    assert!(wrong.contains(&format!("GET /a ({}:{line}) was expected 2x, and came 1x", file!())), "{wrong}");
    assert!(wrong.contains("was expected at least 1x, and came 0x"), "{wrong}");
    assert!(wrong.contains("requests received:\n  GET /a\n"), "{wrong}");
}

#[tokio::test]
async fn a_test_that_fails_already_is_not_failed_twice() {
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/").reply(MockResponse::status(200));
    let panic = catch_unwind(AssertUnwindSafe(move || {
        let _held = upstream;
        panic!("the test's own");
    }));
    assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "the test's own");
}

// Failures

#[tokio::test]
async fn a_reset_is_a_reset() {
    assert_eq!(answer_to(MockResponse::reset()).await, (String::new(), Some(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn bodies_end_where_the_script_says() {
    let (head, reset) = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 10\r\n\r\n",
        Some(ErrorKind::ConnectionReset),
    );
    let text = || MockResponse::text(200, "0123456789");
    assert_eq!(answer_to(text().cut_after(4)).await, (format!("{head}0123"), None));
    assert_eq!(answer_to(text().cut_after(0)).await, (head.to_owned(), None));
    assert_eq!(answer_to(text().cut_after(99)).await, (format!("{head}0123456789"), None));
    assert_eq!(answer_to(text().reset_after(4)).await, (format!("{head}0123"), reset));
    assert_eq!(answer_to(MockResponse::raw("HTTP/1.1 2").cut_after(6)).await, ("HTTP/1".to_owned(), None));

    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = || MockResponse::chunked(["abc", "def"]);
    assert_eq!(answer_to(chunks().cut_after(2)).await, (format!("{head}3\r\nab"), None));
    assert_eq!(answer_to(chunks().cut_after(3)).await, (format!("{head}3\r\nabc\r\n"), None));
    assert_eq!(answer_to(chunks().reset_after(4)).await, (format!("{head}3\r\nabc\r\n3\r\nd"), reset));
    assert_eq!(answer_to(chunks().cut_after(usize::MAX)).await, (format!("{head}3\r\nabc\r\n3\r\ndef\r\n"), None));
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let port = ClosedPort::reserve();
    assert_eq!(port.url(), format!("http://{}", port.address()));
    for _ in 0..2 {
        assert_eq!(TcpStream::connect(port.address()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn hanging_lasts_until_the_client_leaves() {
    let upstream = MockServer::script([MockResponse::hang(), MockResponse::text(200, "abc").hang_after(1)]).await;
    let first = send(&upstream, GET).await;
    let mut second = {
        upstream.wait_for_requests(1).await;
        send(&upstream, GET).await
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\n\r\na";
    reads(&mut second, head).await;
    assert_eq!(first.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    upstream.wait_for_abandoned(1).await;
    drop(second);
    upstream.wait_for_abandoned(2).await;
}

#[tokio::test]
async fn leaving_during_a_delay_or_between_bytes_is_noticed() {
    let hour = Duration::from_hours(1);
    for reply in [MockResponse::status(200).delay(hour), MockResponse::text(200, "abc").drip(1, hour)] {
        let upstream = MockServer::script([reply]).await;
        let stream = send(&upstream, GET).await;
        assert_eq!(upstream.wait_for_requests(1).await.len(), 1);
        drop(stream);
        upstream.wait_for_abandoned(1).await;
    }
}

#[tokio::test]
async fn leaving_while_a_large_body_is_written_is_noticed() {
    let upstream = MockServer::script([MockResponse::text(200, vec![b'x'; 32 << 20])]).await;
    let mut stream = send(&upstream, GET).await;
    reads(&mut stream, "HTTP/1.1 200 OK").await;
    drop(stream);
    upstream.wait_for_abandoned(1).await;
}

#[tokio::test]
async fn dropping_the_upstream_ends_its_connections() {
    let upstream = MockServer::script([MockResponse::hang()]).await;
    let mut stream = send(&upstream, GET).await;
    upstream.wait_for_requests(1).await;
    drop(upstream);
    assert_eq!(rest(&mut stream).await, (String::new(), None));
}

// Time

#[tokio::test(start_paused = true)]
async fn delays_are_of_tokios_clock() {
    let began = Instant::now();
    assert_eq!(
        status(&answer_to(MockResponse::json(200, "{}").delay(60 * SECOND).header("connection", "close")).await.0),
        "200"
    );
    assert_eq!(began.elapsed(), 60 * SECOND);
}

/// Returns the second at which each read returned, and the bytes it read.
async fn timed_reads(reply: MockResponse) -> Vec<(u64, String)> {
    let upstream = MockServer::script([reply]).await;
    let mut stream = send(&upstream, GET).await;
    let began = Instant::now();
    let mut reads = vec![];
    loop {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await.unwrap();
        if length == 0 {
            return reads;
        }
        reads.push((began.elapsed().as_secs(), String::from_utf8_lossy(&bytes[..length]).into_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drip_is_paced_to_the_second() {
    let reply = || MockResponse::text(200, "abcdefgh").header("connection", "close").drip(3, SECOND);
    for reads in [timed_reads(reply()).await, tokio::spawn(timed_reads(reply())).await.unwrap()] {
        let [(0, head), (1, second), (2, third)] = reads.as_slice() else { panic!("{reads:?}") };
        assert!(head.ends_with("\r\n\r\nabc"), "{head}");
        assert_eq!((second.as_str(), third.as_str()), ("def", "gh"));
    }
    let raw = timed_reads(MockResponse::raw("HTTP").drip(1, SECOND)).await;
    assert_eq!(raw, [(0, "H".into()), (1, "T".into()), (2, "T".into()), (3, "P".into())]);
}

#[tokio::test(start_paused = true)]
async fn events_are_spaced_and_the_end_comes_with_the_last() {
    let reads = timed_reads(
        MockResponse::sse(["1", "2"]).header("connection", "close").pause_between_chunks(SECOND).delay(SECOND),
    )
    .await;
    let [(1, first), (2, second)] = reads.as_slice() else { panic!("{reads:?}") };
    assert!(first.ends_with("data: 1\n\n\r\n"), "{first}");
    assert_eq!(second, "9\r\ndata: 2\n\n\r\n0\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn waiting_is_of_real_time_and_has_an_end() {
    // The reply takes an hour of tokio's clock, and the next request follows it.
    let upstream =
        MockServer::script([MockResponse::status(204).delay(Duration::from_hours(1)), MockResponse::status(204)]).await;
    let mut stream = send(&upstream, GET).await;
    let client = tokio::spawn(async move {
        reads(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        stream
    });
    assert_eq!(upstream.wait_for_requests(2).await.len(), 2);
    drop(client.await.unwrap());

    let patience = Duration::from_millis(20);
    let wait = upstream.wait_until(Location::caller(), "received", 3, Script::arrived, patience);
    let panic = tokio::spawn(wait).await.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(panic.contains("received 2 of the 3 requests") && panic.contains(file!()), "{panic}");
}

#[test]
#[should_panic(expected = "a raw reply can't have a header besides those in its bytes: x")]
fn a_header_on_a_raw_reply_is_a_mistake() {
    let _ = MockResponse::raw("HTTP/1.1 200 OK\r\n\r\n").header("x", "y");
}
