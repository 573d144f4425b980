//! From a host's name to its addresses.

use std::{future::Future, io, net::SocketAddr, pin::Pin};

/// Addresses on their way.
pub(crate) type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Whoever knows addresses.
pub(crate) trait Resolve: Send + Sync {
    /// The addresses of a name, or the address that it is.
    fn resolve(&self, host: String, port: u16) -> Resolving<'_>;
}

/// This machine.
pub(crate) struct System;

impl Resolve for System {
    fn resolve(&self, host: String, port: u16) -> Resolving<'_> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
