//! The commit log: frames of records in a few slots, one sync per frame, replayed after a crash.
//!
//! Frames are numbered without gaps. A frame is written only after the one before was synced, which tells a torn end
//! from damage: after a crash the first frame that isn't whole may be the last one that was begun; a whole frame with
//! a later number proves that it was durable once, and then the store doesn't open.

pub(crate) mod disk;
mod frame;
mod sectors;
mod slot;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use headwater_store::StoreError;
use memchr::memmem;

use disk::Disk;
use frame::{Frame, HEADER_BYTES};
use sectors::Sectors;
pub(crate) use slot::{SLOT_BYTES, Slot};

/// How many slots there are: the one that is written, and time for the others to be checkpointed.
pub(crate) const SLOTS: usize = 4;

/// Why a commit log can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
}

/// The log's end, where frames are added.
#[derive(Debug)]
pub(crate) struct CommitLog {
    salt: u64,
    slot: Slot,
    position: u64,
    /// The number of the next frame.
    number: u64,
    buffer: Vec<u8>,
    sectors: Sectors,
}

/// What an old log holds.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The last frame; the checkpoint's if there is none after it.
    pub(crate) through: u64,
    /// The slots with frames after the checkpoint.
    pub(crate) live: Vec<Slot>,
    /// The other ones.
    pub(crate) free: Vec<Slot>,
}

/// Makes the slots of a new store. Whatever is there is overwritten.
pub(crate) fn create(folder: &Path) -> Result<(), LogError> {
    let made = fs::create_dir_all(folder).and_then(|()| {
        for index in 0..SLOTS {
            Slot::create(&slot_path(folder, index))?;
        }
        File::open(folder)?.sync_all()
    });
    made.map_err(|error| LogError::Io { path: folder.into(), error })
}

/// Whether anything was ever written to the slots of a folder.
pub(crate) fn was_used(folder: &Path) -> bool {
    let mut header = Vec::new();
    (0..SLOTS).any(|index| {
        let slot = Slot::open(slot_path(folder, index), Disk::default());
        slot.and_then(|slot| slot.read(HEADER_BYTES as u64, &mut header))
            .is_ok_and(|()| header.iter().any(|&byte| byte != 0))
    })
}

fn slot_path(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("{index:02}.log"))
}

/// Reads what the log has after frame `checkpoint` and hands each frame's payload over, in order.
pub(crate) fn replay(
    folder: &Path,
    salt: u64,
    checkpoint: u64,
    disk: &Disk,
    mut apply: impl FnMut(&[u8]) -> bool,
) -> Result<Replayed, LogError> {
    let (mut live, mut unclear, mut free) = (Vec::new(), Vec::new(), Vec::new());
    // One buffer for all: memory that is new to the process takes longer than what is read into it.
    let mut bytes = Vec::new();
    for index in 0..SLOTS {
        let path = slot_path(folder, index);
        let io = |error| LogError::Io { path: path.clone(), error };
        let slot = Slot::open(path.clone(), disk.clone()).map_err(io)?;
        let length = slot.bytes().map_err(io)?;
        if length < SLOT_BYTES {
            let what = format!("it has {length} bytes instead of {SLOT_BYTES}");
            return Err(LogError::Damaged { path, what });
        }
        slot.read(HEADER_BYTES as u64, &mut bytes).map_err(io)?;
        slot.read(frame::claimed_size(&bytes), &mut bytes).map_err(io)?;
        match Frame::parse(&bytes, salt).map(|frame| frame.number) {
            // Checkpointed: a frame with a later number is never in the same slot.
            Some(first) if first <= checkpoint => free.push(slot),
            Some(first) => live.push((first, slot)),
            None => unclear.push(slot),
        }
    }
    live.sort_by_key(|(first, _)| *first);
    let mut through = checkpoint;
    let mut last = None;
    for (first, slot) in &live {
        if *first != through + 1 {
            let what = format!("it begins with frame {first}, but frame {} is missing", through + 1);
            return Err(LogError::Damaged { path: slot.path().into(), what });
        }
        slot.read(u64::MAX, &mut bytes).map_err(|error| LogError::Io { path: slot.path().into(), error })?;
        let (mut begin, mut at) = (0, 0);
        while let Some(frame) = bytes.get(at..).and_then(|rest| Frame::parse(rest, salt)) {
            if frame.number != through + 1 {
                break;
            }
            if !apply(frame.payload) {
                let what = format!("frame {} is whole and makes no sense", frame.number);
                return Err(LogError::Damaged { path: slot.path().into(), what });
            }
            through = frame.number;
            (begin, at) = (at, at + frame.size());
        }
        check_rest(slot, bytes.get(at..).unwrap_or_default(), salt, through)?;
        last = bytes.get(begin..at).map(|frame| (slot, frame.to_vec(), begin as u64));
    }
    for slot in &unclear {
        slot.read(u64::MAX, &mut bytes).map_err(|error| LogError::Io { path: slot.path().into(), error })?;
        check_rest(slot, &bytes, salt, through)?;
    }
    if let Some((slot, frame, at)) = last {
        // The last frame counts from now on, and only the system's cache may have it. If its sync failed, the cache holds
        // it for written: another sync alone would write nothing.
        let made_durable = slot.make_durable(&frame, at);
        made_durable.map_err(|error| LogError::Io { path: slot.path().into(), error })?;
    }
    let live: Vec<Slot> = live.into_iter().map(|(_, slot)| slot).collect();
    free.extend(unclear);
    Ok(Replayed { through, live, free })
}

