//! Time-to-live and expiry (section 5.1), with arithmetic that no client can overflow.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{bad_request::BadRequest, decimal};

/// The time after which a stream ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// The stream exists until it is deleted.
    #[default]
    Unlimited,
    /// The stream ends when it was neither read nor written for a while.
    Sliding {
        /// The window, in seconds; at most 2^53-1.
        ttl_s: u64,
    },
    /// The stream ends at a fixed time.
    Until {
        /// The time, in milliseconds since 1970.
        expires_at_ms: u64,
    },
}

impl Lifetime {
    /// Reads `Stream-TTL` and `Stream-Expires-At`; `None` if the request has neither.
    ///
    /// # Errors
    /// Fails if both are present, if one is malformed, or if the time is in the past.
    pub fn parse(
        ttl: Option<&str>,
        expires_at: Option<&str>,
        now_ms: u64,
    ) -> Result<Option<Self>, BadRequest> {
        match (ttl, expires_at) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(BadRequest::TtlAndExpiresAt),
            (Some(ttl), None) => {
                Ok(Some(Self::Sliding { ttl_s: decimal::parse_safe(ttl).ok_or(BadRequest::TtlMalformed)? }))
            }
            (None, Some(text)) => {
                let expires_at_ms = parse_rfc3339(text).ok_or(BadRequest::ExpiresAtMalformed)?;
                if expires_at_ms <= now_ms {
                    return Err(BadRequest::ExpiresAtPast);
                }
                Ok(Some(Self::Until { expires_at_ms }))
            }
        }
    }

    /// Returns when a stream that is used at `now_ms` ends, in milliseconds since 1970; `None` if it doesn't.
    #[must_use]
    pub const fn deadline_ms(self, now_ms: u64) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Sliding { ttl_s } => Some(now_ms.saturating_add(ttl_s.saturating_mul(1_000))),
            Self::Until { expires_at_ms } => Some(expires_at_ms),
        }
    }
}

/// The smallest step in which a sliding deadline is committed, in milliseconds.
const STEP_MIN_MS: u64 = 1_000;
/// The part of the window that a step is: so a stream that is used all the time is committed 64 times in a window.
const STEP_DIVISOR: u64 = 64;

impl Lifetime {
    /// Returns the deadline that is to be committed because of a use at `used_ms`, if it has moved far enough from the stored
    /// one: a window's 64th part, at least a second. Longer steps are rounded up, so that no crash ends a stream early.
    #[must_use]
    pub const fn deadline_to_commit_ms(self, used_ms: u64, stored_ms: Option<u64>) -> Option<u64> {
        let Self::Sliding { ttl_s } = self else { return None };
        let (Some(deadline_ms), Some(stored_ms)) = (self.deadline_ms(used_ms), stored_ms) else {
            return None;
        };
        let step_ms = ttl_s.saturating_mul(1_000) / STEP_DIVISOR;
        if step_ms <= STEP_MIN_MS {
            let is_due = deadline_ms >= stored_ms.saturating_add(STEP_MIN_MS);
            if is_due { Some(deadline_ms) } else { None }
        } else if deadline_ms > stored_ms {
            Some((deadline_ms / step_ms).saturating_add(1).saturating_mul(step_ms))
        } else {
            None
        }
    }
}

/// Returns whether a stream with this deadline has ended.
pub(crate) fn is_past(deadline_ms: Option<u64>, now_ms: u64) -> bool {
    deadline_ms.is_some_and(|deadline_ms| now_ms >= deadline_ms)
}

/// Returns the time left until the deadline in whole seconds, rounded down.
pub(crate) fn remaining_s(deadline_ms: Option<u64>, now_ms: u64) -> Option<u64> {
    deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(now_ms) / 1_000)
}

/// Formats a time in milliseconds since 1970 as RFC 3339 in UTC; `None` past the year 9999.
pub(crate) fn format_rfc3339(at_ms: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000).ok()?;
    at.format(&Rfc3339).ok()
}

