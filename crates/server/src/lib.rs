#![doc = include_str!("../README.md")]
//!
//! A program is one call of [`run`] with an adapter's `serve`. Programs that embed an adapter (`headwater-hyper`,
//! `headwater-actix`) don't need this crate.

mod memory;
mod settings;
mod signals;
mod telemetry;

use std::{future::Future, io, net::TcpListener, pin::Pin, process::ExitCode, sync::Arc};

use anyhow::Context;
use headwater_listener::Connections;
use headwater_service::Service;
use headwater_store::Store;
use headwater_store_mem::MemStore;
use headwater_store_rocksdb::RocksStore;
use headwater_webhook::HttpWebhooks;

use settings::{LoadError, Settings, StoreKind};

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
    serve: impl FnOnce(TcpListener, Service, Connections, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = io::Result<()>>,
{
    let settings = match settings::load(name) {
        Ok(settings) => settings,
        Err(LoadError::Usage(usage)) => usage.exit(),
        Err(LoadError::File(error)) => return fail(name, &error),
    };
    telemetry::start(&settings, log_filter);
    match run_with(&settings, name, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &error),
    }
}

#[expect(clippy::print_stderr, reason = "errors before the program ends are for the terminal")]
fn fail(name: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{name}: {error:#}");
    ExitCode::FAILURE
}

fn run_with<F>(
    settings: &Settings,
    name: &str,
    serve: impl FnOnce(TcpListener, Service, Connections, Shutdown) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    // Each connection needs a file descriptor, and the soft limit of many systems is too low.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "can't raise the limit of open files");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("can't start the runtime")?.block_on(async {
        let shutdown = Box::pin(signals::shutdown_requested().context("can't install signal handlers")?);
        let store: Arc<dyn Store> = match settings.store {
            StoreKind::Rocksdb => {
                Arc::new(RocksStore::open(&settings.data_dir, settings.rocksdb_cache_bytes())?)
            }
            StoreKind::Mem => Arc::new(MemStore::new(settings.mem_max.as_u64())),
        };
        let listener = headwater_listener::bind(settings.listen).with_context(|| {
            format!("can't listen on {}; choose another address with --listen", settings.listen)
        })?;
        let address = listener.local_addr()?;
        let builder = Service::builder(store).config(settings.service()?);
        let (service, background) = builder.webhooks(Arc::new(HttpWebhooks::default())).start().await?;
        let background =
            tokio::spawn(async move { tokio::join!(background.run(), memory::purge_periodically()) });
        print_ready(&format!("listening on http://{address}{}", settings.base_path.as_str()));
        tracing::info!(adapter = name, store = ?settings.store, %address, "serving");
        serve(listener, service, settings.connections(), shutdown).await?;
        background.abort();
        tracing::info!("stopped");
        Ok(())
    })
}

/// Prints the address, for people and for scripts that wait for this line.
#[expect(clippy::print_stdout, reason = "the line is for the terminal and for scripts")]
fn print_ready(line: &str) {
    use std::io::Write;
    println!("{line}");
    // The server runs whether or not somebody reads this.
    let _ = io::stdout().flush();
}
