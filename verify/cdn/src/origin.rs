//! The origin: a server of this repository, started, restarted, and asked what it has counted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use headwater_bench::http::{self, Connection};
use headwater_testkit::Server;
use tokio::task::spawn_blocking;

pub(crate) const BASE_PATH: &str = "/v1/stream";

/// A running origin; dropping it kills it.
pub(crate) struct Origin {
    binary: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
    /// `None` while it is restarted.
    server: Option<Server>,
    pub(crate) address: SocketAddr,
    /// The counts of earlier processes.
    before: Counts,
}

/// The work of the origin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// GET and HEAD.
    pub(crate) requests: u64,
    /// 304 of them.
    pub(crate) revalidated: u64,
    /// Bytes of bodies.
    pub(crate) bytes: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            revalidated: self.revalidated + other.revalidated,
            bytes: self.bytes + other.bytes,
        }
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            revalidated: self.revalidated.saturating_sub(earlier.revalidated),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }

    /// Reads what `/metrics` says.
    pub(crate) fn parse(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let value: u64 = value.parse().unwrap_or_default();
            if series.starts_with("headwater_requests_total{")
                && (series.contains("method=\"GET\"") || series.contains("method=\"HEAD\""))
            {
                counts.requests += value;
            } else if series.starts_with("headwater_reads_total{")
                && series.contains("answer=\"revalidated\"")
            {
                counts.revalidated += value;
            } else if series.starts_with("headwater_read_bytes_total{") {
                counts.bytes += value;
            }
        }
        counts
    }
}

/// A port that nobody uses.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Origin {
    /// Starts a server with its data in `folder`, which is emptied.
    pub(crate) async fn start(binary: &Path, folder: &Path, flags: &[&str]) -> Result<Self> {
        let data = folder.join("data");
        if data.exists() {
            std::fs::remove_dir_all(&data).with_context(|| format!("cannot empty {}", data.display()))?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let own = ["--listen", &address.to_string(), "--data-dir", &data.to_string_lossy(), "--log", "warn"];
        let flags: Vec<String> = own.iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
        let log = folder.join("origin.log");
        let mut origin = Self {
            binary: binary.to_path_buf(),
            flags,
            log,
            server: None,
            address,
            before: Counts::default(),
        };
        origin.restart_server().await?;
        Ok(origin)
    }

    /// Asks the server to end as an operator does, and starts it again on what it left.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.before = self.counts().await?;
        self.restart_server().await
    }

    /// Stops the server, if there is one, and starts another one; the audience goes on meanwhile.
    async fn restart_server(&mut self) -> Result<()> {
        let stopped = self.server.take();
        let mut command = Command::new(&self.binary);
        command.args(&self.flags);
        let log = self.log.clone();
        let start = move || {
            stopped.map_or(Ok(()), Server::stop)?;
            Server::start(&mut command, &log)
        };
        self.server = Some(spawn_blocking(start).await??);
        Ok(())
    }

    /// The counts since the first start.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        let mut connection = Connection::open(self.address).await?;
        let response = connection.exchange(&http::request("GET", "/metrics", &[], b"")).await?;
        response.expect(200)?;
        Ok(self.before.plus(Counts::parse(std::str::from_utf8(response.body)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_sums_over_labels() {
        let counts = Counts::parse(
            "# TYPE headwater_requests counter\n\
             headwater_requests_total{method=\"GET\",status=\"200\"} 5\n\
             headwater_requests_total{method=\"HEAD\",status=\"200\"} 2\n\
             headwater_requests_total{method=\"POST\",status=\"204\"} 9\n\
             headwater_reads_total{class=\"tail\",answer=\"revalidated\",source=\"memory\"} 3\n\
             headwater_reads_total{class=\"tail\",answer=\"full\",source=\"memory\"} 2\n\
             headwater_read_bytes_total{class=\"tail\"} 70\n\
             headwater_read_bytes_total{class=\"live\"} 7\n# EOF\n",
        );
        assert_eq!((counts.requests, counts.revalidated, counts.bytes), (7, 3, 77));
    }
}
