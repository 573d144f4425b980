//! The fuzz targets as functions of any bytes: each panics if a property is violated, and on nothing else.
//!
//! `cargo xtask fuzz` runs them under libFuzzer. The tests here run them on random bytes, so that they compile and hold.

mod requests;
mod script;
mod texts;

pub use requests::request;
pub use script::script;
pub use texts::{json, pattern, sse};

/// Bytes in the formats of the disk: whatever they are, they are read as something or refused, and what is read is written as
/// the same again.
pub fn stored(data: &[u8]) {
    headwater_store_rocksdb::fuzzing::stored(data);
}

#[cfg(test)]
mod tests {
    use headwater_testkit::random::seeded;

    /// A target, by its name.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 6] = [
        ("request", crate::request),
        ("json", crate::json),
        ("sse", crate::sse),
        ("pattern", crate::pattern),
        ("stored", crate::stored),
        ("script", crate::script),
    ];

    /// An append to a stream whose creation was lost, after another creation of that name.
    const LOST_CREATION: [u8; 91] = [
        0x2c, 0x60, 0xd8, 0x72, 0x3a, 0x07, 0x35, 0x2b, 0x7f, 0x2b, 0x20, 0x2b, 0x93, 0x3a, 0x80, 0xb0, 0x12,
        0x08, 0x12, 0x12, 0x12, 0x12, 0x87, 0xec, 0xec, 0xec, 0xec, 0xec, 0xb0, 0xb0, 0xec, 0x00, 0xec, 0xec,
        0xec, 0xec, 0xec, 0x00, 0xec, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c, 0x8c,
        0x8c, 0x7f, 0x01, 0x49, 0x49, 0xd0, 0x00, 0x61, 0x80, 0xb0, 0x12, 0x08, 0x2b, 0x93, 0x3a, 0x80, 0xb0,
        0x8c, 0x8c, 0x8c, 0xec, 0xec, 0xec, 0xec, 0x12, 0x08, 0x12, 0x12, 0x12, 0x12, 0x87, 0x7f, 0xec, 0xb0,
        0x01, 0x00, 0xec, 0x01, 0xec, 0x12,
    ];

    #[test]
    fn what_was_found_stays_mended() {
        crate::script(&LOST_CREATION);
    }

    #[test]
    fn all_targets_hold_on_random_bytes() {
        for (number, (name, target)) in TARGETS.iter().enumerate() {
            let mut rng = seeded(2_026, &[number as u64]);
            for _ in 0..300 {
                let length = rng.usize(..200);
                let text = rng.bool();
                let alphabet = b"[]{}\",:\\ \r\n/-*ab01";
                let data: Vec<u8> = (0..length)
                    .map(|_| if text { alphabet[rng.usize(..alphabet.len())] } else { rng.u8(..) })
                    .collect();
                let outcome = std::panic::catch_unwind(|| target(&data));
                assert!(outcome.is_ok(), "{name}: {data:?}");
            }
        }
    }
}
