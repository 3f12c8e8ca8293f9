//! A table of subjects that never grows beyond its bound.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// How many rows are looked at for one that can go. All of them would cost a flood nothing and the hub everything.
const EVICTION_SAMPLE: usize = 16;

/// Rows by key, with a bound. The row of least interest among a sample makes room.
#[derive(Debug)]
pub(crate) struct Table<K, R> {
    index: HashMap<K, usize>,
    rows: Vec<(K, R)>,
    rows_max: usize,
    evict_at: usize,
    walk_at: usize,
}

/// What became of a key that was looked for.
pub(crate) enum Place<'a, R> {
    /// It was there, or there was room.
    Held(&'a mut R),
    /// It is there now, and a row of this interest went.
    Instead(&'a mut R, u64),
    /// Every row of the sample has to stay.
    Full,
}

impl<K: Clone + Eq + Hash, R> Table<K, R> {
    /// A table of at least one row.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self { index: HashMap::new(), rows: Vec::new(), rows_max: rows_max.max(1), evict_at: 0, walk_at: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn row<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut R>
    where
        K: Borrow<Q>,
    {
        self.index.get(key).map(|at| &mut self.rows[*at].1)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &(K, R)> {
        self.rows.iter()
    }

    /// The row of a key, made if it is not there. `interest` says which row goes first when the table is full: the one of the
    /// smallest number, and never one without a number.
    pub(crate) fn place<Q: Eq + Hash + ?Sized>(
        &mut self,
        key: &Q,
        make: impl FnOnce() -> (K, R),
        interest: impl Fn(&R) -> Option<u64>,
    ) -> Place<'_, R>
    where
        K: Borrow<Q>,
    {
        if let Some(at) = self.index.get(key) {
            return Place::Held(&mut self.rows[*at].1);
        }
        let mut gone = None;
        if self.rows.len() >= self.rows_max {
            let Some((at, least)) = self.least(interest) else { return Place::Full };
            self.remove_at(at);
            gone = Some(least);
        }
        let (key, row) = make();
        self.index.insert(key.clone(), self.rows.len());
        self.rows.push((key, row));
        let at = self.rows.len() - 1;
        let row = &mut self.rows[at].1;
        match gone {
            None => Place::Held(row),
            Some(interest) => Place::Instead(row, interest),
        }
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<R>
    where
        K: Borrow<Q>,
    {
        self.index.get(key).copied().map(|at| self.remove_at(at))
    }

    /// The next rows in turn, at most `count`, and no row twice in one call.
    pub(crate) fn walk(&mut self, count: usize, mut visit: impl FnMut(&K, &mut R)) {
        for _ in 0..count.min(self.rows.len()) {
            self.walk_at = (self.walk_at + 1) % self.rows.len();
            let (key, row) = &mut self.rows[self.walk_at];
            visit(key, row);
        }
    }

    fn least(&mut self, interest: impl Fn(&R) -> Option<u64>) -> Option<(usize, u64)> {
        let (from, len) = (self.evict_at, self.rows.len());
        self.evict_at = (from + 1) % len;
        // Spread over the whole table, for rows that came together stand together.
        let stride = len.div_ceil(EVICTION_SAMPLE);
        let sample = (0..len.div_ceil(stride)).map(|step| (from + step * stride) % len);
        sample.filter_map(|at| Some((at, interest(&self.rows[at].1)?))).min_by_key(|(_, interest)| *interest)
    }

    fn remove_at(&mut self, at: usize) -> R {
        let (key, row) = self.rows.swap_remove(at);
        self.index.remove(&key);
        if let Some((moved, _)) = self.rows.get(at) {
            self.index.insert(moved.clone(), at);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: &mut Table<u32, Option<u64>>, key: u32, interest: Option<u64>) -> &'static str {
        match table.place(&key, || (key, interest), |row| *row) {
            Place::Held(_) => "held",
            Place::Instead(..) => "instead",
            Place::Full => "full",
        }
    }

    #[test]
    fn the_least_interesting_goes_and_what_must_stay_stays() {
        let mut table = Table::new(3);
        for (key, interest) in [(1, Some(5)), (2, None), (3, Some(9))] {
            assert_eq!(put(&mut table, key, interest), "held");
        }
        assert_eq!(put(&mut table, 4, None), "instead");
        assert!(table.row(&1).is_none() && table.row(&2).is_some() && table.row(&3).is_some());
        assert_eq!(put(&mut table, 5, None), "instead");
        assert_eq!(put(&mut table, 6, Some(100)), "full");
        assert_eq!(table.len(), 3);
        assert!(table.remove(&2).is_some() && table.row(&2).is_none());
        assert_eq!(put(&mut table, 6, Some(100)), "held");
        for key in [4, 5, 6] {
            assert!(table.row(&key).is_some());
        }
    }

    #[test]
    fn a_walk_comes_to_everybody() {
        let mut table = Table::new(10);
        (0..10).for_each(|key| _ = put(&mut table, key, Some(0)));
        let mut seen = Vec::new();
        for _ in 0..4 {
            table.walk(3, |key, _| seen.push(*key));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10);
    }
}
