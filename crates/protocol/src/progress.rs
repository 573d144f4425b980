//! How far a response takes a reader (sections 5.6 to 5.8), for catch-up, long-poll and SSE alike.

use crate::{offset::Offset, stream::StreamHead};

/// The reader's place after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The offset at which to continue.
    pub next: Offset,
    /// Whether the response has reached the tail.
    pub up_to_date: bool,
    /// Whether the stream is closed and the response has reached its end.
    pub closed: bool,
}

impl Progress {
    /// Returns the progress of a response that ends at a position.
    #[must_use]
    pub fn at(head: &StreamHead, end: u64) -> Self {
        let up_to_date = end == head.tail;
        Self { next: head.offset(end), up_to_date, closed: up_to_date && head.closed.is_some() }
    }
}

/// Returns the target of a response that begins at `start`: it ends at the first append boundary at or after the target,
/// which is the next multiple of the chunk size, or the tail. So readers that join anywhere converge on the same URLs,
/// and no response is "the rest of the stream".
#[must_use]
pub fn chunk_target(start: u64, tail: u64, chunk_bytes: u64) -> u64 {
    let chunk_bytes = chunk_bytes.max(1);
    (start / chunk_bytes).saturating_add(1).saturating_mul(chunk_bytes).min(tail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{Closure, tests::head};

    #[test]
    fn up_to_date_means_the_tail_and_closed_means_the_final_tail() {
        let open = StreamHead { tail: 9, ..head(1) };
        let closed = StreamHead { closed: Some(Closure::default()), ..open.clone() };
        let flags = |head: &StreamHead, end| {
            let progress = Progress::at(head, end);
            (progress.next.position, progress.up_to_date, progress.closed)
        };
        assert_eq!(flags(&open, 4), (4, false, false));
        assert_eq!(flags(&open, 9), (9, true, false));
        assert_eq!(flags(&closed, 4), (4, false, false));
        assert_eq!(flags(&closed, 9), (9, true, true));
    }

    #[test]
    fn chunks_end_at_fixed_places() {
        for (start, target) in [(0, 100), (1, 100), (99, 100), (100, 200), (250, 300), (300, 333), (333, 333)]
        {
            assert_eq!(chunk_target(start, 333, 100), target, "{start}");
        }
        assert_eq!(chunk_target(5, u64::MAX, u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn readers_converge(a in 0..5_000u64, b in 0..5_000u64, chunk in 1..300u64) {
            // Every reader stops at every chunk's end, so both see the same ends from the later start on.
            let ends = |mut at: u64| {
                let mut ends = Vec::new();
                while at < 5_000 {
                    at = chunk_target(at, 5_000, chunk);
                    ends.push(at);
                }
                ends
            };
            let (early, late) = (ends(a.min(b)), ends(a.max(b)));
            prop_assert!(early.ends_with(&late));
        }
    }
}
