//! The checkpointer's thread: brings sealed memtables to RocksDB, so that their slots can be written again.

use std::{
    mem,
    sync::PoisonError,
    time::{Duration, Instant},
};

use headwater_store::StoreError;

use crate::{engine::Engine, rocks::unwritable};

/// After so long without commits what is memtable goes to RocksDB, and its memory back.
const IDLE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);
/// How long to wait after a checkpoint that failed: a full disk may have room again. RocksDB looks for that every five
/// seconds, and goes on only when nothing is being flushed; a flush in the meantime fails and takes a second.
const RETRY: Duration = Duration::from_secs(3);

/// A little below that of requests (nice).
#[cfg(target_os = "linux")]
const PRIORITY: i32 = 5;

/// Keeps house until [`Engine::end`]; then brings over what is left.
pub(crate) fn run(engine: &Engine) {
    lower_priority();
    let (mut is_cleaning, mut has_told) = (false, false);
    while engine.wait(TICK) {
        engine.seal_if_idle(IDLE);
        checkpoint_all(engine);
        match engine.rocks.clean(is_cleaning) {
            Ok(is) => (is_cleaning, has_told) = (is, false),
            // Once, not every second.
            Err(error) if !has_told => {
                has_told = true;
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

/// Brings everything over. What can't be brought over stays in the commit log.
pub(crate) fn finish(engine: &Engine) {
    checkpoint_all(engine);
    engine.seal();
    checkpoint_all(engine);
}

fn checkpoint_all(engine: &Engine) {
    let mut written = None;
    while let Some((memtable, through, bytes)) = engine.oldest_sealed() {
        let checkpointed = if written == Some(through) {
            Ok(())
        } else if !engine.rocks.has_room(bytes) {
            Err(StoreError::Full)
        } else {
            let incarnation_last = engine.incarnation_last.load(std::sync::atomic::Ordering::Relaxed);
            engine.rocks.write(&memtable, through, incarnation_last, &stale_deadlines(engine))
        };
        let flushed = checkpointed.and_then(|()| {
            // What was written once needs only the flush again.
            written = Some(through);
            engine.rocks.flush().map_err(|error| unwritable(&error))
        });
        match flushed {
            Ok(()) => engine.release_oldest(),
            Err(error) => {
                tracing::error!(%error, "a checkpoint failed; it will be tried again");
                engine.checkpoint_failed(error);
                if !sleep(engine, RETRY) {
                    return;
                }
            }
        }
    }
}

/// Waits for so long, whatever changes. `false`: the end.
fn sleep(engine: &Engine, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if !engine.pause(left) {
            return false;
        }
    }
}

/// Deadlines in RocksDB to be removed: those that really are no stream's.
fn stale_deadlines(engine: &Engine) -> Vec<(u64, Box<str>)> {
    let mut noted = mem::take(&mut *engine.stale_deadlines.lock().unwrap_or_else(PoisonError::into_inner));
    noted.retain(|(deadline_ms, name)| {
        current_deadline_ms(engine, name).is_ok_and(|current| current != Some(*deadline_ms))
    });
    noted
}

/// The deadline that a stream has now.
pub(crate) fn current_deadline_ms(engine: &Engine, name: &str) -> Result<Option<u64>, StoreError> {
    Ok(engine.head_prefix(name)?.and_then(|summary| summary.deadline_ms))
}
