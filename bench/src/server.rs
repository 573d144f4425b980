//! A contender's process: started alone on an empty directory, killed, perhaps started again.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use headwater_testkit::Server as Process;

use crate::contender::{BASE_PATH, Contender, Place};
use crate::disk::Disk;
use crate::process::Snapshot;
use headwater_bench::http;

/// The longest time until a server responds.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// The interval between requests meanwhile: the resolution of a restart's time.
const READY_PAUSE: Duration = Duration::from_millis(1);
/// The pause before a measurement, in which a new server may prepare files and give memory back.
const SETTLE: Duration = Duration::from_secs(1);

/// The parameters of a contender's process.
pub(crate) struct Launch<'a> {
    pub(crate) contender: &'static Contender,
    pub(crate) program: &'a [OsString],
    pub(crate) data_dir: PathBuf,
    pub(crate) log: PathBuf,
}

/// A running server. Dropping it kills it.
pub(crate) struct Server<'a> {
    launch: Launch<'a>,
    process: Process,
    address: SocketAddr,
    disk: Disk,
}

impl<'a> Server<'a> {
    /// Starts the server on an empty directory and waits until it answers and has come to rest.
    pub(crate) fn start(launch: Launch<'a>) -> Result<Self> {
        remove_dir(&launch.data_dir)?;
        fs::create_dir_all(&launch.data_dir)
            .with_context(|| format!("cannot create {}", launch.data_dir.display()))?;
        // Pending writes of the previous server must not count for this one.
        let disk = Disk::of(&launch.data_dir)?;
        disk.sync()?;
        let (process, address) = spawn(&launch)?;
        let mut server = Self { launch, process, address, disk };
        match server.wait_until_answering("a-stream-that-is-not-there", None) {
            Ok(()) => {
                thread::sleep(SETTLE);
                Ok(server)
            }
            Err(error) => Err(server.with_log_end(&error)),
        }
    }

    pub(crate) fn contender(&self) -> &'static Contender {
        self.launch.contender
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The disk that holds the server's data.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(self.process.pid())
    }

    /// Ends the server without warning, starts it again on what it left, and says how long it took until it
    /// answered a GET of this stream.
    pub(crate) fn kill_and_restart(&mut self, stream: &str) -> Result<Duration> {
        self.process.kill()?;
        let started = Instant::now();
        (self.process, self.address) = spawn(&self.launch)?;
        self.wait_until_answering(stream, Some(200))?;
        Ok(started.elapsed())
    }

    /// Waits until a GET is answered with the status, or with any.
    fn wait_until_answering(&mut self, stream: &str, status: Option<u16>) -> Result<()> {
        let path = format!("{BASE_PATH}/{stream}?offset=-1");
        let request = http::request("GET", &path, &[("Connection", "close")], b"");
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            self.process.check_running()?;
            let answered = ask(self.address, &request).ok().flatten();
            if answered.is_some_and(|answered| status.is_none_or(|status| status == answered)) {
                return Ok(());
            }
            thread::sleep(READY_PAUSE);
        }
        bail!("the server did not respond within {} s", READY_TIMEOUT.as_secs())
    }

    /// Adds the end of the server's log to an error.
    pub(crate) fn with_log_end(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{error:#}.{}", self.process.log_end())
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // It fails if the server has ended already.
        let _ = self.process.kill();
        // The next measurement begins with removing what is still there.
        let _ = remove_dir(&self.launch.data_dir);
    }
}

fn spawn(launch: &Launch<'_>) -> Result<(Process, SocketAddr)> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let place = Place { port: address.port(), data_dir: &launch.data_dir };
    let process = Process::spawn(&mut launch.contender.command(launch.program, &place)?, &launch.log)?;
    Ok((process, address))
}

/// The status of the response to a request; `None` if the connection ended before it came.
fn ask(address: SocketAddr, request: &[u8]) -> Result<Option<u16>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READY_TIMEOUT))?;
    stream.write_all(request)?;
    // `HTTP/1.1 200`
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    Ok(std::str::from_utf8(&line)?.rsplit_once(' ').and_then(|(_, status)| status.parse().ok()))
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
