//! Who may do what, and how fast a change of it takes effect (ISVS-4.2.2, CSA-COM-01).

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::time::Duration;

use common::{Bench, Got, SubscriptionOptions, Will, connect, payloads, publish, resume};
use portreeve_config::{QueueOverflow, TwoPlaces};
use portreeve_events::Kind as EventKind;
use portreeve_hub::{AdminRequest, Fields};
use portreeve_mqtt::{Connect, Packet, Publish, Reason, Version};
use portreeve_types::{Kind, LifecycleState, Qos};

const GRANT: &str =
    r#"permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);"#;

#[test]
fn a_device_has_its_own_topics_and_no_others() {
    let bench = Bench::new();
    let device = bench.device("lamp-1");
    let mut client = bench.connect(&device, connect("lamp-1"));
    client.subscribed(&bench, "devices/lamp-1/#", Qos::AtLeastOnce);
    let got = client.publish(&bench, "devices/lamp-1/state", b"on", Qos::AtLeastOnce);
    assert_eq!(payloads(&got), ["on"]);
    for filter in [
        "#",
        "devices/#",
        "devices/+/state",
        "+/lamp-1/#",
        "devices/lamp-10/state",
        "$SYS/#",
        "$share/g/devices/lamp-2/#",
    ] {
        let got = client.subscribe(&bench, filter, SubscriptionOptions::default(), None);
        assert_eq!(got, [Got::SubAck(vec![Reason::NOT_AUTHORIZED])], "{filter}");
    }
    for topic in ["devices/lamp-2/state", "devices/lamp-10/state", "devices", "other", "$SYS/broker/uptime"] {
        let got = client.publish(&bench, topic, b"x", Qos::AtLeastOnce);
        assert!(matches!(got[..], [Got::PubAck(_, Reason::NOT_AUTHORIZED)]), "{topic}: {got:?}");
    }
}

/// [MQTT-3.3.5-2] of 3.1.1 leaves an acknowledgement or a close; an acknowledgement would be a lie.
#[test]
fn a_refused_3_1_1_publish_is_never_acknowledged() {
    let bench = Bench::new();
    let device = bench.device("lamp-1");
    let mut client = bench.connect(&device, Connect { version: Version::V311, ..connect("lamp-1") });
    assert!(client.publish(&bench, "foreign", b"x", Qos::AtMostOnce).is_empty() && !client.is_over());
    assert!(client.publish(&bench, "foreign", b"x", Qos::AtLeastOnce).is_empty());
    assert!(client.is_over());
}

