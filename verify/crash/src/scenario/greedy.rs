//! Clients that ask for much and take nothing, and uploads that come all at once: whatever they do, the process's memory
//! stays below its bounds and 100 MiB.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::http2::{END_STREAM, Http2};
use headwater_testkit::{Client, Request};

use super::Stage;
use crate::report::{broken, table};
use crate::server::{Server, Start};

/// Small bounds, so that they are reached soon: store, chunks, events, responses and bodies are 352 MiB.
const FLAGS: [&str; 10] = [
    "--store-memory",
    "192MiB",
    "--chunk-cache",
    "32MiB",
    "--event-cache",
    "16MiB",
    "--responses-max",
    "64MiB",
    "--bodies-max",
    "48MiB",
];
const BOUND_MEBIBYTES: u64 = 192 + 32 + 16 + 64 + 48 + 100;
const BODY_BYTES: usize = 15 << 20;
/// How long each attack lasts once it has begun.
const LASTS: Duration = Duration::from_secs(2);
/// The connections of all attacks, and some files.
const DESCRIPTORS: u64 = 1_500;

/// What clients do to a server.
type Attack = fn(&Server) -> Result<()>;

pub(crate) fn run(stage: &Stage<'_>) -> Result<String> {
    if rlimit::increase_nofile_limit(u64::MAX)? < DESCRIPTORS {
        return Ok(format!("  skipped: fewer than {DESCRIPTORS} open files are allowed here\n"));
    }
    let attacks: [(&str, Attack); 5] = [
        ("1,000 connections that read nothing", reads),
        ("20 HTTP/2 connections with a window of 0", windows),
        ("300 event streams that stop reading", events),
        ("120 appends of 15 MiB at once", appends),
        ("1,000 bodies that stop in the middle", halves),
    ];
    let mut rows = Vec::new();
    for (name, attack) in attacks {
        println!("  {name}");
        let data = stage.data.with_extension(rows.len().to_string());
        let mut server = match stage.program.try_start_with(&data, &[], &FLAGS)? {
            Start::Running(server) => server,
            Start::Ended { said, .. } => bail!("the server doesn't start: {said}"),
        };
        attack(&server)?;
        server.still_runs()?;
        let peak = peak_mebibytes(server.pid())?;
        if peak > BOUND_MEBIBYTES {
            bail!(broken(
                "memory stays within its bounds",
                "",
                format!("{name}: {peak} of {BOUND_MEBIBYTES} MiB")
            ));
        }
        // It serves everybody else, and recovers.
        let begun = Instant::now();
        while server.client.send(&Request::new("HEAD", "large"))?.status != 200 {
            if begun.elapsed() > LASTS * 10 {
                bail!(broken("a server goes on after an attack", "", name));
            }
            thread::sleep(Duration::from_millis(50));
        }
        server.terminate()?;
        rows.push((name, format!("{peak} MiB of {BOUND_MEBIBYTES}")));
    }
    Ok(table(&rows))
}

/// The most memory that the process had so far.
fn peak_mebibytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

/// Makes a stream of `offsets` appends of a byte and a large one; returns its incarnation.
fn create_large(server: &Server, offsets: usize) -> Result<String> {
    let incarnation = create(server)?;
    for _ in 0..offsets {
        append(&server.client, vec![7])?;
    }
    append(&server.client, vec![7; BODY_BYTES])?;
    Ok(incarnation)
}

/// Makes the stream that is attacked; returns its incarnation.
fn create(server: &Server) -> Result<String> {
    let create = Request::new("PUT", "large").header("Content-Type", "application/octet-stream");
    let created = server.client.send(&create)?;
    if created.status != 201 {
        bail!("the stream could not be made: {created:?}");
    }
    let tail = created.header("Stream-Next-Offset").context("no offset")?;
    Ok(tail.split('_').next().unwrap_or_default().to_owned())
}

fn connect(server: &Server) -> Result<TcpStream> {
    Ok(TcpStream::connect(server.address().0)?)
}

fn head(server: &Server, method: &str, query: &str, headers: &str) -> String {
    let (host, path) = server.address();
    format!("{method} {path}/large{query} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

fn reads(server: &Server) -> Result<()> {
    let incarnation = create_large(server, 1_000)?;
    let mut open = Vec::new();
    for position in 1..=1_000 {
        let mut connection = connect(server)?;
        let query = format!("?offset={incarnation}_{position:016}");
        connection.write_all(head(server, "GET", &query, "").as_bytes())?;
        open.push(connection);
    }
    thread::sleep(LASTS);
    Ok(())
}

fn windows(server: &Server) -> Result<()> {
    let incarnation = create_large(server, 4_000)?;
    let (host, path) = server.address();
    let mut open = Vec::new();
    for connection in 0..20 {
        let mut http2 = Http2::open(host, Some(0));
        for request in 0..200 {
            let position = 1 + connection * 200 + request;
            let target = format!("{path}/large?offset={incarnation}_{position:016}");
            http2.request(2 * request + 1, "GET", &target, &[], END_STREAM);
        }
        open.push(http2);
    }
    thread::sleep(LASTS);
    Ok(())
}

fn events(server: &Server) -> Result<()> {
    create(server)?;
    let mut open = Vec::new();
    for _ in 0..300 {
        let mut connection = connect(server)?;
        connection.write_all(head(server, "GET", "?offset=-1&live=sse", "").as_bytes())?;
        open.push(connection);
    }
    thread::sleep(Duration::from_millis(500));
    append(&server.client, vec![7; BODY_BYTES])?;
    thread::sleep(LASTS);
    Ok(())
}

fn append(client: &Client, body: Vec<u8>) -> Result<u16> {
    let append = Request::new("POST", "large").header("Content-Type", "application/octet-stream").body(body);
    Ok(client.send(&append)?.status)
}

fn appends(server: &Server) -> Result<()> {
    create(server)?;
    let client = &server.client;
    let statuses: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..120).map(|_| scope.spawn(|| append(client, vec![7; BODY_BYTES]))).collect();
        clients.into_iter().filter_map(|client| client.join().ok()).collect()
    });
    // A refusal may come while the client still sends.
    for status in statuses.into_iter().flatten() {
        if !matches!(status, 204 | 503) {
            let what = format!("it was answered with {status}");
            bail!(broken("an append is taken or refused with 503", "large", what));
        }
    }
    Ok(())
}

fn halves(server: &Server) -> Result<()> {
    create(server)?;
    let headers = format!("Content-Type: application/octet-stream\r\nContent-Length: {BODY_BYTES}\r\n");
    let mut open = Vec::new();
    for _ in 0..1_000 {
        let mut connection = connect(server)?;
        connection.write_all(head(server, "POST", "", &headers).as_bytes())?;
        // The server may refuse it by now.
        let _refused = connection.write_all(&vec![7; 256 << 10]);
        open.push(connection);
    }
    thread::sleep(LASTS);
    Ok(())
}
