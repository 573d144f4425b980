//! Cursors (section 10.1): they make a thousand waiting readers ask for the same URL.
//!
//! A cursor depends on the stream and on a coarse clock, never on the single request and never on randomness, so that
//! all readers of one event share the next cache key. `docs/adr/0004-cursor.md` says where that departs from the letter
//! of the specification, and why.

use crate::{
    decimal::{self, SAFE_INTEGER_MAX},
    mix::splitmix64,
    offset::Incarnation,
};

/// The origin of cursors, 2024-10-09T00:00:00Z, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_728_432_000_000;
const JITTER_MS_MAX: u64 = 3_600_000;

/// The quantity that a cursor counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorMode {
    /// The time of the stream's last change in milliseconds, or the current interval's start if that is later.
    Event,
    /// The number of the current interval, as section 10.1 spells it.
    Interval,
}

/// The settings of cursors.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CursorPolicy {
    /// The quantity that a cursor counts.
    pub mode: CursorMode,
    /// The length of the coarse clock's step, in milliseconds; at least 1.
    pub interval_ms: u64,
}

impl Default for CursorPolicy {
    fn default() -> Self {
        Self { mode: CursorMode::Event, interval_ms: 20_000 }
    }
}

/// A number that only grows for a reader that echoes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// Reads the cursor that a client sent; `None` for anything that no server issues (garbage, signs, more than
    /// 2^53-1), which then counts as not sent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decimal::digits(text, 1..=16).filter(|&number| number <= SAFE_INTEGER_MAX).map(Self)
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The values that a cursor is a function of.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The stream's incarnation.
    pub incarnation: Incarnation,
    /// The time of the stream's last change, in milliseconds since 1970; each change makes it larger.
    pub changed_ms: u64,
    /// The position at which the response ends.
    pub position: u64,
    /// The current time, in milliseconds since 1970.
    pub now_ms: u64,
}

impl CursorPolicy {
    /// Returns the cursor of a response, strictly greater than the one that the client sent.
    #[must_use]
    pub fn cursor(&self, moment: Moment, sent: Option<Cursor>) -> Cursor {
        let interval_ms = self.interval_ms.max(1);
        let interval = moment.now_ms.saturating_sub(EPOCH_MS) / interval_ms;
        let (base, step) = match self.mode {
            CursorMode::Event => (moment.changed_ms.saturating_sub(EPOCH_MS).max(interval * interval_ms), 1),
            CursorMode::Interval => {
                let steps = (JITTER_MS_MAX / interval_ms).max(1);
                (interval, 1 + scatter(moment, sent) % steps)
            }
        };
        match sent {
            Some(Cursor(sent)) if sent >= base => Cursor(sent.saturating_add(step)),
            _ => Cursor(base),
        }
    }
}

/// Returns a number that looks random and is a function of stream, position and cursor.
fn scatter(moment: Moment, sent: Option<Cursor>) -> u64 {
    let seed = [moment.incarnation.get(), moment.position, sent.map_or(0, Cursor::get)];
    seed.into_iter().fold(0, |hash: u64, part| splitmix64(hash ^ part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(changed_ms: u64, now_ms: u64) -> Moment {
        Moment { incarnation: Incarnation::new(7).unwrap(), changed_ms, position: 5, now_ms }
    }

    const INTERVAL: CursorPolicy = CursorPolicy { mode: CursorMode::Interval, interval_ms: 20_000 };

    #[test]
    fn the_cursor_is_the_time_of_the_last_change_within_an_interval() {
        let policy = CursorPolicy::default();
        let at = moment(EPOCH_MS + 40_123, EPOCH_MS + 41_000);
        assert_eq!(policy.cursor(at, None), Cursor(40_123));
    }

    #[test]
    fn in_silence_the_cursor_is_the_start_of_the_interval() {
        let policy = CursorPolicy::default();
        assert_eq!(policy.cursor(moment(EPOCH_MS + 1, EPOCH_MS + 59_999), None), Cursor(40_000));
    }

    #[test]
    fn readers_with_different_older_cursors_get_the_same_one() {
        let policy = CursorPolicy::default();
        let at = moment(EPOCH_MS + 40_123, EPOCH_MS + 41_000);
        let cursors = [None, Some(Cursor(3)), Some(Cursor(40_122))].map(|sent| policy.cursor(at, sent));
        assert_eq!(cursors, [Cursor(40_123); 3]);
        assert_eq!(policy.cursor(at, Some(Cursor(40_123))), Cursor(40_124));
    }

    #[test]
    fn interval_mode_counts_intervals_and_scatters_without_chance() {
        let at = moment(EPOCH_MS, EPOCH_MS + 20_000 * 1_000);
        assert_eq!(INTERVAL.cursor(at, None), Cursor(1_000));
        let echoed = INTERVAL.cursor(at, Some(Cursor(1_000)));
        assert!(echoed > Cursor(1_000) && echoed <= Cursor(1_180), "{echoed:?}");
        assert_eq!(INTERVAL.cursor(at, Some(Cursor(1_000))), echoed);
    }

    #[test]
    fn garbage_counts_as_not_sent() {
        for text in ["", "-5", "+5", "1e9", "abc", "5 ", "18446744073709551615", "9007199254740992"] {
            assert_eq!(Cursor::parse(text), None, "{text:?}");
        }
        assert_eq!(Cursor::parse("9007199254740991"), Some(Cursor(SAFE_INTEGER_MAX)));
    }

    proptest! {
        #[test]
        fn every_cursor_is_understood_when_it_comes_back(number in 0..=SAFE_INTEGER_MAX) {
            prop_assert_eq!(Cursor::parse(&number.to_string()), Some(Cursor(number)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Cursor::parse(&text);
        }

        #[test]
        fn the_cursor_is_strictly_greater_than_the_one_sent(
            changed in 0..u64::MAX, now in 0..u64::MAX, sent in 0..=SAFE_INTEGER_MAX, event: bool, interval_ms in 0..100_000u64,
        ) {
            let policy = CursorPolicy { mode: if event { CursorMode::Event } else { CursorMode::Interval }, interval_ms };
            prop_assert!(policy.cursor(moment(changed, now), Some(Cursor(sent))) > Cursor(sent));
        }

        #[test]
        fn a_reader_who_waits_never_sees_it_go_back(changed in 0..EPOCH_MS * 2, now in EPOCH_MS..EPOCH_MS * 2, later in 0..100_000u64) {
            let policy = CursorPolicy::default();
            let first = policy.cursor(moment(changed, now), None);
            prop_assert!(policy.cursor(moment(changed, now + later), Some(first)) > first);
        }
    }
}
