//! Offsets (section 8): `<incarnation>_<position>`, sixteen digits each.
//!
//! The position is a byte position in the stored form of the stream. The incarnation identifies one stream among all
//! that have had its name: it is never issued again after a deletion, so that an offset in a URL names the same bytes
//! permanently and a cache that still holds responses of the old stream can't poison the new one.

use std::fmt;

use crate::{bad_request::BadRequest, decimal};

/// The identity of a stream among all that have had its name; later ones have larger numbers. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The largest number of sixteen digits.
    pub const MAX: u64 = 9_999_999_999_999_999;

    /// Returns the incarnation of a number; `None` for zero, which means "any stream", and for more than sixteen digits.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > Self::MAX { None } else { Some(Self(number)) }
    }

    /// Returns the incarnation of a stream created at `now_us` (microseconds since 1970) on a server that has issued
    /// `last`: later than both, so that it never repeats, even if the clock was set back. A clock past the year 2200 is wrong
    /// and doesn't count, since it would use up the numbers. `None` when there are no more: then no stream can be created.
    #[must_use]
    pub const fn next(last: u64, now_us: u64) -> Option<Self> {
        let now_us = if now_us < Self::CLOCK_MAX_US { now_us } else { 0 };
        let later = last.saturating_add(1);
        Self::new(if now_us > later { now_us } else { later })
    }

    /// The year 2200, in microseconds since 1970.
    const CLOCK_MAX_US: u64 = 7_258_118_400_000_000;

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A position in one incarnation of a stream, as clients see it in `Stream-Next-Offset`.
///
/// ```
/// use headwater_protocol::{Incarnation, Offset, ReadFrom};
///
/// let incarnation = Incarnation::new(1_763_715_600_000_000).ok_or("not zero")?;
/// let offset = Offset { incarnation, position: 42 };
/// assert_eq!(offset.to_string(), "1763715600000000_0000000000000042");
/// assert_eq!(ReadFrom::parse(&offset.to_string())?, ReadFrom::At(offset));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The incarnation that the position belongs to.
    pub incarnation: Incarnation,
    /// The number of bytes of the stored form before this position; at most [`Offset::POSITION_MAX`].
    pub position: u64,
}

impl Offset {
    /// The largest position that sixteen digits can express.
    pub const POSITION_MAX: u64 = 9_999_999_999_999_999;
    /// The offset at which every stream begins.
    pub const BEGINNING: &str = "0000000000000000_0000000000000000";
    const LEN: usize = 33;

    /// Returns the text of the offset: sixteen digits, an underscore, sixteen digits.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        debug_assert!(self.position <= Self::POSITION_MAX, "a position has sixteen digits");
        let mut text = [b'_'; Self::LEN];
        write_digits(&mut text[..16], self.incarnation.0);
        write_digits(&mut text[17..], self.position);
        text
    }

    /// Returns the position after some more bytes; `None` past [`Offset::POSITION_MAX`].
    pub(crate) fn position_after(position: u64, bytes: &[u8]) -> Option<u64> {
        position.checked_add(bytes.len() as u64).filter(|&after| after <= Self::POSITION_MAX)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}_{:016}", self.incarnation.0, self.position)
    }
}

/// The place at which a read begins, as the `offset` parameter names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The beginning: `-1`, the offset of all zeroes, or no parameter.
    Start,
    /// The tail, wherever it is: `now`.
    Now,
    /// An offset that this server issued.
    At(Offset),
}

impl ReadFrom {
    /// Reads the value of an `offset` parameter or of `Stream-Fork-Offset`.
    ///
    /// # Errors
    /// [`BadRequest::OffsetMalformed`] for anything that this server never issues.
    pub fn parse(text: &str) -> Result<Self, BadRequest> {
        match text {
            "-1" | Offset::BEGINNING => return Ok(Self::Start),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        let offset = text.split_once('_').and_then(|(incarnation, position)| {
            let incarnation = decimal::digits(incarnation, 16..=16).and_then(Incarnation::new)?;
            Some(Offset { incarnation, position: decimal::digits(position, 16..=16)? })
        });
        offset.map(Self::At).ok_or(BadRequest::OffsetMalformed)
    }
}

fn write_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_spellings_of_a_place_are_told_apart() {
        assert_eq!(ReadFrom::parse("-1"), Ok(ReadFrom::Start));
        assert_eq!(ReadFrom::parse(Offset::BEGINNING), Ok(ReadFrom::Start));
        assert_eq!(ReadFrom::parse("now"), Ok(ReadFrom::Now));
    }

    #[test]
    fn what_the_server_never_gave_out_is_malformed() {
        let malformed = [
            "",
            "0",
            "-2",
            "NOW",
            "now ",
            " now",
            "0,1",
            "0 1",
            "1_2",
            "_",
            "0000000000000000_0000000000000001",
            "000000000000000a_0000000000000000",
            "0000000000000001_000000000000000",
            "+000000000000001_0000000000000000",
            "0000000000000001_0000000000000000_",
            "00000000000000001_0000000000000000",
            "١٢٣٤٥٦٧٨_0000000000000000",
        ];
        for text in malformed {
            assert_eq!(ReadFrom::parse(text), Err(BadRequest::OffsetMalformed), "{text:?}");
        }
    }

    #[test]
    fn incarnations_never_repeat_when_the_clock_goes_back() {
        let first = Incarnation::next(0, 1_763_715_600_000_000).unwrap();
        let second = Incarnation::next(first.get(), 1_000).unwrap();
        assert_eq!(second.get(), first.get() + 1);
        let third = Incarnation::next(first.get(), 1_763_715_600_000_009).unwrap();
        assert_eq!(third.get(), 1_763_715_600_000_009);
        // The year 2300, and the end of all numbers.
        assert_eq!(Incarnation::next(third.get(), 10_413_792_000_000_000).unwrap().get(), third.get() + 1);
        assert_eq!(Incarnation::next(0, u64::MAX).unwrap().get(), 1);
        assert_eq!(Incarnation::next(Incarnation::MAX, 0), None);
        assert_eq!(Incarnation::next(u64::MAX, 0), None);
    }

    proptest! {
        #[test]
        fn every_offset_survives_the_round_trip(incarnation in 1..=Incarnation::MAX, position in 0..=Offset::POSITION_MAX) {
            let offset = Offset { incarnation: Incarnation::new(incarnation).unwrap(), position };
            let text = String::from_utf8(offset.encode().to_vec()).unwrap();
            prop_assert_eq!(&text, &offset.to_string());
            prop_assert_eq!(ReadFrom::parse(&text), Ok(ReadFrom::At(offset)));
        }

        #[test]
        fn text_sorts_as_offsets_do(a in 1..=Incarnation::MAX, b in 1..=Incarnation::MAX, p in 0..1000u64, q in 0..1000u64) {
            let left = Offset { incarnation: Incarnation(a), position: p };
            let right = Offset { incarnation: Incarnation(b), position: q };
            prop_assert_eq!(left.cmp(&right), left.encode().cmp(&right.encode()));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = ReadFrom::parse(&text);
        }
    }
}
