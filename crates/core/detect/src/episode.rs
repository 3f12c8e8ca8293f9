//! Episodes: what makes a thousand observations one finding.

use crate::{
    Detector, Notice,
    finding::{Closing, Finding, FindingId, Number, OpenEpisode, Subject},
    settings::Rules,
    stats::Window,
};
use portreeve_types::UnixMillis;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

#[derive(Clone, Copy, Debug)]
struct Episode {
    id: FindingId,
    kind: Detector,
    last_ms: u64,
    quiet_ms: u64,
    count: u64,
}

impl Episode {
    const fn is_over(&self, clock_ms: u64) -> bool {
        clock_ms.saturating_sub(self.last_ms) > self.quiet_ms
    }
}

/// The open episodes of one subject; at most one for each detector, so their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Episodes(Vec<Episode>);

impl Episodes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn open<'a>(&'a self, clock_ms: u64, subject: &'a Subject) -> impl Iterator<Item = OpenEpisode> + 'a {
        self.0.iter().map(move |episode| OpenEpisode {
            id: episode.id,
            kind: episode.kind,
            subject: subject.clone(),
            count: episode.count,
            quiet_ms: clock_ms.saturating_sub(episode.last_ms),
        })
    }
}

/// An episode is not over before what was observed could have been observed this many times more.
const CADENCES_QUIET: u64 = 3;

/// Where findings are written down: what judging one observation needs besides the subject's own state.
pub(crate) struct Desk<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) is_learning: bool,
    pub(crate) clock_ms: u64,
    pub(crate) now: UnixMillis,
    pub(crate) numbers: &'a AtomicU32,
    pub(crate) is_canary: bool,
    pub(crate) out: &'a mut Vec<Notice>,
}

/// What there is to say about a new episode: a sentence and its numbers.
pub(crate) type Told = (String, Vec<Number>);

/// One of the numbers behind a finding.
pub(crate) fn number(name: &'static str, value: impl Into<f64>, unit: &'static str) -> Number {
    Number { name, value: value.into(), unit }
}

impl Desk<'_> {
    /// Writes down an observation of `kind`: as a new finding, or in the episode that is open. Whether it is new.
    pub(crate) fn raise(
        &mut self,
        episodes: &mut Episodes,
        kind: Detector,
        subject: impl FnOnce() -> Subject,
        told: impl FnOnce() -> Told,
    ) -> bool {
        self.raise_every(0, episodes, kind, subject, told)
    }

    /// The same for what can be observed only every `cadence_ms`: the episode is not over before it could have been observed again.
    pub(crate) fn raise_every(
        &mut self,
        cadence_ms: u64,
        episodes: &mut Episodes,
        kind: Detector,
        subject: impl FnOnce() -> Subject,
        told: impl FnOnce() -> Told,
    ) -> bool {
        if self.rules.is_off(kind) || self.goes_on(episodes, kind) {
            return false;
        }
        let subject = subject();
        self.close(episodes, &subject, |episode| episode.kind == kind);
        let quiet_ms = self.rules.quiet_ms().max(cadence_ms.saturating_mul(CADENCES_QUIET));
        let id = FindingId::new(self.now, self.numbers.fetch_add(1, Relaxed));
        episodes.0.push(Episode { id, kind, last_ms: self.clock_ms, quiet_ms, count: 1 });
        let ((text, numbers), row) = (told(), kind.row());
        self.out.push(Notice::Opened(Finding {
            id,
            kind,
            severity: row.severity,
            subject,
            opened: self.now,
            text,
            numbers,
            requirements: row.requirements,
            canary: self.is_canary,
        }));
        true
    }

    /// Counts one more and raises the finding at the `threshold`th within the window. While an episode is open nothing is
    /// remembered but its count, and after it counting begins anew.
    pub(crate) fn count(
        &mut self,
        episodes: &mut Episodes,
        window: &mut Window,
        kind: Detector,
        (threshold, window_s): (u32, u32),
        subject: impl FnOnce() -> Subject,
        what: impl FnOnce() -> String,
    ) -> bool {
        if self.rules.is_off(kind) || self.goes_on(episodes, kind) {
            return false;
        }
        if !window.hit(self.clock_ms, u64::from(window_s) * 1000, threshold) {
            return false;
        }
        self.raise(episodes, kind, subject, || {
            let numbers = vec![
                number("observed", threshold, "times"),
                number("threshold", threshold, "times"),
                number("window", window_s, "seconds"),
            ];
            (format!("{} {threshold} times within {window_s} s", what()), numbers)
        })
    }

    /// Whether an episode of this kind is open; if so it was observed once more.
    pub(crate) fn goes_on(&self, episodes: &mut Episodes, kind: Detector) -> bool {
        let Some(episode) = episodes.0.iter_mut().find(|episode| episode.kind == kind) else { return false };
        if episode.is_over(self.clock_ms) {
            return false;
        }
        episode.last_ms = self.clock_ms;
        episode.count += 1;
        true
    }

    /// Whether an episode of this kind is open.
    pub(crate) fn has_open(&self, episodes: &Episodes, kind: Detector) -> bool {
        episodes.0.iter().any(|episode| episode.kind == kind && !episode.is_over(self.clock_ms))
    }

    /// Ends the episodes that are over.
    pub(crate) fn expire(&mut self, episodes: &mut Episodes, subject: impl FnOnce() -> Subject) {
        if episodes.0.iter().any(|episode| episode.is_over(self.clock_ms)) {
            let clock_ms = self.clock_ms;
            self.close(episodes, &subject(), |episode| episode.is_over(clock_ms));
        }
    }

    fn close(&mut self, episodes: &mut Episodes, subject: &Subject, which: impl Fn(&Episode) -> bool) {
        for episode in episodes.0.extract_if(.., |episode| which(episode)) {
            self.out.push(Notice::Closed(Closing {
                id: episode.id,
                kind: episode.kind,
                subject: subject.clone(),
                closed: self.now,
                count: episode.count,
            }));
        }
        if episodes.is_empty() {
            episodes.0 = Vec::new();
        }
    }
}
