//! Offsets, taken apart as clients must not do.

use std::fmt;

use headwater_testkit::Response;

/// A place in a stream: `<incarnation>_<position>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) text: String,
    pub(crate) incarnation: u64,
    pub(crate) position: usize,
}

impl Offset {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (incarnation, position) = text.split_once('_')?;
        let well_formed = |half: &str| half.len() == 16 && half.bytes().all(|byte| byte.is_ascii_digit());
        if !well_formed(incarnation) || !well_formed(position) {
            return None;
        }
        Some(Self {
            incarnation: incarnation.parse().ok()?,
            position: position.parse().ok()?,
            text: text.into(),
        })
    }

    /// The `Stream-Next-Offset` of a response.
    pub(crate) fn next(response: &Response) -> Option<Self> {
        Self::parse(response.header("Stream-Next-Offset")?)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_two_halves() {
        let offset = Offset::parse("1763715600000000_0000000000005678").unwrap();
        assert_eq!((offset.incarnation, offset.position), (1_763_715_600_000_000, 5_678));
        assert_eq!(Offset::parse("1763715600000000_5678"), None);
        assert_eq!(Offset::parse("now"), None);
    }
}
