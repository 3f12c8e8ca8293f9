//! So that no peer takes all of a door's places.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;

/// How many places each peer has, of those that each may have. Peers without a place are not remembered.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    per_peer_max: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// A place, as long as it is there.
#[derive(Debug)]
pub(crate) struct Share<K: Copy + Eq + Hash> {
    of: Arc<Shares<K>>,
    peer: K,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    pub(crate) fn new(per_peer_max: usize) -> Arc<Self> {
        Arc::new(Self { per_peer_max, taken: Mutex::default() })
    }

    /// One more place for this peer, if it may have one.
    pub(crate) fn take(self: &Arc<Self>, peer: K) -> Option<Share<K>> {
        let mut taken = self.taken.lock();
        let count = taken.entry(peer).or_default();
        if *count >= self.per_peer_max {
            return None;
        }
        *count += 1;
        Some(Share { of: Arc::clone(self), peer })
    }
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock();
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_share_and_gives_it_back() {
        let shares = Shares::new(2);
        let held: Vec<_> = (0..2).map(|_| shares.take(7).unwrap()).collect();
        assert!(shares.take(7).is_none() && shares.take(8).is_some());
        drop(held);
        assert!(shares.taken.lock().is_empty());
        assert!(shares.take(7).is_some());
    }
}
