//! What a disk refuses to do, and when: an I/O error (EIO) instead of the Nth write, flush or change of a name.

/// An operation that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Bytes of a file are written, or its length is set.
    Write,
    /// A file or a folder is flushed.
    Flush,
    /// A name comes, goes or changes.
    Name,
}

/// Whose files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// RocksDB's: all that is in a folder of that name.
    RocksDb,
    /// All other ones.
    CommitLog,
}

/// A planned failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) deed: Deed,
    pub(crate) place: Place,
    /// The number of the operation that fails, counted from 1.
    pub(crate) nth: u64,
    /// Whether all later ones fail too.
    pub(crate) for_good: bool,
}

/// The failure that is to come, and how often it did.
#[derive(Debug, Default)]
pub(super) struct Faults {
    fault: Option<Fault>,
    struck: u64,
}

impl Faults {
    /// Something else fails from now on. Says how often the one before has struck.
    pub(super) fn set(&mut self, fault: Option<Fault>) -> u64 {
        self.fault = fault;
        std::mem::take(&mut self.struck)
    }

    /// The number of failures so far.
    pub(super) const fn struck(&self) -> u64 {
        self.struck
    }

    /// Counts an operation and returns whether it fails.
    pub(super) fn strikes(&mut self, deed: Deed, place: Place) -> bool {
        let Some(fault) = self.fault.as_mut().filter(|fault| (fault.deed, fault.place) == (deed, place))
        else {
            return false;
        };
        if fault.nth > 1 {
            fault.nth -= 1;
            return false;
        }
        if !fault.for_good {
            self.fault = None;
        }
        self.struck += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_of_its_kind_fails() {
        let third = Fault { deed: Deed::Write, place: Place::RocksDb, nth: 3, for_good: false };
        for (fault, expected) in [
            (third, [false, false, true, false, false]),
            (Fault { for_good: true, ..third }, [false, false, true, true, true]),
            (Fault { nth: 1, ..third }, [true, false, false, false, false]),
        ] {
            let mut faults = Faults::default();
            faults.set(Some(fault));
            let struck = expected.map(|_| {
                assert!(!faults.strikes(Deed::Write, Place::CommitLog));
                assert!(!faults.strikes(Deed::Flush, Place::RocksDb));
                faults.strikes(Deed::Write, Place::RocksDb)
            });
            assert_eq!(struck, expected);
            assert_eq!(faults.set(None), expected.iter().filter(|&&struck| struck).count() as u64);
            assert!(!faults.strikes(Deed::Write, Place::RocksDb));
        }
    }
}