#[test]
fn an_explicit_forbid_is_not_explained() {
    let bench = Bench::new();
    let app = bench.application("app");
    bench.policy(&format!(r#"{GRANT} forbid (principal, action, resource == Topic::"test/nosubscribe");"#));
    let mut client = bench.connect(&app, connect("a"));
    let got = client.subscribe(&bench, "test/nosubscribe", SubscriptionOptions::default(), None);
    assert_eq!(got, [Got::SubAck(vec![Reason::UNSPECIFIED_ERROR])]);
    client.subscribed(&bench, "test/#", Qos::AtMostOnce);
    assert!(client.publish(&bench, "test/allowed", b"yes", Qos::AtMostOnce).len() == 1);
    let got = client.publish(&bench, "test/nosubscribe", b"no", Qos::AtLeastOnce);
    assert!(matches!(got[..], [Got::PubAck(_, Reason::UNSPECIFIED_ERROR)]), "and is not delivered: {got:?}");
}

#[test]
fn what_a_forbid_covers_is_not_delivered_below_a_wider_filter() {
    let bench = Bench::new();
    let (app, other) = (bench.application("app"), bench.identity(&bench.add("other", Kind::Application)));
    bench.policy(
        r#"permit (principal, action in [Action::"publish", Action::"subscribe"], resource);
           forbid (principal == Identity::"app", action == Action::"subscribe", resource in Topic::"plant/secret/#");"#,
    );
    let mut reader = bench.connect(&app, connect("reader"));
    reader.subscribed(&bench, "plant/#", Qos::AtMostOnce);
    let mut writer = bench.connect(&other, connect("writer"));
    for (topic, retain) in
        [("plant/secret/a", false), ("plant/open/a", false), ("plant/secret/r", true), ("plant/open/r", true)]
    {
        writer
            .send(&bench, &Packet::Publish(Publish { retain, ..publish(topic, topic.as_bytes(), Qos::AtMostOnce, 0) }));
    }
    assert_eq!(payloads(&reader.recv(&bench)), ["plant/open/a", "plant/open/r"]);
    let got = reader.subscribe(&bench, "plant/+/r", SubscriptionOptions::default(), None);
    assert_eq!(payloads(&got), ["plant/open/r"], "retained messages too");
}

/// A policy change takes effect on live sessions at once: subscriptions, cached publish decisions, offline sessions.
#[test]
fn a_withdrawn_grant_ends_what_it_allowed() {
    let bench = Bench::new();
    let app = bench.application("app");
    bench.policy(GRANT);
    let mut live = bench.connect(&app, connect("live"));
    live.subscribed(&bench, "t", Qos::AtMostOnce);
    let mut away = bench.connect(&app, resume("away"));
    away.subscribed(&bench, "t", Qos::AtLeastOnce);
    away.lose(&bench);
    let mut publisher = bench.connect(&app, connect("publisher"));
    assert!(matches!(publisher.publish(&bench, "t", b"1", Qos::AtLeastOnce)[..], [Got::PubAck(_, Reason::SUCCESS)]));
    assert_eq!(payloads(&live.recv(&bench)), ["1"]);
    bench.policy("");
    let got = publisher.publish(&bench, "t", b"2", Qos::AtLeastOnce);
    assert!(matches!(got[..], [Got::PubAck(_, Reason::NOT_AUTHORIZED)]), "{got:?}");
    assert_eq!(live.recv(&bench), [Got::Disconnect(Reason::NOT_AUTHORIZED)]);
    bench.policy(GRANT);
    let mut publisher = bench.connect(&app, connect("publisher"));
    let got = publisher.publish(&bench, "t", b"3", Qos::AtLeastOnce);
    assert!(
        matches!(got[..], [Got::PubAck(_, Reason::NO_MATCHING_SUBSCRIBERS)]),
        "offline subscriptions ended too: {got:?}"
    );
}

#[test]
fn a_disabled_device_is_cut_and_kept_out_until_it_is_enabled() {
    let bench = Bench::new();
    let leaf = bench.add("lamp-1", Kind::Device);
    let device = bench.identity(&leaf);
    let mut client = bench.connect(&device, resume("lamp-1"));
    client.subscribed(&bench, "devices/lamp-1/#", Qos::AtMostOnce);
    bench.set_state("lamp-1", LifecycleState::Disabled).unwrap();
    bench.policy("");
    assert_eq!(client.recv(&bench), [Got::Disconnect(Reason::ADMINISTRATIVE_ACTION)]);
    assert_eq!(bench.hub.authenticate(&leaf).unwrap_err().to_string(), "refused by the registry: disabled");
    // A handshake that was in flight when the state changed.
    let (late, got) = bench.try_connect(&device, resume("lamp-1"));
    assert_eq!(got, [Got::ConnAck { present: false, reason: Reason::NOT_AUTHORIZED }]);
    assert!(late.is_over());
    bench.set_state("lamp-1", LifecycleState::Active).unwrap();
    let (mut client, got) = bench.try_connect(&bench.identity(&leaf), resume("lamp-1"));
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS }, "its session was kept");
    assert_eq!(
        payloads(&client.publish(&bench, "devices/lamp-1/a", b"x", Qos::AtMostOnce)),
        ["x"],
        "with its subscriptions"
    );
}

