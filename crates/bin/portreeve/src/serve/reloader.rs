//! `portreeve reload` and SIGHUP: configuration and certificates are read again, or everything stays as it is.

use std::sync::{Mutex, PoisonError};

use portreeve_config::{Loaded, Sources, load};
use portreeve_hub::Hub;

use super::{logging::LogControl, systemd};
use crate::cli::Global;

/// Knows where the configuration came from.
#[derive(Debug)]
pub(super) struct ConfigReloader {
    global: Global,
    log: LogControl,
    /// What was read last.
    last: Mutex<Loaded>,
}

impl ConfigReloader {
    pub(super) fn new(global: Global, log: LogControl, first: Loaded) -> Self {
        Self { global, log, last: Mutex::new(first) }
    }

    /// Returns what changed, in words.
    ///
    /// # Errors
    /// What is wrong; nothing was changed.
    pub(super) fn reload(&self, hub: &Hub) -> Result<Vec<String>, String> {
        systemd::reloading();
        let result = self.try_reload(hub);
        systemd::ready(if result.is_ok() { "serving" } else { "serving; the last reload was refused" });
        result.map_err(|why| format!("{why}\nnothing was changed: the hub goes on with what it had"))
    }

    fn try_reload(&self, hub: &Hub) -> Result<Vec<String>, String> {
        let read =
            Sources::gather(self.global.config.as_deref(), self.global.set.clone()).and_then(|sources| load(&sources));
        let fresh = read.map_err(|error| error.to_string())?;
        let (next, waiting) = hub.config().reloaded(&fresh.config);
        let level = next.log.level;
        hub.reconfigure(next, hub.wall_clock()).map_err(|error| error.to_string())?;
        self.log.set(level);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = differences(&last, &fresh, &waiting);
        *last = fresh;
        Ok(notes)
    }
}

fn differences(old: &Loaded, new: &Loaded, waiting: &[&str]) -> Vec<String> {
    let (old, new) = (old.show(), new.show());
    let changed = old.iter().zip(&new).filter(|(old, new)| old.value != new.value && !waiting.contains(&new.path));
    let changed = changed.map(|(old, new)| format!("{}: {} is now {}", new.path, old.value, new.value));
    changed.chain(waiting.iter().map(|path| format!("{path}: the new value waits for the next start"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(set: &[&str]) -> Loaded {
        let set = set.iter().map(|&text| text.to_owned()).collect();
        load(&Sources { set, ..Sources::default() }).unwrap()
    }

    #[test]
    fn what_changed_and_what_waits_is_told() {
        let (old, new) = (loaded(&[]), loaded(&["log.level=debug", "mqtt.listen=127.0.0.1:1"]));
        let (_, waiting) = old.config.reloaded(&new.config);
        let notes = differences(&old, &new, &waiting);
        assert_eq!(
            notes,
            ["log.level: \"info\" is now \"debug\"", "mqtt.listen: the new value waits for the next start"]
        );
    }
}
