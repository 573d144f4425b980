//! `expiry`: (deadline, stream name) -> nothing. An entry counts only while the stream's head has that deadline.

pub(crate) const FAMILY: &str = "expiry";

pub(crate) fn encode_key(deadline_ms: u64, name: &str) -> Vec<u8> {
    [&deadline_ms.to_be_bytes(), name.as_bytes()].concat()
}

pub(crate) fn decode_key(key: &[u8]) -> Option<(u64, &str)> {
    let (deadline_ms, name) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*deadline_ms), std::str::from_utf8(name).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_come_back_and_sort_by_deadline(deadline_ms: u64, other_ms: u64, name: String) {
            let key = encode_key(deadline_ms, &name);
            prop_assert_eq!(decode_key(&key), Some((deadline_ms, &name[..])));
            if deadline_ms < other_ms {
                prop_assert!(key < encode_key(other_ms, ""));
            }
        }
    }
}
