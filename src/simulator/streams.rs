//! A bounded memory for rendered event streams.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Rendered streams beyond this many bytes are dropped, least recently used first, and rendered again when asked for.
const STREAM_CACHE_BYTES: usize = 256 * 1024 * 1024;

/// Something rendered that takes memory.
pub(super) trait Rendered {
    /// Memory taken.
    fn len_bytes(&self) -> usize;
}

/// Rendered event streams by session.
pub(super) struct StreamCache<K, S> {
    streams: HashMap<K, (u64, Arc<S>)>,
    bytes: usize,
    uses: u64,
}

impl<K, S> Default for StreamCache<K, S> {
    fn default() -> Self {
        Self { streams: HashMap::new(), bytes: 0, uses: 0 }
    }
}

impl<K: Copy + Eq + Hash + Ord, S: Rendered> StreamCache<K, S> {
    pub(super) fn get(&mut self, id: K) -> Option<Arc<S>> {
        self.uses += 1;
        let (used, stream) = self.streams.get_mut(&id)?;
        *used = self.uses;
        Some(stream.clone())
    }

    pub(super) fn put(&mut self, id: K, stream: Arc<S>) {
        self.uses += 1;
        self.bytes += stream.len_bytes();
        if let Some((_, replaced)) = self.streams.insert(id, (self.uses, stream)) {
            self.bytes -= replaced.len_bytes();
        }
        if self.bytes > STREAM_CACHE_BYTES {
            let mut by_age: Vec<(u64, K)> = self.streams.iter().map(|(id, (used, _))| (*used, *id)).collect();
            by_age.sort_unstable_by_key(|(used, _)| *used);
            for (_, id) in by_age {
                if self.bytes <= STREAM_CACHE_BYTES / 4 * 3 {
                    break;
                }
                self.remove(id);
            }
        }
    }

    pub(super) fn remove(&mut self, id: K) {
        if let Some((_, stream)) = self.streams.remove(&id) {
            self.bytes -= stream.len_bytes();
        }
    }
}
