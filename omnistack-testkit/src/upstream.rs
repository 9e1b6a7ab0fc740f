//! A scripted HTTP/1.1 server, for tests of code that calls somebody else's.
//!
//! Payment, mail and LLM providers are well behaved in their documentation and not always elsewhere. [`Upstream`]
//! listens on a free port of 127.0.0.1, says exactly the bytes a test scripts, well behaved or not, and keeps what it
//! was sent. Point the client at [`Upstream::url`]:
//!
//! ```
//! use omnistack_testkit::upstream::{Reply, Upstream};
//! # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream};
//! # // Stands for the client under test.
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
//! let upstream = Upstream::start().await;
//! upstream
//!     .expect("POST", "/v1/charges")
//!     .header("idempotency-key", "order-7")
//!     .reply(Reply::json(200, r#"{"id":"ch_1"}"#));
//!
//! let answer = create_charge(upstream.url()).await;
//!
//! assert!(answer.ends_with(r#"{"id":"ch_1"}"#));
//! assert_eq!(upstream.requests()[0].body, "amount=1200");
//! # }
//! ```
//!
//! # Nothing passes by accident
//!
//! When the upstream is dropped, the test fails if an expectation was not met or if a request came that nobody
//! expected; [`verify`](Upstream::verify) says the same earlier. The client gets 501 for such a request, with a body
//! that names what was received and, for each expectation, what about it differs.
//!
//! Expectations are tried in the order they were made, and the first that matches and is not used up answers. So a
//! provider that fails and then recovers is two lines:
//!
//! ```
//! # use omnistack_testkit::upstream::{Reply, Upstream};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let upstream = Upstream::start().await;
//! upstream.expect("GET", "/v1/me").times(..=2).reply(Reply::status(503).header("retry-after", "1"));
//! upstream.expect("GET", "/v1/me").times(..).reply(Reply::json(200, "{}"));
//! # }
//! ```
//!
//! # Bad days
//!
//! | the provider | is scripted as |
//! |---|---|
//! | is slow | [`Reply::delay`], [`Reply::drip`], [`Reply::spaced`] |
//! | never answers | [`Reply::hang`], [`Reply::hang_after`] |
//! | drops the connection | [`Reply::reset`], [`Reply::reset_after`], [`Reply::cut_after`] |
//! | isn't there | [`ClosedPort`] |
//! | doesn't speak HTTP properly | [`Reply::raw`] |
//! | streams, and stops in the middle | [`Reply::sse`] or [`Reply::chunked`], with one of the above |
//!
//! And the client's: [`Upstream::abandoned`] waits until it gave up on an answer, to show that a cancelled call is
//! cancelled all the way up.
//!
//! # Time
//!
//! Delays are of tokio's clock, so under `#[tokio::test(start_paused = true)]` a reply that takes a minute takes no
//! time at all, and the client's own time-outs pass in order with it. Nothing else here sleeps, and the deadlines of
//! [`Upstream::received`] and [`Upstream::abandoned`] are of real time, so they hold under a paused clock too.
//!
//! The upstream runs on the runtime it was started on. A client that blocks its thread needs
//! `#[tokio::test(flavor = "multi_thread")]`. So does one on another thread or in another process, since a paused clock
//! jumps to the next timer whenever its runtime is idle and doesn't wait for what goes on outside.
//!
//! # What it speaks
//!
//! HTTP/1.0 and 1.1 without TLS: keep-alive, pipelining, `Content-Length` and chunked request bodies, and
//! `Expect: 100-continue`, which is always granted. Replies carry the headers the script gives and the one that frames
//! the body, nothing else: no `Date`, no `Server`. It is a test's peer, so it sets no limit on what it is sent.

mod closed_port;
mod connection;
mod expectation;
mod received;
mod reply;
mod script;
#[cfg(test)]
mod tests;

pub use closed_port::ClosedPort;
pub use expectation::{Expect, Times};
pub use received::Received;
pub use reply::{Event, Reply};

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

/// How long a test waits for a request before it fails: real time, whatever tokio's clock says.
const PATIENCE: Duration = Duration::from_secs(10);

/// A scripted HTTP/1.1 server on a free port of 127.0.0.1. See the [module](self) for the whole picture.
///
/// Dropping it closes every connection and, unless the thread is already panicking, calls
/// [`verify`](Self::verify).
#[must_use = "an upstream that is dropped stops listening"]
pub struct Upstream {
    address: SocketAddr,
    url: String,
    script: Arc<watch::Sender<Script>>,
    /// Aborts the server, and with it each connection, when dropped.
    _server: JoinSet<()>,
}

