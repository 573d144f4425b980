//! `producers`: (incarnation, producer id) -> the state of that producer of the stream.

use headwater_protocol::producer::ProducerState;

use crate::codec::{Input, Malformed, put_number};

pub(crate) const FAMILY: &str = "producers";

pub(crate) fn encode_key(incarnation: u64, id: &str) -> Vec<u8> {
    [&incarnation.to_be_bytes(), id.as_bytes()].concat()
}

/// Returns the bounds of all keys of one stream: the first one, and the first one after them.
pub(crate) fn range(incarnation: u64) -> ([u8; 8], [u8; 8]) {
    (incarnation.to_be_bytes(), super::after(incarnation).to_be_bytes())
}

pub(crate) fn encode_value(state: ProducerState) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, state.epoch);
    put_number(&mut out, state.seq_last);
    out
}

pub(crate) fn decode_value(value: &[u8]) -> Result<ProducerState, Malformed> {
    let mut input = Input(value);
    let state = ProducerState { epoch: input.number()?, seq_last: input.number()? };
    input.end()?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn states_come_back(epoch: u64, seq_last: u64, incarnation in 0..u64::MAX, id: String) {
            let state = ProducerState { epoch, seq_last };
            prop_assert_eq!(decode_value(&encode_value(state)), Ok(state));
            let (first, after) = range(incarnation);
            let key = encode_key(incarnation, &id);
            prop_assert!(first[..] <= key[..] && key[..] < after[..]);
        }
    }
}
