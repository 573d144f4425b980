//! `server-hyper`: Headwater as a program, on hyper.

use std::{future::Future, io, net::TcpListener, process::ExitCode};

use headwater_server::Adapter;
use headwater_service::{Service, config::Connections};

struct Hyper;

impl Adapter for Hyper {
    const NAME: &'static str = "server-hyper";

    fn serve(
        listener: TcpListener,
        service: Service,
        connections: Connections,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = io::Result<()>> {
        headwater_hyper::serve(listener, service, connections, shutdown)
    }
}

fn main() -> ExitCode {
    headwater_server::main::<Hyper>()
}
