//! What every Headwater binary shares: configuration, opening the store, telemetry, signals.
//!
//! A binary is `headwater_server::main::<ItsAdapter>()`. Whoever embeds an adapter in a program of their own needs
//! nothing of this crate.

mod memory;
pub mod settings;
mod signals;
mod telemetry;

use std::{future::Future, net::TcpListener, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use headwater_service::{Service, config::Connections};
use headwater_store::Store;
use headwater_store_mem::MemStore;
use headwater_store_rocksdb::RocksStore;
use headwater_webhook::HttpWebhooks;

use settings::{Settings, StoreKind};

/// A way to put the service on a listening socket.
pub trait Adapter {
    /// The binary's name.
    const NAME: &'static str;

    /// What of its framework to log; `--log` may say otherwise.
    const LOG: &'static str = "";

    /// Serves until `shutdown` resolves and what was begun is answered.
    fn serve(
        listener: TcpListener,
        service: Service,
        connections: Connections,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = std::io::Result<()>>;
}

/// The whole program.
#[must_use]
pub fn main<A: Adapter>() -> ExitCode {
    let settings = match settings::load(A::NAME) {
        Ok(settings) => settings,
        Err(settings::LoadError::Usage(usage)) => usage.exit(),
        Err(settings::LoadError::File(error)) => return fail::<A>(&error),
    };
    telemetry::start(&settings, A::LOG);
    match run::<A>(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail::<A>(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the terminal is where this belongs")]
fn fail<A: Adapter>(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}: {error:#}", A::NAME);
    ExitCode::FAILURE
}

fn run<A: Adapter>(settings: &Settings) -> anyhow::Result<()> {
    // A descriptor for each connection: the default of many systems is too low, the hard limit is what counts.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let shutdown = signals::asked_to_stop().context("signals can't be watched")?;
        let store: Arc<dyn Store> = match settings.store {
            StoreKind::Rocksdb => {
                Arc::new(RocksStore::open(&settings.data_dir, settings.rocksdb_cache_bytes())?)
            }
            StoreKind::Mem => Arc::new(MemStore::new(settings.mem_max.as_u64())),
        };
        serve::<A>(settings, store, shutdown).await
    })
}

async fn serve<A: Adapter>(
    settings: &Settings,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = listen(settings)?;
    let address = listener.local_addr()?;
    let builder = Service::builder(store).config(settings.service()?);
    let (service, background) = builder.webhooks(Arc::new(HttpWebhooks::default())).start().await?;
    let background = tokio::spawn(async move { tokio::join!(background.run(), memory::give_back()) });
    announce(&format!("listening on http://{address}{}", settings.base_path.as_str()));
    tracing::info!(adapter = A::NAME, store = ?settings.store, %address, "serving");
    A::serve(listener, service, settings.connections(), shutdown).await?;
    background.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Says where the server is, for people and for scripts that wait for it.
#[expect(clippy::print_stdout, reason = "the terminal is where this belongs")]
fn announce(line: &str) {
    use std::io::Write;
    println!("{line}");
    // Nobody may be reading; the server runs all the same.
    let _ = std::io::stdout().flush();
}

fn listen(settings: &Settings) -> anyhow::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let address = settings.listen;
    let open = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit these: a peer that is gone is noticed within a minute.
        socket.set_keepalive(true)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))?;
        socket.bind(&address.into())?;
        socket.listen(4_096)?;
        Ok(socket.into())
    };
    open().with_context(|| format!("can't listen on {address}; choose another address with --listen"))
}
