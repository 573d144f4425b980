//! The allocator, and how it returns memory to the operating system.

use std::{ffi::c_void, hint::black_box, time::Duration};

/// Links mimalloc, which then replaces the process's `malloc`, RocksDB's included.
///
/// A request makes some dozens of small allocations, most of which another thread frees; mimalloc is made for that. A
/// reference to one of its functions is what keeps the linker from dropping the library.
#[used]
static ALLOCATOR: unsafe extern "C" fn(*mut c_void) = libmimalloc_sys::mi_free;

/// The pause between two purges.
const PURGE_INTERVAL: Duration = Duration::from_secs(1);
/// The size of an allocation that gets pages of its own.
const LARGE_BYTES: usize = 1 << 20;

/// Purges memory that has been free for a while, for as long as the future is polled.
///
/// mimalloc returns pages to the system (a "purge") only when it frees a page, and then only those that were freed some
/// time before. After a burst nothing more may be freed and the memory would stay resident. So a large block is
/// allocated, never touched, and freed, which purges the pages of all threads. `mi_collect` does the same but is
/// `unsafe`, which a lint of the workspace forbids, and no crate has a safe wrapper of it.
pub(crate) async fn purge_periodically() {
    let mut interval = tokio::time::interval(PURGE_INTERVAL);
    loop {
        interval.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
    }
}
