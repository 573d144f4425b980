//! Files as programs see them, as the disk holds them, and the changes between the two.
//!
//! A file's changes reach the disk when the file is flushed, a folder's when the folder is. Until then a power cut loses
//! them or not: writes each for itself and in part, sector by sector; changes of a folder from the last one on, as file
//! systems with a journal do.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::ops::AddAssign;

use headwater_testkit::random::{Chance, Rng};

use super::fault::{Deed, Faults, Place};

/// The folder that everything is in.
pub(super) const ROOT: u64 = 1;
/// The folder whose files are RocksDB's.
const ROCKSDB: &str = "rocksdb";
/// The unit that a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// All of them.
#[derive(Debug)]
pub(super) struct Files {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    rocksdb: BTreeSet<u64>,
    pub(super) faults: Faults,
}

/// A file or a folder.
#[derive(Debug)]
pub(super) enum Node {
    File(Kept<Vec<u8>, Write>),
    Folder(Kept<Names, Rename>),
}

pub(super) type Names = BTreeMap<OsString, u64>;

/// The state that programs see, the state on the disk, and the pending changes between them.
#[derive(Debug)]
pub(super) struct Kept<T, C> {
    seen: T,
    held: T,
    changes: Vec<C>,
}

/// A change of a file.
#[derive(Debug)]
pub(super) enum Write {
    At(usize, Vec<u8>),
    Length(usize),
}

/// A change of a folder: a name comes, goes, or both at once.
#[derive(Debug)]
pub(super) struct Rename {
    gone: Option<OsString>,
    come: Option<(OsString, u64)>,
}

/// The effect of power cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Changes that had not been flushed.
    pub(crate) at_risk: usize,
    /// Changes lost.
    pub(crate) lost: usize,
    /// Changes lost in part.
    pub(crate) torn: usize,
}

impl AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.at_risk += other.at_risk;
        self.lost += other.lost;
        self.torn += other.torn;
    }
}

pub(super) trait Change<T> {
    fn apply(&self, to: &mut T);
}

impl Change<Vec<u8>> for Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::At(at, bytes) => {
                let end = at + bytes.len();
                to.resize(to.len().max(end), 0);
                if let Some(place) = to.get_mut(*at..end) {
                    place.copy_from_slice(bytes);
                }
            }
        }
    }
}

impl Change<Names> for Rename {
    fn apply(&self, to: &mut Names) {
        if let Some(gone) = &self.gone {
            to.remove(gone);
        }
        if let Some((name, node)) = &self.come {
            to.insert(name.clone(), *node);
        }
    }
}

impl<T: Default, C: Change<T>> Kept<T, C> {
    fn empty() -> Self {
        Self { seen: T::default(), held: T::default(), changes: Vec::new() }
    }

    pub(super) const fn seen(&self) -> &T {
        &self.seen
    }

    fn change(&mut self, change: C) {
        change.apply(&mut self.seen);
        self.changes.push(change);
    }

    fn flush(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.held);
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Folder(Kept::empty()))]),
            next: ROOT + 1,
            rocksdb: BTreeSet::new(),
            faults: Faults::default(),
        }
    }
}

impl Files {
    pub(super) fn node(&self, number: u64) -> Option<&Node> {
        self.nodes.get(&number)
    }

    pub(super) fn names(&self, folder: u64) -> Option<&Names> {
        match self.node(folder)? {
            Node::Folder(names) => Some(names.seen()),
            Node::File(_) => None,
        }
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names(folder)?.get(name).copied()
    }

    fn rename_in(&mut self, folder: u64, change: Rename) -> Option<()> {
        match self.nodes.get_mut(&folder)? {
            Node::Folder(names) => names.change(change),
            Node::File(_) => return None,
        }
        Some(())
    }

