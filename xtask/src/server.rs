//! A server under test: built, started on a free port, stopped with SIGTERM.
//!
//! The contract with the binary is one line on its standard output, `listening on URL`, once it accepts
//! connections, and a clean exit (status 0) on SIGTERM.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// The adapters there are: `hyper` is the binary `server-hyper`.
pub(crate) const SERVERS: [&str; 2] = ["hyper", "actix"];

/// The stores a server can be started with (`--store`).
pub(crate) const STORES: [&str; 2] = ["rocksdb", "mem"];

/// What the suites expect of a server: limits small enough to be reached in a test.
const SUITE_FLAGS: [&str; 7] = [
    "--chunk-size",
    CHUNK_SIZE,
    "--header-timeout",
    HEADER_TIMEOUT,
    "--long-poll-timeout",
    LONG_POLL_TIMEOUT,
    // Where the suites' own receivers listen.
    "--webhook-allow-localhost",
];

/// Settings that our suite has to know as well.
pub(crate) const CHUNK_SIZE: &str = "64KiB";
pub(crate) const BODY_MAX: &str = "16MiB";
pub(crate) const HEADER_TIMEOUT: &str = "6s";
pub(crate) const LONG_POLL_TIMEOUT: &str = "600ms";

const READY: &str = "listening on ";
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// One adapter on one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: String,
    pub(crate) store: String,
}

impl Target {
    /// The name in tables and on our suite's command line: `hyper-mem`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.server, self.store)
    }

    fn binary(&self) -> String {
        format!("server-{}", self.server)
    }
}

/// A running server. Dropping it kills it; [`Server::stop`] asks it to end and looks at how it did.
pub(crate) struct Server {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Server {
    /// Builds the target's server and starts it with the settings of the suites.
    pub(crate) fn start(target: &Target) -> Result<Self> {
        Self::start_with(target, &SUITE_FLAGS)
    }

    /// Builds the target's server and starts it on an empty folder and a free port, with these settings.
    pub(crate) fn start_with(target: &Target, flags: &[&str]) -> Result<Self> {
        let binary = workspace::build_binary(&target.binary())?;
        let log = workspace::scratch_dir()?.join(format!("{}.log", target.name()));
        let mut command = Command::new(binary);
        command.arg("--data-dir").arg(fresh_data_dir(target)?);
        command.args(["--listen", "127.0.0.1:0", "--store", &target.store]).args(flags);
        println!("Starting {}", process::shown(&command));
        Self::spawn(&mut command, log)
    }

    /// Runs a command that prints where it listens, and has what it prints written to `log`.
    pub(crate) fn spawn(command: &mut Command, log: PathBuf) -> Result<Self> {
        let mut file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot run `{}`", process::shown(command)))?;
        let stdout = child.stdout.take().expect("stdout was piped a few lines above");
        let (sender, ready) = channel();
        // Reads to the end: a server that logs to standard output must not block on a full pipe.
        thread::spawn(move || copy_lines(BufReader::new(stdout), &mut file, &sender));
        let mut server = Self { child, url: String::new(), log };
        server.url = server.wait_until_ready(&ready)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, ready: &Receiver<String>) -> Result<String> {
        match ready.recv_timeout(READY_TIMEOUT) {
            Ok(url) => Ok(url),
            Err(RecvTimeoutError::Timeout) => bail!(
                "the server printed no line `{READY}URL` within {} s.{}",
                READY_TIMEOUT.as_secs(),
                last_lines(&self.log)
            ),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!("the server ended ({status}) before it listened.{}", last_lines(&self.log))
            }
        }
    }

    /// The base URL, as the server printed it: `http://127.0.0.1:PORT/v1/stream`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks the server to end and waits. It is a failure if it had ended already, panicked on the way, needs
    /// longer than [`STOP_TIMEOUT`], or does not exit with status 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended by itself ({status}).{}", last_lines(&self.log));
        }
        terminate(self.child.id())?;
        let Some(status) = wait(&mut self.child, STOP_TIMEOUT)? else {
            bail!(
                "the server still runs {} s after SIGTERM and was killed.{}",
                STOP_TIMEOUT.as_secs(),
                last_lines(&self.log)
            );
        };
        if !status.success() {
            bail!("the server ended with {status} on SIGTERM.{}", last_lines(&self.log));
        }
        if let Some(panic) = first_panic(&std::fs::read_to_string(&self.log).unwrap_or_default()) {
            bail!("the server panicked while it served: {panic}\nThe whole log: {}", self.log.display());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is what we want here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An empty folder for the stores that need one.
fn fresh_data_dir(target: &Target) -> Result<PathBuf> {
    let dir = workspace::scratch_dir()?.join(format!("{}-data", target.name()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    Ok(dir)
}

/// Copies what the server prints to its log and reports the URL it listens on, once.
fn copy_lines(stdout: impl BufRead, log: &mut File, ready: &Sender<String>) {
    for line in stdout.lines().map_while(Result::ok) {
        if let Some(url) = line.strip_prefix(READY) {
            // Nobody receives a second such line; that is fine.
            let _ = ready.send(url.trim().to_owned());
        }
        let _ = writeln!(log, "{line}");
    }
}

/// The standard library can only SIGKILL; every POSIX shell has `kill` built in.
fn terminate(pid: u32) -> Result<()> {
    process::run(Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid.to_string()]))
}

fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

fn first_panic(log: &str) -> Option<&str> {
    log.lines().find(|line| line.contains("panicked at"))
}

/// The end of a log, ready to be appended to an error.
fn last_lines(log: &Path) -> String {
    const SHOWN: usize = 15;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return " It printed nothing".to_owned();
    }
    let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n  ");
    format!(" Its log ends so ({}):\n  {tail}", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, name: &str) -> Result<Server> {
        let log = workspace::scratch_dir()?.join(format!("test-{name}.log"));
        Server::spawn(Command::new("sh").args(["-c", script]), log)
    }

    #[test]
    fn the_url_comes_from_the_line_it_prints() {
        let script = "trap 'exit 0' TERM; echo starting; echo 'listening on http://127.0.0.1:9/v1/stream'; \
                      while :; do sleep 0.05; done";
        let server = start(script, "ready").expect("it prints the line");
        assert_eq!(server.url(), "http://127.0.0.1:9/v1/stream");
        server.stop().expect("it exits with 0 on SIGTERM");
    }

    #[test]
    fn a_server_that_ends_early_is_quoted() {
        let error = start("echo no such store >&2; exit 2", "early").err().expect("it never listens");
        assert!(error.to_string().contains("no such store"), "{error}");
    }

    #[test]
    fn a_panic_in_the_log_is_a_failure() {
        let script = "trap 'exit 0' TERM; echo \"thread 'main' panicked at src/lib.rs:1\" >&2; \
                      echo 'listening on x'; while :; do sleep 0.05; done";
        let server = start(script, "panic").expect("it prints the line");
        let error = server.stop().expect_err("its log holds a panic");
        assert!(error.to_string().contains("src/lib.rs:1"), "{error}");
    }
}