/// IIITA-N4, CSA-CRD-11: revocation ends sessions at once and for ever.
#[test]
fn a_revoked_device_never_returns_and_nothing_of_it_stays() {
    let bench = Bench::new();
    let leaf = bench.add("lamp-1", Kind::Device);
    let device = bench.identity(&leaf);
    let mut client = bench.connect(&device, resume("lamp-1"));
    bench.set_state("lamp-1", LifecycleState::Revoked).unwrap();
    assert_eq!(client.recv(&bench), [Got::Disconnect(Reason::ADMINISTRATIVE_ACTION)]);
    assert!(bench.hub.authenticate(&leaf).unwrap_err().to_string().contains("revoked"));
    assert!(bench.set_state("lamp-1", LifecycleState::Active).is_err());
    drop((client, device));
    let bench = bench.reopen();
    assert!(bench.hub.authenticate(&leaf).is_err(), "also after a restart");
    let sessions = bench.hub.limits_table().into_iter().find(|row| row.name == "sessions_total").unwrap().used;
    assert_eq!(sessions, 0);
}

#[test]
fn client_ids_belong_to_identities() {
    let bench = Bench::new();
    let (one, two) = (bench.device("lamp-1"), bench.device("lamp-2"));
    let _first = bench.connect(&one, resume("lamp-1"));
    for foreign in ["lamp-1", "lamp-1:x", "lamp-20", "x"] {
        let (_, got) = bench.try_connect(&two, connect(foreign));
        assert_eq!(got, [Got::ConnAck { present: false, reason: Reason::CLIENT_IDENTIFIER_NOT_VALID }], "{foreign}");
    }
    let _own = bench.connect(&two, connect("lamp-2:b"));
    // Two applications may use one client id: sessions are keyed by identity as well.
    let (app, other) = (bench.application("app"), bench.application("other"));
    let mut a = bench.connect(&app, resume("same"));
    let (_b, got) = bench.try_connect(&other, resume("same"));
    assert_eq!(got[0], Got::ConnAck { present: false, reason: Reason::SUCCESS });
    assert!(a.recv(&bench).is_empty() && !a.is_over(), "nobody was taken over");
}

/// [MQTT-3.1.4-3]
#[test]
fn the_same_client_takes_its_session_over() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut old = bench.connect(&app, resume("a"));
    old.subscribed(&bench, "t", Qos::AtLeastOnce);
    let (mut new, got) = bench.try_connect(&app, resume("a"));
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS });
    assert_eq!(old.recv(&bench), [Got::Disconnect(Reason::SESSION_TAKEN_OVER)]);
    assert_eq!(payloads(&new.publish(&bench, "t", b"x", Qos::AtMostOnce)), ["x"]);
    let mut clean = bench.connect(&app, connect("a"));
    assert_eq!(new.recv(&bench), [Got::Disconnect(Reason::SESSION_TAKEN_OVER)]);
    assert!(clean.publish(&bench, "t", b"x", Qos::AtMostOnce).is_empty(), "a clean start has no subscriptions");
}

#[test]
fn a_will_to_a_forbidden_topic_is_refused_at_connect() {
    let bench = Bench::new();
    let device = bench.device("lamp-1");
    for retain in [false, true] {
        let will = Will {
            qos: Qos::AtMostOnce,
            retain,
            topic: "devices/lamp-2/state",
            payload: b"x",
            delay_s: 0,
            properties: Default::default(),
        };
        let (_, got) = bench.try_connect(&device, Connect { will: Some(will), ..connect("lamp-1") });
        assert_eq!(got, [Got::ConnAck { present: false, reason: Reason::NOT_AUTHORIZED }]);
    }
}

