//! A mock HTTP/1.1 server, to test code that calls other services.
//!
//! [`MockServer`] listens on a free port of 127.0.0.1, sends exactly the bytes that the test scripts, valid HTTP or
//! not, and records the requests it receives. Set the client's base URL to [`MockServer::url`]:
//!
//! ```
//! use omnistack_testkit::mock_server::{MockResponse, MockServer};
//! # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream};
//! # // The client under test.
//! # async fn create_charge(url: &str) -> String {
//! #     let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
//! #     let head = "POST /v1/charges HTTP/1.1\r\nidempotency-key: order-7\r\ncontent-length: 11\r\nconnection: close\r\n\r\n";
//! #     stream.write_all(format!("{head}amount=1200").as_bytes()).await.unwrap();
//! #     let mut answer = String::new();
//! #     stream.read_to_string(&mut answer).await.unwrap();
//! #     answer
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let upstream = MockServer::start().await;
//! upstream
//!     .expect("POST", "/v1/charges")
//!     .header("idempotency-key", "order-7")
//!     .reply(MockResponse::json(200, r#"{"id":"ch_1"}"#));
//!
//! let answer = create_charge(upstream.url()).await;
//!
//! assert!(answer.ends_with(r#"{"id":"ch_1"}"#));
//! assert_eq!(upstream.requests()[0].body, "amount=1200");
//! # }
//! ```
//!
//! # Verification
//!
//! When the server is dropped, the test fails if an expectation was not met or an unexpected request came.
//! [`verify`](MockServer::verify) checks the same earlier. The client receives 501 for an unexpected request, with a
//! body that contains the request and, for each expectation, the conditions that don't match.
//!
//! Expectations are checked in the order they were added. The first one that matches and is not used up sends its
//! reply. A provider that fails and then recovers takes two lines:
//!
//! ```
//! # use omnistack_testkit::mock_server::{MockResponse, MockServer};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let upstream = MockServer::start().await;
//! upstream.expect("GET", "/v1/me").times(..=2).reply(MockResponse::status(503).header("retry-after", "1"));
//! upstream.expect("GET", "/v1/me").times(..).reply(MockResponse::json(200, "{}"));
//! # }
//! ```
//!
//! # Failures
//!
//! | the provider | script |
//! |---|---|
//! | is slow | [`MockResponse::delay`], [`MockResponse::drip`], [`MockResponse::pause_between_chunks`] |
//! | never responds | [`MockResponse::hang`], [`MockResponse::hang_after`] |
//! | drops the connection | [`MockResponse::reset`], [`MockResponse::reset_after`], [`MockResponse::cut_after`] |
//! | is down | [`ClosedPort`] |
//! | sends invalid HTTP | [`MockResponse::raw`] |
//! | stops in the middle of a stream | [`MockResponse::sse`] or [`MockResponse::chunked`], with one of the above |
//!
//! [`MockServer::wait_for_abandoned`] waits until the client disconnects before the reply is complete, to test that a cancelled
//! call closes its connection.
//!
//! # Time
//!
//! Delays use tokio's clock. Under `#[tokio::test(start_paused = true)]` a reply that is delayed by a minute arrives
//! at once, in the right order with the client's timeouts. The deadlines of [`MockServer::wait_for_requests`] and
//! [`MockServer::wait_for_abandoned`] use real time, so they also work with a paused clock.
//!
//! The server runs on the runtime it was started on. A client that blocks its thread needs
//! `#[tokio::test(flavor = "multi_thread")]`. So does a client on another thread or in another process: a paused
//! clock jumps to the next timer whenever its runtime is idle and does not wait for work outside of the runtime.
//!
//! # Supported HTTP
//!
//! HTTP/1.0 and 1.1 without TLS: keep-alive, pipelining, `Content-Length` and chunked request bodies, and
//! `ExpectationBuilder: 100-continue`, which is always granted. Replies have the scripted headers and the header that frames the
//! body, and no others (no `Date`, no `Server`). The size of request bodies is not limited. A request has at most 256
//! headers.

mod closed_port;
mod connection;
mod expectation;
mod request;
mod response;
mod script;
#[cfg(test)]
mod tests;

pub use closed_port::ClosedPort;
pub use expectation::{ExpectationBuilder, ExpectedCount};
pub use request::ReceivedRequest;
pub use response::{MockResponse, ServerSentEvent};

use script::Script;
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    panic::Location,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinSet,
};

/// The longest wait of [`MockServer::wait_for_requests`] and [`MockServer::abandoned`], in real time.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A mock HTTP/1.1 server on a free port of 127.0.0.1. See the [module](self) for its features.
///
/// Dropping it closes every connection and, unless the thread is already panicking, calls [`verify`](Self::verify).
#[must_use = "a dropped upstream stops listening"]
pub struct MockServer {
    address: SocketAddr,
    url: String,
    script: Arc<watch::Sender<Script>>,
    /// The server's task. Dropping it closes every connection.
    _server: JoinSet<()>,
}