impl Upstream {
    /// Starts an upstream that expects nothing yet, on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// When the machine has no free port on 127.0.0.1, or outside of a tokio runtime with I/O and time enabled.
    pub async fn start() -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (listener, address) = bound
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .unwrap_or_else(|error| panic!("an upstream needs a free port on 127.0.0.1: {error}"));
        let script = Arc::new(watch::Sender::new(Script::default()));
        let mut server = JoinSet::new();
        server.spawn(connection::serve(listener, script.clone()));
        Self { address, url: format!("http://{address}"), script, _server: server }
    }

    /// Starts an upstream that gives these replies in order, one a request, whatever the requests are.
    ///
    /// ```
    /// # use omnistack_testkit::upstream::{Reply, Upstream};
    /// # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let upstream = Upstream::script([Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil I close")]).await;
    /// # let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
    /// # stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    /// # let mut answer = String::new();
    /// # stream.read_to_string(&mut answer).await.unwrap();
    /// # assert_eq!(answer, "HTTP/1.1 200 OK\r\n\r\nuntil I close");
    /// # }
    /// ```
    #[track_caller]
    pub fn script(replies: impl IntoIterator<Item = Reply>) -> impl Future<Output = Self> {
        let declared = Location::caller();
        async move {
            let upstream = Self::start().await;
            for reply in replies {
                Expect::any(&upstream.script, declared).reply(reply);
            }
            upstream
        }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end: what the client under test takes as its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Expects a request with this method and this path, once unless [`times`](Expect::times) says otherwise.
    ///
    /// Both are compared byte for byte, percent-encoding and trailing slash included. The query is free, unless the
    /// path is given with one (`/v1/charges?limit=10`: then that too is compared as it was sent) or
    /// [`Expect::query`] asks for a parameter. A client that speaks to a proxy sends a whole URL; expect just that.
    #[track_caller]
    pub fn expect(&self, method: &str, path: &str) -> Expect<'_> {
        Expect::request(&self.script, Location::caller(), method, path)
    }

    /// Expects a request of any method and path, to be narrowed like any other.
    #[track_caller]
    pub fn expect_any(&self) -> Expect<'_> {
        Expect::any(&self.script, Location::caller())
    }

    /// What was received so far, in order of arrival, expected or not.
    ///
    /// A request is here once it came in whole, before its reply begins.
    pub fn requests(&self) -> Vec<Received> {
        self.script.borrow().requests()
    }

    /// Waits until at least `count` requests have arrived, and gives all that have.
    ///
    /// # Panics
    ///
    /// When they have not after 10 seconds of real time.
    #[track_caller]
    pub fn received(&self, count: usize) -> impl Future<Output = Vec<Received>> + Send + use<> {
        let until = self.until(Location::caller(), "received", count, Script::arrived, PATIENCE);
        let script = self.script.clone();
        async move {
            until.await;
            script.borrow().requests()
        }
    }

    /// Waits until clients have abandoned at least `count` replies: closed the connection, or their side of it, while
    /// the upstream was delaying, dripping, hanging or still writing.
    ///
    /// ```
    /// use omnistack_testkit::upstream::{Reply, Upstream};
    /// # use tokio::{io::AsyncWriteExt, net::TcpStream};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let upstream = Upstream::script([Reply::hang()]).await;
    /// # let address = upstream.address();
    /// # let call_upstream = async move {
    /// #     let mut stream = TcpStream::connect(address).await.unwrap();
    /// #     stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    /// #     std::future::pending::<()>().await;
    /// #     drop(stream);
    /// # };
    /// let call = tokio::spawn(call_upstream);
    /// upstream.received(1).await;
    ///
    /// call.abort();
    /// upstream.abandoned(1).await;
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When they have not after 10 seconds of real time.
    #[track_caller]
    pub fn abandoned(&self, count: usize) -> impl Future<Output = ()> + Send + use<> {
        self.until(Location::caller(), "was abandoned by", count, Script::abandoned, PATIENCE)
    }

    /// Fails the test if an expectation was not met, if a request came that nobody expected, or if something came that
    /// is not HTTP.
    ///
    /// Requests that broke off before they were whole are listed for context but are no failure: a client may leave.
    ///
    /// # Panics
    ///
    /// With the list of what is wrong, and all requests that came.
    #[track_caller]
    pub fn verify(&self) {
        let problems = self.script.borrow().problems();
        if let Some(problems) = problems {
            panic!("upstream {}: {problems}", self.url);
        }
    }

    fn until(
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

impl Drop for Upstream {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.verify();
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("url", &self.url)
            .field("script", &self.script.borrow())
            .finish_non_exhaustive()
    }
}

/// The second half resolves after `patience`, or as soon as the first is dropped.
///
/// A thread counts, because tokio's clock may be paused: it would then be there at once.
fn deadline(patience: Duration) -> (mpsc::Sender<()>, oneshot::Receiver<()>) {
    let (running, stopped) = mpsc::channel();
    let (expire, expired) = oneshot::channel();
    thread::spawn(move || {
        if stopped.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Nobody listens when the wait ended in this very moment.
            let _ = expire.send(());
        }
    });
    (running, expired)
}
