//! Messages that say which one they are and when they were sent, and a scanner that finds them in what arrives.
//!
//! `~`, then `m` (or `e` for the last one of a stream), eight hexadecimal digits of sequence, sixteen of
//! nanoseconds; the rest is filling without a `~`. Nothing else that a server sends to a reader of these streams
//! has a `~` in it, so a message is found in an event stream and in a plain body alike.

use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Result, bail};

/// The length of every message.
pub(crate) const MESSAGE_BYTES: usize = 256;

const MARK: u8 = b'~';
const SEQUENCE_DIGITS: usize = 8;
/// From the mark to the end of the time.
const STAMP_BYTES: usize = 2 + SEQUENCE_DIGITS + 16;

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sequence: u32,
    /// No message follows.
    pub(crate) last: bool,
    pub(crate) sent: Moment,
}

/// Nanoseconds since this program first asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        Self(u64::try_from(FIRST.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn nanos_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

impl Stamp {
    /// The message of [`MESSAGE_BYTES`].
    pub(crate) fn encode(self) -> Vec<u8> {
        let kind = if self.last { 'e' } else { 'm' };
        let mut message = format!("~{kind}{:08x}{:016x}", self.sequence, self.sent.0).into_bytes();
        message.resize(MESSAGE_BYTES, b'.');
        message
    }

    fn decode(stamp: &[u8]) -> Result<Self> {
        let parsed = std::str::from_utf8(stamp).ok().and_then(|text| {
            let (kind, digits) = text.get(1..)?.split_at_checked(1)?;
            let (sequence, sent) = digits.split_at_checked(SEQUENCE_DIGITS)?;
            Some(Self {
                sequence: u32::from_str_radix(sequence, 16).ok()?,
                last: kind == "e",
                sent: Moment(u64::from_str_radix(sent, 16).ok()?),
            })
        });
        match parsed {
            Some(stamp) => Ok(stamp),
            None => bail!("a message was changed on the way: {}", String::from_utf8_lossy(stamp)),
        }
    }
}

/// Finds messages in bytes that arrive in pieces.
#[derive(Default)]
pub(crate) struct Scanner {
    /// The beginning of a stamp whose end has not arrived yet.
    begun: Vec<u8>,
}

impl Scanner {
    /// Gives every stamp that is complete with `bytes` to `found`.
    pub(crate) fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Stamp) -> Result<()>) -> Result<()> {
        let mut rest = bytes;
        if !self.begun.is_empty() {
            let (missing, after) = rest.split_at(rest.len().min(STAMP_BYTES - self.begun.len()));
            self.begun.extend_from_slice(missing);
            rest = after;
            if self.begun.len() < STAMP_BYTES {
                return Ok(());
            }
            found(Stamp::decode(&self.begun)?)?;
            self.begun.clear();
        }
        while let Some((_, from_mark)) = memchr::memchr(MARK, rest).and_then(|at| rest.split_at_checked(at)) {
            let Some((stamp, after)) = from_mark.split_at_checked(STAMP_BYTES) else {
                self.begun.extend_from_slice(from_mark);
                break;
            };
            found(Stamp::decode(stamp)?)?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps() -> Vec<Stamp> {
        let stamp =
            |sequence, last| Stamp { sequence, last, sent: Moment(1_000_000_007 * u64::from(sequence)) };
        vec![stamp(0, false), stamp(1, false), stamp(0xabcdef, true)]
    }

    fn events() -> Vec<u8> {
        let mut events = Vec::new();
        for stamp in stamps() {
            events.extend_from_slice(b"event: data\ndata:");
            events.extend_from_slice(&stamp.encode());
            events.extend_from_slice(b"\n\nevent: control\ndata:{\"streamNextOffset\":\"1_2\"}\n\n");
        }
        events
    }

    fn found<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Stamp> {
        let (mut scanner, mut found) = (Scanner::default(), Vec::new());
        for piece in pieces {
            let mut note = |stamp| {
                found.push(stamp);
                Ok(())
            };
            scanner.feed(piece, &mut note).unwrap();
        }
        found
    }

    #[test]
    fn messages_are_found_wherever_the_bytes_are_cut() {
        let events = events();
        for at in 0..events.len() {
            let (before, after) = events.split_at(at);
            assert_eq!(found([before, after]), stamps(), "cut at {at}");
        }
        assert_eq!(found(events.chunks(1)), stamps());
    }

    #[test]
    fn a_message_has_its_length_and_one_mark() {
        let message = stamps()[2].encode();
        assert_eq!(message.len(), MESSAGE_BYTES);
        assert_eq!(memchr::memchr_iter(MARK, &message).count(), 1);
    }

    #[test]
    fn a_changed_message_is_an_error() {
        let mut message = stamps()[0].encode();
        message[5] = b'x';
        assert!(Scanner::default().feed(&message, &mut |_| Ok(())).is_err());
    }

    #[test]
    fn moments_go_forward() {
        let earlier = Moment::now();
        assert!(earlier <= Moment::now());
        assert_eq!(earlier.nanos_until(Moment(earlier.0 + 5)), 5);
    }
}
