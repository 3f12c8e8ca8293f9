use std::time::Duration;

use portreeve_alert::{
    ATTEMPTS_MAX, CANARY_AGE_MAX, DEAD_LETTERS_MAX, DELIVERIES_PER_CHANNEL_MAX, DeskError, KINDS_MAX, Notice,
    OPEN_PER_KIND_MAX, Outcome, Raised, Severity,
};

use crate::{Office, SETTINGS, occurrence, permanent, settings, transient};

#[test]
fn repetitions_are_one_alert_that_is_told_at_once() {
    let mut office = Office::new();
    let Raised::Opened(id) = office.raise("auth_failures", Severity::High, "lamp-1") else { panic!() };
    for _ in 0..99 {
        assert_eq!(office.raise("auth_failures", Severity::High, "lamp-1"), Raised::Repeated(id));
    }
    assert_eq!(office.deliver(), ["ann hook opened lamp-1"]);
    assert_eq!(office.desk.open().next().unwrap().count, 100);
    office.desk.acknowledge(id, "ann", office.now).unwrap();
    assert_eq!(office.run(3600, |_| None), []);
}

#[test]
fn an_alert_that_goes_on_is_told_again_once_an_interval() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    assert_eq!(office.deliver(), ["ann hook opened lamp-1"]);
    let mut told = Vec::new();
    // Every ten seconds for 25 minutes: the escalations after 5, 10 and 15 minutes tell it too.
    for _ in 0..150 {
        office.raise("auth_failures", Severity::High, "lamp-1");
        told.extend(office.run(10, |_| None).into_iter().map(|(_, line)| line));
    }
    let escalated = ["bob mail escalated lamp-1", "ann hook escalated lamp-1", "bob mail escalated lamp-1"];
    assert_eq!(told[..3], escalated);
    assert_eq!(told[3..], ["bob mail repeated lamp-1"]);
}

/// On-call order, deadlines, rounds.
#[test]
fn nobody_answers_so_the_next_is_told_until_the_rounds_are_over() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    let told = office.run(6 * 3600, |_| None);
    let lines: Vec<_> = told.iter().map(|(at, line)| (*at, line.as_str())).collect();
    assert_eq!(
        lines,
        [
            (0, "ann hook opened lamp-1"),
            (300, "bob mail escalated lamp-1"),
            (600, "ann hook escalated lamp-1"),
            (900, "bob mail escalated lamp-1"),
        ]
    );
}

/// A log server hears of everything once, whoever is on call, and nobody waits for it, also when it fails.
#[test]
fn copies_go_out_at_once_and_are_not_waited_for() {
    let text = SETTINGS.replace("contacts = [\"ann\", \"bob\"]", "contacts = [\"ann\", \"bob\"]\ncopies = [\"plant\"]");
    let mut office = Office::with(&text);
    office.raise("auth_failures", Severity::High, "lamp-1");
    let told = office.run(6 * 3600, |_| None);
    let to_plant: Vec<_> = told.iter().filter(|(_, line)| line.starts_with("plant")).collect();
    assert_eq!(to_plant, [&(0, "plant log opened lamp-1".to_owned())]);
    assert_eq!(told.len(), 5, "those on call as without it: {told:?}");
    let mut office = Office::with(&text);
    office.raise("auth_failures", Severity::High, "lamp-1");
    let told = office.deliver_but(|delivery| permanent().filter(|_| delivery.contact.as_str() == "plant"));
    assert_eq!(told.iter().filter(|line| line.contains("lamp-1")).count(), 1, "{told:?}");
    assert!(!told.iter().any(|line| line.contains("escalated")), "bob is not told because a copy failed: {told:?}");
    let twice = SETTINGS.replace("contacts = [\"plant\"]", "contacts = [\"plant\"]\ncopies = [\"plant\"]");
    let refused = portreeve_alert::AlertSettings::parse("alerts.toml", &twice, crate::KINDS).unwrap_err();
    assert!(refused.to_string().contains("there is a contact `plant` already"), "{refused}");
}

