//! The listener: connections in, requests to the app, and a graceful end.

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
    Shutdown,
    connections::{Busy, Connection, Connections, Order},
    host,
    refusal::Stream,
    unread::{self, Unread},
};
use crate::http::{Request, Response, layer::PeerAddr};

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Longest a connection may do nothing: until a request's headers are there, idle ones included, and until the client
    /// takes more of an answer. It is ended within a quarter of the time more. An open request doesn't count as idle: the
    /// app's own timeouts are for that.
    pub header_timeout: Duration,
    /// How long open requests may go on once the server is told to end.
    pub grace: Duration,
}

/// An HTTP/1.1 and HTTP/2 server for any tower service.
///
/// axum's own `serve` lets a client that opens connections and sends nothing keep them for ever, and waits for open
/// requests without a deadline when it ends.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    settings: ServerSettings,
}

impl Server {
    /// Listens on an address; port 0 takes a free one.
    pub async fn bind(address: SocketAddr, settings: ServerSettings) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, settings })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told to end; then takes no more connections, lets open requests finish within the grace and returns
    /// how many connections were cut.
    pub async fn run<S>(self, service: S, shutdown: Shutdown) -> usize
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Unpin + 'static,
        S::Future: Send,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().header_read_timeout(None);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
        let connections = Arc::new(Connections::default());
        let ended = Shutdown::new();
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
            let (connection, place) = connections.enter();
            let peer = PeerAddr(peer);
            let io = Stream::new(stream, Arc::clone(&connection), service.clone(), peer);
            let adapter = Adapter { service: RefCell::new(service.clone()), peer, connection: Arc::clone(&connection) };
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
                    tracing::debug!(target: "omnistack::http", %error, peer = %peer.0, "a connection ended early");
                }
                drop(place);
            });
        }
        drop(self.listener);
        connections.tell_all(Order::Finish);
        if tokio::time::timeout(self.settings.grace, connections.all_closed()).await.is_ok() {
            return 0;
        }
        let open = connections.len();
        connections.tell_all(Order::Cut);
        open
    }
}

/// Connections that failed before we had them are the client's business; running out of file descriptors is ours, and
/// passes when some are closed.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind as K;
    if !matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset) {
        tracing::error!(target: "omnistack::http", %error, "can't accept connections; trying again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// hyper's view of a tower service: one clone a connection, and another only for a request that finds it not ready.
struct Adapter<S> {
    service: RefCell<S>,
    peer: PeerAddr,
    connection: Arc<Connection>,
}

impl<S> hyper::service::Service<hyper::Request<Incoming>> for Adapter<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let busy = Some(Busy::new(&self.connection));
        let (mut request, unread) = unread::follow(request);
        host::check(&mut request);
        request.extensions_mut().insert(self.peer);
        let mut service = self.service.borrow_mut();
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => Answering::Called { future: service.call(request), busy, unread },
            Poll::Pending => Answering::Waiting { future: service.clone().oneshot(request), busy, unread },
        }
    }
}

pin_project! {
    #[project = AnsweringProjection]
    enum Answering<S: Service<Request>> {
        Called {
            #[pin]
            future: S::Future,
            busy: Option<Busy>,
            unread: Option<Unread>,
        },
        Waiting {
            #[pin]
            future: Oneshot<S, Request>,
            busy: Option<Busy>,
            unread: Option<Unread>,
        },
        Draining {
            future: Pin<Box<dyn Future<Output = Response> + Send>>,
            busy: Option<Busy>,
        },
    }
}

impl<S: Service<Request, Response = Response, Error = Infallible>> Future for Answering<S> {
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
            self.set(Answering::Draining { future: Box::pin(unread.drain(response)), busy });
            return self.poll(cx);
        }
        Poll::Ready(Ok(match busy {
            Some(busy) => busy.until_sent(response),
            None => response,
        }))
    }
}
