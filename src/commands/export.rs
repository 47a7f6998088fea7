//! `export` and `import`: a store as lines of text, and back.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::path::Path;

use crate::cli::{ExportArgs, ImportArgs};
use crate::journal::{ExportError, FILE_NAME, ImportError, Journal, JournalError};
use crate::projection::LabelPolicy;

use super::{Failed, open_to_read, say, told, unusable};

pub(super) fn export(args: &ExportArgs) -> Result<(), Failed> {
    let journal = open_to_read(&args.store.storage_path)?;
    let Some(path) = &args.out else {
        return match journal.export(&mut BufWriter::new(io::stdout())) {
            // Who stops reading has read enough.
            Err(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map(drop).map_err(Failed::running),
        };
    };
    let file = new_file(path).map_err(|error| {
        let advice = if error.kind() == ErrorKind::AlreadyExists { "move it away, or " } else { "" };
        Failed::running(format!("cannot write {}: {error}; {advice}give another --out", path.display()))
    })?;
    let written = journal.export(&mut BufWriter::new(&file)).and_then(|lines| Ok((lines, file.sync_all()?)));
    match written {
        Ok((lines, ())) => say(format_args!("{}: {lines} lines\n", path.display())),
        Err(error) => {
            // Half of it is of no use to anybody.
            let _ = std::fs::remove_file(path);
            Err(Failed::running(error))
        }
    }
}

/// Nobody else is to read it, as nobody else reads the store.
fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(super) fn import(args: &ImportArgs) -> Result<(), Failed> {
    let folder = &args.storage_path;
    let found = if args.file == Path::new("-") {
        Journal::import(folder, LabelPolicy::default(), &mut io::stdin().lock())
    } else {
        let file = File::open(&args.file)
            .map_err(|error| Failed::running(format!("cannot read {}: {error}", args.file.display())))?;
        Journal::import(folder, LabelPolicy::default(), &mut BufReader::new(file))
    };
    let found = found.map_err(|error| match error {
        ImportError::Journal(error @ JournalError::InUse { .. }) => unusable(error),
        ImportError::Journal(error) => Failed::running(format!("nothing was imported: {}", told(error))),
        error => Failed::running(format!("nothing was imported: {error}")),
    })?;
    let sessions = found.sessions.folded + found.sessions.only_known;
    let path = folder.join(FILE_NAME);
    say(format_args!("{}: {sessions} sessions, {} facts\n", path.display(), found.facts))?;
    if !found.is_good() {
        let differing = found.differences.len();
        say(format_args!(
            "note: {differing} numbers are not what the log says, as in the store it came from: see verify\n"
        ))?;
    }
    Ok(())
}
