//! Name resolution: from a host's name to its addresses.

use std::{
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
};

use tokio::{sync::Semaphore, task};

/// The number of names that are looked up at a time. A lookup can't be cancelled: it keeps its thread until the system
/// gives up, and the store needs threads of the same pool.
pub(crate) const LOOKUPS_MAX: usize = 32;

/// The future of a host's addresses.
pub(crate) type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// A resolver.
pub(crate) trait Resolve: Send + Sync {
    /// Resolves a name. A host that is an address already resolves to itself.
    fn resolve(&self, host: String, port: u16) -> Resolving<'_>;
}

/// A blocking lookup of one name.
type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// This machine's resolver.
pub(crate) struct System {
    look_up: LookUp,
    lookups: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self::with(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }
}

impl System {
    pub(crate) fn with(look_up: LookUp) -> Self {
        Self { look_up, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolve for System {
    fn resolve(&self, host: String, port: u16) -> Resolving<'_> {
        Box::pin(async move {
            if let Ok(address) = host.parse() {
                return Ok(vec![SocketAddr::new(address, port)]);
            }
            let look_up = self.look_up;
            let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
            let lookup = task::spawn_blocking(move || {
                // Held as long as the thread is busy, also if the webhook has timed out.
                let _permit = permit;
                look_up(&host, port)
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