#[test]
fn who_acknowledges_ends_the_escalation_and_is_named() {
    let mut office = Office::new();
    let Raised::Opened(id) = office.raise("auth_failures", Severity::High, "lamp-1") else { panic!() };
    office.run(301, |_| None);
    office.desk.acknowledge(id, "bob\n", office.now).unwrap();
    assert_eq!(office.run(3600, |_| None), []);
    let alert = office.desk.open().next().unwrap();
    assert_eq!(alert.acknowledged.as_ref().unwrap().by.as_str(), "bob ");
    // What becomes more urgent asks for another answer.
    office.raise("auth_failures", Severity::Critical, "lamp-1");
    assert_eq!(office.deliver(), ["ann hook worse lamp-1"]);
    assert!(office.desk.open().next().unwrap().acknowledged.is_none());
    assert_eq!(office.desk.acknowledge(portreeve_alert::AlertId(99), "bob", office.now), Err(DeskError::NoSuchAlert));
}

#[test]
fn an_acknowledged_alert_that_goes_on_for_a_day_asks_again() {
    let mut office = Office::new();
    let Raised::Opened(id) = office.raise("auth_failures", Severity::High, "lamp-1") else { panic!() };
    office.deliver();
    office.desk.acknowledge(id, "ann", office.now).unwrap();
    let mut told = Vec::new();
    for hour in 0..30 {
        office.raise("auth_failures", Severity::High, "lamp-1");
        told.extend(office.run(3600, |_| None).into_iter().map(|(at, line)| (hour * 3600 + at, line)));
    }
    assert_eq!(told[0], (24 * 3600, "ann hook repeated lamp-1".to_owned()));
}

#[test]
fn what_is_closed_or_quiet_for_a_day_opens_anew() {
    let mut office = Office::new();
    let Raised::Opened(id) = office.raise("device_silent", Severity::Low, "lamp-1") else { panic!() };
    office.deliver();
    assert_eq!(office.desk.close(id).unwrap().id, id);
    assert_eq!(office.desk.close(id), Err(DeskError::NoSuchAlert));
    let Raised::Opened(next) = office.raise("device_silent", Severity::Low, "lamp-1") else { panic!() };
    assert!(next > id);
    office.run(2 * 24 * 3600, |_| None);
    assert_eq!(office.desk.open().count(), 0);
    assert!(matches!(office.raise("device_silent", Severity::Low, "lamp-1"), Raised::Opened(_)));
}

#[test]
fn the_first_route_that_concerns_it_says_who_is_told() {
    let mut office = Office::new();
    office.desk.raise(occurrence("device_silent", Severity::Low, "pump-1").group("plant"), office.now);
    office.desk.raise(occurrence("device_silent", Severity::Low, "gate-1").group("gates"), office.now);
    assert_eq!(office.deliver(), ["ann hook opened gate-1", "plant log opened pump-1"]);
}

#[test]
fn a_million_subjects_cannot_hide_the_first_of_another_kind() {
    let mut office = Office::new();
    let mut told = Vec::new();
    for number in 0..20_000 {
        office.raise("device_silent", Severity::Low, &format!("lamp-{number}"));
        if number % 100 == 0 {
            told.extend(office.deliver());
        }
    }
    // The first, and half of the four a minute.
    assert_eq!(told, ["ann hook opened lamp-0", "ann hook opened lamp-1"]);
    assert_eq!(office.desk.open().count(), OPEN_PER_KIND_MAX);
    // Another kind, and the same kind with more urgency, come through at once.
    assert!(matches!(office.raise("auth_failures", Severity::Low, "gate"), Raised::Opened(_)));
    assert!(matches!(office.raise("device_silent", Severity::Critical, "pump"), Raised::Opened(_)));
    assert_eq!(office.deliver(), ["ann hook opened pump", "ann hook opened gate"]);
    // The rest is counted: 19,998, of which the digest tells once a minute.
    office.pass(60);
    assert_eq!(office.deliver(), ["ann hook digest 19998 of 1 kinds"]);
    assert!(office.store.len() < 100, "{}", office.store.len());
}

#[test]
fn what_is_less_urgent_leaves_half_of_the_rate_to_the_rest() {
    let mut office = Office::new();
    for number in 0..10 {
        office.raise("device_silent", Severity::Medium, &format!("lamp-{number}"));
    }
    for number in 0..10 {
        office.raise("device_silent", Severity::High, &format!("pump-{number}"));
    }
    let told = office.deliver();
    assert_eq!(told.iter().filter(|line| line.contains("pump")).count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|line| line.contains("lamp")).count(), 2, "{told:?}");
    office.pass(60);
    assert_eq!(office.deliver(), ["ann hook digest 16 of 1 kinds"]);
}

