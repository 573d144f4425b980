//! Cache-Control for every class of response: one table, one function (section 10, RFC 9111, RFC 5861).
//!
//! All ages are settings; those in this file are the defaults. `docs/ARCHITECTURE.md` has the table.

use http::HeaderValue;

use crate::bad_request::BadRequest;

/// Whether shared caches may keep a stream's responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Anybody who knows the URL may read.
    #[default]
    Public,
    /// Only the reader's own cache may keep responses.
    Private,
}

impl Visibility {
    /// Reads `Stream-Visibility`.
    ///
    /// # Errors
    /// [`BadRequest::VisibilityMalformed`] for anything but `public` and `private`.
    pub fn parse(text: &str) -> Result<Self, BadRequest> {
        match text {
            "public" => Ok(Self::Public),
            "private" => Ok(Self::Private),
            _ => Err(BadRequest::VisibilityMalformed),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// The class of a response: what caches may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Data that ends before the tail, asked for by an offset of the stream's own incarnation: never changes.
    Chunk,
    /// Data that can't change while the stream exists, asked for by `-1` or by an offset that a fork inherited: a
    /// recreated stream has other data there.
    ChunkUnnamed,
    /// Data that reaches the tail of an open stream, or nothing new there.
    OpenTail,
    /// Data or nothing at the tail of a closed stream, asked for by an offset of the stream's own incarnation.
    ClosedTail,
    /// A long-poll that got data: its URL is used as long as the event is the newest.
    LongPollData,
    /// A long-poll that timed out: a short age releases all readers that wait for the same URL at once.
    LongPollTimeout,
    /// A long-poll at the tail of a closed stream: one response serves everybody.
    LongPollClosed,
    /// An event stream.
    EventStream,
    /// Everything else: `offset=now`, no offset at all (the URL of HEAD too), writes, HEAD, errors.
    Never,
}

impl Class {
    /// Returns the name of the class in metrics: `cacheable` (final bytes), `tail` (fresh for moments), `live` (long-polls
    /// and event streams) or `uncacheable`.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Chunk | Self::ChunkUnnamed | Self::ClosedTail => "cacheable",
            Self::OpenTail => "tail",
            Self::LongPollData | Self::LongPollTimeout | Self::LongPollClosed | Self::EventStream => "live",
            Self::Never => "uncacheable",
        }
    }
}

/// The settings of Cache-Control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachePolicy {
    /// The visibility of streams that were created without `Stream-Visibility`.
    pub visibility: Visibility,
    /// How long a chunk, or the tail of a closed stream, is fresh, in seconds.
    pub chunk_max_age_s: u64,
    /// How long after that a cache may still serve it while it revalidates, in seconds.
    pub chunk_stale_while_revalidate_s: u64,
    /// Whether chunks whose URL names the stream's incarnation are fresh for a year and `immutable` instead.
    pub chunk_immutable: bool,
    /// How long a response that reaches the open tail is fresh, in seconds.
    pub tail_max_age_s: u64,
    /// How long a long-poll's data is fresh, in seconds.
    pub long_poll_max_age_s: u64,
    /// How long a long-poll's 204 is fresh, in seconds; 0 makes it `no-store`.
    pub long_poll_timeout_max_age_s: u64,
    /// How long an edge may share one event stream among readers, in seconds; `None` forbids caching it.
    pub event_stream_max_age_s: Option<u64>,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            visibility: Visibility::Public,
            chunk_max_age_s: 60,
            chunk_stale_while_revalidate_s: 300,
            chunk_immutable: false,
            tail_max_age_s: 1,
            long_poll_max_age_s: 5,
            long_poll_timeout_max_age_s: 1,
            event_stream_max_age_s: None,
        }
    }
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const YEAR_S: u64 = 31_536_000;

