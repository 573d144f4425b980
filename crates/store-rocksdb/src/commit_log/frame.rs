//! A frame: what one sync makes durable, all or nothing.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the store's salt: no client can know it, so no payload can pass for a frame |
//! | 8 | the frame's number, one more than the one before |
//! | 4 | the payload's length |
//! | 4 | CRC-32 of the 20 bytes before and the payload |
//! | | the payload: records |
//!
//! Numbers are little-endian.

pub(crate) const HEADER_BYTES: usize = 24;
const CHECKED_BYTES: usize = 20;

/// A frame, borrowed from a slot's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) number: u64,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Returns the distance from this frame to the next one.
    pub(crate) const fn size(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// Returns the frame that begins with the first byte, if it is whole.
    pub(crate) fn parse(bytes: &'a [u8], salt: u64) -> Option<Self> {
        let number = claimed_number(bytes, salt)?;
        let length = usize::try_from(claimed_size(bytes)?).ok()?;
        let (checked, rest) = bytes.get(..length)?.split_at(CHECKED_BYTES);
        let (stored, payload) = rest.split_first_chunk()?;
        (checksum(checked, payload) == u32::from_le_bytes(*stored)).then_some(Self { number, payload })
    }
}

/// Begins a frame in `out`: makes room for its header, after which the payload is to be added.
pub(crate) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER_BYTES, 0);
}

/// Fills in the header of a frame that was begun. Returns `false` if the payload is too long for a frame.
#[must_use]
pub(crate) fn finish(out: &mut [u8], salt: u64, number: u64) -> bool {
    let (header, payload) = out.split_at_mut(HEADER_BYTES);
    let Ok(length) = u32::try_from(payload.len()) else { return false };
    let (checked, checksum) = header.split_at_mut(CHECKED_BYTES);
    let mut rest = &mut *checked;
    for word in [&salt.to_le_bytes()[..], &number.to_le_bytes(), &length.to_le_bytes()] {
        let (field, after) = rest.split_at_mut(word.len());
        field.copy_from_slice(word);
        rest = after;
    }
    checksum.copy_from_slice(&self::checksum(checked, payload).to_le_bytes());
    true
}

/// Returns the number that a frame's header claims, if it claims to be of this store.
pub(crate) fn claimed_number(bytes: &[u8], salt: u64) -> Option<u64> {
    let (stored, rest) = bytes.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    (u64::from_le_bytes(*stored) == salt).then(|| u64::from_le_bytes(*number))
}

/// Returns the number of bytes that a frame takes by its own account, if the header is there.
pub(crate) fn claimed_size(bytes: &[u8]) -> Option<u64> {
    let (_, rest) = bytes.split_first_chunk::<16>()?;
    let (length, _) = rest.split_first_chunk()?;
    Some(HEADER_BYTES as u64 + u64::from(u32::from_le_bytes(*length)))
}

fn checksum(checked: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(checked);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_comes_back_whole_or_not_at_all(
            payload in prop::collection::vec(any::<u8>(), 0..200), salt: u64, number: u64, flipped: prop::sample::Index, bit in 0..8,
        ) {
            let mut bytes = Vec::new();
            begin(&mut bytes);
            bytes.extend_from_slice(&payload);
            prop_assert!(finish(&mut bytes, salt, number));
            prop_assert_eq!(Frame::parse(&bytes, salt), Some(Frame { number, payload: &payload }));
            prop_assert_eq!(claimed_number(&bytes, salt), Some(number));
            prop_assert_eq!(Frame::parse(&bytes, salt.wrapping_add(1)), None);
            prop_assert_eq!(Frame::parse(&bytes[..bytes.len() - 1], salt), None);
            let at = flipped.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert_eq!(Frame::parse(&bytes, salt), None);
        }
    }
}