/// A will that was allowed at CONNECT is asked about again when it is due.
#[test]
fn a_will_that_policy_no_longer_allows_is_not_published() {
    let bench = Bench::new();
    let app = bench.application("app");
    bench.policy(GRANT);
    let other = bench.identity(&bench.add("other", Kind::Application));
    let will = Will {
        qos: Qos::AtMostOnce,
        retain: true,
        topic: "t",
        payload: b"x",
        delay_s: 0,
        properties: Default::default(),
    };
    let client = bench.connect(&app, Connect { will: Some(will), ..connect("a") });
    bench.policy(
        r#"permit (principal == Identity::"other", action in [Action::"publish", Action::"subscribe"], resource);"#,
    );
    client.lose(&bench);
    let mut watcher = bench.connect(&other, connect("watcher"));
    assert!(payloads(&watcher.subscribe(&bench, "t", SubscriptionOptions::default(), None)).is_empty());
}

#[test]
fn sessions_and_subscriptions_are_limited() {
    let bench = Bench::with(|config| {
        config.limits.sessions_per_device = 2;
        config.limits.subscriptions_per_session = 2;
    });
    let device = bench.device("lamp-1");
    let mut a = bench.connect(&device, connect("lamp-1:a"));
    let b = bench.connect(&device, connect("lamp-1:b"));
    let (_, got) = bench.try_connect(&device, connect("lamp-1:c"));
    assert_eq!(got, [Got::ConnAck { present: false, reason: Reason::QUOTA_EXCEEDED }]);
    b.disconnect(&bench);
    let _c = bench.connect(&device, connect("lamp-1:c"));
    for filter in ["devices/lamp-1/a", "devices/lamp-1/b"] {
        a.subscribed(&bench, filter, Qos::AtMostOnce);
    }
    let got = a.subscribe(&bench, "devices/lamp-1/c", SubscriptionOptions::default(), None);
    assert_eq!(got, [Got::SubAck(vec![Reason::QUOTA_EXCEEDED])]);
    a.subscribed(&bench, "devices/lamp-1/b", Qos::AtLeastOnce);
}

#[test]
fn a_full_queue_drops_the_oldest_or_refuses_the_newest() {
    for (overflow, kept, last) in [
        (QueueOverflow::DropOldest, ["2", "3"], Reason::SUCCESS),
        (QueueOverflow::Reject, ["1", "2"], Reason::QUOTA_EXCEEDED),
    ] {
        let bench = Bench::with(|config| {
            config.limits.queue_messages_per_session = 2;
            config.mqtt.queue_overflow = overflow;
        });
        let app = bench.application("app");
        let mut sleeper = bench.connect(&app, resume("sleeper"));
        sleeper.subscribed(&bench, "t", Qos::AtLeastOnce);
        sleeper.lose(&bench);
        let mut sender = bench.connect(&app, connect("sender"));
        for payload in ["1", "2"] {
            sender.publish(&bench, "t", payload.as_bytes(), Qos::AtLeastOnce);
        }
        assert_eq!(sender.publish(&bench, "t", b"3", Qos::AtLeastOnce), [Got::PubAck(3, last)]);
        let (_client, got) = bench.try_connect(&app, resume("sleeper"));
        assert_eq!(payloads(&got), kept);
    }
}

#[test]
fn the_hubs_total_of_queued_bytes_holds() {
    let bench = Bench::with(|config| config.limits.queue_bytes_total = 1024);
    let app = bench.application("app");
    for name in ["a", "b"] {
        let mut sleeper = bench.connect(&app, resume(name));
        sleeper.subscribed(&bench, "t", Qos::AtLeastOnce);
        sleeper.lose(&bench);
    }
    let mut sender = bench.connect(&app, connect("sender"));
    for _ in 0..20 {
        sender.publish(&bench, "t", &[b'x'; 100], Qos::AtLeastOnce);
    }
    let row = bench.hub.limits_table().into_iter().find(|row| row.name == "queue_bytes_total").unwrap();
    assert!(row.used <= row.limit, "{row:?}");
}

