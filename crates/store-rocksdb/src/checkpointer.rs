//! The checkpointer's thread: writes sealed memtables to RocksDB, so that their slots can be written again.

use std::{mem, sync::atomic::Ordering, time::Duration};

use headwater_store::StoreError;

use crate::engine::{Engine, lock};

/// After this time without commits the active memtable is flushed to RocksDB and its memory is released.
const IDLE_MS: u64 = 5_000;
const TICK: Duration = Duration::from_secs(1);
/// How long to wait after a checkpoint that failed: a full disk may have room again. RocksDB looks for that every five
/// seconds, and continues only when nothing is being flushed; a flush in the meantime fails and takes a second.
const RETRY: Duration = Duration::from_secs(3);

/// A little lower than that of requests (nice).
#[cfg(target_os = "linux")]
const PRIORITY: i32 = 5;

/// Runs checkpoints until the store ends or stops.
pub(crate) fn run(engine: &Engine) {
    lower_priority();
    let (mut is_cleaning, mut has_warned) = (false, false);
    while engine.slots.wait_for_work(TICK, || !engine.memtables().sealed.is_empty()) {
        if engine.idle_ms() >= IDLE_MS && !engine.memtables().active.is_empty() {
            engine.seal();
        }
        checkpoint_all(engine);
        if engine.queue.is_stopped() {
            return;
        }
        match engine.rocks.clean(is_cleaning) {
            Ok(is) => (is_cleaning, has_warned) = (is, false),
            // Once, not every second.
            Err(error) if !has_warned => {
                has_warned = true;
                tracing::warn!(%error, "blob files can't be cleaned now; it will be tried again");
            }
            Err(_) => {}
        }
    }
}

/// Lets requests have the cores first. Linux keeps priorities by thread; where a system doesn't, all stay as they are.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
        tracing::debug!(%error, "checkpoints keep the priority of requests");
    }
}

/// Writes everything to RocksDB when the store ends. What can't be written stays in the commit log.
pub(crate) fn finish(engine: &Engine) {
    checkpoint_all(engine);
    engine.seal();
    checkpoint_all(engine);
}

fn checkpoint_all(engine: &Engine) {
    let mut written = None;
    while !engine.queue.is_stopped()
        && let Some((memtable, through, bytes)) = engine.oldest_sealed()
    {
        let checkpointed = if written == Some(through) {
            Ok(())
        } else if !engine.rocks.has_room(bytes) {
            Err(StoreError::Full)
        } else {
            let incarnation_last = engine.incarnation_last.load(Ordering::Relaxed);
            engine.rocks.write(&memtable, through, incarnation_last, &stale_deadlines(engine))
        };
        let flushed = checkpointed.and_then(|()| {
            // What was written once needs only the flush again.
            written = Some(through);
            engine.rocks.flush()
        });
        match flushed {
            Ok(()) => engine.release_oldest(through),
            Err(error) => {
                tracing::error!(%error, "a checkpoint failed; it will be tried again");
                engine.slots.fail(error);
                if !engine.slots.wait_for_work(RETRY, || false) {
                    return;
                }
            }
        }
    }
}

/// Takes the deadlines in RocksDB that can be removed: those that no stream has.
fn stale_deadlines(engine: &Engine) -> Vec<(u64, Box<str>)> {
    let mut stale = mem::take(&mut *lock(&engine.stale_deadlines));
    stale.retain(|(deadline_ms, name)| {
        current_deadline_ms(engine, name).is_ok_and(|current| current != Some(*deadline_ms))
    });
    stale
}

/// Returns the deadline that a stream has now.
pub(crate) fn current_deadline_ms(engine: &Engine, name: &str) -> Result<Option<u64>, StoreError> {
    Ok(engine.head_prefix(name)?.and_then(|prefix| prefix.deadline_ms))
}
