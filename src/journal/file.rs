//! How the file comes to be and is opened: made whole or not at all, and checked page by page before it is trusted.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError};

use super::failure::open_error;
use super::overlay::Overlay;
use super::{Journal, JournalError};
use crate::projection::LabelPolicy;

/// The file's name below the storage path.
pub const FILE_NAME: &str = "journal.redb";

/// For the exporter's user alone.
const OWN_FOLDER: u32 = 0o700;
const OWN_FILE: u32 = 0o600;

/// Memory for pages of the file; the working set is a few megabytes.
const CACHE_BYTES: usize = 8 << 20;

/// Whether the checksum of every page is compared when the file is opened.
///
/// Without that the store trusts a file that was closed in order: damaged pages would be read as they are, as other
/// numbers or as a panic. With it, an altered file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is compared: nobody knows what happened to the file.
    Nobody,
    /// This process had it open until now.
    Ourselves,
}

/// Opens the file, the first time and again.
pub(super) type Open = Box<dyn Fn(Trust) -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) fn builder(trust: Trust) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(trust == Trust::Nobody);
    builder
}

impl Journal {
    /// Opens the journal in `folder`, making both where they do not exist.
    pub fn open(folder: &Path, policy: LabelPolicy) -> Result<Self, JournalError> {
        let path = folder.join(FILE_NAME);
        if !matches!(path.try_exists(), Ok(true)) {
            let unusable = |source| JournalError::Folder { path: folder.to_owned(), source };
            make_own(folder).map_err(unusable)?;
            let new = Self::write_new(folder, policy, |_| Ok::<_, JournalError>(()))?;
            publish(&new, &path).map_err(unusable)?;
        }
        let journal = Self::open_existing(folder, policy)?;
        keep_to_ourselves(&journal.path);
        Ok(journal)
    }

    /// Opens a journal that must exist already.
    pub fn open_existing(folder: &Path, policy: LabelPolicy) -> Result<Self, JournalError> {
        let path = folder.join(FILE_NAME);
        let file = path.clone();
        Self::existing(Box::new(move |trust| builder(trust).open(&file)), path, policy)
    }

    /// Opens a journal that must exist already, without changing its file: nothing that is written is kept. Others may do
    /// the same meanwhile; who writes is kept out.
    pub fn read_only(folder: &Path, policy: LabelPolicy) -> Result<Self, JournalError> {
        let path = folder.join(FILE_NAME);
        let file = path.clone();
        let open = move |trust| builder(trust).create_with_backend(Overlay::over(File::open(&file)?)?);
        Self::existing(Box::new(open), path, policy)
    }

    /// Writes a journal into a file beside the one that it is to become, and says where. It is closed and synced.
    pub(super) fn write_new<E: From<JournalError>>(
        folder: &Path,
        policy: LabelPolicy,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        // The number keeps out others that do the same at the same time, and what was left by one that was killed.
        let path = folder.join(format!("{FILE_NAME}.{:016x}.new", fastrand::u64(..)));
        let written = (|| {
            // Before the store makes it with the rights that new files have. What is wrong with it the store will say.
            let _ = OpenOptions::new().create(true).append(true).mode(OWN_FILE).open(&path);
            let db = builder(Trust::Ourselves).create(&path).map_err(|error| open_error(&path, error))?;
            keep_to_ourselves(&path);
            let file = path.clone();
            let journal = Self::over(db, Box::new(move |trust| builder(trust).open(&file)), path.clone(), policy);
            journal.create_tables()?;
            fill(&journal)
        })();
        if written.is_err() {
            // What nobody will use must not stay behind; that it cannot be removed says nothing new.
            let _ = fs::remove_file(&path);
        }
        written.map(|()| path)
    }
}

/// Makes a folder for this user alone, where there is none; the folders above it are as folders usually are.
fn make_own(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    DirBuilder::new().mode(OWN_FOLDER).create(folder)
}

/// Gives a finished file its name, unless another one has it already.
fn publish(new: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(new, path) {
        Ok(()) => fs::remove_file(new)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return fs::remove_file(new),
        // Not every file system knows of links.
        Err(_) => fs::rename(new, path)?,
    }
    sync_folder_of(path);
    Ok(())
}

/// Names are only certain to survive a loss of power once their folder is synced. Where folders cannot be, they need not
/// be.
pub(super) fn sync_folder_of(path: &Path) {
    if let Some(folder) = path.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// The store holds no content, but who worked when is nobody else's business either. A file system without such
/// permissions is not worth failing for.
pub(super) fn keep_to_ourselves(path: &Path) {
    let _ = fs::set_permissions(path, Permissions::from_mode(OWN_FILE));
}
