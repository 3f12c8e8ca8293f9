//! Counting every event, and logging as many as a log is good for.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{Event, Kind, Severity};

/// Log lines of one kind in one second; what is beyond is counted and told in one line of the next second.
pub const LOG_LINES_PER_KIND_PER_S: u32 = 20;

/// Where events are counted and logged.
#[derive(Debug)]
pub struct Events {
    counts: Vec<AtomicU64>,
    windows: Mutex<Vec<Window>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    second: u64,
    lines: u32,
    suppressed: u64,
}

impl Default for Events {
    fn default() -> Self {
        let counts = Kind::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self { counts, windows: Mutex::new(vec![Window::default(); Kind::ALL.len()]) }
    }
}

impl Events {
    /// Counts and logs an event. `now_s` is any clock's whole seconds.
    pub fn emit(&self, now_s: u64, event: &Event<'_>) {
        let index = event.kind as usize;
        self.counts[index].fetch_add(1, Relaxed);
        let Some(suppressed) = self.admit(index, now_s) else { return };
        if suppressed > 0 {
            tracing::warn!(
                event = event.kind.as_str(),
                suppressed,
                "more events of this kind were counted, not logged"
            );
        }
        log(event);
    }

    /// How often a kind occurred since the start.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize].load(Relaxed)
    }

    /// `None` if this second's lines are used up, else how many were suppressed in the window before.
    fn admit(&self, index: usize, now_s: u64) -> Option<u64> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = &mut windows[index];
        let mut told = 0;
        if window.second != now_s {
            told = window.suppressed;
            *window = Window { second: now_s, lines: 0, suppressed: 0 };
        }
        if window.lines >= LOG_LINES_PER_KIND_PER_S {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(told)
    }
}

fn log(event: &Event<'_>) {
    let Event { kind, actor, identity, client_id, source, detail, data } = event;
    let source = source.map(tracing::field::display);
    let data = (!data.is_empty()).then(|| tracing::field::debug(data));
    macro_rules! write {
        ($level:ident) => {
            tracing::$level!(event = kind.as_str(), actor, identity, client_id, source, data, "{detail}")
        };
    }
    match kind.severity() {
        Severity::Info => write!(info),
        Severity::Warning => write!(warn),
        Severity::Error => write!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_whole_and_logged_in_part() {
        let events = Events::default();
        let index = Kind::PublishDenied as usize;
        let logged = (0..1000).filter(|_| events.admit(index, 1).is_some()).count();
        assert_eq!(logged, LOG_LINES_PER_KIND_PER_S as usize);
        assert_eq!(events.admit(index, 2), Some(1000 - u64::from(LOG_LINES_PER_KIND_PER_S)));
        events.emit(2, &Event::new(Kind::PublishDenied, format_args!("x")));
        assert_eq!(events.count(Kind::PublishDenied), 1);
    }

    #[test]
    fn a_flood_of_one_kind_does_not_hide_the_first_of_another() {
        let events = Events::default();
        (0..1000).for_each(|_| _ = events.admit(Kind::PublishDenied as usize, 1));
        assert_eq!(events.admit(Kind::WillDenied as usize, 1), Some(0));
    }
}
