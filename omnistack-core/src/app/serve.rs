//! The HTTP server: it accepts connections, passes requests to the app, and shuts down gracefully.

use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use pin_project_lite::pin_project;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt as _, util::Oneshot};

use super::{
    connections::{Connection, Connections, Order, RequestGuard},
    host,
    malformed_request::ConnectionStream,
    unread::{self, UnreadBody},
};
use crate::ShutdownToken;
use crate::http::{Request, Response, layer::PeerAddr};

/// Settings for connections.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Longest idle time of a connection: until the headers of a request have arrived, between requests, and until
    /// the client reads more of a response. The connection is closed at most a quarter of this time later. An open
    /// request does not count as idle; the request timeout applies to it.
    pub header_timeout: Duration,
    /// Time that open requests have to finish after shutdown begins.
    pub grace: Duration,
}

/// An HTTP/1.1 and HTTP/2 server for any tower service.
///
/// Unlike `axum::serve`, it closes connections on which the client sends nothing, and at shutdown it waits for open
/// requests only until a deadline.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    settings: ServerSettings,
}

impl Server {
    /// Listens on an address. Port 0 selects a free port.
    ///
    /// # Errors
    /// Fails if the address can't be bound.
    pub async fn bind(address: SocketAddr, settings: ServerSettings) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, settings })
    }

    /// Returns the address on which the server listens.
    ///
    /// # Errors
    /// Fails if the operating system can't return the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until shutdown. Then it accepts no more connections, waits until the grace period ends for open requests
    /// and for connections that have changed to another protocol, such as WebSocket, and returns how many connections
    /// were still open then. They are closed.
    pub async fn run<S>(self, service: S, shutdown: ShutdownToken) -> usize
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Unpin + 'static,
        S::Future: Send,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().header_read_timeout(None);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
        let connections = Arc::new(Connections::default());
        let ended = ShutdownToken::new();
        let _ended = ended.clone().drop_guard();
        tokio::spawn({
            let (connections, after) = (Arc::clone(&connections), self.settings.header_timeout);
            async move { connections.cut_idle(after, ended).await }
        });
        while let Some(accepted) = shutdown.run_until_cancelled(self.listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            _ = stream.set_nodelay(true);
            let (connection, place) = connections.add();
            let peer = PeerAddr(peer);
            let io = ConnectionStream::new(stream, Arc::clone(&connection), place, service.clone(), peer);
            let adapter =
                HyperService { service: RefCell::new(service.clone()), peer, connection: Arc::clone(&connection) };
            let serving = builder.serve_connection_with_upgrades(io, adapter).into_owned();
            tokio::spawn(async move {
                let mut serving = std::pin::pin!(serving);
                let mut finishing = false;
                let end = std::future::poll_fn(|cx| {
                    match connection.order(cx) {
                        Order::Serve => {}
                        Order::Finish if finishing => {}
                        Order::Finish => {
                            serving.as_mut().graceful_shutdown();
                            finishing = true;
                        }
                        Order::Cut => return Poll::Ready(Ok(())),
                    }
                    serving.as_mut().poll(cx)
                });
                if let Err(error) = end.await {
                    tracing::debug!(target: "omnistack::http", %error, peer = %peer.0, "a connection ended with an error");
                }
                connection.record_hand_over();
            });
        }
        drop(self.listener);
        connections.send_order_to_all(Order::Finish);
        if tokio::time::timeout(self.settings.grace, connections.all_closed()).await.is_ok() {
            return 0;
        }
        let open = connections.len();
        connections.send_order_to_all(Order::Cut);
        open
    }
}

/// Logs an error and pauses, unless the client caused it. Running out of file descriptors is our error, and ends when
/// some are closed.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind as K;
    if !matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset) {
        tracing::error!(target: "omnistack::http", %error, "can't accept connections; retrying in 100 ms");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// hyper's view of a tower service: one clone per connection, and another only for a request that finds it not ready.
struct HyperService<S> {
    service: RefCell<S>,
    peer: PeerAddr,
    connection: Arc<Connection>,
}

impl<S> hyper::service::Service<hyper::Request<Incoming>> for HyperService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ServeFuture<S>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let busy = Some(RequestGuard::new(&self.connection));
        let (mut request, unread) = unread::track_body(request);
        host::check(&mut request);
        request.extensions_mut().insert(self.peer);
        let mut service = self.service.borrow_mut();
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => ServeFuture::Called { future: service.call(request), busy, unread },
            Poll::Pending => ServeFuture::Waiting { future: service.clone().oneshot(request), busy, unread },
        }
    }
}

pin_project! {
    #[project = AnsweringProjection]
    enum ServeFuture<S: Service<Request>> {
        Called {
            #[pin]
            future: S::Future,
            busy: Option<RequestGuard>,
            unread: Option<UnreadBody>,
        },
        Waiting {
            #[pin]
            future: Oneshot<S, Request>,
            busy: Option<RequestGuard>,
            unread: Option<UnreadBody>,
        },
        Draining {
            future: Pin<Box<dyn Future<Output = Response> + Send>>,
            busy: Option<RequestGuard>,
        },
    }
}

impl<S: Service<Request, Response = Response, Error = Infallible>> Future for ServeFuture<S> {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, busy, unread) = match self.as_mut().project() {
            AnsweringProjection::Called { future, busy, unread } => {
                let Ok(response) = ready!(future.poll(cx));
                (response, busy.take(), unread.take())
            }
            AnsweringProjection::Waiting { future, busy, unread } => {
                let Ok(response) = ready!(future.poll(cx));
                (response, busy.take(), unread.take())
            }
            AnsweringProjection::Draining { future, busy } => (ready!(future.as_mut().poll(cx)), busy.take(), None),
        };
        if let Some(mut unread) = unread
            && !unread.is_read()
        {
            self.set(ServeFuture::Draining { future: Box::pin(unread.drain(response)), busy });
            return self.poll(cx);
        }
        Poll::Ready(Ok(match busy {
            Some(busy) => busy.hold_until_sent(response),
            None => response,
        }))
    }
}
