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
    /// Where the next frame begins, relative to this one.
    pub(crate) const fn size(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The frame that begins with the first byte, if it is whole.
    pub(crate) fn parse(bytes: &'a [u8], salt: u64) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        if number_at(header, 0) != salt {
            return None;
        }
        let length = u32::from_le_bytes(*header.get(16..20)?.first_chunk()?);
        let stored = u32::from_le_bytes(*header.get(20..)?.first_chunk()?);
        let payload = rest.get(..usize::try_from(length).ok()?)?;
        let frame = Self { number: number_at(header, 8), payload };
        (checksum(header, payload) == stored).then_some(frame)
    }
}

/// Makes room for the header of a frame, whose payload is to be added to `out`.
pub(crate) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER_BYTES, 0);
}

/// Fills in the header. `false`: the payload is too long for a frame.
#[must_use]
pub(crate) fn finish(out: &mut [u8], salt: u64, number: u64) -> bool {
    let Some((header, payload)) = out.split_first_chunk_mut::<HEADER_BYTES>() else { return false };
    let Ok(length) = u32::try_from(payload.len()) else { return false };
    let mut rest: &mut [u8] = header;
    for word in [&salt.to_le_bytes()[..], &number.to_le_bytes(), &length.to_le_bytes()] {
        let (field, after) = rest.split_at_mut(word.len());
        field.copy_from_slice(word);
        rest = after;
    }
    let checksum = checksum(header, payload);
    if let Some(field) = header.last_chunk_mut() {
        *field = checksum.to_le_bytes();
    }
    true
}

/// The number that a frame's header claims, and whether it claims to be of this store.
pub(crate) fn claimed_number(bytes: &[u8], salt: u64) -> Option<u64> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    (number_at(header, 0) == salt).then(|| number_at(header, 8))
}

/// How many bytes a frame takes by its own account.
pub(crate) fn claimed_size(header: &[u8]) -> u64 {
    let length = header.get(16..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes));
    HEADER_BYTES as u64 + u64::from(length)
}

fn number_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    header.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn checksum(header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.get(..CHECKED_BYTES).unwrap_or_default());
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
