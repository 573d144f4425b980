//! The allocator, and that what isn't needed any more goes back to the system.

use std::{ffi::c_void, hint::black_box, time::Duration};

/// A request is some dozens of small allocations, most of which another thread frees: what this allocator is made for. It
/// stands in for the system's `malloc`, also for RocksDB, whose memory goes back to the system that way. Naming it here
/// links it.
#[used]
static ALLOCATOR: unsafe extern "C" fn(*mut c_void) = libmimalloc_sys::mi_free;

/// How often memory is given back.
const PAUSE: Duration = Duration::from_secs(1);
/// More than the allocator serves out of pages that hold other things, too.
const LARGE_BYTES: usize = 1 << 20;

/// Gives memory back that has not been needed for a while, for as long as it is polled.
///
/// The allocator does that when it frees a page, and only with those that were freed some time before. When a crowd
/// has gone nothing more may be freed: so a page is made that is never touched, and freed.
pub(crate) async fn give_back() {
    let mut pauses = tokio::time::interval(PAUSE);
    loop {
        pauses.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
    }
}