/// CSA-COM-04: the rate of one client.
#[test]
fn a_flood_ends_the_connection_that_sends_it() {
    let bench = Bench::with(|config| {
        config.limits.device_messages_per_s = 10;
        config.limits.device_messages_burst = 10;
    });
    let device = bench.device("lamp-1");
    let mut client = bench.connect(&device, connect("lamp-1"));
    for _ in 0..10 {
        client.publish(&bench, "devices/lamp-1/x", b"x", Qos::AtMostOnce);
    }
    assert!(!client.is_over());
    assert_eq!(
        client.publish(&bench, "devices/lamp-1/x", b"x", Qos::AtMostOnce),
        [Got::Disconnect(Reason::MESSAGE_RATE_TOO_HIGH)]
    );
}

/// The hub's own rates, over all clients: refused with 0x97, and over when the second is.
#[test]
fn the_hubs_rates_hold_for_all_clients_together() {
    for bytes in [false, true] {
        let mut bench = Bench::with(|config| match bytes {
            false => config.limits.messages_per_s = 2,
            true => config.limits.bytes_per_s = 100,
        });
        let app = bench.application("app");
        let (mut a, mut b) = (bench.connect(&app, connect("a")), bench.connect(&app, connect("b")));
        let old = Connect { version: Version::V311, ..connect("old") };
        let mut old = bench.connect(&app, old);
        let payload = [b'x'; 50];
        for client in [&mut a, &mut b] {
            let got = client.publish(&bench, "t", &payload, Qos::AtLeastOnce);
            assert_eq!(got, [Got::PubAck(1, Reason::NO_MATCHING_SUBSCRIBERS)]);
        }
        assert_eq!(a.publish(&bench, "t", &payload, Qos::AtLeastOnce), [Got::PubAck(2, Reason::QUOTA_EXCEEDED)]);
        assert!(old.publish(&bench, "t", &payload, Qos::AtLeastOnce).is_empty() && old.is_over(), "no false promise");
        bench.advance(std::time::Duration::from_secs(1));
        let got = b.publish(&bench, "t", &payload, Qos::AtLeastOnce);
        assert_eq!(got, [Got::PubAck(2, Reason::NO_MATCHING_SUBSCRIBERS)]);
    }
}

#[test]
fn retained_messages_are_limited() {
    let bench = Bench::with(|config| config.limits.retained_messages = 1);
    let app = bench.application("app");
    let mut client = bench.connect(&app, connect("a"));
    let mut retain = |topic: &str, payload: &[u8], id| {
        client
            .send(&bench, &Packet::Publish(Publish { retain: true, ..publish(topic, payload, Qos::AtLeastOnce, id) }));
        client.recv(&bench)
    };
    assert!(matches!(retain("a", b"1", 1)[..], [Got::PubAck(1, reason)] if !reason.is_error()));
    assert_eq!(retain("b", b"1", 2), [Got::PubAck(2, Reason::QUOTA_EXCEEDED)]);
    assert!(
        matches!(retain("a", b"2", 3)[..], [Got::PubAck(3, reason)] if !reason.is_error()),
        "replacing needs no room"
    );
    assert!(matches!(retain("a", b"", 4)[..], [Got::PubAck(4, reason)] if !reason.is_error()));
    assert!(matches!(retain("b", b"1", 5)[..], [Got::PubAck(5, reason)] if !reason.is_error()));
}

