//! Periodic work that private keys are needed for. A token or TPM takes its time and may never answer, so this work has a
//! thread of its own, for which the clock, with wills, expiry and the watchdog, does not wait.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use parking_lot::Mutex;
use portreeve_events::Kind as EventKind;

use crate::{Hub, Now, listener::Retry, succession::Watch};

/// How often it is looked whether certificates are to be renewed.
const LOOK_EVERY_MS: u64 = 60_000;
/// A custody that takes longer is said to be stuck: the slowest TPM makes a key in some seconds.
const STUCK_MS: u64 = 60_000;

/// What is tried again, and since when something is being done.
#[derive(Debug, Default)]
pub(crate) struct KeyDuties {
    state: Mutex<State>,
    /// Monotonic milliseconds; 0 while nothing is done.
    busy_since_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    looked_ms: u64,
    hub_certificate: Retry,
    cas: Watch,
}

impl KeyDuties {
    fn is_stuck(&self, now: Now) -> bool {
        let since_ms = self.busy_since_ms.load(Acquire);
        since_ms > 0 && now.mono_ms.saturating_sub(since_ms) >= STUCK_MS
    }
}

impl Hub {
    /// Replaces issuing CAs and the listeners' certificate when they are due. The shell calls this about once a second, from
    /// a thread for which nothing waits: it returns when the custody of the keys has answered.
    pub fn tend_keys(&self, now: Now) {
        let mut state = self.key_duties.state.lock();
        if now.mono_ms.saturating_sub(state.looked_ms) < LOOK_EVERY_MS {
            return;
        }
        state.looked_ms = now.mono_ms;
        self.key_duties.busy_since_ms.store(now.mono_ms.max(1), Release);
        self.keep_cas_young(&mut state.cas, now);
        self.keep_certificate_young(&mut state.hub_certificate, now);
        self.key_duties.busy_since_ms.store(0, Release);
    }

    /// Says once when the custody of the keys does not answer.
    pub(crate) fn watch_keys(&self, was_stuck: &mut bool, now: Now) {
        let is_stuck = self.key_duties.is_stuck(now);
        if is_stuck && !*was_stuck {
            let detail = format_args!("no answer for {} s; nothing is renewed meanwhile", STUCK_MS / 1000);
            self.emit(EventKind::KeysUnresponsive, None, None, None, detail);
        }
        *was_stuck = is_stuck;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread, time::Duration};

    use portreeve_config::Config;
    use portreeve_types::UnixMillis;

    use super::*;

    const START: UnixMillis = UnixMillis(1_893_486_600_000);

    /// Whatever holds up the keys, the clock goes on, says so once, and what was due is done when they answer.
    #[test]
    fn the_clock_does_not_wait_for_keys() {
        let data = tempfile::tempdir().unwrap();
        let hub = Hub::open(&data.path().join("hub"), Config::default(), START).unwrap();
        let before = hub.tls.certificate();
        let at = |mono_ms| Now { wall: START.plus(Duration::from_secs(61 * 86_400)), mono_ms };
        // As somebody's request does that a token has not answered.
        let held = hub.reconfiguring.lock();
        let renewing = thread::spawn({
            let hub = Arc::clone(&hub);
            move || hub.tend_keys(at(100_000))
        });
        while hub.key_duties.busy_since_ms.load(Acquire) == 0 {
            thread::yield_now();
        }
        let told = || hub.events().count(EventKind::KeysUnresponsive);
        hub.tick(at(100_000 + STUCK_MS - 1));
        assert_eq!(told(), 0);
        hub.tick(at(100_000 + STUCK_MS));
        hub.tick(at(100_000 + 2 * STUCK_MS));
        assert_eq!((told(), renewing.is_finished()), (1, false));
        assert_eq!(hub.tls.certificate(), before);
        drop(held);
        renewing.join().unwrap();
        assert_ne!(hub.tls.certificate(), before);
        hub.tick(at(100_000 + 3 * STUCK_MS));
        assert!(!hub.key_duties.is_stuck(at(u64::MAX)));
        assert_eq!(told(), 1);
    }
}
