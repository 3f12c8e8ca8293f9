use super::*;
use crate::{
    Catalogue, Envelope, Sha256,
    evidence::{
        Effort, Outcome,
        hub::Protocol,
        mutual::MutualAttempt,
        ports::{PortFacts, Service},
        tls::Version,
    },
};
use portreeve_types::UnixMillis;

fn claims() -> HubListeners {
    let listener = HubListener {
        name: "mqtt".into(),
        address: "0.0.0.0".into(),
        port: 8883,
        protocol: Protocol::Mqtts,
        versions: vec![Version::Tls12, Version::Tls13],
        client_certificates: ClientCertificates::Required,
    };
    HubListeners {
        listeners: vec![listener],
        packet_bytes_max: 1024,
        receive_maximum: 20,
        topic_alias_maximum: 10,
        anchors_pem: String::new(),
    }
}

fn scan(accepted: &[Version]) -> TlsScan {
    let versions = Version::ALL.map(|version| {
        let data = serde_json::json!({
            "version": version, "accepted": { "known": accepted.contains(&version) }, "refusal": "",
            "suites": { "found": [], "gap": null }, "order": "not-tried", "groups": { "found": [], "gap": null },
            "signatures": { "found": [], "gap": null }, "dh_bits_min": null,
        });
        serde_json::from_value(data).unwrap()
    });
    TlsScan {
        server_name: None,
        versions: versions.into(),
        classic: Seen::NotTried,
        sealed: Seen::NotTried,
        chains: Vec::new(),
        chains_gap: None,
        effort: Effort::default(),
    }
}

fn port(state: PortState, service: Option<Service>) -> PortScan {
    let port = PortFacts { transport: Transport::Tcp, port: 8883, state, service, detail: String::new() };
    PortScan { ports: vec![port], effort: Effort::default() }
}

fn mutual(accepted: bool) -> MutualTls {
    let outcome = Seen::Known(Outcome { accepted, how: String::new() });
    MutualTls { attempts: vec![MutualAttempt { credential: Credential::Nothing, outcome }], effort: Effort::default() }
}

fn mqtt(packet_bytes_max: Option<u32>) -> MqttLimits {
    MqttLimits {
        packet_bytes_max: Seen::Known(packet_bytes_max),
        receive_maximum: Seen::Known(20),
        topic_alias_maximum: Seen::Unknown("no CONNACK".into()),
        server_keep_alive_s: Seen::NotTried,
        oversize: Seen::NotTried,
        sys: Seen::NotTried,
        in_flight: Seen::NotTried,
        topic_alias: Seen::NotTried,
        publishes: Seen::NotTried,
        connections: Seen::NotTried,
        half_open: Seen::NotTried,
        is_alive: Seen::NotTried,
        effort: Effort::default(),
    }
}

fn weighed<F: Facts>(check: &str, target: &str, seen: &F) -> Judgement {
    let envelope = |target, kind: &str, data| Envelope {
        kind: kind.into(),
        target,
        taken: UnixMillis(0),
        tool: "test".into(),
        data,
    };
    let said = envelope(None, HubListeners::KIND, serde_json::to_value(claims()).unwrap());
    let observed = envelope(Some(target.to_owned()), F::KIND, serde_json::to_value(seen).unwrap());
    let evidence = [(Sha256::of(b"said"), &said), (Sha256::of(b"seen"), &observed)];
    let check = Catalogue::embedded().check(&check.parse().unwrap()).unwrap();
    let inputs = Inputs { check, target, at: UnixMillis(0), evidence: &evidence };
    let judged = Judgement { verdict: Verdict::Pass, observed: "fine".into(), expected: String::new() };
    match check.id.as_str() {
        "tls.versions" => of_port(&inputs, judged, versions),
        "tls.mutual" => of_port(&inputs, judged, clients),
        "mqtt.limits" => of_port(&inputs, judged, limits),
        "plaintext.ports" => of_host(&inputs, judged, sealed),
        _ => of_host(&inputs, judged, open),
    }
}

const HERE: &str = "mqtts://hub.example.org:8883";

/// What the hub says is what is seen, or the check fails, whatever else it found; of other ports nothing was said.
#[test]
fn what_is_as_claimed_changes_nothing() {
    let (open_port, good) = (port(PortState::Open, Some(Service::Tls)), scan(&[Version::Tls12, Version::Tls13]));
    let judged = [
        weighed("port.scan", "hub.example.org", &open_port),
        weighed("plaintext.ports", "hub.example.org", &open_port),
        weighed("tls.versions", HERE, &good),
        weighed("tls.mutual", HERE, &mutual(false)),
        weighed("mqtt.limits", HERE, &mqtt(Some(1024))),
        weighed("tls.versions", "tls://hub.example.org:9999", &scan(&[Version::Tls10])),
    ];
    for judgement in judged {
        assert_eq!((judgement.verdict, judgement.observed.as_str()), (Verdict::Pass, "fine"));
    }
    assert!(claims().declared_services().has(Transport::Tcp, 8883));
}

#[test]
fn each_difference_fails() {
    let more = scan(&[Version::Tls11, Version::Tls12, Version::Tls13]);
    let told = [
        (weighed("port.scan", "hub.example.org", &port(PortState::Closed, None)), "it listens, seen: closed"),
        (
            weighed("plaintext.ports", "hub.example.org", &port(PortState::Open, Some(Service::Mqtt))),
            "TLS, seen: Mqtt in clear",
        ),
        (weighed("tls.versions", HERE, &more), "TLS 1.1 refused, seen: accepted"),
        (weighed("tls.versions", HERE, &scan(&[Version::Tls13])), "TLS 1.2 accepted, seen: refused"),
        (weighed("tls.mutual", HERE, &mutual(true)), "clients need certificates, seen: served without"),
        (weighed("mqtt.limits", HERE, &mqtt(None)), "largest packet 1024, seen: none"),
        (weighed("mqtt.limits", HERE, &mqtt(Some(2048))), "largest packet 1024, seen: 2048"),
    ];
    for (judgement, words) in told {
        let expected = format!("mqtt, port 8883: the hub says {words}; fine");
        assert_eq!((judgement.verdict, judgement.observed), (Verdict::Fail, expected));
    }
}
