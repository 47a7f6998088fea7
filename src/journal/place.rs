//! Notices that the file which is open has lost its name: was removed, or replaced by another one, while we used it.
//!
//! Such a file still takes everything that is written to it, and all of it is gone when the process ends.

use std::fs;
use std::path::{Path, PathBuf};

/// The place of an open file.
pub(super) struct Place {
    path: PathBuf,
    /// The file that was opened there; `None` where there is no telling.
    file: Option<FileId>,
}

type FileId = (u64, u64);

impl Place {
    /// The place of a file that was just opened.
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), file: file_at(path) }
    }

    /// Whether the name leads to something else by now, or nowhere. What cannot be looked at is not lost.
    pub(super) fn is_lost(&self) -> bool {
        let Some(file) = self.file else { return false };
        match fs::metadata(&self.path) {
            Ok(found) => id(&found).is_some_and(|found| found != file),
            Err(error) => matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory),
        }
    }
}

fn file_at(path: &Path) -> Option<FileId> {
    id(&fs::metadata(path).ok()?)
}

/// Device and number of a file; the same file keeps them under any name.
#[cfg(unix)]
fn id(found: &fs::Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn id(_: &fs::Metadata) -> Option<FileId> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_lost_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let [path, elsewhere] = ["journal", "elsewhere"].map(|name| folder.path().join(name));
        fs::write(&path, "ours").unwrap();
        let place = Place::of(&path);
        assert!(!place.is_lost());
        fs::write(&path, "more").unwrap();
        assert!(!place.is_lost(), "what is in it does not matter");
        fs::rename(&path, &elsewhere).unwrap();
        assert!(place.is_lost());
        fs::write(&path, "another").unwrap();
        assert!(place.is_lost());
        fs::rename(&elsewhere, &path).unwrap();
        assert!(!place.is_lost());
        fs::remove_file(&path).unwrap();
        fs::remove_dir(folder.path()).unwrap();
        assert!(place.is_lost());
    }

    #[test]
    fn what_is_no_file_is_never_lost() {
        assert!(!Place::of(Path::new("(memory)")).is_lost());
    }
}