impl MockServer {
    /// Starts a server without expectations on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Panics if 127.0.0.1 has no free port, or outside of a tokio runtime with I/O and time enabled.
    pub async fn start() -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (listener, address) = bound
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        let script = Arc::new(watch::Sender::new(Script::default()));
        let mut server = JoinSet::new();
        server.spawn(connection::serve(listener, script.clone()));
        Self { address, url: format!("http://{address}"), script, _server: server }
    }

    /// Starts a server that sends `replies` in order, one per request, and accepts any request.
    ///
    /// ```
    /// # use omnistack_testkit::mock_server::{MockResponse, MockServer};
    /// # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let upstream = MockServer::script([MockResponse::raw("HTTP/1.1 200 OK\r\n\r\nuntil I close")]).await;
    /// # let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
    /// # stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    /// # let mut answer = String::new();
    /// # stream.read_to_string(&mut answer).await.unwrap();
    /// # assert_eq!(answer, "HTTP/1.1 200 OK\r\n\r\nuntil I close");
    /// # }
    /// ```
    #[track_caller]
    pub fn script(replies: impl IntoIterator<Item = MockResponse>) -> impl Future<Output = Self> {
        let declared = Location::caller();
        async move {
            let upstream = Self::start().await;
            for reply in replies {
                ExpectationBuilder::any(&upstream.script, declared).reply(reply);
            }
            upstream
        }
    }

    /// Returns the base URL for the client under test, `http://127.0.0.1:PORT`, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Expects a request with this method and path, once unless [`times`](ExpectationBuilder::times) is called.
    ///
    /// Both are compared byte for byte, including percent-encoding and a trailing slash. Any query matches, unless
    /// `path` contains a query (`/v1/charges?limit=10`), which is then compared byte for byte too, or
    /// [`ExpectationBuilder::query`] requires a parameter. A client that uses the server as a proxy sends a whole URL as the
    /// path.
    #[track_caller]
    pub fn expect(&self, method: &str, path: &str) -> ExpectationBuilder<'_> {
        ExpectationBuilder::request(&self.script, Location::caller(), method, path)
    }

    /// Expects a request of any method and path. The methods of [`ExpectationBuilder`] add conditions.
    #[track_caller]
    pub fn expect_any(&self) -> ExpectationBuilder<'_> {
        ExpectationBuilder::any(&self.script, Location::caller())
    }

    /// Returns the requests received so far, in order of arrival, expected or not.
    ///
    /// A request is recorded once it is complete, before its reply begins.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.script.borrow().requests()
    }

    /// Waits until at least `count` requests have arrived, and returns all that have.
    ///
    /// # Panics
    ///
    /// Panics if this takes more than 10 seconds of real time.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) -> impl Future<Output = Vec<ReceivedRequest>> + Send + use<> {
        let until = self.wait_until(Location::caller(), "received", count, Script::arrived, WAIT_TIMEOUT);
        let script = self.script.clone();
        async move {
            until.await;
            script.borrow().requests()
        }
    }

    /// Waits until clients have abandoned at least `count` replies. A client abandons a reply when it closes the
    /// connection, or its sending half, while the server is delaying, dripping, hanging or still writing.
    ///
    /// ```
    /// use omnistack_testkit::mock_server::{MockResponse, MockServer};
    /// # use tokio::{io::AsyncWriteExt, net::TcpStream};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let upstream = MockServer::script([MockResponse::hang()]).await;
    /// # let address = upstream.address();
    /// # let call_upstream = async move {
    /// #     let mut stream = TcpStream::connect(address).await.unwrap();
    /// #     stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    /// #     std::future::pending::<()>().await;
    /// #     drop(stream);
    /// # };
    /// let call = tokio::spawn(call_upstream);
    /// upstream.wait_for_requests(1).await;
    ///
    /// call.abort();
    /// upstream.wait_for_abandoned(1).await;
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if this takes more than 10 seconds of real time.
    #[track_caller]
    pub fn wait_for_abandoned(&self, count: usize) -> impl Future<Output = ()> + Send + use<> {
        self.wait_until(Location::caller(), "was abandoned by", count, Script::abandoned, WAIT_TIMEOUT)
    }

    /// Fails the test if an expectation was not met, an unexpected request came, or a client sent invalid HTTP.
    ///
    /// Requests that ended before they were complete are listed in the message but don't fail the test, since a
    /// client may disconnect.
    ///
    /// # Panics
    ///
    /// Panics with the list of problems and of all requests, if there is a problem.
    #[track_caller]
    pub fn verify(&self) {
        let problems = self.script.borrow().problems();
        if let Some(problems) = problems {
            panic!("upstream {}: {problems}", self.url);
        }
    }

    fn wait_until(
        &self,
        asked: &'static Location<'static>,
        verb: &'static str,
        count: usize,
        so_far: fn(&Script) -> usize,
        patience: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (mut script, url) = (self.script.subscribe(), self.url.clone());
        async move {
            if so_far(&script.borrow()) >= count {
                return;
            }
            let (_running, mut expired) = deadline(patience);
            tokio::select! {
                biased;
                _ = script.wait_for(|script| so_far(script) >= count) => {}
                _ = &mut expired => {}
            }
            let came = so_far(&script.borrow());
            assert!(
                came >= count,
                "upstream {url} {verb} {came} of the {count} requests {asked} waits for, in {patience:?}\n{}",
                script.borrow().arrivals(),
            );
        }
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.verify();
        }
    }
}

impl fmt::Debug for MockServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("url", &self.url)
            .field("script", &self.script.borrow())
            .finish_non_exhaustive()
    }
}

/// Returns a receiver that resolves after `patience` of real time, or as soon as the returned sender is dropped.
///
/// A thread measures the time, because tokio's clock may be paused and would then jump to the deadline at once.
fn deadline(patience: Duration) -> (mpsc::Sender<()>, oneshot::Receiver<()>) {
    let (running, stopped) = mpsc::channel();
    let (expire, expired) = oneshot::channel();
    thread::spawn(move || {
        if stopped.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            // The receiver may have been dropped at this moment.
            let _ = expire.send(());
        }
    });
    (running, expired)
}