#[test]
fn flapping_does_not_make_a_first_of_each() {
    let mut office = Office::new();
    let mut told = 0;
    for _ in 0..1000 {
        let Raised::Opened(id) = office.raise("device_silent", Severity::High, "lamp-1") else { panic!() };
        told += office.deliver().len();
        office.desk.close(id).unwrap();
    }
    assert_eq!(told, 4);
    office.pass(15 * 60);
    office.raise("device_silent", Severity::High, "lamp-1");
    assert_eq!(office.deliver().len(), 2, "the digest, and a first one again");
}

#[test]
fn kinds_without_number_are_one_kind_in_the_end() {
    let mut office = Office::new();
    for number in 0..1000 {
        assert_ne!(office.raise(&format!("kind-{number}"), Severity::High, "x"), Raised::Folded, "{number}");
        if number == KINDS_MAX + OPEN_PER_KIND_MAX - 1 {
            break;
        }
    }
    assert_eq!(office.raise("kind-another", Severity::High, "x"), Raised::Folded);
    assert_eq!(office.desk.open().filter(|alert| alert.kind.as_str() == "other").count(), OPEN_PER_KIND_MAX);
    assert!(office.desk.open().any(|alert| alert.subject.as_str() == "kind-64 x"));
    // Kinds that are over make room.
    let ids: Vec<_> = office.desk.open().map(|alert| alert.id).collect();
    ids.into_iter().for_each(|id| _ = office.desk.close(id).unwrap());
    office.pass(15 * 60);
    assert!(matches!(office.raise("kind-another", Severity::High, "x"), Raised::Opened(_)));
    assert!(office.desk.open().any(|alert| alert.kind.as_str() == "kind-another"));
}

#[test]
fn a_dead_channel_costs_one_attempt_and_is_told_through_the_others() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    let dead = |delivery: &portreeve_alert::Delivery| {
        if delivery.channel.as_str() == "hook" { transient() } else { None }
    };
    // Ann's next channel at once; then nobody waits for the first.
    assert_eq!(office.deliver_but(dead), ["ann mail opened lamp-1"]);
    let Raised::Opened(second) = office.raise("device_silent", Severity::High, "lamp-2") else { panic!() };
    assert_eq!(office.deliver_but(dead), ["ann mail opened lamp-2"]);
    let ids: Vec<_> = office.desk.open().map(|alert| alert.id).collect();
    ids.into_iter().for_each(|id| office.desk.acknowledge(id, "ann", office.now).unwrap());
    let told: Vec<_> = office.run(120, dead).into_iter().map(|(_, line)| line).collect();
    assert_eq!(told, ["ann mail opened hook"], "the failure of the channel is an alert");
    // When it works again, what waited comes, and the alert about it is over.
    let told: Vec<_> = office.run(600, |_| None).into_iter().map(|(_, line)| line).collect();
    assert!(told.contains(&"ann hook opened lamp-1".to_owned()) && told.contains(&"ann hook opened lamp-2".to_owned()));
    assert!(!office.desk.open().any(|alert| alert.subject.as_str() == "hook"));
    assert!(office.desk.timings(second).unwrap().len() == 2);
}

#[test]
fn who_cannot_be_reached_at_all_is_passed_over_at_once() {
    let text = SETTINGS.replace("channels = [\"hook\", \"mail\"]\nmail = \"ann@example.org\"", "channels = [\"hook\"]");
    let mut office = Office::with(&text);
    office.raise("auth_failures", Severity::High, "lamp-1");
    let dead = |delivery: &portreeve_alert::Delivery| {
        if delivery.channel.as_str() == "hook" { transient() } else { None }
    };
    assert_eq!(office.deliver_but(dead), ["bob mail escalated lamp-1"]);
    office.raise("device_silent", Severity::High, "lamp-2");
    assert_eq!(office.deliver_but(dead), ["bob mail opened lamp-2"]);
}

#[test]
fn when_every_channel_is_dead_nothing_loops_and_nothing_is_lost() {
    let mut office = Office::new();
    let Raised::Opened(id) = office.raise("auth_failures", Severity::High, "lamp-1") else { panic!() };
    assert_eq!(office.run(3 * 3600, |_| transient()), []);
    assert!(office.desk.open().count() <= 3, "the alert, and one for each channel");
    let waiting: usize = office.desk.channels().map(|(_, waiting, _)| waiting).sum();
    assert!(waiting + office.desk.dead_letters().count() < 30, "{waiting}");
    let told: Vec<_> = office.run(600, |_| None).into_iter().map(|(_, line)| line).collect();
    assert!(told.iter().any(|line| line.ends_with("lamp-1")), "{told:?}");
    assert!(office.desk.timings(id).unwrap().iter().any(|timing| matches!(timing.outcome, Outcome::Delivered(_))));
}

