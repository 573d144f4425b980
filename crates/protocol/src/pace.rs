//! The pace of a request's body: how long it may pause, and how long it may take.

/// The bounds of the time that a body takes.
///
/// A pause alone doesn't bound it: a client that sends a byte now and then would hold its connection and its memory for
/// ever. So a body also has a deadline, which moves with what was received: whoever sends at least
/// [`Pace::bytes_per_s`] never meets it.
///
/// ```
/// use headwater_protocol::pace::Pace;
///
/// let pace = Pace { pause_ms: 300_000, time_ms: 1_800_000, bytes_per_s: 16 << 10 };
/// // A byte every four minutes ends after half an hour, however long the pauses may be.
/// assert_eq!(pace.next_deadline_ms(0, 1_700_000, 7), 1_800_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The longest pause, in milliseconds.
    pub pause_ms: u64,
    /// The time that a body may take whatever its size, in milliseconds.
    pub time_ms: u64,
    /// The rate at which received bytes move the deadline, in bytes per second; at least 1.
    pub bytes_per_s: u64,
}

impl Pace {
    /// Returns when more of the body has to be here, in milliseconds, if it began at `began_ms`, its latest bytes came at
    /// `latest_ms`, and `received_bytes` are here.
    #[must_use]
    pub fn next_deadline_ms(&self, began_ms: u64, latest_ms: u64, received_bytes: u64) -> u64 {
        let earned_ms = received_bytes.saturating_mul(1_000) / self.bytes_per_s.max(1);
        let whole_ms = began_ms.saturating_add(self.time_ms).saturating_add(earned_ms);
        latest_ms.saturating_add(self.pause_ms).min(whole_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_and_the_whole_time_are_bounded_and_bytes_earn_time() {
        let pace = Pace { pause_ms: 100, time_ms: 1_000, bytes_per_s: 10 };
        for (began_ms, latest_ms, received_bytes, deadline_ms) in [
            (0, 0, 0, 100),
            (0, 850, 0, 950),
            (0, 950, 0, 1_000),
            (0, 950, 1, 1_050),
            (0, 1_950, 10, 2_000),
            (500, 1_450, 0, 1_500),
            (0, 5_000, 1_000_000, 5_100),
            (u64::MAX, u64::MAX, u64::MAX, u64::MAX),
        ] {
            let deadline = pace.next_deadline_ms(began_ms, latest_ms, received_bytes);
            assert_eq!(deadline, deadline_ms, "{began_ms} {latest_ms} {received_bytes}");
        }
        let no_rate = Pace { bytes_per_s: 0, ..pace };
        assert_eq!(no_rate.next_deadline_ms(0, 0, u64::MAX), 100);
    }
}