    /// Makes a file or a folder with a name.
    pub(super) fn make(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Option<u64> {
        let number = self.next;
        self.rename_in(folder, Rename { gone: None, come: Some((name.into(), number)) })?;
        self.next += 1;
        let node = if is_folder { Node::Folder(Kept::empty()) } else { Node::File(Kept::empty()) };
        self.nodes.insert(number, node);
        if self.rocksdb.contains(&folder) || name == ROCKSDB {
            self.rocksdb.insert(number);
        }
        Some(number)
    }

    /// Takes a name away. What it named stays for those who have it open.
    pub(super) fn unlink(&mut self, folder: u64, name: &OsStr) -> Option<()> {
        self.find(folder, name)?;
        self.rename_in(folder, Rename { gone: Some(name.into()), come: None })
    }

    /// Gives something another name, at once.
    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<()> {
        let number = self.find(from.0, from.1)?;
        if from.0 == to.0 {
            let change = Rename { gone: Some(from.1.into()), come: Some((to.1.into(), number)) };
            return self.rename_in(from.0, change);
        }
        self.rename_in(to.0, Rename { gone: None, come: Some((to.1.into(), number)) })?;
        self.rename_in(from.0, Rename { gone: Some(from.1.into()), come: None })
    }

    pub(super) fn write(&mut self, file: u64, change: Write) -> Option<()> {
        match self.nodes.get_mut(&file)? {
            Node::File(bytes) => bytes.change(change),
            Node::Folder(_) => return None,
        }
        Some(())
    }

    /// The disk holds what is seen of a file or a folder.
    pub(super) fn flush(&mut self, number: u64) -> Option<()> {
        match self.nodes.get_mut(&number)? {
            Node::File(bytes) => bytes.flush(),
            Node::Folder(names) => names.flush(),
        }
        Some(())
    }

    /// Whether this fails. A flush that fails does so as Linux does it: what it was to write is still seen, and no later
    /// flush writes it.
    pub(super) fn fails(&mut self, deed: Deed, number: u64) -> bool {
        let place = if self.rocksdb.contains(&number) { Place::RocksDb } else { Place::CommitLog };
        let fails = self.faults.strikes(deed, place);
        if fails
            && deed == Deed::Flush
            && let Some(Node::File(file)) = self.nodes.get_mut(&number)
        {
            file.changes.clear();
        }
        fails
    }

    /// What is left after a power cut is what is seen from now on.
    pub(super) fn lose(&mut self, rng: &mut Rng) -> Loss {
        // Some disks keep nearly everything, some nothing, most something.
        let (kept, torn) = match rng.u64(..4) {
            0 => (0, 0),
            1 => (90, 5),
            _ => (40, 20),
        };
        let mut loss = Loss::default();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => {
                    for change in std::mem::take(&mut file.changes) {
                        loss.at_risk += 1;
                        match rng.u64(..100) {
                            roll if roll < kept => change.apply(&mut file.held),
                            roll if roll < kept + torn => {
                                loss.torn += 1;
                                change.tear(&mut file.held, rng);
                            }
                            _ => loss.lost += 1,
                        }
                    }
                    file.seen.clone_from(&file.held);
                }
                Node::Folder(folder) => {
                    let changes = std::mem::take(&mut folder.changes);
                    let left = rng.u64(..changes.len() as u64 + 1);
                    let left = if kept == 0 { 0 } else { usize::try_from(left).unwrap_or_default() };
                    loss.at_risk += changes.len();
                    loss.lost += changes.len() - left;
                    changes.iter().take(left).for_each(|change| change.apply(&mut folder.held));
                    folder.seen.clone_from(&folder.held);
                }
            }
        }
        self.drop_unnamed();
        loss
    }

    fn drop_unnamed(&mut self) {
        let mut named = BTreeSet::from([ROOT]);
        let mut look = vec![ROOT];
        while let Some(folder) = look.pop() {
            for &number in self.names(folder).into_iter().flat_map(Names::values) {
                if named.insert(number) {
                    look.push(number);
                }
            }
        }
        self.nodes.retain(|number, _| named.contains(number));
    }
}

impl Write {
    /// Some sectors of it are written.
    fn tear(&self, held: &mut Vec<u8>, rng: &mut Rng) {
        let Self::At(at, bytes) = self else { return };
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let at = at + done;
            let length = (SECTOR - at % SECTOR).min(rest.len());
            if rng.chance(1, 2) {
                Self::At(at, rest.iter().take(length).copied().collect()).apply(held);
            }
            done += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(files: &Files, number: u64) -> Vec<u8> {
        match files.node(number) {
            Some(Node::File(file)) => file.seen().clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Files after each of some power cuts.
    fn cut(make: impl Fn() -> Files) -> impl Iterator<Item = (Files, Loss)> {
        (0..200).map(move |seed| {
            let mut files = make();
            let loss = files.lose(&mut Rng::with_seed(seed));
            (files, loss)
        })
    }

    fn with_file() -> (Files, u64) {
        let mut files = Files::default();
        let file = files.make(ROOT, OsStr::new("a"), false).unwrap();
        files.flush(ROOT).unwrap();
        files.write(file, Write::At(0, vec![1; 1_000])).unwrap();
        files.flush(file).unwrap();
        (files, file)
    }

    #[test]
    fn what_was_flushed_stays() {
        let (_, file) = with_file();
        for (files, loss) in cut(|| with_file().0) {
            assert_eq!((bytes(&files, file), loss), (vec![1; 1_000], Loss::default()));
        }
    }

    #[test]
    fn what_was_not_flushed_is_kept_lost_or_torn_by_sectors() {
        let (_, file) = with_file();
        let written = || {
            let mut files = with_file().0;
            files.write(file, Write::At(500, vec![2; 1_000])).unwrap();
            files
        };
        let mut seen = BTreeSet::new();
        for (files, _) in cut(written) {
            let now = bytes(&files, file);
            assert!(now.iter().take(500).all(|&byte| byte == 1), "nobody wrote there");
            // The sectors of what was written: 500 to 512, to 1,024, to 1,500.
            let parts = [500, 512, 1_024].map(|at| now.get(at).copied().unwrap_or_default());
            assert!(parts.iter().all(|&byte| byte < 3));
            seen.insert(parts);
        }
        assert!(seen.contains(&[1, 1, 0]) && seen.contains(&[2, 2, 2]) && seen.len() > 4, "{seen:?}");
    }

    #[test]
    fn names_come_and_go_in_order() {
        let (_, file) = with_file();
        let renamed = || {
            let mut files = with_file().0;
            files.rename((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b"))).unwrap();
            files.make(ROOT, OsStr::new("c"), false).unwrap();
            files.unlink(ROOT, OsStr::new("b")).unwrap();
            files
        };
        let mut seen = BTreeSet::new();
        for (files, _) in cut(renamed) {
            let names: Vec<_> =
                files.names(ROOT).unwrap().keys().map(|name| name.to_str().unwrap().to_owned()).collect();
            assert!(names.contains(&"c".to_owned()) || names.len() == 1, "{names:?}");
            assert_eq!(files.node(file).is_some(), names.iter().any(|name| name != "c"));
            seen.insert(names);
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    #[test]
    fn a_file_whose_name_was_not_flushed_is_gone_with_its_flushed_bytes() {
        let nameless = || {
            let mut files = Files::default();
            let file = files.make(ROOT, OsStr::new("a"), false).unwrap();
            files.write(file, Write::At(0, vec![1])).unwrap();
            files.flush(file).unwrap();
            files
        };
        assert!(cut(nameless).any(|(files, _)| files.names(ROOT).unwrap().is_empty()));
    }
}
