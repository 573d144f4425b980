//! Subscriptions (sections 6 and 7): durable cursors over many streams that wake a worker when there is something new.
//!
//! A [`Subscription`] has a [`Config`], which never changes, and a state of [`Wakes`]; each of its streams has a
//! [`Link`] with a cursor. What happens is a transition of those three; time, pending work and chance are arguments.
//! Tokens, wake ids and signatures are functions of secrets that are passed in. Requests are in `op/subscription`.

pub mod config;
pub mod keys;
pub mod link;
pub mod pattern;
pub mod refusal;
pub mod target;
pub mod token;
pub mod view;
pub mod wake;

use crate::{Refusal, path};

pub use config::{Config, Delivery};
pub use link::Link;
pub use pattern::Pattern;
pub use refusal::SubscriptionRefusal;
pub use wake::Wakes;

/// The longest id, in bytes after decoding.
pub const ID_BYTES_MAX: usize = 256;
/// The largest body of a control request, in bytes.
pub const CONTROL_BODY_BYTES_MAX: u64 = 1 << 20;
/// Streams that one wake names: the pending ones first. What doesn't fit is in the next wake.
pub const WAKE_STREAMS_MAX: usize = 1_000;
/// Streams of one subscription.
pub const LINKS_MAX: usize = 100_000;

/// What a client calls a subscription (section 6.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(Box<str>);

impl SubscriptionId {
    /// The id that one segment of a path spells.
    ///
    /// # Errors
    /// [`Refusal::NameMalformed`] as for the segment of a stream's name, or for more than [`ID_BYTES_MAX`] bytes.
    pub fn parse(segment: &str) -> Result<Self, Refusal> {
        let id = path::decode(segment)?;
        if id.len() > ID_BYTES_MAX {
            return Err(Refusal::NameMalformed { rule: "the subscription's id is longer than 256 bytes" });
        }
        Ok(Self(id.into()))
    }

    /// The decoded id.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// An id that was parsed before and comes back from a store.
    #[must_use]
    pub fn from_stored(id: &str) -> Self {
        Self(id.into())
    }
}

/// One life of a subscription's id. It never comes back, so that nothing of a deleted subscription (a token, a link)
/// is taken for one of its successor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub u64);

impl Serial {
    /// The next one, later than `last` and not before `now_us` (microseconds since 1970).
    #[must_use]
    pub const fn next(last: u64, now_us: u64) -> Self {
        let later = last.saturating_add(1);
        Self(if now_us > later { now_us } else { later })
    }
}

/// A subscription without its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which life of the id this is.
    pub serial: Serial,
    /// What clients call it.
    pub id: SubscriptionId,
    /// What was asked for.
    pub config: Config,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// The stream root as clients reach it, such as `https://streams.example/v1/stream`: callbacks go there.
    pub root: Box<str>,
    /// Where it stands.
    pub wakes: Wakes,
}

impl Subscription {
    /// A number that differs from subscription to subscription and from failure to failure: for pauses.
    #[must_use]
    pub fn roll(&self) -> u32 {
        let failures = self.wakes.retry.map_or(0, |retry| u64::from(retry.failures));
        let number = self.serial.0 ^ failures.rotate_left(32) ^ self.wakes.generation.rotate_left(48);
        u32::try_from(crate::mix::mixed(number) >> 32).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A subscription as tests need one.
    pub(crate) fn subscription(body: &str) -> Subscription {
        Subscription {
            serial: Serial(7),
            id: SubscriptionId::from_stored("sub-1"),
            config: Config::parse(body.as_bytes(), target::LocalTargets::Allowed).unwrap().0,
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
