//! Frames in whole pages, at an address that the disk can take them from.
//!
//! The page that a frame ends in is written again with the next frame, with the same bytes before it: a disk that tears
//! a write leaves sectors of one or the other, and the earlier frames are the same in both.

use super::slot::PAGE;

/// After a larger frame the buffer is given back.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// The slot's current page as far as it is written, and the pages that are being written.
#[derive(Debug, Default)]
pub(super) struct Pages {
    begun: Vec<u8>,
    buffer: Vec<u8>,
}

impl Pages {
    /// Forgets the current page: the next frame begins a slot.
    pub(super) fn restart(&mut self) {
        self.begun.clear();
    }

    /// The pages that a frame at `position` makes with what stands before it in its page, and where they begin.
    pub(super) fn stage(&mut self, position: u64, frame: &[u8]) -> (&[u8], u64) {
        let length = (self.begun.len() + frame.len()).next_multiple_of(PAGE);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES.max(length + PAGE));
        self.buffer.reserve(length + PAGE);
        // The buffer isn't moved any more: it has room for all that follows.
        let start = self.buffer.as_ptr().align_offset(PAGE).min(PAGE);
        self.buffer.resize(start, 0);
        self.buffer.extend_from_slice(&self.begun);
        self.buffer.extend_from_slice(frame);
        self.buffer.resize(start + length, 0);
        (self.buffer.get(start..).unwrap_or_default(), position - self.begun.len() as u64)
    }

    /// The frame is written: what it left in its last page stays.
    pub(super) fn keep(&mut self, frame: &[u8]) {
        let end = self.begun.len() + frame.len();
        let in_last = end % PAGE;
        if in_last >= frame.len() {
            self.begun.extend_from_slice(frame);
        } else {
            self.begun.clear();
            self.begun.extend_from_slice(frame.get(frame.len() - in_last..).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_stand_one_after_the_other(sizes in prop::collection::vec(1..9_000usize, 1..40)) {
            let mut pages = Pages::default();
            let (mut file, mut whole) = (vec![0xff; 400_000], Vec::new());
            for (index, size) in sizes.into_iter().enumerate() {
                let frame = vec![index as u8; size];
                let (staged, at) = pages.stage(whole.len() as u64, &frame);
                prop_assert_eq!((staged.len() % PAGE, at % PAGE as u64), (0, 0));
                prop_assert_eq!(staged.as_ptr().align_offset(PAGE), 0);
                let at = usize::try_from(at).unwrap();
                file[at..at + staged.len()].copy_from_slice(staged);
                pages.keep(&frame);
                whole.extend_from_slice(&frame);
                prop_assert_eq!(&file[..whole.len()], &whole[..]);
            }
        }
    }
}