impl CachePolicy {
    /// Returns the Cache-Control of a response of `class` from a stream that exists for `remaining_s` more seconds
    /// (`None`: without end). No response outlives its stream.
    #[must_use]
    pub fn cache_control(
        &self,
        class: Class,
        visibility: Option<Visibility>,
        remaining_s: Option<u64>,
    ) -> HeaderValue {
        let left_s = remaining_s.unwrap_or(u64::MAX);
        let word = visibility.unwrap_or(self.visibility).word();
        let fresh = |age_s: u64| text(&[word, ", max-age=", itoa::Buffer::new().format(age_s.min(left_s))]);
        let stable = || {
            let stale_s =
                self.chunk_stale_while_revalidate_s.min(left_s.saturating_sub(self.chunk_max_age_s));
            let age_s = self.chunk_max_age_s.min(left_s);
            if stale_s == 0 {
                fresh(age_s)
            } else {
                let [mut age, mut stale] = [itoa::Buffer::new(); 2];
                let (age, stale) = (age.format(age_s), stale.format(stale_s));
                text(&[word, ", max-age=", age, ", stale-while-revalidate=", stale])
            }
        };
        match class {
            Class::Chunk if self.chunk_immutable && left_s >= YEAR_S => {
                text(&[word, ", max-age=", itoa::Buffer::new().format(YEAR_S), ", immutable"])
            }
            Class::Chunk if self.chunk_immutable => fresh(left_s),
            Class::Chunk | Class::ClosedTail => stable(),
            Class::ChunkUnnamed | Class::LongPollClosed => fresh(self.chunk_max_age_s),
            Class::OpenTail => fresh(self.tail_max_age_s),
            Class::LongPollData => fresh(self.long_poll_max_age_s),
            Class::LongPollTimeout if self.long_poll_timeout_max_age_s == 0 => NO_STORE,
            Class::LongPollTimeout => fresh(self.long_poll_timeout_max_age_s),
            Class::EventStream => match self.event_stream_max_age_s {
                Some(age_s) => fresh(age_s),
                None => HeaderValue::from_static("no-cache, no-transform"),
            },
            Class::Never => NO_STORE,
        }
    }
}

#[expect(clippy::expect_used, reason = "words, digits and punctuation are a header's value")]
fn text(parts: &[&str]) -> HeaderValue {
    HeaderValue::try_from(parts.concat()).expect("words, digits and punctuation")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASSES: [Class; 9] = [
        Class::Chunk,
        Class::ChunkUnnamed,
        Class::OpenTail,
        Class::ClosedTail,
        Class::LongPollData,
        Class::LongPollTimeout,
        Class::LongPollClosed,
        Class::EventStream,
        Class::Never,
    ];

    fn row(policy: CachePolicy, class: Class, remaining_s: Option<u64>) -> String {
        policy.cache_control(class, None, remaining_s).to_str().unwrap().to_owned()
    }

    #[test]
    fn the_table() {
        let expected = [
            "public, max-age=60, stale-while-revalidate=300",
            "public, max-age=60",
            "public, max-age=1",
            "public, max-age=60, stale-while-revalidate=300",
            "public, max-age=5",
            "public, max-age=1",
            "public, max-age=60",
            "no-cache, no-transform",
            "no-store",
        ];
        for (class, expected) in CLASSES.into_iter().zip(expected) {
            assert_eq!(row(CachePolicy::default(), class, None), expected, "{class:?}");
        }
    }

    #[test]
    fn a_stream_about_to_end_caps_every_age() {
        let expected = [
            "public, max-age=3",
            "public, max-age=3",
            "public, max-age=1",
            "public, max-age=3",
            "public, max-age=3",
            "public, max-age=1",
            "public, max-age=3",
            "no-cache, no-transform",
            "no-store",
        ];
        for (class, expected) in CLASSES.into_iter().zip(expected) {
            assert_eq!(row(CachePolicy::default(), class, Some(3)), expected, "{class:?}");
        }
        assert_eq!(
            row(CachePolicy::default(), Class::Chunk, Some(100)),
            "public, max-age=60, stale-while-revalidate=40"
        );
    }

    #[test]
    fn a_stream_chooses_its_own_word() {
        let policy = CachePolicy::default();
        let private = policy.cache_control(Class::OpenTail, Some(Visibility::Private), None);
        assert_eq!(private, "private, max-age=1");
        let policy = CachePolicy { visibility: Visibility::Private, ..policy };
        assert_eq!(row(policy, Class::ChunkUnnamed, None), "private, max-age=60");
        assert_eq!(
            policy.cache_control(Class::OpenTail, Some(Visibility::Public), None),
            "public, max-age=1"
        );
    }

    #[test]
    fn the_settings_that_change_the_form() {
        let policy = CachePolicy {
            chunk_immutable: true,
            long_poll_timeout_max_age_s: 0,
            event_stream_max_age_s: Some(10),
            ..CachePolicy::default()
        };
        assert_eq!(row(policy, Class::Chunk, None), "public, max-age=31536000, immutable");
        assert_eq!(row(policy, Class::Chunk, Some(90)), "public, max-age=90");
        assert_eq!(row(policy, Class::LongPollTimeout, None), "no-store");
        assert_eq!(row(policy, Class::EventStream, None), "public, max-age=10");
    }

    proptest! {
        #[test]
        fn no_answer_outlives_its_stream(index in 0..CLASSES.len(), remaining in 0..1_000u64, immutable: bool) {
            let policy = CachePolicy { chunk_immutable: immutable, ..CachePolicy::default() };
            let text = row(policy, CLASSES[index], Some(remaining));
            let seconds: u64 = text
                .split(", ")
                .filter_map(|part| part.split_once('='))
                .map(|(_, number)| number.parse::<u64>().unwrap())
                .sum();
            prop_assert!(seconds <= remaining, "{}", text);
        }
    }
}