fn parse_rfc3339(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    // A time before 1970 is malformed for a deadline, as is one that its zone moves past the year 9999, where HEAD
    // couldn't say it.
    let at_ms = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?;
    format_rfc3339(at_ms).map(|_| at_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::SAFE_INTEGER_MAX;

    #[test]
    fn the_grammar_of_ttl_is_strict() {
        for (text, ttl_s) in [("0", 0), ("1", 1), ("3600", 3_600), ("9007199254740991", SAFE_INTEGER_MAX)] {
            assert_eq!(Lifetime::parse(Some(text), None, 0), Ok(Some(Lifetime::Sliding { ttl_s })), "{text}");
        }
        let malformed = [
            "",
            "-1",
            "+60",
            "00060",
            "60.5",
            "1e3",
            " 60",
            "60 ",
            "0x10",
            "abc",
            "9007199254740992",
            "9223372036854775807",
            "99999999999999999999999",
        ];
        for text in malformed {
            assert_eq!(Lifetime::parse(Some(text), None, 0), Err(BadRequest::TtlMalformed), "{text:?}");
        }
    }

    #[test]
    fn the_step_of_a_sliding_deadline_grows_with_its_window() {
        for (ttl_s, used_ms, stored_ms, expected) in [
            (1, 5_000, 5_999, None),
            (1, 5_000, 5_000, Some(6_000)),
            (60, 5_000, 64_001, None),
            (60, 5_000, 64_000, Some(65_000)),
            (6_400, 5_000, 6_405_000, None),
            (6_400, 5_001, 6_405_000, Some(6_500_000)),
            (6_400, 105_000, 6_500_000, Some(6_600_000)),
            (SAFE_INTEGER_MAX, u64::MAX, u64::MAX, None),
        ] {
            let sliding = Lifetime::Sliding { ttl_s };
            let committed = sliding.deadline_to_commit_ms(used_ms, Some(stored_ms));
            assert_eq!(committed, expected, "{ttl_s} {used_ms} {stored_ms}");
            assert!(committed.is_none_or(|deadline_ms| Some(deadline_ms) >= sliding.deadline_ms(used_ms)));
        }
        assert_eq!(Lifetime::Unlimited.deadline_to_commit_ms(5_000, None), None);
        assert_eq!(Lifetime::Until { expires_at_ms: 9 }.deadline_to_commit_ms(5, Some(9)), None);
    }

    #[test]
    fn expires_at_is_rfc_3339_and_ahead() {
        let now_ms = 1_700_000_000_000;
        let accepted = [
            ("2033-05-18T03:33:20Z", 2_000_000_000_000),
            ("2033-05-18T03:33:20.5+00:00", 2_000_000_000_500),
            ("2033-05-18T05:33:20+02:00", 2_000_000_000_000),
        ];
        for (text, expires_at_ms) in accepted {
            assert_eq!(
                Lifetime::parse(None, Some(text), now_ms),
                Ok(Some(Lifetime::Until { expires_at_ms }))
            );
        }
        for text in [
            "",
            "not-a-timestamp",
            "2033-05-18",
            "2033-05-18T03:33:20",
            "2033-02-30T00:00:00Z",
            "2000000000",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(
                Lifetime::parse(None, Some(text), now_ms),
                Err(BadRequest::ExpiresAtMalformed),
                "{text:?}"
            );
        }
        assert_eq!(
            Lifetime::parse(None, Some("2001-09-09T01:46:40Z"), now_ms),
            Err(BadRequest::ExpiresAtPast)
        );
        assert_eq!(
            Lifetime::parse(None, Some("1960-01-01T00:00:00Z"), now_ms),
            Err(BadRequest::ExpiresAtMalformed)
        );
    }

    #[test]
    fn both_at_once_are_refused_even_when_malformed() {
        assert_eq!(Lifetime::parse(Some("x"), Some("y"), 0), Err(BadRequest::TtlAndExpiresAt));
    }

    #[test]
    fn a_window_slides_and_a_date_stays() {
        assert_eq!(Lifetime::Sliding { ttl_s: 2 }.deadline_ms(10_000), Some(12_000));
        assert_eq!(Lifetime::Until { expires_at_ms: 7 }.deadline_ms(10_000), Some(7));
        assert_eq!(Lifetime::Unlimited.deadline_ms(10_000), None);
        assert!(is_past(Some(12_000), 12_000) && !is_past(Some(12_000), 11_999) && !is_past(None, u64::MAX));
        assert_eq!(remaining_s(Some(12_000), 10_001), Some(1));
    }

    proptest! {
        #[test]
        fn no_ttl_overflows(ttl_s in 0..=SAFE_INTEGER_MAX, now_ms: u64) {
            let deadline = Lifetime::Sliding { ttl_s }.deadline_ms(now_ms);
            prop_assert!(deadline.unwrap() >= now_ms);
        }

        #[test]
        fn what_is_formatted_parses_back(at_ms in 1..253_402_300_799_999u64) {
            let text = format_rfc3339(at_ms).unwrap();
            prop_assert_eq!(Lifetime::parse(None, Some(&text), 0), Ok(Some(Lifetime::Until { expires_at_ms: at_ms })));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Lifetime::parse(Some(&text), None, 0);
            let _ = Lifetime::parse(None, Some(&text), 0);
        }
    }
}
