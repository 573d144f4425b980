//! The edge between the store's errors and what clients are told of them.

use headwater_protocol::{Missing, Refusal, Unavailable};
use headwater_store::StoreError;

/// Turns a store's error into a refusal, and logs it if it is a failure: the client learns no more than that.
pub(crate) fn refuse(error: StoreError) -> Refusal {
    match error {
        StoreError::Full => Unavailable::StorageFull.into(),
        StoreError::Missing(_) => Missing::NotFound.into(),
        // The store itself has logged the cause, once.
        StoreError::Failed(_) => {
            tracing::debug!(%error, "the store failed");
            Unavailable::StorageFailed.into()
        }
        StoreError::InDoubt(_) => {
            tracing::error!(%error, "the outcome of a commit is unknown");
            Unavailable::StorageInDoubt.into()
        }
        error => {
            tracing::error!(%error, "the store failed");
            Unavailable::StorageFailed.into()
        }
    }
}
