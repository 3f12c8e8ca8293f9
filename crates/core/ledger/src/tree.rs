//! Proofs over the tree of RFC 6962 §2.1, made of complete subtrees and verified without them.

use crate::Hash;

/// A complete subtree: that over the leaves from `index << level` up to `(index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Height above the leaves, at most 63.
    pub level: u32,
    /// Which of this level, from the left.
    pub index: u64,
}

/// Whoever can tell the hashes of complete subtrees, as from tiles.
pub trait Subtrees {
    /// Why one cannot be told.
    type Error;

    /// The hash of a complete subtree.
    ///
    /// # Errors
    /// It cannot be told.
    fn subtree(&self, node: Node) -> Result<Hash, Self::Error>;
}

/// The largest power of two below `count`, which is more than one (RFC 6962 §2.1).
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The hash of the entries from `start` to `end`, where `start` is a multiple of what `end - start` is at most.
pub(crate) fn range<S: Subtrees>(tree: &S, start: u64, end: u64) -> Result<Hash, S::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        let level = count.ilog2();
        return tree.subtree(Node { level, index: start >> level });
    }
    let middle = start + split(count);
    Ok(Hash::of_children(range(tree, start, middle)?, range(tree, middle, end)?))
}

/// What shows that the entry at `index` is in the tree of `size` entries, from the leaf up (RFC 6962 §2.1.1). Empty if it is
/// not in it.
///
/// # Errors
/// A subtree cannot be told.
pub fn inclusion_proof<S: Subtrees>(tree: &S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    if index >= size {
        return Ok(path);
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(tree, middle, end)?);
            end = middle;
        } else {
            path.push(range(tree, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// What shows that the tree of `new` entries continues that of `old` (RFC 6962 §2.1.2). Empty where nothing has to be shown.
///
/// # Errors
/// A subtree cannot be told.
pub fn consistency_proof<S: Subtrees>(tree: &S, old: u64, new: u64) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut start, mut end) = (0, new);
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range(tree, middle, end)?);
            end = middle;
        } else {
            path.push(range(tree, start, middle)?);
            start = middle;
        }
    }
    // The old root itself is known to whoever asks.
    if start > 0 {
        path.push(range(tree, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `leaf` is the hash of the entry at `index` in the tree of `size` entries and this root (RFC 9162 §2.1.3.2).
#[must_use]
pub fn is_included(leaf: Hash, index: u64, size: u64, root: Hash, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for &sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = Hash::of_children(sibling, hash);
            (node, last) = up_to_right_child(node, last);
        } else {
            hash = Hash::of_children(hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Whether the tree of `new` entries has those of the tree of `old` entries in front (RFC 9162 §2.1.4.2). Every tree
/// continues the empty one.
#[must_use]
pub fn is_consistent(old: u64, old_root: Hash, new: u64, new_root: Hash, path: &[Hash]) -> bool {
    if old == 0 {
        return path.is_empty() && old_root == Hash::of_nothing();
    }
    if old >= new {
        return old == new && path.is_empty() && old_root == new_root;
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    // A complete old tree is a node of the new one, and its root is not repeated in the path.
    let (first, rest) = match path.split_first() {
        _ if old.is_power_of_two() => (old_root, path),
        Some((&first, rest)) => (first, rest),
        None => return false,
    };
    let (mut in_old, mut in_new) = (first, first);
    for &sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            in_old = Hash::of_children(sibling, in_old);
            in_new = Hash::of_children(sibling, in_new);
            (node, last) = up_to_right_child(node, last);
        } else {
            in_new = Hash::of_children(in_new, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && in_old == old_root && in_new == new_root
}

/// Up past the levels on which the last node stands alone.
fn up_to_right_child(mut node: u64, mut last: u64) -> (u64, u64) {
    while node & 1 == 0 && node != 0 {
        (node, last) = (node >> 1, last >> 1);
    }
    (node, last)
}
