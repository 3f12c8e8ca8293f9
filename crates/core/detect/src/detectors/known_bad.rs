//! What is on a list.

use crate::{
    Detector,
    device::{Device, identity},
    episode::Desk,
    finding::{Subject, shown},
    rehearsal::{BAD_CLIENT, HOME, Script, WHO, session},
    site::Source,
};
use std::net::IpAddr;

const KIND: Detector = Detector::KnownBad;

pub(crate) fn judge_session(device: &mut Device, desk: &mut Desk<'_>, source: IpAddr, client_id: &str) {
    let lists = &desk.rules.settings.known_bad;
    let Device { name, episodes, .. } = device;
    if lists.networks.iter().any(|network| network.contains(source)) {
        let text = || (format!("connected from {source}, which is known to be bad"), Vec::new());
        desk.raise(episodes, KIND, identity(name), text);
    } else if lists.client_ids.iter().any(|pattern| is_named(pattern, client_id)) {
        let text = || (format!("connected as {}, which is known to be bad", shown(client_id)), Vec::new());
        desk.raise(episodes, KIND, identity(name), text);
    }
}

pub(crate) fn judge_topic(device: &mut Device, desk: &mut Desk<'_>, topic: &str) {
    let lists = &desk.rules.settings.known_bad;
    if !lists.topics.iter().any(|filter| portreeve_types::matches(filter, topic)) {
        return;
    }
    let Device { name, episodes, .. } = device;
    let text = || (format!("published to {}, which is known to be bad", shown(topic)), Vec::new());
    desk.raise(episodes, KIND, identity(name), text);
}

pub(crate) fn judge_source(source: &mut Source, desk: &mut Desk<'_>, address: IpAddr) {
    if desk.rules.settings.known_bad.networks.iter().any(|network| network.contains(address)) {
        let text = || ("tries to come in from an address that is known to be bad".to_owned(), Vec::new());
        desk.raise(&mut source.episodes, KIND, || Subject::Source(address), text);
    }
}

fn is_named(pattern: &str, client_id: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == client_id, |start| client_id.starts_with(start))
}

pub(crate) fn rehearsal() -> Script {
    Script::default().say(session(WHO, HOME, BAD_CLIENT, 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, connect, ip, publish};
    use crate::{DetectSettings, Observation};

    fn bench() -> Bench {
        let mut settings = DetectSettings::default();
        settings.known_bad.networks = vec!["10.6.6.0/24".parse().unwrap(), "2001:db8:bad::/48".parse().unwrap()];
        settings.known_bad.topics = vec!["+/c2/#".to_owned()];
        settings.known_bad.client_ids = vec!["mirai-*".to_owned(), "exact".to_owned()];
        Bench::of(&settings)
    }

    /// CSA-SNT-03, CSA-MSU-06
    #[test]
    fn each_list_finds() {
        let bad = ip(0x0006_0605);
        let observations = [
            connect("a", bad),
            connect("b", "2001:db8:bad::9".parse().unwrap()),
            connect("mirai-7", ip(1)),
            connect("exact", ip(1)),
            publish("c", "bot/c2", 1, 1),
            publish("d", "bot/c2/x", 1, 1),
            Observation::AuthFailed { identity: None, source: Some(bad), door: "mqtt" },
            Observation::HalfOpen { source: ip(0x0006_0606) },
        ];
        for observation in observations {
            let mut bench = bench();
            bench.see(&observation);
            bench.see(&observation);
            assert_eq!(bench.opened_of(KIND).len(), 1, "{observation:?}");
        }
    }

    #[test]
    fn what_is_beside_the_lists_is_none() {
        let mut bench = bench();
        for observation in
            [connect("exactly", ip(0x0006_0705)), connect("x-mirai-", ip(1)), publish("c", "c2/bot", 1, 1)]
        {
            bench.see(&observation);
        }
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn canary_known_bad() {
        canary(KIND);
    }
}
