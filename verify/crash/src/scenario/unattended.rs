//! A server that nobody attends to: a log that nobody reads, and connections that say nothing when it is to end.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::http2::{END_STREAM, Http2, Kind};
use headwater_testkit::{Client, Request};

use super::Stage;
use crate::report::{broken, table};
use crate::server::{Server, Start};

/// Many more lines than a pipe and the server's own queue have room for.
const REQUESTS: u32 = 3_000;
const TRACE: [&str; 2] = ["--log", "trace"];
/// Without a request in flight a server ends at once; a busy machine may be slow.
const END_MAX: Duration = Duration::from_secs(2);
const SILENT: usize = 400;

pub(crate) fn run(stage: &Stage<'_>) -> Result<String> {
    let fifo = stage.data.with_extension("log");
    fs::create_dir_all(stage.data.parent().context("no folder")?)?;
    if !Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()) {
        return Ok("  skipped: there is no mkfifo here\n".to_owned());
    }
    println!("  a log that is full");
    let lost = full_log(stage, &fifo)?;
    println!("  a log whose reader goes away");
    let after = closed_log(stage, &fifo)?;
    println!("  {SILENT} connections that say nothing, or half of something");
    let silent = silent_connections(stage)?;
    Ok(table(&[
        ("lines that were lost and counted", lost.to_string()),
        ("requests answered after the reader was gone", after.to_string()),
        ("SIGTERM to the end, silent connections", format!("{} ms", silent.as_millis())),
    ]))
}

/// Starts a server that logs to the FIFO.
fn start(stage: &Stage<'_>, fifo: &std::path::Path) -> Result<Server> {
    let fifo = fifo.to_str().context("the folder's name is no text")?;
    let wrapper = ["sh", "-c", "log=$0; exec \"$@\" 2>\"$log\"", fifo];
    match stage.program.try_start_with(&stage.data, &wrapper, &TRACE)? {
        Start::Running(server) => Ok(server),
        Start::Ended { said, .. } => bail!("the server doesn't start: {said}"),
    }
}

/// Sends many requests, all of which are answered. On HTTP/2, whose library logs the most.
fn send_many(server: &Server) -> Result<usize> {
    let (host, path) = server.address();
    let mut http2 = Http2::open(host, None);
    for number in 0..REQUESTS {
        let stream = 2 * number + 1;
        http2.request(stream, "HEAD", &format!("{path}/none-{number}"), &[], END_STREAM);
        if http2.next_of(Kind::Headers, stream).is_none() {
            bail!(broken(
                "requests are answered whether or not somebody reads the log",
                "",
                "the connection ended"
            ));
        }
    }
    Ok(REQUESTS as usize)
}

fn full_log(stage: &Stage<'_>, fifo: &std::path::Path) -> Result<u64> {
    // Held open, and never read.
    let _reader: File = OpenOptions::new().read(true).write(true).open(fifo)?;
    let server = start(stage, fifo)?;
    send_many(&server)?;
    let root = Client::new(format!("http://{}/", server.address().0), END_MAX, 0);
    let metrics = root.send(&Request::new("GET", "metrics"))?;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let lost = text.lines().find_map(|line| line.strip_prefix("headwater_log_lines_lost_total "));
    let lost: u64 = lost.context("no metric of lost lines")?.parse()?;
    if lost == 0 {
        bail!(broken("lost lines are counted", "", "none was, and nobody reads them"));
    }
    server.terminate()?;
    Ok(lost)
}

fn closed_log(stage: &Stage<'_>, fifo: &std::path::Path) -> Result<usize> {
    let reader = OpenOptions::new().read(true).write(true).open(fifo)?;
    let server = start(stage, fifo)?;
    drop(reader);
    let answered = send_many(&server)?;
    server.terminate()?;
    Ok(answered)
}

fn silent_connections(stage: &Stage<'_>) -> Result<Duration> {
    let server = stage.program.start(&stage.data)?;
    let said: [&[u8]; 4] = [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Un", b"PRI * HT", b"G"];
    let mut open = Vec::new();
    for bytes in said.iter().cycle().take(SILENT) {
        let mut connection = TcpStream::connect(server.address().0)?;
        connection.write_all(bytes)?;
        open.push(connection);
    }
    // Until the server has accepted all of them.
    thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    server.terminate()?;
    let took = begun.elapsed();
    if took > END_MAX {
        bail!(broken("silent connections hold up no end", "", format!("it took {took:?}")));
    }
    Ok(took)
}