#[test]
fn pauses_grow_and_attempts_end_in_a_dead_letter_that_can_be_sent_again() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::Low, "lamp-1");
    let dead = |delivery: &portreeve_alert::Delivery| {
        if delivery.channel.as_str() == "hook" { transient() } else { None }
    };
    let mut keys = std::collections::BTreeSet::new();
    let mut attempts = Vec::new();
    let start = office.now;
    while office.now.since(start) < Duration::from_secs(5 * 3600) {
        for delivery in office.poll() {
            if delivery.channel.as_str() != "hook" {
                office.desk.delivered(delivery.id, office.now).unwrap();
                continue;
            }
            keys.insert(delivery.idempotency_key.clone());
            attempts.push(office.now);
            office.desk.failed(delivery.id, &dead(&delivery).unwrap(), office.now).unwrap();
        }
        // Whoever is told is told; only the first delivery matters here.
        let open: Vec<_> = office.desk.open().map(|alert| alert.id).collect();
        open.into_iter().for_each(|id| office.desk.acknowledge(id, "ann", office.now).unwrap());
        let Some(due) = office.desk.next_due() else { break };
        office.now = office.now.max(due);
    }
    assert_eq!((keys.len(), attempts.len()), (1, ATTEMPTS_MAX as usize), "one key for all attempts");
    let pauses: Vec<_> = attempts.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(pauses[0] <= Duration::from_secs(1) && pauses.iter().all(|pause| *pause <= Duration::from_secs(300)));
    assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(30)), "{pauses:?}");
    let letter = office.desk.dead_letters().next().unwrap();
    assert_eq!(
        (letter.channel().as_str(), letter.contact().as_str(), letter.why.as_str()),
        ("hook", "ann", "no answer")
    );
    let id = letter.id();
    office.desk.resend(id, office.now).unwrap();
    assert_eq!(office.desk.resend(id, office.now), Err(DeskError::NoSuchDelivery));
    let again = office.poll().into_iter().find(|delivery| delivery.id == id).unwrap();
    assert!(keys.contains(&again.idempotency_key) && again.attempt == 1);
    office.desk.delivered(id, office.now).unwrap();
    assert_eq!(office.desk.dead_letters().count(), 0);
}

#[test]
fn what_is_refused_for_good_is_a_dead_letter_and_an_alert_at_once() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    let told = office.deliver_but(|delivery| if delivery.channel.as_str() == "hook" { permanent() } else { None });
    assert_eq!(told, ["ann mail opened lamp-1", "ann mail opened hook"]);
    assert_eq!(office.desk.dead_letters().count(), 1);
}

#[test]
fn a_delivery_is_given_up_after_hours_whatever_its_attempts() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    // It stays under way: its sender never reports. A bound of the sender's forbids that; the rest goes on all the same.
    assert_eq!(office.poll().len(), 1);
    office.pass(5 * 3600);
    let told = office.deliver();
    assert_eq!(told, ["bob mail escalated lamp-1"]);
    assert_eq!(office.desk.dead_letters().count(), 0);
    let under_way = portreeve_alert::DeliveryId(1);
    office.desk.failed(under_way, &transient().unwrap(), office.now).unwrap();
    office.deliver();
    assert_eq!(office.desk.dead_letters().count(), 1);
    assert_eq!(office.desk.delivered(under_way, office.now), Err(DeskError::NoSuchDelivery));
}

