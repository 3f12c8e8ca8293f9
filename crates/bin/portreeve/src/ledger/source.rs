//! Where entries come from: the running hub, or the files in its data directory while none runs.

use portreeve_events::Opening;
use portreeve_hub::{AdminRequest, LedgerExtract, LedgerPlace};
use portreeve_ledger::{TILE_WIDTH, VerifierKey};
use portreeve_ledger_files::{PAGE_BUNDLES_MAX, PageError, Proved};

use crate::{admin::Administration, cli::Global, failure::Failure};

pub(super) struct Source {
    key: VerifierKey,
    way: Way,
}

enum Way {
    Hub(Box<Administration>),
    Files(LedgerPlace),
}

impl Source {
    pub(super) fn open(global: &Global) -> Result<Self, Failure> {
        let hub = Administration::new(global)?;
        if let Some(outcome) = hub.if_running(&AdminRequest::LedgerKey)? {
            let key = outcome.result["key"].as_str().and_then(|key| key.parse().ok());
            let key = key.ok_or_else(|| Failure::Unreachable("the hub's answer has no key".into()))?;
            return Ok(Self { key, way: Way::Hub(Box::new(hub)) });
        }
        let place = LedgerPlace::of_hub(&global.data);
        let key = place.key().map_err(|error| {
            let data = global.data.display();
            Failure::Unreachable(format!(
                "no hub is running in {data}, and there is no ledger that can be read: {error}"
            ))
        })?;
        Ok(Self { key, way: Way::Files(place) })
    }

    pub(super) fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Entries from the one of number `from`, or the last ones, as far as whole files go; they are proved.
    pub(super) fn read(&self, from: Option<u64>, bundles: u64) -> Result<(Proved, Vec<Opening>), Failure> {
        match &self.way {
            Way::Hub(hub) => {
                let outcome = hub.live(&AdminRequest::LedgerRead { from, bundles })?;
                let broken = |error| Failure::Unreachable(format!("the hub's answer is not understood: {error}"));
                let LedgerExtract { page, personal } = serde_json::from_value(outcome.result).map_err(broken)?;
                let proved = page.prove(&self.key).map_err(|error| damaged(&error))?;
                Ok((proved, personal.into_iter().filter(Opening::is_true).collect()))
            }
            Way::Files(place) => {
                let (LedgerExtract { personal, .. }, proved) =
                    place.read(&self.key, from, bundles).map_err(|error| damaged(&error))?;
                Ok((proved, personal))
            }
        }
    }

    /// Calls `take` with pages from the entry of this number on, until it wants no more or there are no more.
    pub(super) fn each_page(
        &self,
        from: u64,
        mut take: impl FnMut(&Proved, Vec<Opening>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut next = from;
        loop {
            let (proved, openings) = self.read(Some(next), PAGE_BUNDLES_MAX)?;
            let until = proved.first.saturating_add(proved.entries.len() as u64);
            if until <= next || !take(&proved, openings)? || until >= proved.head.size {
                return Ok(());
            }
            next = until;
        }
    }

    /// The first entry of the first file whose last entry is not before this time, by binary search: `is_before` tells of an entry.
    pub(super) fn first_not(&self, is_before: impl Fn(&[u8]) -> bool) -> Result<u64, Failure> {
        let (last, _) = self.read(None, 1)?;
        let first = last.truncation.as_ref().map_or(0, |truncation| truncation.first);
        let (mut low, mut high) = (first / TILE_WIDTH, last.head.size.div_ceil(TILE_WIDTH));
        while low < high {
            let middle = low.midpoint(high);
            let (page, _) = self.read(Some(middle * TILE_WIDTH), 1)?;
            match page.entries.last() {
                Some(entry) if is_before(entry) => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low * TILE_WIDTH)
    }
}

fn damaged(error: &PageError) -> Failure {
    Failure::CheckFailed(format!("the ledger is not to be believed: {error}"))
}
