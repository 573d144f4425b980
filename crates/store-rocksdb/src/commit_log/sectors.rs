//! Frames in whole sectors, at an address from which the disk can take them.
//!
//! The sector that a frame ends in is written again with the next frame, with the same bytes before it: a disk that tears
//! a write leaves one or the other, and the earlier frames are the same in both.

use super::slot::PAGE;

/// The largest buffer that is kept for the next frame.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// The current sector of the slot as far as it is written, and the sectors that are being written.
#[derive(Debug)]
pub(super) struct Sectors {
    /// The size of a sector, in bytes.
    size: usize,
    begun: Vec<u8>,
    buffer: Vec<u8>,
}

impl Sectors {
    pub(super) const fn new(size: usize) -> Self {
        Self { size, begun: Vec::new(), buffer: Vec::new() }
    }

    /// Forgets the current sector: the next frame begins a slot, whose sectors may have another size.
    pub(super) fn restart(&mut self, size: usize) {
        self.size = size;
        self.begun.clear();
    }

    /// Returns the sectors of a frame at `position`, with the bytes before it in the first of them, and their position.
    pub(super) fn stage(&mut self, position: u64, frame: &[u8]) -> (&[u8], u64) {
        let length = (self.begun.len() + frame.len()).next_multiple_of(self.size);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES.max(length + PAGE));
        self.buffer.reserve(length + PAGE);
        // The buffer isn't moved any more: it has room for all that follows.
        let start = self.buffer.as_ptr().align_offset(PAGE).min(PAGE);
        self.buffer.resize(start, 0);
        self.buffer.extend_from_slice(&self.begun);
        self.buffer.extend_from_slice(frame);
        self.buffer.resize(start + length, 0);
        let staged = self.buffer.split_at(start).1;
        assert!(
            staged.len() == length && length >= self.begun.len() + frame.len(),
            "the staged sectors cover the frame"
        );
        (staged, position - self.begun.len() as u64)
    }

    /// Keeps the bytes that a written frame left in its last sector.
    pub(super) fn keep(&mut self, frame: &[u8]) {
        let end = self.begun.len() + frame.len();
        let in_last = end % self.size;
        if in_last >= frame.len() {
            self.begun.extend_from_slice(frame);
        } else {
            self.begun.clear();
            self.begun.extend_from_slice(frame.split_at(frame.len() - in_last).1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::slot::SECTOR, *};

    proptest! {
        #[test]
        fn frames_stand_one_after_the_other(sizes in prop::collection::vec(1..9_000usize, 1..40), is_small: bool) {
            let size = if is_small { SECTOR } else { PAGE };
            let mut sectors = Sectors::new(size);
            let (mut file, mut whole) = (vec![0xff; 400_000], Vec::new());
            for (index, length) in sizes.into_iter().enumerate() {
                let frame = vec![index as u8; length];
                let (staged, at) = sectors.stage(whole.len() as u64, &frame);
                prop_assert_eq!((staged.len() % size, at % size as u64), (0, 0));
                prop_assert_eq!(staged.as_ptr().align_offset(PAGE), 0);
                let at = usize::try_from(at).unwrap();
                file[at..at + staged.len()].copy_from_slice(staged);
                sectors.keep(&frame);
                whole.extend_from_slice(&frame);
                prop_assert_eq!(&file[..whole.len()], &whole[..]);
            }
        }
    }
}
