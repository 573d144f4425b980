//! A subscription and its names.

use crate::{
    bad_request::BadRequest,
    mix::splitmix64,
    path,
    subscription::{config::Config, wake::Wakes},
};

/// The longest id, in bytes after decoding.
pub const ID_BYTES_MAX: usize = 256;
/// The largest body of a control request, in bytes.
pub const CONTROL_BODY_BYTES_MAX: u64 = 1 << 20;
/// The most streams that one wake names, pending ones first. The others are in the next wake.
pub const WAKE_STREAMS_MAX: usize = 1_000;
/// The most streams of one subscription.
pub const LINKS_MAX: usize = 100_000;

/// The name that a client gives a subscription (section 6.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(Box<str>);

impl SubscriptionId {
    /// Reads an id from a percent-encoded segment of a path.
    ///
    /// # Errors
    /// [`BadRequest::NameMalformed`] as for a segment of a stream's name, or for more than [`ID_BYTES_MAX`] bytes.
    pub fn parse(segment: &str) -> Result<Self, BadRequest> {
        Self::new(&path::percent_decode(segment)?)
    }

    /// Reads an id that is not encoded, as stores have it.
    ///
    /// # Errors
    /// [`BadRequest::NameMalformed`] as for a segment of a stream's name, or for more than [`ID_BYTES_MAX`] bytes.
    pub fn new(id: &str) -> Result<Self, BadRequest> {
        path::check(id)?;
        if id.len() > ID_BYTES_MAX {
            return Err(BadRequest::NameMalformed { rule: "the subscription's id is longer than 256 bytes" });
        }
        Ok(Self(id.into()))
    }

    /// Returns the decoded id.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

/// The identity of a subscription among all that have had its id. It is never issued again, so that nothing of a deleted
/// subscription (a token, a link) is taken for its successor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(u64);

impl Serial {
    /// Returns the serial of a number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the next serial: later than `last`, and not before `now_us` (microseconds since 1970).
    #[must_use]
    pub const fn next(last: u64, now_us: u64) -> Self {
        let later = last.saturating_add(1);
        Self(if now_us > later { now_us } else { later })
    }
}

/// A subscription without its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The subscription's identity among all that have had its id.
    pub serial: Serial,
    /// The name that the client gave it.
    pub id: SubscriptionId,
    /// Its configuration, which never changes.
    pub config: Config,
    /// The time of its creation, in milliseconds since 1970.
    pub created_ms: u64,
    /// The stream root as clients reach it, such as `https://streams.example/v1/stream`: callbacks go there.
    pub root: Box<str>,
    /// The state of its wakes.
    pub wakes: Wakes,
}

impl Subscription {
    /// Returns a number that looks random and differs between subscriptions and between failures of one, to spread
    /// retries.
    #[must_use]
    pub fn jitter_seed(&self) -> u32 {
        let failures = self.wakes.retry.map_or(0, |retry| u64::from(retry.failures));
        let number = self.serial.0 ^ failures.rotate_left(32) ^ self.wakes.generation.rotate_left(48);
        (splitmix64(number) >> 32) as u32
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::subscription::target::LocalTargets;

    /// A subscription as tests need one.
    pub(crate) fn subscription(body: &str) -> Subscription {
        Subscription {
            serial: Serial(7),
            id: SubscriptionId::new("sub-1").unwrap(),
            config: Config::parse(body.as_bytes(), LocalTargets::Allowed).unwrap().0,
            created_ms: 1_778_284_800_000,
            root: "http://streams.example/v1/stream".into(),
            wakes: Wakes::default(),
        }
    }

    #[test]
    fn an_id_is_one_segment_of_at_most_256_bytes() {
        assert_eq!(SubscriptionId::parse("a%20b").unwrap().as_str(), "a b");
        assert!(SubscriptionId::parse(&"x".repeat(256)).is_ok());
        for segment in ["", ".", "..", "a%2Fb", "%00", &"x".repeat(257)] {
            assert!(SubscriptionId::parse(segment).is_err(), "{segment}");
        }
    }

    #[test]
    fn serials_never_repeat_when_the_clock_goes_back() {
        assert_eq!(Serial::next(0, 1_000), Serial(1_000));
        assert_eq!(Serial::next(1_000, 10), Serial(1_001));
    }
}