/// No sequence of life-cycle commands lets an identity that is not active hold a session, but for one who is quarantined:
/// that has what is marked for remediation, and nothing else (IIITA-N4).
#[test]
fn only_the_active_are_connected_whatever_happens() {
    use LifecycleState::{Active, Disabled, Quarantined};
    let bench = Bench::new();
    let leaf = bench.add("lamp-1", Kind::Device);
    let device = bench.identity(&leaf);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut state = Active;
    for _ in 0..300 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if seed.is_multiple_of(3) {
            let to = [Active, Disabled, Quarantined][usize::try_from(seed >> 32).unwrap() % 3];
            if bench.set_state("lamp-1", to).is_ok() {
                state = to;
            }
        }
        let (mut client, got) = bench.try_connect(&device, connect("lamp-1"));
        let admitted = matches!(got[..], [Got::ConnAck { reason: Reason::SUCCESS, .. }]);
        assert_eq!(admitted, state != Disabled, "seed {seed:#x}, {state}");
        assert_eq!(bench.hub.authenticate(&leaf).is_ok(), state != Disabled);
        if admitted {
            let mut is_granted = |filter| {
                let got = client.subscribe(&bench, filter, SubscriptionOptions::default(), None);
                matches!(&got[0], Got::SubAck(reasons) if !reasons[0].is_error())
            };
            assert_eq!(is_granted("devices/lamp-1/state"), state == Active, "seed {seed:#x}");
            assert!(is_granted("devices/lamp-1/remediation/#"), "seed {seed:#x}");
        }
    }
}

