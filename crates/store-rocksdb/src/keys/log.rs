//! `log`: (incarnation, position) -> the part of that log that begins there.
//!
//! Several small appends share an entry, a large one is split; the value says where appends end. It begins with a
//! checksum of its own, over the key too, so that what RocksDB gives is checked at the speed of the processor's own
//! instructions, wherever it comes from.

use headwater_store::gather::Part;

use crate::codec::{Input, Malformed, put_number};

pub(crate) const FAMILY: &str = "log";

pub(crate) const KEY_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

pub(crate) fn encode_key(incarnation: u64, start: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let (first, second) = key.split_at_mut(8);
    first.copy_from_slice(&incarnation.to_be_bytes());
    second.copy_from_slice(&start.to_be_bytes());
    key
}

pub(crate) fn decode_key(key: &[u8]) -> Option<(u64, u64)> {
    let (incarnation, rest) = key.split_first_chunk()?;
    let start = rest.try_into().ok()?;
    Some((u64::from_be_bytes(*incarnation), u64::from_be_bytes(start)))
}

/// Returns the bounds of all keys of one log: the first one, and the first one after them.
pub(crate) fn range(incarnation: u64) -> ([u8; KEY_BYTES], [u8; KEY_BYTES]) {
    (encode_key(incarnation, 0), encode_key(super::after(incarnation), 0))
}

pub(crate) fn encode_value(key: &[u8], part: Part<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    out.push(u8::from(part.starts_append));
    put_number(out, part.ends.len() as u64);
    let mut last = part.start;
    for &end in part.ends {
        assert!(last <= end && end <= part.end(), "ends grow and are positions of the part");
        put_number(out, end - last);
        last = end;
    }
    out.extend_from_slice(part.bytes);
    let (checksum, rest) = out.split_at_mut(CHECKSUM_BYTES);
    checksum.copy_from_slice(&self::checksum(key, rest));
}

fn checksum(key: &[u8], rest: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize().to_le_bytes()
}

/// Returns the part if key and value are what was written; its ends are put in `ends`.
pub(crate) fn decode_value<'a>(
    key: &[u8],
    value: &'a [u8],
    ends: &'a mut Vec<u64>,
) -> Result<Part<'a>, Malformed> {
    let (_, start) = decode_key(key).ok_or(Malformed)?;
    let (stored, rest) = value.split_first_chunk().ok_or(Malformed)?;
    if *stored != checksum(key, rest) {
        return Err(Malformed);
    }
    let mut input = Input(rest);
    let starts_append = input.byte()? != 0;
    ends.clear();
    let mut last = start;
    for _ in 0..input.number()? {
        last = last.checked_add(input.number()?).ok_or(Malformed)?;
        ends.push(last);
    }
    let after = start.checked_add(input.0.len() as u64).ok_or(Malformed)?;
    if last > after { Err(Malformed) } else { Ok(Part { start, starts_append, bytes: input.0, ends }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_come_back_and_sort(
            incarnation in 0..u64::MAX, start in 0..u64::MAX / 2, lengths in prop::collection::vec(1..300u64, 0..20),
            rest in 0..100usize, starts_append: bool, flipped: prop::sample::Index,
        ) {
            let ends: Vec<u64> = lengths.iter().scan(start, |end, length| { *end += length; Some(*end) }).collect();
            let bytes = vec![7; usize::try_from(ends.last().unwrap_or(&start) - start).unwrap() + rest];
            let part = Part { start, starts_append, bytes: &bytes, ends: &ends };
            let key = encode_key(incarnation, start);
            let mut value = Vec::new();
            encode_value(&key, part, &mut value);
            let mut read = Vec::new();
            prop_assert_eq!(decode_value(&key, &value, &mut read), Ok(part));
            prop_assert!(decode_value(&encode_key(incarnation, start + 1), &value, &mut Vec::new()).is_err());
            let at = flipped.index(value.len());
            value[at] ^= 1;
            prop_assert!(decode_value(&key, &value, &mut Vec::new()).is_err());
            prop_assert_eq!(decode_key(&key), Some((incarnation, start)));
            prop_assert!(key < encode_key(incarnation, start + 1));
            let (first, after) = range(incarnation);
            prop_assert!(first <= key && key < after);
        }

        #[test]
        fn garbage_is_malformed_at_worst(value: Vec<u8>, start: u64) {
            let key = encode_key(1, start);
            let _ = decode_value(&key, &value, &mut Vec::new());
            let mut checked = checksum(&key, &value).to_vec();
            checked.extend_from_slice(&value);
            let _ = decode_value(&key, &checked, &mut Vec::new());
        }
    }
}
