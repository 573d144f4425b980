//! What anybody ever read of a stream: it may grow, and never changes.

use std::collections::BTreeMap;

use crate::payload::shown;

/// The bytes of one stream that were seen, by position.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// From the beginning on, without a gap.
    bytes: Vec<u8>,
    /// Ranges seen beyond the first gap.
    islands: BTreeMap<usize, Vec<u8>>,
}

impl Witness {
    /// Somebody has read `bytes` at `at`.
    pub(crate) fn observe(&mut self, at: usize, bytes: &[u8]) -> Result<(), String> {
        if at > self.bytes.len() {
            let island = self.islands.entry(at).or_default();
            same(at, island, bytes)?;
            if bytes.len() > island.len() {
                *island = bytes.to_vec();
            }
            return Ok(());
        }
        self.join(at, bytes)?;
        while let Some(island) = self.islands.first_entry().filter(|island| *island.key() <= self.bytes.len())
        {
            let (at, bytes) = island.remove_entry();
            self.join(at, &bytes)?;
        }
        Ok(())
    }

    fn join(&mut self, at: usize, bytes: &[u8]) -> Result<(), String> {
        let known = self.bytes.get(at..).unwrap_or_default();
        same(at, known, bytes)?;
        self.bytes.extend_from_slice(bytes.get(known.len()..).unwrap_or_default());
        Ok(())
    }

    /// The bytes known without a gap.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The position after the last byte that anybody saw.
    pub(crate) fn end(&self) -> usize {
        let island = self.islands.last_key_value().map_or(0, |(at, bytes)| at + bytes.len());
        island.max(self.bytes.len())
    }
}

/// Both are of one position on: the shorter one is how the longer one begins.
fn same(at: usize, known: &[u8], seen: &[u8]) -> Result<(), String> {
    let length = known.len().min(seen.len());
    if known.get(..length) == seen.get(..length) {
        return Ok(());
    }
    let equal = known.iter().zip(seen).take_while(|(known, seen)| known == seen).count();
    let from = |bytes: &[u8]| shown(bytes.get(equal..).unwrap_or_default());
    Err(format!("at position {} it was once {} and is now {}", at + equal, from(known), from(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_grows_together_and_never_changes() {
        let mut witness = Witness::default();
        witness.observe(0, b"abc").unwrap();
        witness.observe(5, b"fg").unwrap();
        assert_eq!((witness.bytes(), witness.end()), (&b"abc"[..], 7));
        assert!(witness.observe(1, b"bX").is_err());
        assert!(witness.observe(5, b"g").is_err());
        witness.observe(2, b"cde").unwrap();
        assert_eq!(witness.bytes(), b"abcdefg");
        assert!(witness.observe(6, b"gh").is_ok());
        assert_eq!(witness.end(), 8);
    }
}