/// ISVS-4.2.2: policy is asked before the lock that every CONNECT waits for is taken. Whoever is let in while it changes, be
/// it the policies or what they read of the identity, is found by the change.
#[test]
fn nobody_slips_in_while_policy_changes() {
    let forbid = |condition: &str| format!(r#"forbid (principal, action == Action::"connect", resource) {condition};"#);
    let bench = Bench::with(|config| config.limits.sessions_per_application = 1_000_000);
    let app = bench.application("app");
    let place = |location: &str| {
        let fields = Fields { location: Some(location.into()), ..Fields::default() };
        bench.administer(AdminRequest::DeviceEdit { name: "app".parse().unwrap(), fields }).unwrap();
    };
    for round in 0..30 {
        let (open, close): (&dyn Fn(), &dyn Fn()) = match round % 2 {
            0 => (&|| bench.policy(""), &|| bench.policy(&forbid(""))),
            _ => (
                &|| {
                    place("inside");
                    bench.policy(&forbid(r#"when { principal.location == "outside" }"#));
                },
                &|| place("outside"),
            ),
        };
        open();
        let clients = std::thread::scope(|scope| {
            let storm: Vec<_> = (0..4)
                .map(|number| {
                    let (bench, app) = (&bench, &app);
                    scope.spawn(move || {
                        let names = (0..).map(|index| format!("{round}-{number}-{index}"));
                        let clients = names.map(|name| bench.try_connect(app, connect(&name)));
                        let let_in = |got: &[Got]| matches!(got[0], Got::ConnAck { reason: Reason::SUCCESS, .. });
                        clients.take_while(|(_, got)| let_in(got)).map(|(client, _)| client).collect::<Vec<_>>()
                    })
                })
                .collect();
            std::thread::sleep(std::time::Duration::from_millis(2));
            close();
            storm.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for mut client in clients {
            client.recv(&bench);
            assert!(client.is_over(), "round {round}");
        }
    }
}

/// Applications may use everything from some seconds from now to others.
fn window(bench: &Bench, from_s: u64, until_s: u64) -> String {
    let date = |seconds| {
        let at = bench.wall().plus(Duration::from_secs(seconds)).seconds();
        let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(at).unwrap()).unwrap();
        at.format(&time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z")).unwrap()
    };
    let (from, until) = (date(from_s), date(until_s));
    format!(
        r#"permit (principal, action in [Action::"publish", Action::"subscribe"], resource)
               when {{ principal.kind == "application" && context.now >= datetime("{from}") && context.now < datetime("{until}") }};"#
    )
}

/// A grant for a time is asked for again each time.
#[test]
fn a_grant_that_may_end_is_not_reused() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    bench.policy(&window(&bench, 0, 60));
    let mut client = bench.connect(&app, connect("app"));
    client.subscribed(&bench, "t", Qos::AtLeastOnce);
    client.subscribed(&bench, "t", Qos::AtLeastOnce);
    bench.advance(Duration::from_secs(61));
    let got = client.subscribe(&bench, "t", SubscriptionOptions { qos: Qos::AtLeastOnce, ..Default::default() }, None);
    assert_eq!(got, [Got::SubAck(vec![Reason::NOT_AUTHORIZED])]);
}

/// Who receives a topic is remembered; who may receive it at what time is not.
#[test]
fn a_grant_that_begins_later_is_found_then() {
    let mut bench = Bench::new();
    let (reader, writer) = (bench.application("reader"), bench.device("lamp"));
    bench.policy(&format!("{}\n{}", window(&bench, 0, 30), window(&bench, 120, 180)));
    let mut away = bench.connect(&reader, resume("r"));
    away.subscribed(&bench, "devices/lamp/t", Qos::AtLeastOnce);
    away.lose(&bench);
    let mut sender = bench.connect(&writer, connect("lamp"));
    // Outside of both windows the route is made, and inside it is used again.
    bench.advance(Duration::from_secs(70));
    sender.publish(&bench, "devices/lamp/t", b"outside", Qos::AtLeastOnce);
    bench.advance(Duration::from_secs(60));
    sender.publish(&bench, "devices/lamp/t", b"inside", Qos::AtLeastOnce);
    let (_client, got) = bench.try_connect(&reader, resume("r"));
    assert_eq!(common::payloads(&got), ["inside"]);
}

/// A copied device is where the device is not: told, and answered as the configuration says (CSA-TSP-03, IIITA-J9).
#[test]
fn a_device_in_two_places_is_noticed() {
    let (here, there) = ("192.0.2.1", "192.0.2.2");
    for (response, told) in
        [(TwoPlaces::Ignore, 0), (TwoPlaces::Alert, 1), (TwoPlaces::Refuse, 1), (TwoPlaces::Quarantine, 1)]
    {
        let bench = Bench::with(|config| config.lifecycle.on_two_places = response);
        let lamp = bench.device("lamp");
        let seen = || bench.hub.events().count(EventKind::TwoPlaces);
        let connect_from = |address, client_id| bench.try_connect_from(&lamp, address, connect(client_id));
        let reason = |got: &[Got]| match got.first() {
            Some(Got::ConnAck { reason, .. }) => *reason,
            other => panic!("{other:?}"),
        };
        let (first, got) = connect_from(here, "lamp");
        assert_eq!(reason(&got), Reason::SUCCESS);
        // Again from the same place, and with a second session there: nothing to tell.
        let (second, _) = connect_from(here, "lamp:two");
        assert_eq!(seen(), 0, "{response:?}");
        let (mut other, got) = connect_from(there, "lamp:three");
        assert_eq!(seen(), told, "{response:?}");
        bench.hub.tick(bench.now);
        let state = bench.hub.registry().find(&"lamp".parse().unwrap()).unwrap().state;
        match response {
            TwoPlaces::Ignore | TwoPlaces::Alert => assert_eq!(reason(&got), Reason::SUCCESS),
            TwoPlaces::Refuse => assert_eq!(reason(&got), Reason::NOT_AUTHORIZED),
            TwoPlaces::Quarantine => assert!(other.is_over() || !other.recv(&bench).is_empty(), "both are cut off"),
        }
        let expected =
            if response == TwoPlaces::Quarantine { LifecycleState::Quarantined } else { LifecycleState::Active };
        assert_eq!(state, expected, "{response:?}");
        if response != TwoPlaces::Refuse {
            continue;
        }
        // Once the one is gone, the other may come.
        first.disconnect(&bench);
        second.disconnect(&bench);
        assert_eq!(reason(&connect_from(there, "lamp:three").1), Reason::SUCCESS);
    }
    // Who runs in several places by its nature may.
    let bench = Bench::with(|config| config.lifecycle.on_two_places = TwoPlaces::Refuse);
    let app = bench.application("app");
    let _here = bench.try_connect_from(&app, here, connect("a"));
    let (_, got) = bench.try_connect_from(&app, there, connect("b"));
    assert!(matches!(got[0], Got::ConnAck { reason: Reason::SUCCESS, .. }), "{got:?}");
}
