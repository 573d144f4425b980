//! The checkpointer's thread: writes sealed memtables to RocksDB, so that their slots can be written again.

use std::{sync::atomic::Ordering, time::Duration};

use headwater_store::StoreError;

use crate::engine::Engine;

/// After this time without commits the active memtable is flushed to RocksDB and its memory is released.
const IDLE_MS: u64 = 5_000;
const TICK: Duration = Duration::from_secs(1);
/// How long to wait after a checkpoint that failed: a full disk may have room again. RocksDB looks for that every five
/// seconds, and continues only when nothing is being flushed; a flush in the meantime fails and takes a second.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(3) };

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
    let mut failed = false;
    while !engine.queue.is_stopped()
        && let Some((memtable, through, bytes)) = engine.oldest_sealed()
    {
        let has_room = written == Some(through) || engine.rocks.has_room(bytes);
        let checkpointed = if written == Some(through) {
            Ok(())
        } else if has_room {
            let incarnation_last = engine.incarnation_last.load(Ordering::Relaxed);
            engine.rocks.write(&memtable, through, incarnation_last)
        } else {
            Err(StoreError::Full)
        };
        let flushed = checkpointed.and_then(|()| {
            // What was written once needs only the flush again.
            written = Some(through);
            engine.rocks.flush()
        });
        match flushed {
            Ok(()) => {
                engine.release_oldest(through);
                if std::mem::take(&mut failed) {
                    tracing::info!("checkpoints go on");
                }
            }
            Err(error) => {
                // Once, not every three seconds.
                if !std::mem::replace(&mut failed, true) {
                    tracing::error!(%error, "a checkpoint failed; it is tried again until it succeeds");
                }
                engine.slots.fail(error);
                if !engine.slots.wait_for_work(RETRY, || false) {
                    return;
                }
                // RocksDB gets over a full disk by itself at most, and not over a quota.
                if has_room {
                    written = None;
                    let checkpoint = engine.checkpoint.load(Ordering::Relaxed);
                    if let Err(error) = engine.rocks.reopen(engine.salt, checkpoint) {
                        tracing::debug!(%error, "RocksDB can't be opened again yet");
                    }
                }
            }
        }
    }
}
