//! Files of a ledger: hashes in tiles of 256, and entries in bundles of as many.

use std::{fmt, ops::Range};

use crate::Hash;
use crate::tree::Node;

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// Levels of the tree in one tile.
const TILE_LEVELS: u32 = 8;

/// A file of hashes: `tile/<level>/<index>[.p/<width>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    level: u32,
    index: u64,
    width: u64,
}

impl TileId {
    /// The tile of a tree of `size` entries; nothing if it is empty there.
    #[must_use]
    pub fn of_tree(level: u32, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(TILE_LEVELS * level)?;
        let width = hashes.checked_sub(index.checked_mul(TILE_WIDTH)?)?.min(TILE_WIDTH);
        (width > 0).then_some(Self { level, index, width })
    }

    /// Every tile of a tree of `size` entries.
    pub fn all_of_tree(size: u64) -> impl Iterator<Item = Self> {
        let levels = (0..u64::BITS / TILE_LEVELS).take_while(move |level| size >> (TILE_LEVELS * level) > 0);
        levels.flat_map(move |level| (0..).map_while(move |index| Self::of_tree(level, index, size)))
    }

    pub(crate) fn full(level: u32, index: u64) -> Self {
        Self { level, index, width: TILE_WIDTH }
    }

    /// Where the hash of a complete subtree comes from: a tile of the tree of `size` entries, and which hashes of it.
    #[must_use]
    pub fn holding(node: Node, size: u64) -> Option<(Self, Range<usize>)> {
        let (level, height) = (node.level / TILE_LEVELS, node.level % TILE_LEVELS);
        let first = node.index.checked_mul(1 << height)?;
        let tile = Self::of_tree(level, first / TILE_WIDTH, size)?;
        let (start, count) = (first % TILE_WIDTH, 1 << height);
        // Both are at most TILE_WIDTH.
        let hashes = usize::try_from(start).ok()?..usize::try_from(start + count).ok()?;
        (start + count <= tile.width).then_some((tile, hashes))
    }

    /// The tile that has the hash of this one, if it is full, and where in it.
    pub(crate) fn above(self, size: u64) -> Option<(Self, usize)> {
        if self.width < TILE_WIDTH {
            return None;
        }
        let above = Self::of_tree(self.level + 1, self.index / TILE_WIDTH, size)?;
        Some((above, usize::try_from(self.index % TILE_WIDTH).ok()?))
    }

    /// How many tiles of 256 leaves high it stands.
    #[must_use]
    pub fn level(self) -> u32 {
        self.level
    }

    /// Its hashes.
    #[must_use]
    pub fn width(self) -> u64 {
        self.width
    }
}

/// A file of entries: `tile/entries/<index>[.p/<width>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId {
    index: u64,
    width: u64,
}

impl BundleId {
    /// The bundle of a ledger of `size` entries; nothing if it is empty there.
    #[must_use]
    pub fn of_tree(index: u64, size: u64) -> Option<Self> {
        TileId::of_tree(0, index, size).map(|TileId { index, width, .. }| Self { index, width })
    }

    /// Every bundle of a ledger of `size` entries.
    pub fn all_of_tree(size: u64) -> impl Iterator<Item = Self> {
        (0..).map_while(move |index| Self::of_tree(index, size))
    }

    /// Its entries.
    #[must_use]
    pub fn width(self) -> u64 {
        self.width
    }

    /// The tile of its entries' hashes.
    #[must_use]
    pub fn leaves(self) -> TileId {
        TileId { level: 0, index: self.index, width: self.width }
    }

    /// The number of its first entry.
    #[must_use]
    pub fn start(self) -> u64 {
        self.index * TILE_WIDTH
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_place(f, self.index, self.width)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_place(f, self.index, self.width)
    }
}

/// Three digits a folder, so that none has more than a thousand files; all but the last marked, so that no file is in the
/// way of a folder.
fn write_place(f: &mut fmt::Formatter<'_>, index: u64, width: u64) -> fmt::Result {
    let thousands = (1..).map(|power| index / 1000u64.pow(power)).take_while(|&rest| rest > 0).take(6);
    let mut folders: Vec<_> = thousands.collect();
    while let Some(folder) = folders.pop() {
        write!(f, "x{:03}/", folder % 1000)?;
    }
    write!(f, "{:03}", index % 1000)?;
    if width < TILE_WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
}

/// The hash over so many hashes of one level, their number being a power of two.
#[must_use]
pub(crate) fn fold(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [hash] => Some(*hash),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Some(Hash::of_children(fold(left)?, fold(right)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_the_specification_has_them() {
        let last_of = |size, index| TileId::of_tree(0, index, size).map(|tile| tile.to_string());
        assert_eq!(last_of(1_234_067 * 256 + 256, 1_234_067).as_deref(), Some("tile/0/x001/x234/067"));
        assert_eq!(last_of(70_000, 273).as_deref(), Some("tile/0/273.p/112"));
        assert_eq!(last_of(70_000, 274), None);
        assert_eq!(last_of(256, 0).as_deref(), Some("tile/0/000"));
        assert_eq!(
            BundleId::of_tree(1000, 256_001).map(|b| b.to_string()).as_deref(),
            Some("tile/entries/x001/000.p/1")
        );
        let most = TileId::of_tree(0, u64::MAX / 256, u64::MAX).map(|tile| tile.to_string());
        assert_eq!(most.as_deref(), Some("tile/0/x072/x057/x594/x037/x927/935.p/255"));
    }

    /// The example of tlog-tiles: 70,000 entries.
    #[test]
    fn a_tree_has_the_tiles_that_it_needs() {
        let tiles: Vec<_> = TileId::all_of_tree(70_000).collect();
        let of = |level, full| tiles.iter().filter(|t| t.level == level && (t.width == TILE_WIDTH) == full).count();
        assert_eq!([of(0, true), of(0, false), of(1, true), of(1, false), of(2, false)], [273, 1, 1, 1, 1]);
        assert_eq!(tiles.iter().filter(|t| t.width < TILE_WIDTH).map(|t| t.width).collect::<Vec<_>>(), [112, 17, 1]);
        let of_256: Vec<_> = TileId::all_of_tree(256).map(|tile| tile.to_string()).collect();
        assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(TileId::all_of_tree(0).count(), 0);
    }
}
