//! Notices that the file, or one that it names, has changed, and reads all of it again.
//!
//! A file that is being written must not be taken for a whole one, so a change counts when two looks in a row have seen
//! the same.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{WebFile, read};
use crate::config::exposure;
use crate::config::load::read_text;
use crate::config::problem::ConfigError;

/// What tells one content of a file from another without reading it; `None` of a file that is not there.
type Print = Option<(u64, u64, u64, i64, i64)>;

fn print(path: &Path) -> Print {
    // Follows links: that is how a new secret is put in place of an old one.
    let it = fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.size(), it.mtime(), it.mtime_nsec()))
}

/// The file that `--web.config.file` names.
#[derive(Debug)]
pub struct WebConfigFile {
    path: PathBuf,
    /// All files that were read last, and what they looked like just before.
    read: Vec<(PathBuf, Print)>,
    /// What the last look saw, if that was something else.
    changed: Option<Vec<Print>>,
}

impl WebConfigFile {
    /// Reads it for the first time.
    ///
    /// # Errors
    ///
    /// Names every problem at once, by file, line and key, and repeats no values.
    pub fn open(path: &Path) -> Result<(Self, WebFile), ConfigError> {
        let mut file = Self { path: path.to_owned(), read: Vec::new(), changed: None };
        let web = file.read()?;
        Ok((file, web))
    }

    /// Reads it again if it has changed, whether that can be used or not. Blocks for as long as a disk takes.
    pub fn look_again(&mut self) -> Option<Result<WebFile, ConfigError>> {
        let seen: Vec<Print> = self.read.iter().map(|(path, _)| print(path)).collect();
        if self.read.iter().map(|(_, print)| print).eq(&seen) {
            self.changed = None;
            return None;
        }
        if self.changed.as_ref() != Some(&seen) {
            self.changed = Some(seen);
            return None;
        }
        self.changed = None;
        Some(self.read())
    }

    fn read(&mut self) -> Result<WebFile, ConfigError> {
        let seen = RefCell::new(Vec::new());
        let files = |path: &Path| -> io::Result<String> {
            // Before it is read: what changes meanwhile shows at the next look.
            seen.borrow_mut().push((path.to_owned(), print(path)));
            read_text(path)
        };
        let web = read(&self.path, &files, &exposure::look);
        self.read = seen.into_inner();
        web
    }
}
