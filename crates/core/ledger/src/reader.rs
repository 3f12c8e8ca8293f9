//! A part of a ledger against its head: what is read is proved by the tiles above it, and not by the whole ledger.

use std::{cell::RefCell, collections::BTreeMap};

use crate::{
    AuditError, BundleId, Checkpoint, Hash, Node, Resources, RightEdge, Subtrees, TILE_WIDTH, TileId,
    audit::{read, read_bundle, read_tile},
    tile::fold,
    tree::range,
};

/// Reads a ledger of a given head. Whatever it gives out follows from the root of that head; a read costs one file of entries and,
/// for each 256-fold of the ledger's size, one tile.
#[derive(Debug)]
pub struct Reader<'a, R> {
    files: &'a R,
    head: &'a Checkpoint,
    /// The partial tiles: together they are the root.
    edge: RightEdge,
    /// Full tiles that were proved: above the leaves, one for at least 65,536 entries, and the last one of leaves.
    proved: RefCell<BTreeMap<TileId, Vec<Hash>>>,
}

impl<'a, R: Resources> Reader<'a, R> {
    /// # Errors
    /// [`AuditError`]: the right edge is not that of the head.
    pub fn open(files: &'a R, head: &'a Checkpoint) -> Result<Self, AuditError<R::Error>> {
        let root = AuditError::Root { size: head.size };
        match RightEdge::resume(head.size, |tile| read_tile(files, tile))? {
            Some(edge) if edge.root() == head.root => Ok(Self { files, head, edge, proved: RefCell::default() }),
            _ => Err(root),
        }
    }

    /// The head that everything is proved by.
    #[must_use]
    pub fn head(&self) -> &Checkpoint {
        self.head
    }

    /// The entries of a bundle.
    ///
    /// # Errors
    /// [`AuditError`]: there is no such bundle, or it is not that of the head.
    pub fn entries(&self, bundle: BundleId) -> Result<Vec<Vec<u8>>, AuditError<R::Error>> {
        let path = bundle.to_string();
        let entries: Vec<_> = {
            let bytes = read(self.files, &path)?;
            read_bundle(bundle, &bytes)?.into_iter().map(<[u8]>::to_vec).collect()
        };
        let leaves = self.leaves(bundle.start())?;
        let is_whole = entries.iter().map(|entry| Hash::of_leaf(entry)).eq(leaves);
        if is_whole { Ok(entries) } else { Err(AuditError::Entries(path)) }
    }

    /// Whether this is the entry of that number.
    ///
    /// # Errors
    /// [`AuditError`]: the hashes that would tell are not those of the head.
    pub fn is_entry(&self, number: u64, entry: &[u8]) -> Result<bool, AuditError<R::Error>> {
        Ok(number < self.head.size && self.subtree(Node { level: 0, index: number })? == Hash::of_leaf(entry))
    }

    /// The root over the first entries.
    ///
    /// # Errors
    /// [`AuditError`]: there are not so many, or a tile is not that of the head.
    pub fn root_of(&self, size: u64) -> Result<Hash, AuditError<R::Error>> {
        match size {
            0 => Ok(Hash::of_nothing()),
            _ if size > self.head.size => Err(AuditError::Beyond { size: self.head.size }),
            _ => range(self, 0, size),
        }
    }

    /// The hashes of the entries in the bundle of this entry.
    fn leaves(&self, number: u64) -> Result<Vec<Hash>, AuditError<R::Error>> {
        let tile = TileId::of_tree(0, number / TILE_WIDTH, self.head.size);
        self.tile(tile.ok_or(AuditError::Beyond { size: self.head.size })?)
    }

    /// A tile that follows from the root: a partial one is of the right edge, a full one has its hash in the tile above.
    fn tile(&self, tile: TileId) -> Result<Vec<Hash>, AuditError<R::Error>> {
        if let Some((_, hashes)) = self.edge.partial_tiles().find(|(id, _)| *id == tile) {
            return Ok(hashes.to_vec());
        }
        if let Some(hashes) = self.proved.borrow().get(&tile) {
            return Ok(hashes.clone());
        }
        let hashes = read_tile(self.files, tile)?;
        let (above, place) = tile.above(self.head.size).ok_or_else(|| AuditError::Tile(tile.to_string()))?;
        if self.tile(above)?.get(place).copied() != fold(&hashes) {
            return Err(AuditError::Tile(tile.to_string()));
        }
        let mut proved = self.proved.borrow_mut();
        if tile.level() == 0 {
            proved.retain(|id, _| id.level() > 0);
        }
        proved.insert(tile, hashes.clone());
        Ok(hashes)
    }
}

impl<R: Resources> Subtrees for Reader<'_, R> {
    type Error = AuditError<R::Error>;

    fn subtree(&self, node: Node) -> Result<Hash, Self::Error> {
        let beyond = || AuditError::Beyond { size: self.head.size };
        let (tile, hashes) = TileId::holding(node, self.head.size).ok_or_else(beyond)?;
        let tile = self.tile(tile)?;
        tile.get(hashes).and_then(fold).ok_or_else(beyond)
    }
}
