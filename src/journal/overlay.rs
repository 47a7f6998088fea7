//! A file that is only read: what the store writes while it opens and repairs goes to memory and is forgotten.
//!
//! A store that was not closed in order, as after a kill, has to be repaired before anything can be read from it, and a
//! check of it ends with a commit. Who only looks must not do either to the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// What was written is kept in pieces of this size.
const BLOCK: usize = 4096;

/// The file, and what would have been written to it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// Past this nothing is read from the file: it was cut off here, and grew again as zeros.
    from_file: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    /// Over a file that was opened for reading.
    pub(super) fn over(file: File) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(file)?;
        let len = file.len()?;
        Ok(Self { file, written: Mutex::new(Written { len, from_file: len, blocks: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // Nothing in here panics half-way.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands below everything that was written.
    fn below(&self, from_file: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = from_file.saturating_sub(offset).min(out.len() as u64) as usize;
        let (read, zero) = out.split_at_mut(there);
        zero.fill(0);
        if read.is_empty() { Ok(()) } else { self.file.read(offset, read) }
    }
}

/// The blocks that a range touches: the number of each, where the range begins in it, and how much of it it covers.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let begins = (at % BLOCK as u64) as usize;
        let length = (BLOCK - begins).min(len - done);
        done += length;
        (length > 0).then_some((at / BLOCK as u64, begins, length))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the file"));
        }
        self.below(written.from_file, offset, out)?;
        let mut done = 0;
        for (block, begins, length) in pieces(offset, out.len()) {
            if let Some(bytes) = written.blocks.get(&block) {
                out[done..done + length].copy_from_slice(&bytes[begins..begins + length]);
            }
            done += length;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        if len < written.len {
            written.from_file = written.from_file.min(len);
            let (last, kept) = (len / BLOCK as u64, (len % BLOCK as u64) as usize);
            let _ = written.blocks.split_off(&(last + 1));
            if let Some(bytes) = written.blocks.get_mut(&last) {
                bytes[kept..].fill(0);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let mut done = 0;
        for (block, begins, length) in pieces(offset, data.len()) {
            if !written.blocks.contains_key(&block) {
                let mut bytes = Box::new([0; BLOCK]);
                self.below(written.from_file, block * BLOCK as u64, &mut bytes[..])?;
                written.blocks.insert(block, bytes);
            }
            let bytes = written.blocks.get_mut(&block).expect("it is there or was just put there");
            bytes[begins..begins + length].copy_from_slice(&data[done..done + length]);
            done += length;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    /// Who only reads shares the file with others who do, and with no writer.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_like_the_file_it_would_have_become_and_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut expected: Vec<u8> = (0..3 * BLOCK + 100).map(|i| (i % 251) as u8).collect();
        let before = expected.clone();
        std::fs::write(&path, &before).unwrap();
        let overlay = Overlay::over(File::open(&path).unwrap()).unwrap();
        let agrees = |expected: &[u8]| {
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
            let mut all = vec![0xee; expected.len()];
            overlay.read(0, &mut all).unwrap();
            assert!(all == expected);
            let ranges = [(0, 0), (1, 10), (BLOCK - 1, 2), (BLOCK / 2, 3 * BLOCK / 2), (expected.len() - 1, 1)];
            for (from, len) in ranges {
                let mut part = vec![0xee; len];
                overlay.read(from as u64, &mut part).unwrap();
                assert_eq!(part, expected[from..from + len], "{from} {len}");
            }
            assert!(overlay.read(expected.len() as u64, &mut [0]).is_err(), "nothing is past the end");
        };
        agrees(&expected);
        for (from, len) in [(BLOCK - 3, 7), (2 * BLOCK, BLOCK), (3 * BLOCK + 99, 1), (5, 0)] {
            let data = vec![0xaa; len];
            overlay.write(from as u64, &data).unwrap();
            expected[from..from + len].copy_from_slice(&data);
            agrees(&expected);
        }
        // Cut off within a block that was written and one that was not, and grown again.
        for (short, long) in [(3 * BLOCK + 50, 5 * BLOCK), (2 * BLOCK + 9, 4 * BLOCK), (BLOCK / 2, 2 * BLOCK + 1)] {
            overlay.set_len(short as u64).unwrap();
            overlay.set_len(long as u64).unwrap();
            expected.truncate(short);
            expected.resize(long, 0);
            agrees(&expected);
            overlay.write(long as u64 - 1, &[7]).unwrap();
            expected[long - 1] = 7;
            agrees(&expected);
        }
        assert!(std::fs::read(&path).unwrap() == before);
    }
}
