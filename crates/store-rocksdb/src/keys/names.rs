//! `names`: a stream's name -> its head.

pub(crate) const FAMILY: &str = "names";

pub(crate) const fn encode_key(name: &str) -> &[u8] {
    name.as_bytes()
}

pub(crate) fn decode_key(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok()
}
