//! The verbs, one file each, in the order of a request's life: the parsed type, `parse`, `decide`, `respond`.

pub mod append;
pub mod create;
pub mod delete;
pub mod head;
pub mod read;
pub mod subscription;
