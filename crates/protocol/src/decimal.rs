//! Numbers in headers and parameters: plain decimal, nothing else.

use std::ops::RangeInclusive;

/// 2^53-1: the largest whole number up to which JavaScript represents every one exactly.
pub const SAFE_INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// Reads a number without sign, leading zeroes or white space; `None` for anything else, or for more than
/// [`u64::MAX`].
///
/// ```
/// use headwater_protocol::decimal;
///
/// assert_eq!(decimal::parse("42"), Some(42));
/// assert!(["", "+1", "042", "1e3"].into_iter().all(|text| decimal::parse(text).is_none()));
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    if text.len() > 1 && text.starts_with('0') { None } else { digits(text, 1..=20) }
}

/// Reads a number as [`parse`] does, of at most [`SAFE_INTEGER_MAX`].
#[must_use]
pub fn parse_safe(text: &str) -> Option<u64> {
    parse(text).filter(|&number| number <= SAFE_INTEGER_MAX)
}

/// Reads a number whose count of digits is in `lengths`, leading zeroes included.
pub(crate) fn digits(text: &str, lengths: RangeInclusive<usize>) -> Option<u64> {
    let is_number = lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_strict() {
        for text in ["0", "7", "18446744073709551615"] {
            assert_eq!(parse(text), text.parse().ok(), "{text}");
        }
        for text in ["", "-1", "+1", "01", "00", "1 ", " 1", "1e3", "0x1", "1.0", "18446744073709551616", "١"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse_safe("9007199254740991"), Some(SAFE_INTEGER_MAX));
        assert_eq!(parse_safe("9007199254740992"), None);
        assert_eq!(["007", "07", "+07", "0007"].map(|text| digits(text, 3..=3)), [Some(7), None, None, None]);
    }
}
