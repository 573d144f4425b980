//! The files as a file system that the kernel asks (FUSE).

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::fault::Deed;
use super::files::{Files, Node, Write};
use super::lock;

/// Nobody else changes the files: what the kernel knows stays true.
const TTL: Duration = Duration::from_secs(60);
const BLOCK: u32 = 4_096;
/// As if the disk were a terabyte, half of it free.
const BLOCKS: u64 = 1 << 28;

pub(super) struct Mounted(pub(super) Arc<Mutex<Files>>);

impl Mounted {
    /// Does something with the files, if what it is about is there.
    fn with<T>(&self, work: impl FnOnce(&mut Files) -> Option<T>) -> Result<T, Errno> {
        work(&mut lock(&self.0)).ok_or(Errno::ENOENT)
    }

    /// Performs a deed that the disk may refuse.
    fn try_with<T>(
        &self,
        (deed, node): (Deed, INodeNo),
        work: impl FnOnce(&mut Files) -> Option<T>,
    ) -> Result<T, Errno> {
        let mut files = lock(&self.0);
        if files.fails(deed, node.0) {
            return Err(Errno::EIO);
        }
        work(&mut files).ok_or(Errno::ENOENT)
    }

    fn change(&self, reply: ReplyEmpty, what: (Deed, INodeNo), work: impl FnOnce(&mut Files) -> Option<()>) {
        match self.try_with(what, work) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn make(&self, reply: ReplyEntry, parent: INodeNo, name: &OsStr, is_folder: bool) {
        let made = self.try_with((Deed::Name, parent), |files| {
            let number = files.make(parent.0, name, is_folder)?;
            attributes(files, number)
        });
        entry(reply, made);
    }
}

fn attributes(files: &Files, number: u64) -> Option<FileAttr> {
    let (kind, perm, size) = match files.node(number)? {
        Node::File(bytes) => (FileType::RegularFile, 0o644, bytes.seen().len() as u64),
        Node::Folder(_) => (FileType::Directory, 0o755, u64::from(BLOCK)),
    };
    Some(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

fn entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.with(|files| attributes(files, files.find(parent.0, name)?)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|files| attributes(files, ino.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = match size {
            None => self.with(|files| attributes(files, ino.0)),
            Some(size) => self.try_with((Deed::Write, ino), |files| {
                files.write(ino.0, Write::Length(position(size)))?;
                attributes(files, ino.0)
            }),
        };
        match changed {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        self.make(reply, parent, name, false);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        self.make(reply, parent, name, true);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(reply, (Deed::Name, parent), |files| files.unlink(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(reply, (Deed::Name, parent), |files| files.unlink(parent.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.change(reply, (Deed::Name, parent), |files| {
            files.rename((parent.0, name), (newparent.0, newname))
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let from = position(offset);
        let read = self.with(|files| match files.node(ino.0)? {
            Node::File(bytes) => {
                let end = from.saturating_add(size as usize).min(bytes.seen().len());
                Some(bytes.seen().get(from..end).unwrap_or_default().to_vec())
            }
            Node::Folder(_) => None,
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = Write::At(position(offset), data.to_vec());
        match self.try_with((Deed::Write, ino), |files| files.write(ino.0, write)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.change(reply, (Deed::Flush, ino), |files| files.flush(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.change(reply, (Deed::Flush, ino), |files| files.flush(ino.0));
    }

    /// A file that is closed isn't flushed for that.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.with(|files| {
            let names = files.names(ino.0)?.clone();
            let kind = |number| match files.node(number) {
                Some(Node::Folder(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            Some(names.into_iter().map(|(name, number)| (number, kind(number), name)).collect::<Vec<_>>())
        });
        match listed {
            Ok(entries) => {
                for (at, (number, kind, name)) in entries.into_iter().enumerate().skip(position(offset)) {
                    if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS / 2, BLOCKS / 2, BLOCKS, BLOCKS / 2, BLOCK, 255, BLOCK);
    }
}
