//! One stream's bytes: segments of bounded size, each with the places where its appends end.

use bytes::{Bytes, BytesMut};
use headwater_store::{Chunk, ReadRange};

/// A segment is left alone once it has so many bytes.
const SEGMENT_BYTES: usize = 256 * 1024;

/// An append-only log that begins at any position.
#[derive(Debug)]
pub(crate) struct Log {
    begin: u64,
    segments: Vec<Segment>,
}

#[derive(Debug, Default)]
struct Segment {
    start: u64,
    bytes: Vec<u8>,
    /// Positions after the last byte of each append; never empty.
    ends: Vec<u64>,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Log {
    pub(crate) const fn new(begin: u64) -> Self {
        Self { begin, segments: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.end() - self.begin
    }

    fn end(&self) -> u64 {
        self.segments.last().map_or(self.begin, Segment::end)
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.end();
        if self.segments.last().is_none_or(|segment| segment.bytes.len() >= SEGMENT_BYTES) {
            self.segments.push(Segment { start, ..Segment::default() });
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.bytes.extend_from_slice(bytes);
            segment.ends.push(segment.end());
        }
    }

    pub(crate) fn read(&self, range: ReadRange) -> Chunk {
        let from = range.from.clamp(self.begin, self.end());
        let end = self.boundary(range.target.max(from)).min(range.limit).max(from);
        let first = self.segments.partition_point(|segment| segment.end() <= from);
        let mut bytes = BytesMut::with_capacity(usize::try_from(end - from).unwrap_or_default());
        for segment in self.segments.iter().skip(first).take_while(|segment| segment.start < end) {
            let within = |position: u64| {
                let clamped = position.clamp(segment.start, segment.end()) - segment.start;
                usize::try_from(clamped).unwrap_or(segment.bytes.len())
            };
            bytes.extend_from_slice(segment.bytes.get(within(from)..within(end)).unwrap_or_default());
        }
        Chunk { bytes: Bytes::from(bytes), end, aligned: self.is_boundary(from) }
    }

    /// The first append boundary at or after a position; the end if there is none.
    fn boundary(&self, position: u64) -> u64 {
        if position <= self.begin {
            return self.begin;
        }
        let at = self.segments.partition_point(|segment| segment.end() < position);
        let Some(segment) = self.segments.get(at) else { return self.end() };
        let index = segment.ends.partition_point(|&end| end < position);
        segment.ends.get(index).copied().unwrap_or_else(|| self.end())
    }

    fn is_boundary(&self, position: u64) -> bool {
        self.boundary(position) == position
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_range_gives_the_bytes_up_to_the_boundary(
            sizes in prop::collection::vec(1..120_000usize, 1..12), begin in 0..50u64, from in 0..900_000u64, span in 0..400_000u64,
        ) {
            let mut log = Log::new(begin);
            let mut whole = Vec::new();
            let mut ends = vec![begin];
            for (index, size) in sizes.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..size).map(|at| (at * 31 + index) as u8).collect();
                log.append(&bytes);
                whole.extend_from_slice(&bytes);
                ends.push(begin + whole.len() as u64);
            }
            let tail = *ends.last().unwrap();
            let from = (begin + from).min(tail);
            let target = (from + span).min(tail);
            let chunk = log.read(ReadRange { from, target, limit: u64::MAX });
            let expected = *ends.iter().find(|&&end| end >= target).unwrap();
            prop_assert_eq!(chunk.end, expected.max(from));
            prop_assert_eq!(&chunk.bytes[..], &whole[(from - begin) as usize..(chunk.end - begin) as usize]);
            prop_assert_eq!(chunk.aligned, ends.contains(&from));
            prop_assert_eq!(log.bytes(), tail - begin);
        }
    }
}
