//! Sessions that one source opens.

use crate::{
    Detector,
    episode::Desk,
    finding::Subject,
    rehearsal::{Script, connected},
    settings::{DetectSettings, section},
    site::Source,
};
use std::net::IpAddr;

const KIND: Detector = Detector::ConnectionRate;

section! {
    /// Thresholds of `connection_rate`.
    ConnectionRate {
        /// Sessions from one source.
        connections: u32 = 200, in 1..=10_000, "sessions";
        /// Within which time.
        window_s: u32 = 60, in 1..=86_400, "seconds";
    }
}

pub(crate) fn judge(source: &mut Source, desk: &mut Desk<'_>, address: IpAddr) {
    let limits = desk.rules.settings.connection_rate;
    let threshold = (limits.connections, limits.window_s);
    desk.count(
        &mut source.episodes,
        &mut source.connects,
        KIND,
        threshold,
        || Subject::Source(address),
        || "opened sessions".to_owned(),
    );
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    Script::default().repeat(settings.connection_rate.connections, 0, connected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, connect, ip};

    #[test]
    fn one_source_with_many_sessions_is_one_finding() {
        let mut bench = Bench::frozen();
        let names: Vec<String> = (0..500).map(|device| format!("d{device}")).collect();
        names.iter().for_each(|name| bench.see(&connect(name, ip(1))));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn a_slow_return_is_none() {
        let mut bench = Bench::frozen();
        let names: Vec<String> = (0..500).map(|device| format!("d{device}")).collect();
        for name in &names {
            bench.see(&connect(name, ip(1)));
            bench.pass(1);
        }
        assert!(bench.opened_of(KIND).is_empty());
    }

    #[test]
    fn canary_connection_rate() {
        canary(KIND);
    }
}
