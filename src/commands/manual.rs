//! `completions` and `man`: print what the command line says of itself, or write it to a directory.

use std::fs;
use std::io::{ErrorKind, Write};

use crate::cli::manual;
use crate::cli::{CompletionsArgs, ManArgs};

use super::Failed;

pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failed> {
    print(&manual::completions(args.shell))
}

pub(super) fn man(args: &ManArgs) -> Result<(), Failed> {
    let pages = manual::pages();
    let Some(directory) = &args.out else {
        return pages.first().map_or(Ok(()), |page| print(&page.text));
    };
    for page in pages {
        let path = directory.join(page.file);
        // Nobody changes these by hand: another version's may be overwritten.
        fs::create_dir_all(directory).and_then(|()| fs::write(&path, page.text)).map_err(|error| {
            Failed::running(format!("cannot write {}: {error}; give another --out", path.display()))
        })?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

fn print(text: &str) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads along has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| Failed::running(format!("cannot write to standard output: {error}"))),
    }
}
