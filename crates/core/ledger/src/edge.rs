//! The right edge of a growing tree: all that has to be known to append to it.

use crate::{
    Hash, TileId,
    tile::{TILE_WIDTH, fold},
};

/// A tile that will never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// Which.
    pub id: TileId,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
}

/// A tree by its size and its partial tiles, at most 255 hashes for each of at most eight levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RightEdge {
    size: u64,
    /// The partial tile of each level, from the leaves up.
    levels: Vec<Vec<Hash>>,
}

impl RightEdge {
    /// A tree that was written before. `read` gives the hashes of its partial tiles; nothing if they are not as many as they must
    /// be.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn resume<E>(size: u64, mut read: impl FnMut(TileId) -> Result<Vec<Hash>, E>) -> Result<Option<Self>, E> {
        let mut levels = Vec::new();
        for (level, hashes) in levels_of(size) {
            let partial = match TileId::of_tree(level, hashes / TILE_WIDTH, size) {
                Some(tile) => read(tile)?,
                None => Vec::new(),
            };
            if partial.len() as u64 != hashes % TILE_WIDTH {
                return Ok(None);
            }
            levels.push(partial);
        }
        Ok(Some(Self { size, levels }))
    }

    /// Entries so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of an entry. Tiles that become full by it are put behind `full`, from the leaves up.
    pub fn append(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        let mut hash = leaf;
        self.size += 1;
        for (level, hashes) in levels_of(self.size) {
            let at = level as usize;
            if at == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[at].push(hash);
            if hashes % TILE_WIDTH != 0 {
                return;
            }
            let complete = std::mem::take(&mut self.levels[at]);
            // There are 256, which is a power of two.
            hash = fold(&complete).unwrap_or(hash);
            full.push(FullTile { id: TileId::full(level, hashes / TILE_WIDTH - 1), hashes: complete });
        }
    }

    /// The tiles that are not full, from the leaves up.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (TileId, &[Hash])> {
        levels_of(self.size).zip(&self.levels).filter_map(|((level, hashes), partial)| {
            let tile = TileId::of_tree(level, hashes / TILE_WIDTH, self.size)?;
            Some((tile, partial.as_slice()))
        })
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        // From the right: the smallest complete subtree is the last.
        let mut root = None;
        for partial in &self.levels {
            let mut left = partial.as_slice();
            while !left.is_empty() {
                let (rest, subtree) = left.split_at(left.len() - (1 << left.len().trailing_zeros()));
                let Some(hash) = fold(subtree) else { break };
                root = Some(root.map_or(hash, |right| Hash::of_children(hash, right)));
                left = rest;
            }
        }
        root.unwrap_or_else(Hash::of_nothing)
    }
}

/// The tile levels of a tree, and how many hashes each has.
fn levels_of(size: u64) -> impl Iterator<Item = (u32, u64)> {
    (0..8).map(move |level| (level, size >> (8 * level))).take_while(|(_, hashes)| *hashes > 0)
}
