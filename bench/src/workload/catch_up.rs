//! Readers that follow a stream of 64 MiB from its beginning to its tail, again and again.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::figures::{CPU_MIB, Figures, MIB, PASS_P50, PASS_P99, RSS, SWITCHES_MIB};
use crate::recorder::Recorder;
use crate::trial::{Load, Stop, Trial, create, float, path};
use headwater_bench::http::{self, Connection};

/// The number of simultaneous readers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchUp {
    pub(crate) readers: usize,
}

const STREAM: &str = "catch-up";
const STREAM_BYTES: usize = 64 << 20;
const APPEND_BYTES: usize = 16 << 10;
const CONTENT_TYPE: &str = "application/octet-stream";

impl CatchUp {
    pub(crate) async fn run(&self, trial: &Trial<'_>) -> Result<Figures> {
        let mut connection = trial.connect().await?;
        create(&mut connection, STREAM, CONTENT_TYPE).await?;
        fill(&mut connection, STREAM, CONTENT_TYPE, STREAM_BYTES).await?;
        verify(&mut connection).await?;

        let passes = Recorder::new()?;
        let mut load = Load::default();
        for _ in 0..self.readers {
            load.spawn(read(trial.connect().await?, passes.clone(), load.stop()));
        }
        let observed = trial.observe(load, &[&passes]).await?;
        let record = passes.lock();
        let mib = float(record.bytes) / float(1 << 20);
        let mut figures = Figures::default();
        figures.add(MIB, observed.rate(mib));
        if record.operations > 0 {
            figures.add(PASS_P50, record.quantile_ms(0.5));
            figures.add(PASS_P99, record.quantile_ms(0.99));
        }
        observed.add_costs(&mut figures, mib, CPU_MIB, SWITCHES_MIB);
        figures.add(RSS, observed.rss_mib());
        Ok(figures)
    }
}

async fn read(mut connection: Connection, passes: Recorder, stop: Stop) -> Result<()> {
    while !stop.is_set() {
        let started = Instant::now();
        let bytes = pass(&mut connection, STREAM, &passes).await?;
        if bytes != STREAM_BYTES as u64 {
            bail!("caught up after {bytes} bytes of a stream of {STREAM_BYTES}");
        }
        passes.finished(started);
    }
    Ok(())
}

/// Reads a stream once from its beginning to its tail and says how many bytes there were.
pub(super) async fn pass(connection: &mut Connection, stream: &str, recorder: &Recorder) -> Result<u64> {
    let mut offset = "-1".to_owned();
    let mut bytes = 0;
    loop {
        let mut response = connection.begin(&get(stream, &offset)).await?;
        response.expect(200)?;
        while let Some(dropped) = connection.drop_some(&mut response).await? {
            recorder.received(dropped);
            bytes += dropped;
        }
        match next(&response, &offset)? {
            Some(next) => offset = next,
            None => return Ok(bytes),
        }
    }
}

/// The next offset, unless the response was the last one.
fn next(response: &http::Begun, offset: &str) -> Result<Option<String>> {
    if response.header("Stream-Up-To-Date").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let next = response.header("Stream-Next-Offset").context("a response without Stream-Next-Offset")?;
    if next == offset {
        bail!("a response that is not up to date leads to itself, {offset}");
    }
    Ok(Some(next.to_owned()))
}

fn get(stream: &str, offset: &str) -> Vec<u8> {
    http::request("GET", &format!("{}?offset={offset}", path(stream)), &[], b"")
}

/// Appends as much as asked for, one append after the other, and says the tail.
pub(super) async fn fill(
    connection: &mut Connection,
    stream: &str,
    content_type: &str,
    bytes: usize,
) -> Result<String> {
    let mut tail = String::new();
    for index in 0..bytes / APPEND_BYTES {
        let body = block(index);
        let request = http::request("POST", &path(stream), &[("Content-Type", content_type)], &body);
        let response = connection.exchange(&request).await?;
        response.expect(204)?;
        response.header("Stream-Next-Offset")?.clone_into(&mut tail);
    }
    Ok(tail)
}

/// Reads the stream once and compares every byte, before it is read for speed and only counted.
async fn verify(connection: &mut Connection) -> Result<()> {
    let mut offset = "-1".to_owned();
    let mut expected = Expected::default();
    loop {
        let mut response = connection.begin(&get(STREAM, &offset)).await?;
        response.expect(200)?;
        while connection.read_some(&mut response, &mut |bytes| expected.compare(bytes)).await? {}
        match next(&response, &offset)? {
            Some(next) => offset = next,
            None => break,
        }
    }
    if expected.compared != STREAM_BYTES {
        bail!("read back {} bytes of {STREAM_BYTES}", expected.compared);
    }
    match expected.first_difference {
        Some(at) => bail!("what was read back differs from what was appended at byte {at}"),
        None => Ok(()),
    }
}

/// The appended bytes, compared with those that are read.
#[derive(Default)]
struct Expected {
    compared: usize,
    /// The block that comes next, or the rest of it.
    block: Vec<u8>,
    first_difference: Option<usize>,
}

impl Expected {
    fn compare(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.compared.is_multiple_of(APPEND_BYTES) {
                self.block = block(self.compared / APPEND_BYTES);
            }
            let expected = self.block.get(self.compared % APPEND_BYTES..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(expected.len()));
            if !expected.starts_with(now) && self.first_difference.is_none() {
                self.first_difference = Some(self.compared);
            }
            self.compared += now.len();
            bytes = later;
        }
    }
}

/// The bytes of one append: text that differs from append to append and from place to place.
fn block(index: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ index as u64;
    let mut block = Vec::with_capacity(APPEND_BYTES);
    while block.len() < APPEND_BYTES {
        // xorshift64; letters, so that any content type will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend(state.to_le_bytes().map(|byte| b'a' + byte % 16));
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_differ_and_have_their_size() {
        assert_eq!(block(0).len(), APPEND_BYTES);
        assert_ne!(block(0), block(1));
        assert!(block(7).iter().all(u8::is_ascii_lowercase));
    }

    #[test]
    fn a_difference_is_found_in_whatever_pieces() {
        let mut bytes = [block(0), block(1)].concat();
        for piece_bytes in [1, 1000, APPEND_BYTES, 2 * APPEND_BYTES] {
            let mut expected = Expected::default();
            bytes.chunks(piece_bytes).for_each(|piece| expected.compare(piece));
            assert_eq!((expected.compared, expected.first_difference), (bytes.len(), None));
        }
        bytes[APPEND_BYTES + 10] = b'~';
        let mut expected = Expected::default();
        bytes.chunks(10).for_each(|piece| expected.compare(piece));
        // 16 KiB is no multiple of 10: the piece begins four bytes into the block.
        assert_eq!(expected.first_difference, Some(APPEND_BYTES + 6));
    }
}
