//! Randomness that a seed repeats.

pub use fastrand::Rng;

/// Returns a generator for this seed and purpose; different `parts` give unrelated sequences.
pub fn seeded(seed: u64, parts: &[u64]) -> Rng {
    parts.iter().fold(Rng::with_seed(seed), |mut rng, part| Rng::with_seed(rng.u64(..) ^ part))
}

/// Choices that a number alone does not name.
pub trait Chance {
    /// Returns true in `one` of `of` cases.
    fn chance(&mut self, one: u32, of: u32) -> bool;
}

impl Chance for Rng {
    fn chance(&mut self, one: u32, of: u32) -> bool {
        self.u32(..of) < one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_parts_tell_apart() {
        let first = |seed, parts: &[u64]| seeded(seed, parts).u64(..);
        assert_eq!(first(7, &[1, 2]), first(7, &[1, 2]));
        assert_ne!(first(7, &[1, 2]), first(7, &[2, 1]));
        assert_ne!(first(7, &[1]), first(8, &[1]));
    }
}
