//! The formats of the disk, to be fuzzed.

use crate::{codec::Malformed, commit_log, head, keys, record};

/// Reads bytes in each of the formats.
///
/// # Panics
/// If something that was read isn't written as the same again.
pub fn stored(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    match choice % 5 {
        0 => commit_log::parse_any(bytes),
        1 => {
            let mut memtable = crate::memtable::Memtable::default();
            // A frame's payload, as a replay applies it.
            let _applied: Result<(), Malformed> = memtable.apply(bytes);
            record::records(bytes).take_while(Result::is_ok).for_each(drop);
        }
        2 => {
            if let Ok(decoded) = head::decode(bytes) {
                let mut encoded = Vec::new();
                head::encode(&decoded, &mut encoded);
                assert_eq!(head::decode(&encoded), Ok(decoded), "it is another head");
            }
        }
        3 => {
            let mut ends = Vec::new();
            let (key, value) = bytes.split_at(bytes.len().min(keys::log::KEY_BYTES));
            let _part = keys::log::decode_value(key, value, &mut ends);
        }
        _ => {
            let _key = keys::expiry::decode_key(bytes);
            if let Ok(state) = keys::producers::decode_value(bytes) {
                let encoded = keys::producers::encode_value(state);
                assert_eq!(keys::producers::decode_value(&encoded), Ok(state), "it is another state");
            }
        }
    }
}
