//! The tree against RFC 6962 word for word, and its proofs against everything that is not one.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ledger, naive_root};
use portreeve_ledger::{Hash, RightEdge, TileId, consistency_proof, inclusion_proof, is_consistent, is_included};
use proptest::prelude::*;

/// The inputs and roots that implementations of RFC 6962 share.
#[test]
fn roots_are_those_of_other_implementations() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (count, root) in roots.iter().enumerate() {
        let entries = inputs[..count].iter().map(|input| hex::decode(input).unwrap());
        assert_eq!(hex::encode(Ledger::of(entries).head().root.0), *root, "{count} entries");
    }
}

/// Every proof of every small tree, and that it shows nothing else.
#[test]
fn proofs_show_what_they_show_and_nothing_else() {
    const MOST: u64 = 20;
    let trees: Vec<_> = (0..=MOST).map(Ledger::numbered).collect();
    for tree in &trees {
        let (size, root) = (tree.edge.size(), tree.edge.root());
        for index in 0..size {
            let leaf = Hash::of_leaf(&tree.entries[usize::try_from(index).unwrap()]);
            let Ok(path) = inclusion_proof(tree, index, size);
            assert!(is_included(leaf, index, size, root, &path));
            for other in (0..=MOST).filter(|other| *other != index) {
                assert!(!is_included(leaf, other, size, root, &path), "{index} of {size} as {other}");
            }
            hostile(&path, |path| is_included(leaf, index, size, root, path));
        }
        for older in &trees[..=usize::try_from(size).unwrap()] {
            let (old, old_root) = (older.edge.size(), older.edge.root());
            let Ok(path) = consistency_proof(tree, old, size);
            assert!(is_consistent(old, old_root, size, root, &path), "{old} to {size}");
            let fork = Hash::of_leaf(b"fork");
            assert!(!is_consistent(old, fork, size, root, &path));
            assert!(old == 0 || !is_consistent(old, old_root, size, fork, &path));
            if old > 0 && old < size {
                hostile(&path, |path| is_consistent(old, old_root, size, root, path));
            }
        }
    }
    assert!(!is_consistent(3, trees[3].edge.root(), 2, trees[2].edge.root(), &[]), "a shorter tree continues none");
}

/// No path with a hash changed, missing, added or exchanged is accepted.
fn hostile(path: &[Hash], accepts: impl Fn(&[Hash]) -> bool) {
    for at in 0..path.len() {
        let mut changed = path.to_vec();
        changed[at].0[at % 32] ^= 1;
        assert!(!accepts(&changed));
        let mut cut = path.to_vec();
        cut.remove(at);
        assert!(!accepts(&cut));
        let mut exchanged = path.to_vec();
        exchanged.swap(at, 0);
        assert!(at == 0 || !accepts(&exchanged));
    }
    for at in 0..=path.len() {
        let mut added = path.to_vec();
        added.insert(at, Hash::of_leaf(b"added"));
        assert!(!accepts(&added));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Beyond a tile and beyond a tile of tiles, the tree is the same, whether it grew in one go or was resumed.
    #[test]
    fn large_trees_are_those_of_the_specification(size in 0u64..70_000, cut in 0u64..70_000, index in 0u64..70_000) {
        let tree = Ledger::numbered(size);
        prop_assert_eq!(tree.edge.root(), naive_root(&tree.entries));
        let cut = cut.min(size);
        let older = Ledger::numbered(cut);
        let read = |tile: TileId| Ok::<_, ()>(Hash::list(&older.files[&tile.to_string()]).unwrap());
        let mut resumed = RightEdge::resume(cut, read).unwrap().unwrap();
        let rest = &tree.entries[usize::try_from(cut).unwrap()..];
        rest.iter().for_each(|entry| resumed.append(Hash::of_leaf(entry), &mut Vec::new()));
        prop_assert_eq!(&resumed, &tree.edge);
        let Ok(path) = consistency_proof(&tree, cut, size);
        prop_assert!(is_consistent(cut, older.edge.root(), size, tree.edge.root(), &path));
        if index < size {
            let Ok(path) = inclusion_proof(&tree, index, size);
            let leaf = Hash::of_leaf(&tree.entries[usize::try_from(index).unwrap()]);
            prop_assert!(is_included(leaf, index, size, tree.edge.root(), &path));
            prop_assert!(path.len() <= 17);
        }
    }

    #[test]
    fn verifiers_withstand_any_numbers(index: u64, size: u64, old: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let path: Vec<_> = hashes.into_iter().map(Hash).collect();
        let root = Hash::of_leaf(b"root");
        prop_assert!(!is_included(Hash::of_leaf(b"x"), index, size, root, &path));
        prop_assert!(old == size || !is_consistent(old, Hash::of_leaf(b"old"), size, root, &path));
    }
}