#[test]
fn queues_and_dead_letters_are_bounded() {
    // The channel refuses, all it has room for is in its queue, and each alert is the first of its kind and severity.
    let text = SETTINGS.replace("channels = [\"hook\", \"mail\"]\nmail = \"ann@example.org\"", "channels = [\"hook\"]");
    let text = text.replace("contacts = [\"ann\", \"bob\"]", "contacts = [\"ann\"]\n[[route]]\ncontacts = [\"bob\"]");
    let text = text.replacen("contacts = [\"ann\"]", "severity = \"low\"\ncontacts = [\"ann\"]", 1);
    let text = text.replace("acknowledge_within_s = 300\nrounds = 2\nrepeat_s = 600", "");
    let mut office = Office::with(&text);
    for round in 0..20 {
        for number in 0..KINDS_MAX - 4 {
            let kind = format!("kind-{number}");
            office.raise(&kind, Severity::Low, &format!("{round}"));
            let severity = Severity::ALL[1 + round % 4];
            office.raise(&kind, severity, &format!("{round} again"));
        }
        office.pass(16 * 60);
        office.commit();
    }
    let waiting = office.desk.channels().map(|(_, waiting, _)| waiting).max().unwrap();
    assert_eq!(waiting, DELIVERIES_PER_CHANNEL_MAX);
    assert_eq!(office.desk.dead_letters().count(), DEAD_LETTERS_MAX);
    assert!(office.desk.dead_letters_dropped() > 0);
    let id = office.desk.dead_letters().next().unwrap().id();
    assert_eq!(office.desk.resend(id, office.now), Err(DeskError::Full));
    office.restart(&text);
    assert_eq!(office.desk.dead_letters().count(), DEAD_LETTERS_MAX);
}

/// Tests reach everybody through everything, and tell how long it took.
#[test]
fn a_test_goes_through_every_channel_and_tells_how_long_each_took() {
    let mut office = Office::new();
    let id = office.desk.canary(office.now).unwrap();
    assert_eq!(office.desk.canary(office.now), Err(DeskError::TooSoon));
    let mut told = Vec::new();
    for seconds in 0..90 {
        for delivery in office.poll() {
            assert!(matches!(&delivery.notice, Notice::Alert { alert, .. } if alert.canary));
            office.now = office.now.plus(Duration::from_millis(250));
            if delivery.channel.as_str() == "log" {
                office.desk.failed(delivery.id, &transient().unwrap(), office.now).unwrap();
                continue;
            }
            let done = office.desk.delivered(delivery.id, office.now).unwrap();
            assert_eq!((done.alert, done.attempts), (Some(id), 1));
            told.push((delivery.contact.to_string(), delivery.channel.to_string()));
        }
        office.pass(u64::from(seconds > 0));
    }
    told.sort();
    let pair = |contact: &str, channel: &str| (contact.to_owned(), channel.to_owned());
    assert_eq!(told, [pair("ann", "hook"), pair("ann", "mail"), pair("bob", "mail")]);
    let timings = office.desk.timings(id).unwrap();
    let of = |channel: &str| timings.iter().find(|timing| timing.channel.as_str() == channel).unwrap();
    assert!(matches!(of("hook").outcome, Outcome::Delivered(after) if after.as_millis() == 250));
    assert!(matches!(&of("log").outcome, Outcome::Failed(why) if why.as_str() == "no answer"), "{timings:?}");
    assert!(office.now.since(office.desk.open().next().unwrap().opened) > CANARY_AGE_MAX);
    // It can be acknowledged, escalates to nobody, and is no dead letter.
    office.desk.acknowledge(id, "ann", office.now).unwrap();
    assert_eq!((office.desk.dead_letters().count(), office.desk.open().count()), (0, 1));
    let next = office.desk.canary(office.now).unwrap();
    assert!(next > id && office.desk.timings(id).is_err() && office.desk.open().count() == 1);
}

#[test]
fn other_settings_leave_nothing_behind_unseen() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    for number in 0..9 {
        office.raise("device_silent", Severity::Low, &format!("lamp-{number}"));
    }
    let without_ann = SETTINGS
        .replace("name = \"ann\"\nchannels = [\"hook\", \"mail\"]", "name = \"eve\"\nchannels = [\"mail\"]")
        .replace("contacts = [\"ann\", \"bob\"]", "contacts = [\"eve\", \"bob\"]")
        .replace("name = \"plant\"\nchannels = [\"log\"]", "name = \"plant\"\nchannels = [\"log\", \"hook\"]");
    office.desk.apply(settings(&without_ann), office.now);
    assert!(office.desk.dead_letters().all(|letter| letter.contact().as_str() == "ann"));
    let dead = office.desk.dead_letters().count();
    assert_eq!(dead, 2);
    let id = office.desk.dead_letters().next().unwrap().id();
    assert_eq!(office.desk.resend(id, office.now), Err(DeskError::NoWay));
    office.pass(60);
    // What had not been told one by one has another heir.
    assert!(office.deliver().iter().any(|line| line.starts_with("eve mail digest")));
    let told = office.run(300, |_| None);
    assert_eq!(told.first().map(|(_, line)| line.as_str()), Some("bob mail escalated lamp-1"), "{told:?}");
}
