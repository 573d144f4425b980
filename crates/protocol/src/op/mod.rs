//! The verbs, one file each, in the order of a request's way: the parsed type, `parse`, `prepare`, `decide`, `respond`.

pub mod append;
pub mod create;
pub mod delete;
pub mod head;
pub mod read;
#[cfg(feature = "subscriptions")]
pub mod subscription;
