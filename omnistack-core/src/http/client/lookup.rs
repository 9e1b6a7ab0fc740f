//! The lookup of host names by the operating system.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, watch};

/// Most lookups of a client that the operating system runs at once. Each keeps one of the runtime's 512 threads for
/// blocking calls until the system gives up, which takes up to half a minute, even if its request has timed out.
const MAX_LOOKUPS: usize = 64;

/// The addresses of a host, or the error of the system.
pub(super) type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Looks up the addresses of a host name.
pub(super) type Lookup = Arc<dyn Fn(String) -> LookupFuture + Send + Sync>;

/// Returns the lookup of the operating system, for one client. Users whose name servers don't respond can't use up the
/// threads for blocking calls: at most [`MAX_LOOKUPS`] run at once, and one for each name. Further ones wait.
pub(super) fn system() -> Lookup {
    bounded(Arc::new(|host: String| -> LookupFuture { Box::pin(look_up(host)) }))
}

async fn look_up(host: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, 0)).await?.collect())
}

fn bounded(lookup: Lookup) -> Lookup {
    let lookups = Arc::new(SharedLookups { lookup, places: Semaphore::new(MAX_LOOKUPS), running: Mutex::default() });
    Arc::new(move |host: String| -> LookupFuture { Box::pin(lookups.clone().answer(host)) })
}

/// The answer of a lookup, once there is one.
type Answer = Option<io::Result<Vec<SocketAddr>>>;

/// Lookups that requests for the same host share. They end by themselves, whether or not a request still waits.
struct SharedLookups {
    lookup: Lookup,
    places: Semaphore,
    running: Mutex<HashMap<String, watch::Receiver<Answer>>>,
}

impl SharedLookups {
    async fn answer(self: Arc<Self>, host: String) -> io::Result<Vec<SocketAddr>> {
        let mut answer = self.find_or_start(host);
        let answer = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?;
        match answer.as_ref() {
            Some(Ok(addresses)) => Ok(addresses.clone()),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Err(io::ErrorKind::Other.into()),
        }
    }

    fn find_or_start(self: Arc<Self>, host: String) -> watch::Receiver<Answer> {
        let mut running = self.running();
        if let Some(answer) = running.get(&host) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        running.insert(host.clone(), answer.clone());
        drop(running);
        tokio::spawn(self.run(host, sender));
        answer
    }

    async fn run(self: Arc<Self>, host: String, answer: watch::Sender<Answer>) {
        let found = match self.places.acquire().await {
            Ok(_place) => (self.lookup)(host.clone()).await,
            Err(error) => Err(io::Error::other(error)),
        };
        self.running().remove(&host);
        answer.send_replace(Some(found));
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Answer>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    /// Returns a lookup that answers when the sender sends, and the number of its calls.
    fn gated() -> (Lookup, watch::Sender<bool>, Arc<AtomicUsize>) {
        let ((gate, open), calls) = (watch::channel(false), Arc::new(AtomicUsize::new(0)));
        let counted = calls.clone();
        let lookup: Lookup = Arc::new(move |_: String| -> LookupFuture {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut open = open.clone();
            Box::pin(async move {
                open.wait_for(|open| *open).await.map_err(io::Error::other)?;
                Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
            })
        });
        (bounded(lookup), gate, calls)
    }

    /// Lets the tasks of this thread run until they wait.
    async fn settle() {
        for _ in 0..1_000 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn requests_for_a_host_share_a_lookup() {
        let (lookup, gate, calls) = gated();
        let requests: Vec<_> = (0..16).map(|_| tokio::spawn(lookup("hooks.example.com".to_owned()))).collect();
        settle().await;
        gate.send(true).unwrap();
        for answer in join_all(requests).await {
            assert_eq!(answer.unwrap().unwrap().len(), 1);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        // An answer is not kept: the next request looks the name up again.
        lookup("hooks.example.com".to_owned()).await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn lookups_that_hang_are_limited_even_if_their_requests_have_ended() {
        let (lookup, gate, calls) = gated();
        let hung: Vec<_> = (0..100).map(|index| tokio::spawn(lookup(format!("{index}.example.com")))).collect();
        settle().await;
        for request in &hung {
            request.abort();
        }
        let waiting = tokio::spawn(lookup("hooks.example.com".to_owned()));
        settle().await;
        assert_eq!(calls.load(Ordering::Relaxed), MAX_LOOKUPS);
        gate.send(true).unwrap();
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn all_requests_learn_why_a_lookup_failed() {
        let lookup = bounded(Arc::new(|_: String| -> LookupFuture {
            Box::pin(async { Err(io::Error::new(io::ErrorKind::NotFound, "no such host")) })
        }));
        let error = lookup("a.example".to_owned()).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::NotFound, "no such host"));
    }
}
