//! Points in time, and how headers spell them.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The instant `later` from now.
pub(crate) fn from_now(later: Duration) -> OffsetDateTime {
    OffsetDateTime::now_utc() + later
}

/// The instant `hours` from now, in whole seconds.
pub(crate) fn in_hours(hours: u64) -> OffsetDateTime {
    from_now(Duration::from_secs(3600 * hours)).replace_nanosecond(0).expect("zero is a nanosecond")
}

/// The spelling of RFC 3339.
pub(crate) fn spelled(instant: OffsetDateTime) -> String {
    instant.format(&Rfc3339).expect("the year has four digits")
}

/// The instant that a header names.
#[track_caller]
pub(crate) fn parsed(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|error| panic!("{text:?} is not RFC 3339: {error}"))
}
