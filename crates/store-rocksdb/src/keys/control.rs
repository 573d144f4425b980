//! `control`: a document's key -> its content.

pub(crate) const FAMILY: &str = "control";

pub(crate) const fn encode_key(key: &str) -> &[u8] {
    key.as_bytes()
}
