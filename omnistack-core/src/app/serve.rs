//! The listener: connections in, requests to the app, and a graceful end.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::TcpListener;
use tower::{Service, ServiceExt as _};

use super::Shutdown;
use crate::http::{Request, Response, layer::PeerAddr};

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Longest until a request's headers are there, the wait on an idle connection included.
    pub header_timeout: Duration,
    /// How long open requests may go on once the server is told to end.
    pub grace: Duration,
}

/// An HTTP/1.1 and HTTP/2 server for any tower service.
///
/// axum's own `serve` has no timeout for headers, so that a client which opens connections and sends nothing keeps them
/// for ever; that and the deadline for shutting down are the reasons for this one.
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
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.header_timeout)
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20));
        let graceful = GracefulShutdown::new();
        let open = Arc::new(AtomicUsize::new(0));
        loop {
            let (stream, peer) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        pause_after(&error).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => break,
            };
            _ = stream.set_nodelay(true);
            let io = TokioIo::new(stream);
            let connection = builder.serve_connection(io, Adapter { service: service.clone(), peer: PeerAddr(peer) });
            let connection = graceful.watch(connection.into_owned());
            let open = Counted::new(&open);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(target: "omnistack::http", %error, %peer, "a connection ended early");
                }
                drop(open);
            });
        }
        drop(self.listener);
        match tokio::time::timeout(self.settings.grace, graceful.shutdown()).await {
            Ok(()) => 0,
            Err(_) => open.load(Ordering::Relaxed),
        }
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

/// Counts open connections, whichever way they end.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// hyper's view of a tower service: one clone a request.
struct Adapter<S> {
    service: S,
    peer: PeerAddr,
}

impl<S> hyper::service::Service<hyper::Request<Incoming>> for Adapter<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = tower::util::Oneshot<S, Request>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer);
        self.service.clone().oneshot(request)
    }
}
