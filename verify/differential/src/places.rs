//! Checks that two servers' offsets name the same positions, though each writes them in its own way.
//!
//! Within an incarnation, equal offsets of one server are equal on the other, and their order is the same: offsets are
//! opaque, unique and sorted (section 8).

use crate::script::Slot;

/// The pairs of offsets that responses to the same requests gave out.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<Place>);

#[derive(Debug, PartialEq, Eq)]
struct Place {
    slot: usize,
    ours: String,
    theirs: String,
}

impl Place {
    /// Our offsets begin with the incarnation.
    fn life(&self) -> (usize, &str) {
        (self.slot, self.ours.split('_').next().unwrap_or_default())
    }
}

impl Places {
    /// Records a pair and returns whether it fits all earlier ones.
    pub(crate) fn agree(&mut self, slot: Slot, ours: Option<&str>, theirs: Option<&str>) -> bool {
        let (ours, theirs) = match (ours, theirs) {
            (Some(ours), Some(theirs)) => (ours.to_owned(), theirs.to_owned()),
            (None, None) => return true,
            _ => return false,
        };
        let place = Place { slot: slot.index(), ours, theirs };
        if self.0.contains(&place) {
            return true;
        }
        let mut same_life = self.0.iter().filter(|known| known.life() == place.life());
        let fits = same_life.all(|known| known.ours.cmp(&place.ours) == known.theirs.cmp(&place.theirs));
        self.0.push(place);
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_one_life_have_one_order() {
        let mut places = Places::default();
        let mut agree = |ours, theirs| places.agree(Slot(0), Some(ours), Some(theirs));
        assert!(agree("7_05", "0_10"));
        assert!(agree("7_09", "0_20"));
        assert!(agree("7_05", "0_10"));
        assert!(agree("7_07", "0_15"));
        assert!(!agree("7_06", "0_16"), "before and after the same place");
        assert!(!agree("7_05", "0_11"), "one place and two");
        assert!(agree("8_00", "0_00"), "another life");
        assert!(!places.agree(Slot(0), Some("8_01"), None));
    }
}
