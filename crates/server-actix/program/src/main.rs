//! `server-actix`: Headwater as a program, on actix-web.

use std::{future::Future, io, net::TcpListener, process::ExitCode};

use headwater_server::Adapter;
use headwater_service::{Service, config::Connections};

struct Actix;

impl Adapter for Actix {
    const NAME: &'static str = "server-actix";
    // An error for every malformed request, and a line for every worker.
    const LOG: &'static str = "actix_http=off,actix_server=warn";

    fn serve(
        listener: TcpListener,
        service: Service,
        connections: Connections,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = io::Result<()>> {
        headwater_actix::serve(listener, service, connections, shutdown)
    }
}

fn main() -> ExitCode {
    headwater_server::main::<Actix>()
}
