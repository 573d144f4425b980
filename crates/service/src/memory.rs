//! Budgets of memory. What a body takes is counted from before it is there until it is freed, whoever holds it last: the
//! service, the store, a cache or the transport.

use std::sync::Arc;

use bytes::Bytes;
use headwater_protocol::{Refusal, Unavailable};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which memory is counted, in bytes. What is smaller takes about as much by what surrounds it.
pub(crate) const UNIT_BYTES: u64 = 1 << 10;

/// A bound of the memory that something takes together.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    units_max: u32,
    /// What it bounds, as a plural noun.
    what: &'static str,
}

/// A part of a budget, which is returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    /// Makes a budget of `bytes_max` bytes.
    pub(crate) fn new(what: &'static str, bytes_max: u64) -> Self {
        let units_max = u32::try_from(bytes_max / UNIT_BYTES).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(units_max as usize)), units_max, what }
    }

    /// Returns the memory that is taken now, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        (u64::from(self.units_max) - self.units.available_permits() as u64) * UNIT_BYTES
    }

    /// Takes room for `bytes` bytes.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] if there isn't as much.
    pub(crate) fn try_take(&self, bytes: u64) -> Result<Share, Refusal> {
        let permit = self.units.clone().try_acquire_many_owned(self.units(bytes));
        let permit = permit.map_err(|_| Unavailable::Overloaded { what: self.what })?;
        Ok(Share(Some(permit)))
    }

    /// Takes room for `bytes` bytes, when there is as much.
    pub(crate) async fn take(&self, bytes: u64) -> Share {
        // It fails only if the semaphore is closed, which nothing does.
        Share(self.units.clone().acquire_many_owned(self.units(bytes)).await.ok())
    }

    /// Makes a share be one of `bytes` bytes, if it is smaller.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] if there isn't as much.
    pub(crate) fn grow(&self, share: &mut Share, bytes: u64) -> Result<(), Refusal> {
        let taken = share.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u64 * UNIT_BYTES;
        if bytes > taken {
            match (&mut share.0, self.try_take(bytes - taken)?) {
                (Some(permit), Share(Some(more))) => permit.merge(more),
                (taken, more) => *taken = more.0,
            }
        }
        Ok(())
    }

    /// What is larger than the budget takes all of it.
    fn units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units_max)
    }
}

impl Share {
    /// Returns a share of nothing.
    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// Gives back what is more than room for `bytes` bytes.
    fn at_most(self, bytes: u64) -> Self {
        let Self(mut permit) = self;
        let wanted = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        if let Some(permit) = &mut permit {
            let more = permit.num_permits().saturating_sub(wanted);
            drop(permit.split(more));
        }
        Self(permit)
    }

    /// Returns the bytes that the share was taken for. It is returned when the last of their copies is dropped, and what
    /// was taken for more than there are at once.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        struct Held(#[expect(dead_code, reason = "it is dropped with the bytes")] Share, Bytes);

        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.1
            }
        }

        if bytes.is_empty() {
            bytes
        } else {
            Bytes::from_owner(Held(self.at_most(bytes.len() as u64), bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn room_is_taken_until_the_last_copy_of_the_bytes_is_gone() {
        let budget = Budget::new("bytes", 10 << 10);
        let held = budget.try_take(5_000).unwrap().hold(Bytes::from(vec![7; 5_000]));
        assert_eq!(budget.bytes(), 5 << 10);
        let part = held.slice(4_999..);
        drop(held);
        assert_eq!(budget.bytes(), 5 << 10);
        assert!(budget.try_take(6 << 10).is_err());
        let mut waiting = Box::pin(budget.take(6 << 10));
        assert!((&mut waiting).now_or_never().is_none());
        drop(part);
        let share = waiting.now_or_never().unwrap();
        assert_eq!(budget.bytes(), 6 << 10);
        drop(share);
        assert_eq!(budget.bytes(), 0);
        let less = budget.try_take(8_000).unwrap().hold(Bytes::from_static(b"less"));
        assert_eq!(budget.bytes(), 1 << 10);
        drop(less);
        drop(budget.try_take(1).unwrap().hold(Bytes::new()));
        assert_eq!(budget.bytes(), 0, "nothing holds it");
    }

    #[test]
    fn a_share_grows_and_what_is_larger_than_the_budget_takes_all_of_it() {
        let budget = Budget::new("bytes", 10 << 10);
        let mut share = Share::empty();
        for (bytes, taken) in [(1, 1), (1_024, 1), (1_025, 2), (500, 2), (10_000, 10)] {
            budget.grow(&mut share, bytes).unwrap();
            assert_eq!(budget.bytes(), taken << 10, "{bytes}");
        }
        assert!(budget.grow(&mut share, 11 << 10).is_err());
        drop(share);
        let all = budget.take(1 << 40).now_or_never().unwrap();
        assert_eq!(budget.bytes(), 10 << 10);
        drop(all);
        assert_eq!(budget.bytes(), 0);
    }
}
