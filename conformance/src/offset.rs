//! The two halves of an offset, `<incarnation>_<position>`. Clients must not look inside of one; a suite must.

/// The beginning of any stream.
pub(crate) const BEGINNING: &str = "0000000000000000_0000000000000000";

/// The 16 digits before the underscore.
#[track_caller]
pub(crate) fn incarnation(offset: &str) -> &str {
    assert_well_formed(offset);
    &offset[..16]
}

/// The number after the underscore.
#[track_caller]
pub(crate) fn position(offset: &str) -> u64 {
    assert_well_formed(offset);
    offset[17..].parse().expect("16 digits are a number below 2^64")
}

/// The offset of `position` in the incarnation that `offset` belongs to.
#[track_caller]
pub(crate) fn with_position(offset: &str, position: u64) -> String {
    format!("{}_{position:016}", incarnation(offset))
}

/// The offset `by` positions after `offset`.
#[track_caller]
pub(crate) fn advanced(offset: &str, by: u64) -> String {
    with_position(offset, position(offset) + by)
}

#[track_caller]
fn assert_well_formed(offset: &str) {
    let bytes = offset.as_bytes();
    let well_formed = bytes.len() == 33
        && bytes.iter().enumerate().all(
            |(index, byte)| {
                if index == 16 { *byte == b'_' } else { byte.is_ascii_digit() }
            },
        );
    assert!(well_formed, "{offset:?} is not 16 digits, an underscore and 16 digits");
}
