//! A load balancer, behind which replicas come and go at one address.

#![cfg(test)]

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A load balancer.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    cuts: watch::Sender<()>,
}

impl Balancer {
    /// Starts a load balancer that sends connections to a replica.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, targets) = watch::channel(Some(target));
        let cuts = watch::Sender::new(());
        let accepting = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = *targets.borrow();
                // The connection of a client is closed if there is no replica.
                if let Some(target) = target {
                    tokio::spawn(pass_on(accepting.subscribe(), client, target));
                }
            }
        });
        Self { address, target, cuts }
    }

    /// Sends new connections to another replica, or closes them.
    pub(crate) fn direct_to(&self, target: Option<SocketAddr>) {
        self.target.send_replace(target);
    }

    /// Sends new connections nowhere, cuts all others, and waits until they are closed.
    pub(crate) async fn cut(&self) {
        self.direct_to(None);
        self.cuts.send_replace(());
        self.cuts.closed().await;
    }
}

/// Passes the bytes of a connection on until it ends or is cut. `cut` is the first parameter, so that it is dropped after
/// the connections: [`Balancer::cut`] waits for it.
async fn pass_on(mut cut: watch::Receiver<()>, mut client: TcpStream, target: SocketAddr) {
    let Ok(mut replica) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut replica) => {}
        _ = cut.changed() => {}
    }
}
