//! A log in memory, and the one way to read a range: stores differ only in where the parts of a log come from.

use bytes::{Bytes, BytesMut};

use crate::{Chunk, ReadRange, StoreError};

/// A segment is left alone once it has so many bytes.
const SEGMENT_BYTES: usize = 256 * 1024;

/// A run of a log's bytes, with the places where appends end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The position of the first byte.
    pub start: u64,
    /// Whether an append begins there.
    pub starts_append: bool,
    /// The bytes.
    pub bytes: &'a [u8],
    /// The positions after the last byte of each append that ends in this part, growing.
    pub ends: &'a [u64],
}

impl Part<'_> {
    /// The position after the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Gathers a range from the parts of a log, which are added in order. They may overlap; they must not leave gaps.
#[derive(Debug)]
pub struct Gather {
    range: ReadRange,
    bytes: BytesMut,
    /// The position after the last byte gathered.
    next: u64,
    /// Whether there was a part that the range begins in, or at the end of.
    found: bool,
    aligned: bool,
    done: bool,
}

impl Gather {
    /// Nothing gathered yet.
    #[must_use]
    pub fn new(range: ReadRange) -> Self {
        let target = range.target.max(range.from);
        let expected = usize::try_from(target - range.from).unwrap_or_default();
        let range = ReadRange { target, limit: range.limit.max(target), ..range };
        // A wrong range must not reserve the world.
        let bytes = BytesMut::with_capacity(expected.min(4 << 20));
        Self { range, bytes, next: range.from, found: false, aligned: false, done: false }
    }

    /// The position that the next part has to contain.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Whether the range is complete: further parts change nothing.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Takes what belongs to the range from a part. `false`: there is a gap before it, and nothing was taken.
    #[must_use]
    pub fn add(&mut self, part: Part<'_>) -> bool {
        if part.start > self.next {
            return false;
        }
        if self.done || part.end() < self.next {
            return true;
        }
        self.found = true;
        let ReadRange { from, target, limit } = self.range;
        if self.next == from {
            let begins_here = part.starts_append && part.start == from;
            self.aligned |= begins_here || part.ends.binary_search(&from).is_ok();
        }
        let starts_at_target = part.starts_append && part.start >= target;
        let ends_from_target = part.ends.get(part.ends.partition_point(|&end| end < target));
        let boundary = if starts_at_target { Some(part.start) } else { ends_from_target.copied() };
        let stop = boundary.unwrap_or_else(|| part.end()).min(limit).max(self.next);
        let within = |position: u64| usize::try_from(position - part.start).unwrap_or(usize::MAX);
        self.bytes.extend_from_slice(part.bytes.get(within(self.next)..within(stop)).unwrap_or_default());
        self.next = stop;
        self.done = boundary.is_some() || stop == limit;
        true
    }

    /// What was gathered.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if no part has the position that the range begins at.
    pub fn finish(self) -> Result<Chunk, StoreError> {
        if !self.found {
            return Err(StoreError::damaged(format!("the log has no position {}", self.range.from)));
        }
        Ok(Chunk { bytes: Bytes::from(self.bytes), end: self.next, aligned: self.aligned })
    }
}

/// An append-only log that begins at any position.
#[derive(Debug)]
pub struct Log {
    begin: u64,
    segments: Vec<Segment>,
}

#[derive(Debug, Default)]
struct Segment {
    start: u64,
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

impl Segment {
    fn part(&self) -> Part<'_> {
        Part { start: self.start, starts_append: true, bytes: &self.bytes, ends: &self.ends }
    }
}

impl Log {
    /// An empty log.
    #[must_use]
    pub const fn new(begin: u64) -> Self {
        Self { begin, segments: Vec::new() }
    }

    /// The position of the first byte.
    #[must_use]
    pub const fn begin(&self) -> u64 {
        self.begin
    }

    /// The position after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(self.begin, |segment| segment.part().end())
    }

    /// Adds one append's bytes; none change nothing.
    pub fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.end();
        if self.segments.last().is_none_or(|segment| segment.bytes.len() >= SEGMENT_BYTES) {
            self.segments.push(Segment { start, ..Segment::default() });
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.bytes.extend_from_slice(bytes);
            segment.ends.push(start + bytes.len() as u64);
        }
    }

    /// The parts from the one that contains a position on; an empty log has one empty part.
    pub fn parts(&self, from: u64) -> impl Iterator<Item = Part<'_>> {
        let first = self.segments.partition_point(|segment| segment.part().end() < from);
        let empty = Part { start: self.begin, starts_append: true, bytes: &[], ends: &[] };
        let empty = self.segments.is_empty().then_some(empty);
        empty.into_iter().chain(self.segments.iter().skip(first).map(Segment::part))
    }

    /// A range, as far as the log has it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it begins outside of the log.
    pub fn read(&self, range: ReadRange) -> Result<Chunk, StoreError> {
        let mut gather = Gather::new(range);
        for part in self.parts(gather.next()) {
            if gather.is_done() || !gather.add(part) {
                break;
            }
        }
        gather.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_range_gives_the_bytes_up_to_the_boundary(
            sizes in prop::collection::vec(1..120_000usize, 1..12), begin in 0..50u64, from in 0..900_000u64,
            span in 0..400_000u64,
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
            let chunk = log.read(ReadRange { from, target, limit: u64::MAX }).unwrap();
            let expected = *ends.iter().find(|&&end| end >= target).unwrap();
            prop_assert_eq!(chunk.end, expected.max(from));
            prop_assert_eq!(&chunk.bytes[..], &whole[(from - begin) as usize..(chunk.end - begin) as usize]);
            prop_assert_eq!(chunk.aligned, ends.contains(&from));
        }
    }

    #[test]
    fn parts_may_overlap_and_split_appends_but_not_leave_gaps() {
        let part = |start, starts_append, bytes: &'static [u8], ends: &'static [u64]| Part {
            start,
            starts_append,
            bytes,
            ends,
        };
        let range = ReadRange { from: 3, target: 6, limit: u64::MAX };
        let mut gather = Gather::new(range);
        assert!(gather.add(part(0, true, b"abcde", &[2])));
        assert!(!gather.add(part(6, false, b"g", &[])), "position 5 is missing");
        assert!(gather.add(part(4, false, b"efgh", &[8])));
        assert!(gather.is_done());
        assert_eq!(
            gather.finish(),
            Ok(Chunk { bytes: Bytes::from_static(b"defgh"), end: 8, aligned: false })
        );
    }
}
