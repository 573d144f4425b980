#![doc = include_str!("../README.md")]
//!
//! A program is one call of [`run`] with an adapter's `serve`. Programs that embed an adapter (`headwater-hyper`,
//! `headwater-actix`) don't need this crate.

mod descriptors;
mod memory;
mod settings;
mod signals;
mod telemetry;

use std::{
    future::Future,
    io::{self, Write},
    net::TcpListener,
    pin::Pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use headwater_listener::Connections;
use headwater_service::Service;
use headwater_store::Store;
use headwater_store_mem::MemStore;
use headwater_store_rocksdb::RocksStore;
use headwater_webhook::HttpWebhooks;
use rustix::fs::Mode;
use tokio::task::JoinHandle;

use settings::{LoadError, Settings, StoreKind};
use telemetry::Log;

/// A future that resolves when the server shall stop.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a server program until it is told to stop, and returns its exit code.
///
/// `name` is the program's name in `--help` and in error messages. `log_filter` holds directives for the adapter's
/// framework, which `--log` can override. `serve` serves the service until [`Shutdown`] resolves and the requests in
/// progress are complete.
#[must_use]
pub fn run<F>(
    name: &'static str,
    log_filter: &str,
    serve: impl FnOnce(Vec<TcpListener>, Service, Connections, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = io::Result<()>>,
{
    let settings = match settings::load(name) {
        Ok(settings) => settings,
        Err(LoadError::Usage(usage)) => usage.exit(),
        Err(LoadError::File(error)) => return fail(name, &error),
    };
    let log = telemetry::start(&settings, log_filter);
    let ended = run_with(&settings, name, &log, serve);
    // What was logged comes before the last line.
    drop(log);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &error),
    }
}

fn fail(name: &str, error: &anyhow::Error) -> ExitCode {
    // Nobody may be reading it.
    let _ = writeln!(io::stderr(), "{name}: {error:#}");
    ExitCode::FAILURE
}

/// How long work that can't be cancelled may go on after the server has ended: the resolution of a name.
const ABANDON_AFTER: Duration = Duration::from_millis(100);

fn run_with<F>(
    settings: &Settings,
    name: &str,
    log: &Log,
    serve: impl FnOnce(Vec<TcpListener>, Service, Connections, Shutdown) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    // What the server writes is for its user alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let mut connections = settings.connections();
    let limit = descriptors::raise_limit();
    connections.connections_max = descriptors::connections_max(limit, connections.connections_max)?;
    let config = settings.service()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("can't start the runtime")?;
    let (ended, store) = runtime.block_on(async {
        let shutdown = signals::shutdown_requested().context("can't install signal handlers")?;
        let store: Arc<dyn Store> = match settings.store {
            StoreKind::Rocksdb => {
                Arc::new(RocksStore::open(&settings.data_dir, settings.rocksdb_cache_bytes())?)
            }
            StoreKind::Mem => Arc::new(MemStore::new(settings.mem_max.as_u64())),
        };
        let listeners = headwater_listener::bind(settings.listen.iter().map(String::as_str))
            .map_err(|error| anyhow!("{error}; choose another address with --listen"))?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let lost = log.lost.clone();
        let builder = Service::builder(store.clone())
            .config(config)
            .webhooks(Arc::new(HttpWebhooks::default()))
            .lost_log_lines(move || lost.dropped_lines() as u64);
        let (service, background) = builder.start().await?;
        let background =
            tokio::spawn(async move { tokio::join!(background.run(), memory::purge_periodically()) });
        let died = Arc::new(AtomicBool::new(false));
        let shutdown = Box::pin(shutdown_or_death(shutdown, background, died.clone()));
        for address in &addresses {
            print_ready(&format!("listening on http://{address}{}", settings.base_path.as_str()));
        }
        tracing::info!(adapter = name, store = ?settings.store, ?addresses, "serving");
        serve(listeners, service.clone(), connections, shutdown).await?;
        tracing::info!("stopped");
        let ended = match service.storage_stopped() {
            Some(cause) => Err(anyhow!("the store takes no more writes: {cause}")),
            None if died.load(Ordering::Relaxed) => Err(anyhow!("a background task has ended")),
            None => Ok(()),
        };
        anyhow::Ok((ended, store))
    })?;
    runtime.shutdown_timeout(ABANDON_AFTER);
    // Nothing uses it any more: it writes what is left.
    drop(store);
    ended
}

/// Resolves when the server shall stop: somebody asks for it, or the background work has ended, which is a bug. Then nothing
/// expires and no worker is woken, and somebody has to start the server again.
async fn shutdown_or_death<T>(
    requested: impl Future<Output = ()>,
    background: JoinHandle<T>,
    died: Arc<AtomicBool>,
) {
    let abort = background.abort_handle();
    tokio::select! {
        () = requested => abort.abort(),
        ended = background => {
            let error = ended.err().map_or_else(String::new, |error| error.to_string());
            tracing::error!(%error, "a background task has ended: the server stops");
            died.store(true, Ordering::Relaxed);
        }
    }
}

/// Prints the address, for people and for scripts that wait for this line.
fn print_ready(line: &str) {
    let mut stdout = io::stdout();
    // The server runs whether or not somebody reads this.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_death_of_the_background_work_stops_the_server() {
        for dies in [true, false] {
            let died = Arc::new(AtomicBool::new(false));
            let background = tokio::spawn(async move {
                assert!(!dies, "a test's panic");
                std::future::pending::<()>().await;
            });
            let requested = async {
                if dies {
                    std::future::pending::<()>().await;
                }
            };
            shutdown_or_death(requested, background, died.clone()).await;
            assert_eq!(died.load(Ordering::Relaxed), dies);
        }
    }
}
