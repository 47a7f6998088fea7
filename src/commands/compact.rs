//! `compact`: gives back what a store's file holds for nothing.

use crate::cli::CompactArgs;
use crate::journal::{Compacted, FILE_NAME, Journal};

use super::inspect::bytes;
use super::{Failed, say, unusable};

pub(super) fn run(args: &CompactArgs) -> Result<(), Failed> {
    let folder = &args.store.storage_path;
    let Compacted { before, after } = Journal::compact(folder).map_err(unusable)?;
    let path = folder.join(FILE_NAME);
    say(format_args!("{}: {} before, {} now\n", path.display(), bytes(before), bytes(after)))
}