/// Checks what follows the last frame, which is `through`: a whole frame with a later number but one proves that the next
/// one was there.
fn check_rest(slot: &Slot, rest: &[u8], salt: u64, through: u64) -> Result<(), LogError> {
    let Some(number) = later_frame(rest, salt, through + 2) else { return Ok(()) };
    let what = format!("frame {} is damaged: frame {number}, which is whole, came after it", through + 1);
    Err(LogError::Damaged { path: slot.path().into(), what })
}

/// A whole frame anywhere in `bytes` whose number is `number` or later.
fn later_frame(bytes: &[u8], salt: u64, number: u64) -> Option<u64> {
    memmem::find_iter(bytes, &salt.to_le_bytes()).find_map(|at| {
        let candidate = bytes.get(at..)?;
        let claimed = frame::claimed_number(candidate, salt).filter(|&claimed| claimed >= number)?;
        Frame::parse(candidate, salt).map(|_| claimed)
    })
}

impl CommitLog {
    /// A log that goes on after frame `through`, at the beginning of a free slot.
    pub(crate) fn new(salt: u64, slot: Slot, through: u64) -> Self {
        let sectors = Sectors::new(slot.sector_bytes());
        Self { salt, slot, position: 0, number: through + 1, buffer: Vec::new(), sectors }
    }

    /// The last frame.
    pub(crate) const fn through(&self) -> u64 {
        self.number - 1
    }

    /// Begins a frame: what is added to the bytes is its payload.
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        frame::begin(&mut self.buffer);
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        &mut self.buffer
    }

    /// The payload of the frame that was begun last.
    pub(crate) fn payload(&self) -> &[u8] {
        self.buffer.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Whether a payload of so many bytes fits in the slot. An empty slot takes any.
    pub(crate) const fn fits(&self, payload_bytes: usize) -> bool {
        self.position == 0 || self.position + (HEADER_BYTES + payload_bytes) as u64 <= SLOT_BYTES
    }

    /// Whether the slot holds any frame.
    pub(crate) const fn is_empty(&self) -> bool {
        self.position == 0
    }

    /// Goes on in another slot; gives the one that was written.
    pub(crate) fn rotate(&mut self, slot: Slot) -> Slot {
        self.position = 0;
        self.sectors.restart(slot.sector_bytes());
        std::mem::replace(&mut self.slot, slot)
    }

    /// Writes the frame that was begun and waits until the disk has it.
    ///
    /// After [`StoreError::Full`] the log is as it was; after any other error nobody knows, and it must not be
    /// written again.
    pub(crate) fn append(&mut self) -> Result<(), StoreError> {
        if !frame::finish(&mut self.buffer, self.salt, self.number) {
            return Err(StoreError::Full);
        }
        let slot = &self.slot;
        let failed = |error: io::Error| StoreError::failed(format!("{}: {error}", slot.path().display()));
        let (sectors, at) = self.sectors.stage(self.position, &self.buffer);
        slot.write(sectors, at).map_err(|error| {
            if is_full(&error) {
                // Only a frame beyond the slot's usual length asks for space; what it got goes back.
                let _ = slot.shrink();
                return StoreError::Full;
            }
            failed(error)
        })?;
        slot.sync_written().map_err(failed)?;
        self.sectors.keep(&self.buffer);
        self.position += self.buffer.len() as u64;
        self.number += 1;
        Ok(())
    }
}

/// A frame's buffer is kept for the next one up to this size.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// No room on the disk, in the quota or under the process's limit.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
