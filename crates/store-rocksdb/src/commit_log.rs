//! The commit log: frames of records in a few slots, one sync per frame, replayed after a crash.
//!
//! Frames are numbered without gaps. A frame is written only after the one before was synced, which distinguishes a torn
//! end from damage: after a crash the first frame that isn't whole may be the last one that was begun; a whole frame with a
//! later number proves that it was durable once, and then the store doesn't open.

pub(crate) mod disk;
mod frame;
mod sectors;
mod slot;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use memchr::memmem;

use crate::folder;
use disk::Disk;
use frame::{Frame, HEADER_BYTES};
use sectors::Sectors;
pub(crate) use slot::{SLOT_BYTES, Slot};

/// The number of slots: one is written while the others are checkpointed.
pub(crate) const SLOTS: usize = 4;

/// The reason why a commit log can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
}

/// The reason why a frame isn't durable.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There is no room for it; the log is as it was.
    Full,
    /// The disk may have all of it, a part or nothing. The log must not be written again.
    Unknown(io::Error),
}

/// The end of the log, where frames are added.
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

/// The content of a log that was replayed.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The number of the last frame; the checkpoint's if there is none after it.
    pub(crate) through: u64,
    /// The slots with frames after the checkpoint.
    pub(crate) live: Vec<Slot>,
    /// The other slots.
    pub(crate) free: Vec<Slot>,
}

/// Creates the slots of a new store. Existing ones are overwritten.
pub(crate) fn create(path: &Path) -> Result<(), LogError> {
    let made = folder::create(path).and_then(|()| {
        for index in 0..SLOTS {
            Slot::create(&slot_path(path, index))?;
        }
        File::open(path)?.sync_all()
    });
    made.map_err(|source| LogError::Io { path: path.into(), source })
}

/// Returns whether anything was ever written to the slots of a folder.
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

/// Reads the frames after `checkpoint` and applies the payload of each, in order. `apply` returns `false` for a malformed
/// one.
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
        let io = |source| LogError::Io { path: path.clone(), source };
        let slot = Slot::open(path.clone(), disk.clone()).map_err(io)?;
        let length = slot.bytes().map_err(io)?;
        if length < SLOT_BYTES {
            let what = format!("it has {length} bytes instead of {SLOT_BYTES}");
            return Err(LogError::Damaged { path, what });
        }
        slot.read(HEADER_BYTES as u64, &mut bytes).map_err(io)?;
        slot.read(frame::claimed_size(&bytes).unwrap_or_default(), &mut bytes).map_err(io)?;
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
        slot.read(u64::MAX, &mut bytes)
            .map_err(|source| LogError::Io { path: slot.path().into(), source })?;
        let (mut begin, mut at) = (0, 0);
        while let Some(frame) = Frame::parse(bytes.split_at(at).1, salt)
            && frame.number == through + 1
        {
            if !apply(frame.payload) {
                let what = format!("frame {} is whole but malformed", frame.number);
                return Err(LogError::Damaged { path: slot.path().into(), what });
            }
            through = frame.number;
            (begin, at) = (at, at + frame.size());
        }
        let (whole, rest) = bytes.split_at(at);
        check_rest(slot, rest, salt, through)?;
        last = Some((slot, whole.split_at(begin).1.to_vec(), begin as u64));
    }
    for slot in &unclear {
        slot.read(u64::MAX, &mut bytes)
            .map_err(|source| LogError::Io { path: slot.path().into(), source })?;
        check_rest(slot, &bytes, salt, through)?;
    }
    if let Some((slot, frame, at)) = last {
        // The last frame counts from now on, and only the system's cache may have it. If its sync failed, the cache takes it
        // for written: another sync alone would write nothing.
        let made_durable = slot.make_durable(&frame, at);
        made_durable.map_err(|source| LogError::Io { path: slot.path().into(), source })?;
    }
    let live: Vec<Slot> = live.into_iter().map(|(_, slot)| slot).collect();
    free.extend(unclear);
    Ok(Replayed { through, live, free })
}

