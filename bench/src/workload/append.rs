//! Appends of 256 bytes: plain, JSON, or by producers, from one stream and connection to many.

use std::time::Instant;

use anyhow::Result;

use crate::figures::{
    CPU_OPERATION, Figures, OPERATIONS, RSS, STALL, SWITCHES_OPERATION, WRITTEN_APPEND, WRITTEN_BYTE,
};
use crate::recorder::Recorder;
use crate::trial::{Load, Stop, Trial, create_all, float, path};
use headwater_bench::http::{self, Connection};

/// The number of streams and connections, and the kind of the appends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Append {
    pub(crate) flavour: Flavour,
    pub(crate) streams: usize,
    pub(crate) connections: usize,
    /// Shows the longest stall and each second too.
    pub(crate) sustained: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Plain,
    Json,
    /// Every connection is a producer on each of its streams.
    Producer,
}

const BODY_BYTES: usize = 256;

impl Append {
    pub(crate) async fn run(&self, trial: &Trial<'_>) -> Result<Figures> {
        let recorder = Recorder::new()?;
        create_all(trial, (0..self.streams).map(name).collect(), self.flavour.content_type()).await?;
        let mut load = Load::default();
        for client in 0..self.connections {
            let connection = trial.connect().await?;
            let requests = self.streams_of(client).map(|stream| Request::new(self.flavour, client, stream));
            load.spawn(append(connection, requests.collect(), self.flavour, recorder.clone(), load.stop()));
        }
        let observed = trial.observe(load, &[&recorder]).await?;
        let record = recorder.lock();
        let appends = float(record.operations);
        let mut figures = Figures::default();
        figures.add(OPERATIONS, observed.rate(appends));
        record.add_latencies(&mut figures);
        if self.sustained {
            figures.add(STALL, record.longest_ms());
            figures.per_second = record.per_second(observed.server.elapsed);
        }
        observed.add_costs(&mut figures, appends, CPU_OPERATION, SWITCHES_OPERATION);
        figures.add(RSS, observed.rss_mib());
        if let Some(bytes) = observed.disk_bytes {
            let per_append = float(bytes) / float(record.all_operations);
            if self.sustained {
                figures.add(WRITTEN_APPEND, per_append);
            } else {
                figures.add(WRITTEN_BYTE, per_append / BODY_BYTES as f64);
            }
        }
        Ok(figures)
    }

    /// Connections share streams only if there are more of them.
    fn streams_of(&self, client: usize) -> impl Iterator<Item = usize> {
        (client % self.streams..self.streams).step_by(self.connections)
    }
}

impl Flavour {
    fn content_type(self) -> &'static str {
        match self {
            Self::Plain | Self::Producer => "application/octet-stream",
            Self::Json => "application/json",
        }
    }

    fn body(self) -> Vec<u8> {
        match self {
            Self::Plain | Self::Producer => vec![b'x'; BODY_BYTES],
            Self::Json => {
                let (before, after) = (r#"{"id":123456789,"text":""#, r#""}"#);
                let text = "x".repeat(BODY_BYTES - before.len() - after.len());
                format!("{before}{text}{after}").into_bytes()
            }
        }
    }

    /// A producer's append that is not a repetition is a 200 (section 5.2.1).
    fn status(self) -> u16 {
        match self {
            Self::Plain | Self::Json => 204,
            Self::Producer => 200,
        }
    }
}

/// An append of one connection to one stream: its bytes, and where a producer's sequence goes.
struct Request {
    before_sequence: Vec<u8>,
    after_sequence: Vec<u8>,
    /// The next sequence of a producer.
    sequence: Option<u64>,
}

impl Request {
    fn new(flavour: Flavour, client: usize, stream: usize) -> Self {
        /// Stands for the sequence.
        const PLACE: &str = "@";
        let producer = format!("client-{client}");
        let mut headers = vec![("Content-Type", flavour.content_type())];
        if flavour == Flavour::Producer {
            headers.extend([
                ("Producer-Id", producer.as_str()),
                ("Producer-Epoch", "0"),
                ("Producer-Seq", PLACE),
            ]);
        }
        let bytes = http::request("POST", &path(&name(stream)), &headers, &flavour.body());
        match memchr::memmem::find(&bytes, PLACE.as_bytes()).and_then(|at| bytes.split_at_checked(at)) {
            Some((before, after)) if flavour == Flavour::Producer => Self {
                before_sequence: before.to_vec(),
                after_sequence: after.get(PLACE.len()..).unwrap_or_default().to_vec(),
                sequence: Some(0),
            },
            _ => Self { before_sequence: bytes, after_sequence: Vec::new(), sequence: None },
        }
    }

    /// The bytes to send next. `scratch` is for the ones that differ every time.
    fn next<'a>(&'a mut self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(sequence) = &mut self.sequence else { return &self.before_sequence };
        scratch.clear();
        scratch.extend_from_slice(&self.before_sequence);
        scratch.extend_from_slice(itoa::Buffer::new().format(*sequence).as_bytes());
        scratch.extend_from_slice(&self.after_sequence);
        *sequence += 1;
        scratch
    }
}

async fn append(
    mut connection: Connection,
    mut requests: Vec<Request>,
    flavour: Flavour,
    recorder: Recorder,
    stop: Stop,
) -> Result<()> {
    let mut scratch = Vec::new();
    loop {
        for request in &mut requests {
            if stop.is_set() {
                return Ok(());
            }
            let started = Instant::now();
            connection.exchange(request.next(&mut scratch)).await?.expect(flavour.status())?;
            recorder.finished(started);
        }
    }
}

fn name(stream: usize) -> String {
    format!("append-{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams_of(streams: usize, connections: usize, client: usize) -> Vec<usize> {
        let append = Append { flavour: Flavour::Plain, streams, connections, sustained: false };
        append.streams_of(client).collect()
    }

    #[test]
    fn streams_are_divided_among_connections() {
        assert_eq!(streams_of(1000, 256, 3), [3, 259, 515, 771]);
        assert_eq!(streams_of(64, 64, 63), [63]);
        assert_eq!(streams_of(1, 64, 5), [0]);
    }

    #[test]
    fn every_body_has_256_bytes() {
        for flavour in [Flavour::Plain, Flavour::Json, Flavour::Producer] {
            assert_eq!(flavour.body().len(), BODY_BYTES);
        }
        assert!(serde_json::from_slice::<serde_json::Value>(&Flavour::Json.body()).is_ok());
    }

    #[test]
    fn a_producer_counts_and_others_do_not() {
        let mut scratch = Vec::new();
        let mut request = Request::new(Flavour::Producer, 7, 0);
        for sequence in 0..12 {
            let text = String::from_utf8(request.next(&mut scratch).to_vec()).unwrap();
            assert!(text.contains(&format!("Producer-Seq: {sequence}\r\n")), "{text}");
            assert!(text.contains("Producer-Id: client-7\r\n") && !text.contains('@'), "{text}");
        }
        let mut request = Request::new(Flavour::Plain, 7, 0);
        assert_eq!(request.next(&mut scratch).to_vec(), request.next(&mut scratch).to_vec());
    }
}
