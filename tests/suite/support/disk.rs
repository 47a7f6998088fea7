//! A disk in memory that fails on command, and that can lose what was not synced.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    /// What every write since the last sync replaced, and the length that it found, in order.
    unsynced: Vec<(usize, Vec<u8>, usize)>,
    changes: u64,
    /// Changes from this one on, up to the second, fail.
    broken: Option<(u64, u64)>,
}

impl Disk {
    pub fn holding(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(Inner { bytes: bytes.to_vec(), ..Inner::default() })))
    }

    /// After so many further changes, so many fail.
    pub fn fail(&self, after: u64, count: u64) {
        let mut inner = self.inner();
        let first = inner.changes + after;
        inner.broken = Some((first, first.saturating_add(count)));
    }

    pub fn mend(&self) {
        self.inner().broken = None;
    }

    /// Writes, syncs and changes of length so far.
    pub fn changes(&self) -> u64 {
        self.inner().changes
    }

    /// What is there after the power failed: what was synced, and nothing since.
    pub fn after_power_failure(&self) -> Self {
        let inner = self.inner();
        let mut bytes = inner.bytes.clone();
        for (from, replaced, len) in inner.unsynced.iter().rev() {
            bytes.resize(*len, 0);
            bytes[*from..from + replaced.len()].copy_from_slice(replaced);
        }
        Self::holding(&bytes)
    }

    /// Everything on it.
    pub fn bytes(&self) -> Vec<u8> {
        self.inner().bytes.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) -> io::Result<()> {
        let mut inner = self.inner();
        let number = inner.changes;
        inner.changes += 1;
        if inner.broken.is_some_and(|(first, end)| (first..end).contains(&number)) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        }
        change(&mut inner);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = inner.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.change(|inner| {
            let before = inner.bytes.len();
            let cut = inner.bytes.get(len..).unwrap_or_default().to_vec();
            inner.unsynced.push((len.min(before), cut, before));
            inner.bytes.resize(len, 0);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|inner| inner.unsynced.clear())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(|inner| {
            let place = &mut inner.bytes[from..from + data.len()];
            let replaced = place.to_vec();
            place.copy_from_slice(data);
            let len = inner.bytes.len();
            inner.unsynced.push((from, replaced, len));
        })
    }
}
