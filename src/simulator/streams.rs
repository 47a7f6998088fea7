//! A bounded memory for rendered event streams.

use std::collections::HashMap;
use std::sync::Arc;

use super::hcompany::Stream;
use super::script::Id;

/// Rendered streams beyond this many bytes are dropped, least recently used first, and rendered again when asked for.
const STREAM_CACHE_BYTES: usize = 256 * 1024 * 1024;

/// Rendered event streams by session.
#[derive(Default)]
pub(super) struct StreamCache {
    streams: HashMap<Id, (u64, Arc<Stream>)>,
    bytes: usize,
    uses: u64,
}

impl StreamCache {
    pub(super) fn get(&mut self, id: Id) -> Option<Arc<Stream>> {
        self.uses += 1;
        let (used, stream) = self.streams.get_mut(&id)?;
        *used = self.uses;
        Some(stream.clone())
    }

    pub(super) fn put(&mut self, id: Id, stream: Arc<Stream>) {
        self.uses += 1;
        self.bytes += stream.len_bytes();
        if let Some((_, replaced)) = self.streams.insert(id, (self.uses, stream)) {
            self.bytes -= replaced.len_bytes();
        }
        if self.bytes > STREAM_CACHE_BYTES {
            let mut by_age: Vec<(u64, Id)> = self.streams.iter().map(|(id, (used, _))| (*used, *id)).collect();
            by_age.sort_unstable_by_key(|(used, _)| *used);
            for (_, id) in by_age {
                if self.bytes <= STREAM_CACHE_BYTES / 4 * 3 {
                    break;
                }
                self.remove(id);
            }
        }
    }

    pub(super) fn remove(&mut self, id: Id) {
        if let Some((_, stream)) = self.streams.remove(&id) {
            self.bytes -= stream.len_bytes();
        }
    }
}
