//! The server under test: started on a folder, timed until it responds, killed or terminated.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::process::{Server as Process, State};
use headwater_testkit::{Client, Request};

use crate::report::broken;

/// Longer than any response may take, also while other programs keep the disk busy.
const PATIENCE: Duration = Duration::from_secs(90);
const IDLE_CONNECTIONS: usize = 32;
/// A server that says nothing for so long hangs. Other programs on the same disk can make a sync last half a minute.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// The server's own grace, and what a checkpoint may take on such a disk.
const END_TIMEOUT: Duration = Duration::from_secs(90);
/// A start that takes longer is looked at: is it the server, or the disk?
const SLOW: Duration = Duration::from_millis(400);

/// Small chunks, so that small streams have several; short waits, so that live readers take turns.
const FLAGS: [&str; 12] = [
    "--listen",
    "127.0.0.1:0",
    "--store",
    "rocksdb",
    "--chunk-size",
    CHUNK_SIZE,
    "--long-poll-timeout",
    "300ms",
    "--sse-lifetime",
    "2s",
    "--shutdown-grace",
    "10s",
];
const CHUNK_SIZE: &str = "64KiB";

/// The server's binary and the folder of its logs.
#[derive(Debug)]
pub(crate) struct Program {
    binary: PathBuf,
    logs: PathBuf,
    starts: AtomicU32,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) client: Client,
    /// From the start of the process to the line that says where it listens, and to its first response.
    pub(crate) listening_after: Duration,
    pub(crate) answering_after: Duration,
    /// The longest sync of a small file meanwhile, if the start was slow.
    pub(crate) disk_took: Duration,
}

/// The outcome of a start.
#[derive(Debug)]
pub(crate) enum Start {
    Running(Server),
    /// The server ended by itself.
    Ended {
        status: ExitStatus,
        /// Its output.
        said: String,
    },
}

impl Program {
    pub(crate) fn new(binary: PathBuf, folder: &Path) -> Result<Self> {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Self { binary, logs, starts: AtomicU32::new(0) })
    }

    /// Starts it on a folder, which must succeed.
    pub(crate) fn start(&self, data: &Path) -> Result<Server> {
        match self.try_start(data, &[])? {
            Start::Running(server) => Ok(server),
            Start::Ended { status, said } => {
                bail!(broken("the server starts", "", format!("it ended with {status} and said:\n{said}")))
            }
        }
    }

    /// Starts it on a folder; `wrapper` is a program that runs it, with arguments, such as `prlimit --fsize=1`.
    pub(crate) fn try_start(&self, data: &Path, wrapper: &[&str]) -> Result<Start> {
        self.try_start_with(data, wrapper, &[])
    }

    /// Starts it like [`Program::try_start`], with more flags.
    pub(crate) fn try_start_with(&self, data: &Path, wrapper: &[&str], flags: &[&str]) -> Result<Start> {
        let begun = Instant::now();
        let mut process = self.spawn(data, wrapper, flags)?;
        let mut disk_took = Duration::ZERO;
        let mut state = process.wait_until_listening(SLOW)?;
        while state == State::Starting && begun.elapsed() < READY_TIMEOUT {
            disk_took = disk_took.max(sync_something(&self.logs)?);
            state = process.wait_until_listening(Duration::from_millis(50))?;
        }
        match state {
            State::Listening => {}
            State::Ended(status) => return Ok(Start::Ended { status, said: process.log() }),
            State::Starting => {
                let what = format!("neither up nor ended after {READY_TIMEOUT:?}");
                bail!(broken("a start comes to an end", "", what))
            }
        }
        let listening_after = begun.elapsed();
        let client = Client::new(format!("{}/", process.url()), PATIENCE, IDLE_CONNECTIONS);
        if let Err(error) = client.send(&Request::new("HEAD", "nothing-is-here")) {
            bail!(broken("a server that listens answers", "", error.to_string()));
        }
        let answering_after = begun.elapsed();
        Ok(Start::Running(Server { process, client, listening_after, answering_after, disk_took }))
    }

    /// Starts it and kills it after a while, whether it is up by then or not.
    pub(crate) fn start_and_kill(&self, data: &Path, after: Duration) -> Result<()> {
        let mut process = self.spawn(data, &[], &[])?;
        thread::sleep(after);
        process.kill().map_err(|error| goes_on(&error))
    }

    fn spawn(&self, data: &Path, wrapper: &[&str], flags: &[&str]) -> Result<Process> {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        // The last few logs are enough.
        let log = self.logs.join(format!("server-{}.log", number % 8));
        let mut command = match wrapper {
            [] => Command::new(&self.binary),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.binary);
                command
            }
        };
        Process::spawn(command.args(FLAGS).args(flags).arg("--data-dir").arg(data), &log)
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Host and port, and the path that all streams are under.
    pub(crate) fn address(&self) -> (&str, &str) {
        let rest = self.process.url().trim_start_matches("http://");
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill().map_err(|error| goes_on(&error))
    }

    /// SIGTERM, and an end in time with status 0.
    pub(crate) fn terminate(mut self) -> Result<()> {
        self.process.stop_within(END_TIMEOUT).map_err(|error| goes_on(&error))
    }

    /// SIGTERM, and an end in time: with status 0, or with another one if the store had stopped, which the server then says.
    pub(crate) fn terminate_stopped(mut self) -> Result<()> {
        match self.process.stop_within(END_TIMEOUT) {
            Err(error) if !self.process.log().contains("the store takes no more writes") => {
                Err(goes_on(&error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn still_runs(&mut self) -> Result<()> {
        self.process.check_running().map_err(|error| goes_on(&error))
    }
}

/// A server that ends by itself, not on SIGTERM, or after a panic.
fn goes_on(error: &anyhow::Error) -> anyhow::Error {
    broken("the server runs until it is asked to end, and nothing panics", "", format!("{error:#}")).into()
}

/// The time that the disk takes for a small write and a sync.
fn sync_something(folder: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut file = File::create(folder.join("probe"))?;
    file.write_all(b"something")?;
    file.sync_all()?;
    Ok(begun.elapsed())
}
