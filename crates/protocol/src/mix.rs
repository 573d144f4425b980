//! Numbers that look like chance and are a function of what they are made from.

/// Spreads what differs in a few bits over all of them (the finalizer of SplitMix64).
pub(crate) const fn mixed(number: u64) -> u64 {
    let once = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ (twice >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_have_little_in_common() {
        for number in 0..1_000 {
            let differing = (mixed(number) ^ mixed(number + 1)).count_ones();
            assert!((8..=56).contains(&differing), "{number}: {differing}");
        }
    }
}
