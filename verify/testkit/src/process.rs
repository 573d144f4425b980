//! A server as a child process: started, awaited, stopped, and its log examined.
//!
//! The contract with our servers is one line on their standard output, `listening on URL`, once they accept
//! connections, and a clean exit (status 0) on SIGTERM.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const READY: &str = "listening on ";
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a process is asked whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
    log: PathBuf,
    ready: Receiver<String>,
}

/// What a server that was started does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has printed where it listens.
    Listening,
    /// It runs and has printed no such line.
    Starting,
    /// It has ended.
    Ended(ExitStatus),
}

impl Server {
    /// Starts a server and waits until it listens. What it prints is written to `log`.
    ///
    /// # Errors
    /// The command cannot be run, ends, or does not listen within 30 s.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let mut server = Self::spawn(command, log)?;
        match server.wait_until_listening(READY_TIMEOUT)? {
            State::Listening => Ok(server),
            State::Ended(status) => {
                bail!("the server ended ({status}) before it listened.{}", server.log_end())
            }
            State::Starting => bail!(
                "the server printed no line `{READY}URL` within {} s.{}",
                READY_TIMEOUT.as_secs(),
                server.log_end()
            ),
        }
    }

    /// Starts a process, without the settings of our servers in its environment, and does not wait for anything.
    ///
    /// # Errors
    /// The command cannot be run, or the log not written.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HEADWATER_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let stdout = child.stdout.take().expect("stdout was piped a few lines above");
        let (sender, ready) = channel();
        thread::spawn(move || copy_lines(stdout, file, &sender));
        Ok(Self { child, url: String::new(), log: log.to_owned(), ready })
    }

    /// Waits until the server listens, ends, or `timeout` has passed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn wait_until_listening(&mut self, timeout: Duration) -> Result<State> {
        Ok(match self.ready.recv_timeout(timeout) {
            Ok(url) => {
                self.url = url;
                State::Listening
            }
            Err(RecvTimeoutError::Timeout) => State::Starting,
            Err(RecvTimeoutError::Disconnected) => State::Ended(self.child.wait()?),
        })
    }

    /// The base URL as the server printed it, such as `http://127.0.0.1:4437/v1/stream`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the server has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of the log as a sentence to append to an error.
    pub fn log_end(&self) -> String {
        const SHOWN: usize = 15;
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return " It printed nothing.".to_owned();
        }
        let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n  ");
        format!(" The end of its log ({}):\n  {end}", self.log.display())
    }

    /// Checks that the server still runs.
    ///
    /// # Errors
    /// It has ended.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server ended by itself ({status}).{}", self.log_end()),
        }
    }

    /// Stops the server as [`Self::stop_within`] 10 s does.
    ///
    /// # Errors
    /// Those of [`Self::stop_within`].
    pub fn stop(mut self) -> Result<()> {
        self.stop_within(STOP_TIMEOUT)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// The server had ended before, still runs after `timeout`, ends with another status than 0, or has panicked.
    pub fn stop_within(&mut self, timeout: Duration) -> Result<()> {
        self.check_running()?;
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the server has no process")?, Signal::TERM)?;
        let deadline = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("the server still runs {} s after SIGTERM.{}", timeout.as_secs(), self.log_end());
            }
            thread::sleep(POLL_INTERVAL);
        };
        if !status.success() {
            bail!("the server ended with {status} on SIGTERM.{}", self.log_end());
        }
        self.check_log()
    }

    /// Kills the server without warning.
    ///
    /// # Errors
    /// It had ended before, or has panicked.
    pub fn kill(&mut self) -> Result<()> {
        self.check_running()?;
        self.child.kill()?;
        self.child.wait()?;
        self.check_log()
    }

    /// A panic is a bug, even one that was caught.
    fn check_log(&self) -> Result<()> {
        match self.log().lines().find(|line| line.contains("panicked at")) {
            None => Ok(()),
            Some(line) => bail!("the server panicked: {line}\nThe whole log: {}", self.log.display()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies standard output to the log until its end, as a server must not block on a full pipe, and sends the URL.
fn copy_lines(stdout: ChildStdout, mut log: File, ready: &Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let _ = writeln!(log, "{line}");
        if let Some(url) = line.strip_prefix(READY) {
            // Only the first such line has a receiver.
            let _ = ready.send(url.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, folder: &tempfile::TempDir) -> Result<Server> {
        Server::start(Command::new("sh").args(["-c", script]), &folder.path().join("log"))
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("there is room for a folder")
    }

    #[test]
    fn the_url_comes_from_the_line_it_prints() {
        let script = "trap 'exit 0' TERM; echo starting; echo 'listening on http://127.0.0.1:9/v1/stream'; \
                      while :; do sleep 0.05; done";
        let folder = folder();
        let server = start(script, &folder).expect("it prints the line");
        assert_eq!(server.url(), "http://127.0.0.1:9/v1/stream");
        server.stop().expect("it exits with 0 on SIGTERM");
    }

    #[test]
    fn a_server_that_ends_early_is_quoted() {
        let error = start("echo no such store >&2; exit 2", &folder()).expect_err("it never listens");
        assert!(error.to_string().contains("no such store"), "{error}");
    }

    #[test]
    fn a_panic_in_the_log_is_a_failure() {
        let script = "trap 'exit 0' TERM; echo \"thread 'main' panicked at src/lib.rs:1\" >&2; \
                      echo 'listening on x'; while :; do sleep 0.05; done";
        let folder = folder();
        let server = start(script, &folder).expect("it prints the line");
        let error = server.stop().expect_err("its log holds a panic");
        assert!(error.to_string().contains("src/lib.rs:1"), "{error}");
    }
}