/// Looks for frames in any bytes, as a replay does.
#[cfg(feature = "fuzzing")]
pub(crate) fn parse_any(bytes: &[u8]) {
    let (salt, rest) =
        bytes.split_first_chunk().map_or((0, bytes), |(salt, rest)| (u64::from_le_bytes(*salt), rest));
    if let Some(frame) = Frame::parse(rest, salt) {
        assert!(frame.size() <= rest.len(), "it has no more bytes than there are");
    }
    let _later = later_frame(rest, salt, 0);
    let _claimed = frame::claimed_size(rest);
}

/// Checks what follows the last frame, whose number is `through`: a whole frame numbered `through + 2` or later proves that
/// the next one was durable once.
fn check_rest(slot: &Slot, rest: &[u8], salt: u64, through: u64) -> Result<(), LogError> {
    let Some(number) = later_frame(rest, salt, through + 2) else { return Ok(()) };
    let what = format!("frame {} is damaged: frame {number}, which is whole, came after it", through + 1);
    Err(LogError::Damaged { path: slot.path().into(), what })
}

/// Finds a whole frame anywhere in `bytes` whose number is `number` or later.
fn later_frame(bytes: &[u8], salt: u64, number: u64) -> Option<u64> {
    memmem::find_iter(bytes, &salt.to_le_bytes()).find_map(|at| {
        let candidate = bytes.get(at..)?;
        let claimed = frame::claimed_number(candidate, salt).filter(|&claimed| claimed >= number)?;
        Frame::parse(candidate, salt).map(|_| claimed)
    })
}

impl CommitLog {
    /// Continues a log after frame `through`, at the beginning of a free slot.
    pub(crate) fn new(salt: u64, slot: Slot, through: u64) -> Self {
        let sectors = Sectors::new(slot.sector_bytes());
        Self { salt, slot, position: 0, number: through + 1, buffer: Vec::new(), sectors }
    }

    /// Returns the number of the last frame.
    pub(crate) const fn through(&self) -> u64 {
        self.number - 1
    }

    /// Begins a frame, whose payload is to be added to the returned bytes.
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        frame::begin(&mut self.buffer);
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        &mut self.buffer
    }

    /// Returns the payload of the frame that was begun last.
    ///
    /// # Panics
    /// If no frame was begun.
    pub(crate) fn payload(&self) -> &[u8] {
        self.buffer.split_at(HEADER_BYTES).1
    }

    /// Returns whether a payload of `payload_bytes` bytes fits in the slot. An empty slot takes any.
    pub(crate) const fn fits(&self, payload_bytes: usize) -> bool {
        self.position == 0 || self.position + (HEADER_BYTES + payload_bytes) as u64 <= SLOT_BYTES
    }

    /// Returns whether the slot holds no frame.
    pub(crate) const fn is_empty(&self) -> bool {
        self.position == 0
    }

    /// Continues in another slot, and returns the one that was written.
    pub(crate) fn rotate(&mut self, slot: Slot) -> Slot {
        self.position = 0;
        self.sectors.restart(slot.sector_bytes());
        std::mem::replace(&mut self.slot, slot)
    }

    /// Writes the frame that was begun and waits until the disk has it.
    pub(crate) fn append(&mut self) -> Result<(), AppendError> {
        if !frame::finish(&mut self.buffer, self.salt, self.number) {
            return Err(AppendError::Full);
        }
        let slot = &self.slot;
        let unknown = |error: io::Error| {
            AppendError::Unknown(io::Error::new(error.kind(), format!("{}: {error}", slot.path().display())))
        };
        let (sectors, at) = self.sectors.stage(self.position, &self.buffer);
        slot.write(sectors, at).map_err(|error| {
            if is_full(&error) {
                // Only a frame beyond the slot's usual length asks for space, which is released again.
                let _ = slot.shrink();
                return AppendError::Full;
            }
            unknown(error)
        })?;
        slot.sync_written().map_err(unknown)?;
        self.sectors.keep(&self.buffer);
        self.position += self.buffer.len() as u64;
        self.number += 1;
        Ok(())
    }
}

/// The largest frame buffer that is kept for the next frame.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Returns whether there is no room on the disk, in the quota or under the process's limit.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
