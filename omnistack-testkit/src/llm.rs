//! A mock provider of models: an HTTP/1.1 server that writes exactly the bytes of a script, in exactly its chunks.
//!
//! [`ScriptedUpstream`] answers requests in the order in which its responses were added. A script can stop at a
//! [`Gate`] until the test opens it, so that a test decides between which two bytes something happens, without waiting
//! for time to pass:
//!
//! ```
//! use omnistack_testkit::llm::{Gate, Scripted, ScriptedUpstream};
//! # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let upstream = ScriptedUpstream::start().await;
//! let gate = Gate::new();
//! upstream.respond(
//!     Scripted::status(200)
//!         .header("content-type", "text/event-stream")
//!         .chunk("data: {\"a\":1}\n\n")
//!         .gate(&gate)
//!         .chunk("data: [DONE]\n\n"),
//! );
//! # let mut stream = TcpStream::connect(upstream.url().trim_start_matches("http://")).await.unwrap();
//! # let head = "POST /chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n";
//! # stream.write_all(format!("{head}{{}}").as_bytes()).await.unwrap();
//! // … the client under test begins a stream, and reads its first event.
//! gate.reached().await;
//! gate.open();
//! # let mut answer = String::new();
//! # stream.read_to_string(&mut answer).await.unwrap();
//! # assert!(answer.ends_with("f\r\ndata: {\"a\":1}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
//! assert_eq!(upstream.requests()[0].path, "/chat/completions");
//! # }
//! ```
//!
//! Responses in the wire formats of providers have constructors, such as [`Scripted::openai_chat_stream`],
//! [`Scripted::anthropic_stream`], [`Scripted::gemini_stream`] and [`Scripted::openai_responses_stream`]. The last
//! event of each is the one that ends an answer, so [`Scripted::cut_after`] cuts an answer at any byte, and
//! [`Scripted::rechunk`] sends the same bytes in other pieces.
//!
//! A request without a response receives 501. The [mock server](crate::mock_server) checks requests against
//! expectations instead, and delays by tokio's clock.

mod connection;
mod gate;
mod response;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::VecDeque,
    fmt,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

pub use crate::mock_server::ReceivedRequest;
pub use gate::Gate;
pub use response::Scripted;
pub use wire::ScriptedUsage;

/// The longest wait of the methods that wait.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A mock provider on a free port of 127.0.0.1. See the [module](self). Dropping it closes every connection.
#[must_use = "a dropped upstream stops listening"]
pub struct ScriptedUpstream {
    url: String,
    shared: Arc<UpstreamScript>,
    _server: JoinSet<()>,
}

type Responder = Box<dyn Fn(&ReceivedRequest) -> Scripted + Send + Sync>;

/// The script of a server, and what it has received.
struct UpstreamScript {
    responses: Mutex<VecDeque<Scripted>>,
    /// The response after the last of `responses`.
    fallback: Mutex<Option<Responder>>,
    log: watch::Sender<UpstreamLog>,
}

/// The requests that a server has received.
#[derive(Clone, Debug, Default)]
struct UpstreamLog {
    requests: Vec<ReceivedRequest>,
    finished: usize,
    abandoned: usize,
}

impl ScriptedUpstream {
    /// Starts a server without responses on the current tokio runtime.
    ///
    /// # Panics
    /// Panics if 127.0.0.1 has no free port, or outside of a tokio runtime.
    pub async fn start() -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (listener, address) = bound
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        let shared = Arc::new(UpstreamScript {
            responses: Mutex::default(),
            fallback: Mutex::default(),
            log: watch::Sender::new(UpstreamLog::default()),
        });
        let mut server = JoinSet::new();
        server.spawn(connection::serve(listener, Arc::clone(&shared)));
        Self { url: format!("http://{address}"), shared, _server: server }
    }

    /// Returns the base URL, `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds the response to the next request that has none.
    pub fn respond(&self, response: Scripted) -> &Self {
        self.shared.responses.lock().unwrap_or_else(PoisonError::into_inner).push_back(response);
        self
    }

    /// Sets the response to all requests after the [responses](Self::respond) for one each.
    pub fn respond_always(&self, response: Scripted) -> &Self {
        self.respond_with(move |_| response.clone())
    }

    /// Sets the response to all requests after the [responses](Self::respond) for one each: `respond` creates it from
    /// the request.
    pub fn respond_with(&self, respond: impl Fn(&ReceivedRequest) -> Scripted + Send + Sync + 'static) -> &Self {
        *self.shared.fallback.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(respond));
        self
    }

    /// Returns the requests so far, in the order of their arrival, also those that received 501.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.log.borrow().requests.clone()
    }

    /// Returns the number of responses whose client left before their end.
    pub fn abandoned(&self) -> usize {
        self.shared.log.borrow().abandoned
    }

    /// Waits until at least `count` requests have arrived, and returns all that have.
    ///
    /// # Panics
    /// Panics after 10 seconds.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ReceivedRequest> {
        self.wait_for("received", count, |log| log.requests.len()).await;
        self.requests()
    }

    /// Waits until at least `count` responses were written to their end.
    ///
    /// # Panics
    /// Panics after 10 seconds.
    pub async fn wait_for_finished(&self, count: usize) {
        self.wait_for("finished", count, |log| log.finished).await;
    }

    /// Waits until the clients of at least `count` responses have left before their end.
    ///
    /// # Panics
    /// Panics after 10 seconds.
    pub async fn wait_for_abandoned(&self, count: usize) {
        self.wait_for("abandoned", count, |log| log.abandoned).await;
    }

    async fn wait_for(&self, what: &str, count: usize, so_far: fn(&UpstreamLog) -> usize) {
        let mut log = self.shared.log.subscribe();
        let waited = tokio::time::timeout(WAIT_TIMEOUT, log.wait_for(|log| so_far(log) >= count)).await;
        let has_come = matches!(waited, Ok(Ok(_)));
        drop(waited);
        assert!(has_come, "upstream {}: {} of {count} {what}", self.url, so_far(&self.shared.log.borrow()));
    }
}

impl fmt::Debug for ScriptedUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedUpstream")
            .field("url", &self.url)
            .field("log", &self.shared.log.borrow())
            .finish_non_exhaustive()
    }
}

impl UpstreamScript {
    /// Records a request, and returns its response.
    fn receive(&self, request: ReceivedRequest) -> Scripted {
        let next = self.responses.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let response = next.unwrap_or_else(|| {
            let fallback = self.fallback.lock().unwrap_or_else(PoisonError::into_inner);
            let unexpected = || Scripted::json(501, r#"{"error":{"message":"the script has no response for this"}}"#);
            fallback.as_ref().map_or_else(unexpected, |respond| respond(&request))
        });
        self.log.send_modify(|log| log.requests.push(request));
        response
    }

    fn record_finished(&self) {
        self.log.send_modify(|log| log.finished += 1);
    }

    fn record_abandoned(&self) {
        self.log.send_modify(|log| log.abandoned += 1);
    }
}
