//! The server as a process: started on a folder, timed until it answers, killed or asked to end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::{Client, Request};
use crate::report::broken;

const READY: &str = "listening on ";
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

/// How the server is run.
#[derive(Debug)]
pub(crate) struct Program {
    binary: PathBuf,
    /// Where its logs go.
    logs: PathBuf,
    starts: AtomicU32,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) client: Client,
    pub(crate) log: PathBuf,
    /// From the start of the process to the line that says where it listens, and to its first answer.
    pub(crate) listening_after: Duration,
    pub(crate) answering_after: Duration,
    /// The longest sync of a small file meanwhile, if the start was slow.
    pub(crate) disk_took: Duration,
}

/// What came of a start.
#[derive(Debug)]
pub(crate) enum Start {
    Running(Server),
    /// It ended by itself.
    Ended {
        status: ExitStatus,
        /// What it printed.
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
        let mut process = self.spawn(data, wrapper)?;
        let (sender, ready) = channel();
        if let Some(stdout) = process.child.stdout.take() {
            thread::spawn(move || announce(stdout, &sender));
        }
        let mut disk_took = Duration::ZERO;
        let mut said = ready.recv_timeout(SLOW);
        while said == Err(RecvTimeoutError::Timeout) && process.begun.elapsed() < READY_TIMEOUT {
            disk_took = disk_took.max(sync_something(&self.logs)?);
            said = ready.recv_timeout(Duration::from_millis(50));
        }
        match said {
            Ok(url) => {
                process.listening_after = process.begun.elapsed();
                let client = Client::new(&url);
                let answer = client.send(&Request::new("HEAD", "nothing-is-here"));
                if let Err(error) = answer {
                    bail!(broken("a server that listens answers", "", error.to_string()));
                }
                let Process { child, log, begun, listening_after } = process;
                Ok(Start::Running(Server {
                    child,
                    client,
                    log,
                    listening_after,
                    answering_after: begun.elapsed(),
                    disk_took,
                }))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = process.child.wait()?;
                let said = fs::read_to_string(&process.log).unwrap_or_default();
                Ok(Start::Ended { status, said })
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = process.child.kill();
                let _ = process.child.wait();
                bail!(broken(
                    "a start comes to an end",
                    "",
                    format!("neither up nor ended after {READY_TIMEOUT:?}")
                ))
            }
        }
    }

    /// Starts it and kills it after a while, whether it is up by then or not.
    pub(crate) fn start_and_kill(&self, data: &Path, after: Duration) -> Result<()> {
        let mut process = self.spawn(data, &[])?;
        thread::sleep(after);
        if let Some(status) = process.child.try_wait()? {
            let said = fs::read_to_string(&process.log).unwrap_or_default();
            bail!(broken("the server starts", "", format!("it ended with {status} and said:\n{said}")));
        }
        process.child.kill()?;
        process.child.wait()?;
        check_log(&process.log)
    }

    fn spawn(&self, data: &Path, wrapper: &[&str]) -> Result<Process> {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        // The last few logs are enough.
        let log = self.logs.join(format!("server-{}.log", number % 8));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = match wrapper {
            [] => Command::new(&self.binary),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.binary);
                command
            }
        };
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HEADWATER_"))
        {
            command.env_remove(name);
        }
        command.args(FLAGS).arg("--data-dir").arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot run {}", self.binary.display()))?;
        Ok(Process { child, log, begun, listening_after: Duration::ZERO })
    }
}

/// A process that may become a server.
struct Process {
    child: Child,
    log: PathBuf,
    begun: Instant,
    listening_after: Duration,
}

/// Reads to the end: a server must not block on a full pipe.
fn announce(stdout: ChildStdout, ready: &Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(url) = line.strip_prefix(READY) {
            // Nobody receives a second such line; that is fine.
            let _ = ready.send(url.trim().to_owned());
        }
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.still_runs()?;
        self.child.kill()?;
        self.child.wait()?;
        check_log(&self.log)
    }

    /// SIGTERM, and an end in time with status 0.
    pub(crate) fn terminate(mut self) -> Result<()> {
        self.still_runs()?;
        // The standard library can only SIGKILL; every POSIX shell has `kill` built in.
        let pid = self.pid().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid]).status()?;
        if !sent.success() {
            bail!("cannot send SIGTERM to the server");
        }
        let asked = Instant::now();
        while asked.elapsed() < END_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!(broken("SIGTERM ends the server with status 0", "", status.to_string()));
                }
                return check_log(&self.log);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!(broken("SIGTERM ends the server", "", format!("it still runs after {END_TIMEOUT:?}")))
    }

    pub(crate) fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!(broken("the server goes on", "", format!("it ended by itself with {status}:\n{said}")))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is what we want here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long the disk takes for very little.
fn sync_something(folder: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut file = File::create(folder.join("probe"))?;
    file.write_all(b"something")?;
    file.sync_all()?;
    Ok(begun.elapsed())
}

/// A panic is a bug, wherever it was caught.
pub(crate) fn check_log(log: &Path) -> Result<()> {
    let text = fs::read_to_string(log).unwrap_or_default();
    match text.lines().find(|line| line.contains("panicked at")) {
        None => Ok(()),
        Some(line) => bail!(broken("nothing panics", "", line.to_owned())),
    }
}
