//! A disk in memory that fails on command, and that can lose what was not synced.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What a full disk counts room by.
const BLOCK: usize = 4096;

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// After so many further changes (writes, syncs, changes of length), so many fail and leave nothing.
    Refuses { after: u64, count: u64 },
    /// The same, but of a write that fails the first half is there.
    Tears { after: u64, count: u64 },
    /// So many syncs fail; what is written waits for the next one.
    CannotSync(u64),
    /// So many reads fail.
    CannotRead(u64),
    /// What is there can be written over, but there is no room for more. A file may still be made longer: that costs
    /// nothing until something is written there.
    Full,
    /// The file cannot become longer.
    TooLong,
}

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// As whoever reads it sees it.
    bytes: Vec<u8>,
    /// As it is when the power has failed and nothing more was written.
    platter: Vec<u8>,
    /// What happened since the last sync, in order.
    unsynced: Vec<Change>,
    changes: u64,
    /// What is wrong, and how many changes there had been when it began.
    trouble: Option<(Trouble, u64)>,
    /// How much has room of its own: what was ever written, in blocks.
    written: Vec<bool>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(from, data) => {
                // A length that was not kept does not keep out what was written past it.
                bytes.resize(bytes.len().max(from + data.len()), 0);
                bytes[*from..from + data.len()].copy_from_slice(data);
            }
            Self::Len(len) => bytes.resize(*len, 0),
        }
    }

    fn blocks(&self) -> std::ops::Range<usize> {
        match self {
            Self::Write(from, data) => from / BLOCK..(from + data.len()).div_ceil(BLOCK),
            Self::Len(_) => 0..0,
        }
    }
}

impl Disk {
    pub fn holding(bytes: &[u8]) -> Self {
        let written = vec![true; bytes.len().div_ceil(BLOCK)];
        Self(Arc::new(Mutex::new(Inner {
            bytes: bytes.to_vec(),
            platter: bytes.to_vec(),
            written,
            ..Inner::default()
        })))
    }

    /// After so many further changes, so many fail.
    pub fn fail(&self, after: u64, count: u64) {
        self.trouble(Trouble::Refuses { after, count });
    }

    pub fn trouble(&self, trouble: Trouble) {
        let mut inner = self.inner();
        inner.trouble = Some((trouble, inner.changes));
    }

    pub fn mend(&self) {
        self.inner().trouble = None;
    }

    /// Whether anything is wrong still.
    pub fn is_broken(&self) -> bool {
        self.inner().trouble.is_some()
    }

    /// Writes, syncs and changes of length so far.
    pub fn changes(&self) -> u64 {
        self.inner().changes
    }

    /// What is there after the power failed: what was synced, and nothing since.
    pub fn after_power_failure(&self) -> Self {
        self.after_power_failure_keeping(|| false)
    }

    /// The same, but of what was not synced some had got there all the same, in no particular order: what `keeps` says of
    /// each change in turn.
    pub fn after_power_failure_keeping(&self, mut keeps: impl FnMut() -> bool) -> Self {
        let inner = self.inner();
        let mut bytes = inner.platter.clone();
        inner.unsynced.iter().filter(|_| keeps()).for_each(|change| change.apply(&mut bytes));
        Self::holding(&bytes)
    }

    /// What is there after the process alone has ended: everything.
    pub fn after_kill(&self) -> Self {
        Self::holding(&self.inner().bytes)
    }

    /// Everything on it.
    pub fn bytes(&self) -> Vec<u8> {
        self.inner().bytes.clone()
    }

    /// How long it is.
    pub fn size(&self) -> usize {
        self.inner().bytes.len()
    }

    /// How much memory it takes.
    pub fn held(&self) -> usize {
        let inner = self.inner();
        let change = |change: &Change| {
            size_of::<Change>() + if let Change::Write(_, data) = change { data.capacity() } else { 0 }
        };
        let unsynced: usize = inner.unsynced.iter().map(change).sum();
        inner.bytes.capacity() + inner.platter.capacity() + inner.written.capacity() + unsynced
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

impl Inner {
    fn change(&mut self, change: Change) -> io::Result<()> {
        let number = self.changes;
        self.changes += 1;
        let failing = |began: u64, after: u64, count: u64| {
            let first = began + after;
            (first..first.saturating_add(count)).contains(&number)
        };
        match self.trouble {
            Some((Trouble::Refuses { after, count }, began)) if failing(began, after, count) => return Err(full()),
            Some((Trouble::Tears { after, count }, began)) if failing(began, after, count) => {
                if let Change::Write(from, mut data) = change {
                    data.truncate(data.len() / 2);
                    self.take(Change::Write(from, data));
                }
                return Err(full());
            }
            Some((Trouble::Full, _)) if change.blocks().any(|block| self.written.get(block) != Some(&true)) => {
                return Err(full());
            }
            Some((Trouble::TooLong, _)) if matches!(change, Change::Len(len) if len > self.bytes.len()) => {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            _ => {}
        }
        self.take(change);
        Ok(())
    }

    fn take(&mut self, change: Change) {
        let blocks = change.blocks();
        self.written.resize(self.written.len().max(blocks.end), false);
        self.written[blocks].fill(true);
        change.apply(&mut self.bytes);
        self.unsynced.push(change);
    }

    fn sync(&mut self) -> io::Result<()> {
        let number = self.changes;
        self.changes += 1;
        match &mut self.trouble {
            Some((Trouble::Refuses { after, count } | Trouble::Tears { after, count }, began)) => {
                let first = *began + *after;
                if (first..first.saturating_add(*count)).contains(&number) {
                    return Err(full());
                }
            }
            Some((Trouble::CannotSync(left), _)) if *left > 0 => {
                *left -= 1;
                return Err(io::Error::other("input/output error"));
            }
            _ => {}
        }
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.platter);
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.inner();
        if let Some((Trouble::CannotRead(left), _)) = &mut inner.trouble
            && *left > 0
        {
            *left -= 1;
            return Err(io::Error::other("input/output error"));
        }
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = inner.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.inner().change(Change::Len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let mut inner = self.inner();
        assert!(from + data.len() <= inner.bytes.len(), "a write past the end");
        inner.change(Change::Write(from, data.to_vec()))
    }
}
