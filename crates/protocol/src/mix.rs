//! Numbers that look random and are a function of their input.

/// The golden ratio times 2^64: multiples of it spread evenly over all numbers.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a difference in a few bits over all of them: one step of SplitMix64 from the state `number`.
pub(crate) const fn splitmix64(number: u64) -> u64 {
    let state = number.wrapping_add(GOLDEN);
    let once = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ (twice >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_generator() {
        assert_eq!([splitmix64(0), splitmix64(GOLDEN)], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn neighbours_have_little_in_common() {
        for number in 0..1_000 {
            let differing = (splitmix64(number) ^ splitmix64(number + 1)).count_ones();
            assert!((8..=56).contains(&differing), "{number}: {differing}");
        }
    }
}
