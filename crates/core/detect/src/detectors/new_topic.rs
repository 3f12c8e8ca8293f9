//! A topic that an identity did not use before.

use crate::{
    Detector,
    device::{Device, TOPICS_MAX, Topic, Traffic, identity},
    episode::{Desk, number},
    finding::shown,
    rehearsal::{Script, traffic},
    stats::{Baseline, Meter},
};

const KIND: Detector = Detector::NewTopic;

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, traffic: &Traffic<'_>, hash: u64) {
    let Device { name, episodes, learnt, .. } = device;
    if learnt.uses_topics_freely {
        return;
    }
    if desk.is_learning {
        learnt.uses_topics_freely = learnt.topics.len() == TOPICS_MAX;
        if !learnt.uses_topics_freely {
            learnt.topics.push(Topic { hash, rate: Meter::default(), sizes: Baseline::default() });
        }
        return;
    }
    desk.raise(episodes, KIND, identity(name), || {
        let known = u32::try_from(learnt.topics.len()).unwrap_or(u32::MAX);
        (
            format!("published to {}, which it never did before", shown(traffic.topic)),
            vec![number("known", known, "topics")],
        )
    });
}

pub(crate) fn rehearsal() -> Script {
    Script::default().say(traffic("canary", 1, 1)).wait_learnt().say(traffic("canary/new", 1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, publish};

    #[test]
    fn a_topic_after_the_freeze_is_one_finding() {
        let mut bench = Bench::learning();
        bench.see(&publish("lamp", "state", 1, 10));
        bench.freeze();
        bench.see(&publish("lamp", "state", 1, 10));
        assert!(bench.opened().is_empty());
        (0..5).for_each(|_| bench.see(&publish("lamp", "c2", 1, 10)));
        assert_eq!(bench.opened_of(KIND).len(), 1);
        bench.pass(4000);
        bench.see(&publish("lamp", "c2", 1, 10));
        assert_eq!(bench.opened_of(KIND).len(), 2, "it is not learnt by being used");
    }

    #[test]
    fn who_uses_topics_freely_is_left_alone_with_bounded_memory() {
        let mut bench = Bench::learning();
        let topics: Vec<String> = (0..10_000).map(|topic| format!("t/{topic}")).collect();
        topics.iter().for_each(|topic| bench.see(&publish("app", topic, 1, 10)));
        bench.freeze();
        bench.see(&publish("app", "other", 1, 10));
        assert!(bench.opened_of(KIND).is_empty());
        assert!(bench.watch.save().len() < 10_000);
    }

    #[test]
    fn an_identity_that_learns_anew_is_quiet() {
        let mut bench = Bench::learning();
        bench.see(&publish("lamp", "state", 1, 10));
        bench.freeze();
        assert!(bench.watch.relearn("lamp") && !bench.watch.relearn("nobody"));
        bench.see(&publish("lamp", "new", 1, 10));
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn canary_new_topic() {
        canary(KIND);
    }
}
