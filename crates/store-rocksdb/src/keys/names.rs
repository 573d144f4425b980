//! `names`: a stream's name -> its head.

pub(crate) const FAMILY: &str = "names";

pub(crate) const fn encode_key(name: &str) -> &[u8] {
    name.as_bytes()
}
