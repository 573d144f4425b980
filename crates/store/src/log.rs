//! A log in memory.

use crate::{
    Chunk, ReadRange, StoreError,
    gather::{Gather, Part},
};

/// The size from which on a segment takes no further appends.
const SEGMENT_BYTES: usize = 256 * 1024;

/// An append-only log that begins at any position.
#[derive(Debug)]
pub struct Log {
    begin: u64,
    segments: Vec<Segment>,
    /// The memory of the segments' content.
    content_bytes: u64,
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

    fn memory_bytes(&self) -> u64 {
        (self.bytes.capacity() + self.ends.capacity() * size_of::<u64>()) as u64
    }
}

impl Log {
    /// Makes an empty log that begins at a position.
    #[must_use]
    pub const fn new(begin: u64) -> Self {
        Self { begin, segments: Vec::new(), content_bytes: 0 }
    }

    /// Returns the position of the first byte.
    #[must_use]
    pub const fn begin(&self) -> u64 {
        self.begin
    }

    /// Returns the position after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(self.begin, |segment| segment.part().end())
    }

    /// Returns the memory of the bytes and of where appends end, with what is reserved for more.
    #[must_use]
    pub const fn memory_bytes(&self) -> u64 {
        self.content_bytes + (self.segments.capacity() * size_of::<Segment>()) as u64
    }

    /// Returns the memory that an append takes at least.
    #[must_use]
    pub const fn memory_of_append(bytes: usize) -> u64 {
        if bytes == 0 { 0 } else { (bytes + size_of::<u64>()) as u64 }
    }

    /// Adds the bytes of one append; an empty one changes nothing.
    pub fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.end();
        let mut segment = match self.segments.pop() {
            Some(last) if last.bytes.len() < SEGMENT_BYTES => last,
            full => {
                if let Some(mut full) = full {
                    // It doesn't grow any more.
                    self.content_bytes -= full.memory_bytes();
                    full.bytes.shrink_to_fit();
                    full.ends.shrink_to_fit();
                    self.content_bytes += full.memory_bytes();
                    self.segments.push(full);
                }
                Segment { start, ..Segment::default() }
            }
        };
        self.content_bytes -= segment.memory_bytes();
        segment.bytes.extend_from_slice(bytes);
        segment.ends.push(start + bytes.len() as u64);
        self.content_bytes += segment.memory_bytes();
        self.segments.push(segment);
    }

    /// Returns the parts from the one that contains a position on; an empty log has one empty part.
    pub fn parts(&self, from: u64) -> impl Iterator<Item = Part<'_>> {
        let first = self.segments.partition_point(|segment| segment.part().end() < from);
        let empty = Part { start: self.begin, starts_append: true, bytes: &[], ends: &[] };
        let empty = self.segments.is_empty().then_some(empty);
        empty.into_iter().chain(self.segments.iter().skip(first).map(Segment::part))
    }

    /// Reads a range, as far as the log has it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it begins outside of the log.
    pub fn read(&self, range: ReadRange) -> Result<Chunk, StoreError> {
        self.gather(Gather::new(range))
    }

    /// Finds the first append boundary at or after `position`, but at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the position is outside of the log.
    pub fn end_of(&self, position: u64, limit: u64) -> Result<u64, StoreError> {
        self.gather(Gather::end_of(position, limit)).map(|chunk| chunk.end)
    }

    fn gather(&self, mut gather: Gather) -> Result<Chunk, StoreError> {
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
            let chunk = log.read(ReadRange::new(from, target)).unwrap();
            let expected = *ends.iter().find(|&&end| end >= target).unwrap();
            prop_assert_eq!(chunk.end, expected.max(from));
            prop_assert_eq!(&chunk.bytes[..], &whole[(from - begin) as usize..(chunk.end - begin) as usize]);
            prop_assert_eq!(chunk.aligned, ends.contains(&from));
            prop_assert_eq!(log.end_of(target, u64::MAX).unwrap(), expected);
        }
    }
}
