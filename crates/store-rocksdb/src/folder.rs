//! Folders that only their owner may read: they hold what clients wrote, and the keys that sign webhooks.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

/// The mode of folders.
const FOLDER_MODE: u32 = 0o700;
/// The mode of files.
pub(crate) const FILE_MODE: u32 = 0o600;

/// Makes a folder with those around it, or takes away what others may do with it.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & !0o077))
    {
        tracing::warn!(%error, folder = %path.display(), "other users of this machine can read the data folder");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RocksStore;

    #[test]
    fn nobody_else_reads_the_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (made, found) = (folder.path().join("new/data"), folder.path().join("found"));
        fs::create_dir(&found).unwrap();
        fs::set_permissions(&found, Permissions::from_mode(0o755)).unwrap();
        for data in [made, found] {
            drop(RocksStore::open(&data, 8 << 20).unwrap());
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&data), 0o700, "{}", data.display());
            assert_eq!(mode(&data.join("log")), 0o700);
            assert_eq!(mode(&data.join("log/00.log")), 0o600);
        }
    }
}
