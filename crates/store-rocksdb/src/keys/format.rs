//! `default`: what the store writes about itself. The family is the one that every RocksDB has.

/// RocksDB's own name for it.
pub(crate) const FAMILY: &str = "default";

/// The value of [`VERSION_KEY`]; this program touches no data with another one.
pub(crate) const VERSION: &[u8] = b"headwater 1";
pub(crate) const VERSION_KEY: &[u8] = b"format";
/// The key of the number that every frame of the commit log begins with.
pub(crate) const SALT_KEY: &[u8] = b"salt";
/// The key of the number of the last frame that RocksDB holds.
pub(crate) const CHECKPOINT_KEY: &[u8] = b"checkpoint";
/// The key of the largest incarnation up to there.
pub(crate) const INCARNATION_KEY: &[u8] = b"incarnation";

pub(crate) const fn encode_number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(crate) fn decode_number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}
