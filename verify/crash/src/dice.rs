//! Randomness that a seed repeats.

/// A generator of pseudo-random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// One that the seed and these numbers choose: other numbers, other dice.
    pub(crate) fn new(seed: u64, parts: &[u64]) -> Self {
        let mut dice = Self(seed);
        for &part in parts {
            dice.0 = dice.next() ^ part;
        }
        dice.next();
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to before `end`; 0 if `end` is.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number from `first` to before `end`.
    pub(crate) fn between(&mut self, first: u64, end: u64) -> u64 {
        first + self.below(end.saturating_sub(first))
    }

    /// True `one` times of `of`.
    pub(crate) fn chance(&mut self, one: u64, of: u64) -> bool {
        self.below(of) < one
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_parts_tell_apart() {
        let roll = |seed, parts: &[u64]| Dice::new(seed, parts).next();
        assert_eq!(roll(7, &[1, 2]), roll(7, &[1, 2]));
        assert_ne!(roll(7, &[1, 2]), roll(7, &[2, 1]));
        assert_ne!(roll(7, &[1]), roll(8, &[1]));
        let mut dice = Dice::new(1, &[]);
        assert!((0..1_000).all(|_| (5..9).contains(&dice.between(5, 9))));
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
