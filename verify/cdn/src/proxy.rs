//! A real cache with the configuration that users copy (`edge/`): only addresses are written anew.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use headwater_bench::http::{self, Connection};
use headwater_testkit::Server;
use tokio::time::sleep;

use crate::origin::{BASE_PATH, free_port};

/// The caches that are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Nginx,
    Varnish,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Varnish, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Varnish => "varnish",
        }
    }
}

/// The address of nginx's inner server.
const INNER: &str = "127.0.0.1:8079";

const READY_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Paths of the programs and their configurations.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    pub(crate) nginx: PathBuf,
    pub(crate) varnishd: PathBuf,
    pub(crate) edge: PathBuf,
}

/// A running cache; dropping it ends it.
pub(crate) struct Proxy {
    process: Server,
    pub(crate) address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not killed at once: nginx's and Varnish's own children would stay. It fails if it has ended already.
        let _ = self.process.stop_within(STOP_TIMEOUT);
    }
}

impl Proxy {
    /// Starts a cache in front of an origin, with its files in `folder`.
    pub(crate) async fn start(
        kind: Kind,
        caches: &Caches,
        folder: &Path,
        origin: SocketAddr,
    ) -> Result<Self> {
        let home = folder.join(kind.name());
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("cannot empty {}", home.display()))?;
        }
        copy(&caches.edge.join(kind.name()), &home)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let program = match kind {
            Kind::Nginx => &caches.nginx,
            Kind::Varnish => &caches.varnishd,
        };
        let mut command = Command::new(program);
        match kind {
            Kind::Nginx => {
                let inner = format!("127.0.0.1:{}", free_port()?);
                replace(&home.join("origin.conf"), "127.0.0.1:4437", &origin.to_string())?;
                replace(&home.join("origin.conf"), INNER, &inner)?;
                replace(&home.join("inner.conf"), INNER, &inner)?;
                replace(&home.join("listen.conf"), "listen 8080", &format!("listen {address}"))?;
                command.arg("-p").arg(&home).args(["-c", "nginx.conf", "-g", "daemon off;"]);
            }
            Kind::Varnish => {
                replace(&home.join("origin.vcl"), "\"4437\"", &format!("\"{}\"", origin.port()))?;
                command.arg("-F").arg("-n").arg(home.join("run")).args(["-a", &address.to_string()]);
                command.arg("-f").arg(home.join("headwater.vcl")).args(["-s", "malloc,512m"]);
            }
        }
        let mut proxy = Self { process: Server::spawn(&mut command, &home.join("log"))?, address };
        proxy.wait_until_ready().await.context(kind.name())?;
        Ok(proxy)
    }

    /// Waits until it passes on what the origin says of a stream that isn't there.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let path = format!("{BASE_PATH}/a-stream-that-is-not-there?offset=-1");
        let request = http::request("GET", &path, &[], b"");
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            self.process.check_running()?;
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection.exchange(&request).await.is_ok_and(|response| response.status == 404)
            {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("it passed nothing on within {} s.{}", READY_TIMEOUT.as_secs(), self.process.log_end())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Writes another address into a file of a configuration.
fn replace(file: &Path, what: &str, with: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    if !text.contains(what) {
        bail!("{} doesn't say {what} any more: adapt verify/cdn/src/proxy.rs", file.display());
    }
    fs::write(file, text.replace(what, with)).with_context(|| format!("cannot write {}", file.display()))
}
