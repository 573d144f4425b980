//! The one way to read a range: stores differ only in where the parts of a log come from.

use bytes::{Bytes, BytesMut};

use crate::{Chunk, ReadRange, StoreError};

/// A run of a log's bytes, with the places where appends end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The position of the first byte.
    pub start: u64,
    /// Whether an append begins there.
    pub starts_append: bool,
    /// The bytes.
    pub bytes: &'a [u8],
    /// The positions after the last byte of each append that ends in this part, growing; none is beyond its bytes.
    pub ends: &'a [u64],
}

impl Part<'_> {
    /// Returns the position after the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// A range that is gathered from the parts of its log. They are added in order; they may overlap, and must not leave
/// gaps.
#[derive(Debug)]
pub struct Gather {
    range: ReadRange,
    bytes: BytesMut,
    /// The position after the last byte gathered.
    next: u64,
    /// Whether there was a part with the position that the range begins at.
    found: bool,
    aligned: bool,
    done: bool,
    /// Whether the bytes are wanted, or only the range's end.
    keeps_bytes: bool,
}

impl Gather {
    /// Begins to gather a range.
    #[must_use]
    pub fn new(range: ReadRange) -> Self {
        let target = range.target.max(range.from);
        let expected = usize::try_from(target - range.from).unwrap_or(usize::MAX);
        let range = ReadRange { target, limit: range.limit.max(target), ..range };
        // A wrong range must not reserve all memory.
        let bytes = BytesMut::with_capacity(expected.min(4 << 20));
        Self { range, bytes, next: range.from, found: false, aligned: false, done: false, keeps_bytes: true }
    }

    /// Begins to look for the first append boundary at or after `position`, but at most `limit`: [`Gather::next`] is it in
    /// the end. No bytes are kept.
    #[must_use]
    pub fn end_of(position: u64, limit: u64) -> Self {
        let range = ReadRange::new(position, position).up_to(limit);
        Self { keeps_bytes: false, ..Self::new(range) }
    }

    /// Returns the position that the next part has to contain.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Returns the position from which on an append boundary ends the range.
    #[must_use]
    pub const fn target(&self) -> u64 {
        self.range.target
    }

    /// Returns whether the range is complete: further parts change nothing.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the bytes of the range that a part has. Returns `false` if there is a gap before the part; then nothing was
    /// taken.
    ///
    /// # Panics
    /// If an end of the part is beyond its bytes.
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
        assert!(stop <= part.end(), "the range ends in this part: an end of an append is beyond its bytes");
        if self.keeps_bytes {
            // Both are positions of the part, so the differences are at most its length.
            let (taken, _) = part.bytes.split_at((stop - part.start) as usize);
            self.bytes.extend_from_slice(taken.split_at((self.next - part.start) as usize).1);
        }
        self.next = stop;
        self.done = boundary.is_some() || stop == limit;
        true
    }

    /// Returns the gathered bytes.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if no part has the position that the range begins at.
    pub fn finish(self) -> Result<Chunk, StoreError> {
        if !self.found {
            return Err(StoreError::damaged(format!("the log has no position {}", self.range.from)));
        }
        Ok(Chunk::new(Bytes::from(self.bytes), self.next, self.aligned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_may_overlap_and_split_appends_but_not_leave_gaps() {
        let part = |start, starts_append, bytes: &'static [u8], ends: &'static [u64]| Part {
            start,
            starts_append,
            bytes,
            ends,
        };
        let range = ReadRange::new(3, 6);
        let mut gather = Gather::new(range);
        assert!(gather.add(part(0, true, b"abcde", &[2])));
        assert!(!gather.add(part(6, false, b"g", &[])), "position 5 is missing");
        assert!(gather.add(part(4, false, b"efgh", &[8])));
        assert!(gather.is_done());
        assert_eq!(gather.finish(), Ok(Chunk::new(Bytes::from_static(b"defgh"), 8, false)));
    }
}
