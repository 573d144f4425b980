//! The two calls that durability depends on, so that tests can let the Nth of them fail or panic.

use std::{fs::File, io, os::unix::fs::FileExt};

/// The real disk; in tests one that fails on demand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    pub(crate) fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(error) = self.faults.next() {
            // A failing write may have written some of its sectors.
            file.write_all_at(&bytes[..bytes.len() / 2 / 512 * 512], at)?;
            return Err(error);
        }
        file.write_all_at(bytes, at)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        if let Some(error) = self.faults.next() {
            return Err(error);
        }
        file.sync_data()
    }
}

#[cfg(test)]
pub(crate) mod faults {
    use std::{
        io,
        sync::atomic::{AtomicI32, AtomicU64, Ordering},
    };

    /// How many calls it takes until one fails, and how it does; nothing fails at 0.
    #[derive(Debug, Default)]
    pub(crate) struct Faults {
        countdown: AtomicU64,
        /// An error of the operating system; 0: a panic.
        error: AtomicI32,
    }

    impl Faults {
        /// Lets the `nth` write or sync fail with an error of the operating system.
        pub(crate) fn fail(&self, nth: u64, os_error: i32) {
            self.error.store(os_error, Ordering::SeqCst);
            self.countdown.store(nth, Ordering::SeqCst);
        }

        /// Lets the `nth` write or sync panic, as a bug would.
        pub(crate) fn panic(&self, nth: u64) {
            self.fail(nth, 0);
        }

        pub(super) fn next(&self) -> Option<io::Error> {
            let counted =
                self.countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            let error = self.error.load(Ordering::SeqCst);
            assert!(counted != Ok(1) || error != 0, "a test's panic");
            (counted == Ok(1)).then(|| io::Error::from_raw_os_error(error))
        }
    }
}
