use portreeve_assurance::{Envelope, Verdict, evidence::import::TlsImport};
use portreeve_intake::{Format, read};
use serde_json::{Value, json};

use crate::common::{NOW, certificate, evidence, judge, subjects_of};

/// Check, files, declared evidence, verdict, parts of what was observed.
pub(crate) type Case =
    (&'static str, &'static [&'static str], Vec<(&'static str, Value)>, Verdict, &'static [&'static str]);

/// ISVS-4.2.2, ISVS-4.2.3, CSA-SCN-01, CSA-COM-01, CSA-COM-04, CSA-COM-06: brokers. ISVS-4.4.2, ISVS-4.4.3, ISVS-4.4.4, IOTSF-2.4.7.10,
/// IOTSF-2.4.7.11: Wi-Fi. ISVS-4.3.1, ISVS-4.3.5, ISVS-4.3.7, CSA-SNT-01: Bluetooth. IOTSF-2.4.7.2, IIITA-N3, CSA-COM-05: packet filters.
/// IOTSF-2.4.7.3: forwarding. CSA-SCN-06, CSA-SDV-03, IOTSF-2.4.7.18: services. CSA-SNT-15: Zigbee. IIITA-J10, CSA-COM-07: SSH.
/// IOTSF-2.4.7.13, ISVS-4.1.1, ISVS-4.1.2: what other scanners saw.
#[allow(clippy::too_many_lines)] // a table
pub(crate) fn cases() -> Vec<Case> {
    use Verdict::{Fail, Inconclusive, Partial, Pass};
    let services = |ports: &[u16]| {
        let services: Vec<Value> = ports.iter().map(|port| json!({ "transport": "tcp", "port": port })).collect();
        ("declared-services/1", json!({ "services": services }))
    };
    let gateway = ("host-role/1", json!({ "is_gateway": true }));
    let flow = |from: Option<&str>, to: Option<&str>, transport: &str, port: u16| json!({ "from": from, "to": to, "transport": transport, "port": port });
    let mut input: Vec<Value> = (8883..=8890).map(|port| flow(Some("@things"), None, "tcp", port)).collect();
    input.push(flow(Some("mgmt0"), None, "tcp", 22));
    let forward = vec![flow(Some("@things"), Some("192.0.2.7"), "udp", 123)];
    let firewall =
        |input: &[Value], forward: &[Value]| ("firewall-policy/1", json!({ "input": input, "forward": forward }));
    let modern = ("tls-policy/1", json!({ "version_min": "tls-1.2" }));
    vec![
        ("cfg.broker", &["mosquitto-good.conf", "aclfile"], vec![], Pass, &["mosquitto 2.0: 1 listeners"]),
        (
            "cfg.broker",
            &["mosquitto-good.conf"],
            vec![],
            Partial,
            &["/etc/mosquitto/aclfile, which has the rights, was not given"],
        ),
        ("cfg.broker", &["aclfile"], vec![], Partial, &["the broker's own configuration was not given"]),
        (
            "cfg.broker",
            &["aclfile-weak"],
            vec![],
            Fail,
            &[
                "everyone may publish to and subscribe # (aclfile-weak, line 2)",
                "anybody without a name may subscribe $SYS/#",
            ],
        ),
        (
            "cfg.broker",
            &["mosquitto-weak.conf"],
            vec![],
            Fail,
            &[
                "0.0.0.0:1883 is in clear (mosquitto-weak.conf, line 2)",
                "0.0.0.0:1883 lets anybody in (mosquitto-weak.conf, line 3)",
                "*:8883 accepts TLS 1.1 (mosquitto-weak.conf, line 8)",
                "*:8883 asks no certificate of clients (mosquitto-weak.conf, by default)",
            ],
        ),
        (
            "cfg.broker",
            &["emqx-good.conf"],
            vec![],
            Partial,
            &["built_in_database decides on topics, and was not asked"],
        ),
        (
            "cfg.broker",
            &["emqx-weak.conf"],
            vec![],
            Fail,
            &["0.0.0.0:1883 is in clear (emqx-weak.conf, by default)", "accepts TLS 1.0"],
        ),
        ("cfg.broker", &["vernemq-good.conf", "aclfile"], vec![], Pass, &["vernemq 2.0: 1 listeners"]),
        ("cfg.broker", &["vernemq-weak.conf"], vec![], Fail, &["0.0.0.0:1883 is in clear (vernemq-weak.conf, line 2)"]),
        ("cfg.ssh", &["sshd-good.conf"], vec![], Pass, &["keys and certificates only"]),
        (
            "cfg.ssh",
            &["sshd-weak.conf"],
            vec![],
            Fail,
            &[
                "permitrootlogin yes (sshd-weak.conf, line 2)",
                "ciphers has 3des-cbc",
                "macs has hmac-md5",
                "passwordauthentication yes for Match Address 192.0.2.0/24 (sshd-weak.conf, line 6)",
            ],
        ),
        ("cfg.wifi", &["hostapd-good.conf", "hostapd.wpa_psk"], vec![], Pass, &["2 keys of stations"]),
        ("cfg.wifi", &["hostapd-good.conf"], vec![], Partial, &["which has the keys, was not given"]),
        (
            "cfg.wifi",
            &["hostapd-weak.conf"],
            vec![],
            Fail,
            &[
                "plant: WPA, the first version, is spoken (hostapd-weak.conf, line 3)",
                "plant: WPS is on",
                "plant: cipher TKIP",
                "plant: a passphrase that everybody knows",
                "guests: neither WPA2 nor WPA3",
            ],
        ),
        (
            "cfg.wifi",
            &["hostapd-weak.wpa_psk"],
            vec![],
            Fail,
            &["a key for every station (hostapd-weak.wpa_psk, line 1)", "line 3"],
        ),
        ("cfg.wifi", &["wpa_supplicant-good.conf"], vec![], Pass, &["1 networks"]),
        (
            "cfg.wifi",
            &["wpa_supplicant-weak.conf"],
            vec![],
            Fail,
            &["old: WEP", "plant: a passphrase that everybody knows", "cipher TKIP"],
        ),
        ("cfg.wifi", &["plant.nmconnection"], vec![], Partial, &["its secret is kept elsewhere"]),
        (
            "cfg.wifi",
            &["plant-weak.nmconnection"],
            vec![],
            Fail,
            &["management frames are not protected", "less than 12 characters"],
        ),
        ("cfg.bluetooth", &["main-good.conf"], vec![], Pass, &["7 settings"]),
        (
            "cfg.bluetooth",
            &["main-weak.conf"],
            vec![],
            Fail,
            &[
                "DiscoverableTimeout = 0",
                "JustWorksRepairing = always",
                "KeySize = 0: shorter keys than 16 bytes are taken (main-weak.conf, by default)",
            ],
        ),
        ("cfg.kernel", &["sysctl-host.conf"], vec![], Pass, &["no gateway"]),
        (
            "cfg.kernel",
            &["sysctl-router.conf"],
            vec![],
            Fail,
            &["net.ipv4.ip_forward = 1 (sysctl-router.conf, line 1)", "net.ipv4.conf.eth0/1.forwarding = 1"],
        ),
        ("cfg.kernel", &["sysctl-router.conf"], vec![gateway.clone()], Fail, &["net.ipv4.conf.all.rp_filter = 0"]),
        ("cfg.kernel", &["sysctl-host.conf"], vec![gateway], Partial, &["pass by the packet filter"]),
        (
            "cfg.host",
            &["good.service", "sockets.txt"],
            vec![services(&[22, 8883])],
            Fail,
            &["5353/udp of avahi-daemon listens and is not declared (sockets.txt, line 5)"],
        ),
        (
            "cfg.host",
            &["good.service"],
            vec![],
            Partial,
            &["not root, confined by 10 of 10", "what listens was not given"],
        ),
        (
            "cfg.host",
            &["good.service", "sockets.txt"],
            vec![(
                "declared-services/1",
                json!({ "services": [
            { "transport": "tcp", "port": 22 }, { "transport": "tcp", "port": 8883 }, { "transport": "udp", "port": 5353 }] }),
            )],
            Pass,
            &["4 sockets, as declared"],
        ),
        ("cfg.host", &["weak.service"], vec![], Fail, &["it runs as root (weak.service, line 3)", "1 of 10 groups"]),
        ("cfg.firewall", &["ruleset-good.json"], vec![firewall(&input, &forward)], Pass, &["dropped by default"]),
        (
            "cfg.firewall",
            &["ruleset-good.json"],
            vec![firewall(&input[1..], &forward)],
            Fail,
            &["tcp 8883-8890 from @things passes and is not declared"],
        ),
        ("cfg.firewall", &["ruleset-good.json"], vec![], Partial, &["which flows are meant was not declared"]),
        ("cfg.firewall", &["iptables.txt"], vec![], Inconclusive, &["what is filtered of ip6 was not given"]),
        (
            "cfg.firewall",
            &["ruleset-weak.json"],
            vec![],
            Fail,
            &["MQTT passes from everywhere", "no chain filters forward", "nothing is logged"],
        ),
        ("cfg.zigbee", &["zigbee-good.yaml"], vec![], Partial, &["install code"]),
        (
            "cfg.zigbee",
            &["zigbee-weak.yaml"],
            vec![],
            Fail,
            &["comes with the software (zigbee-weak.yaml, line 9)", "in clear", "its page needs no token"],
        ),
        ("tls.versions", &["sslyze-weak.json"], vec![modern.clone()], Fail, &["sslyze 6.3.1: TLS 1.0 is accepted"]),
        (
            "tls.versions",
            &["sslyze-good.json"],
            vec![modern.clone()],
            Pass,
            &["sslyze 6.3.1: TLS 1.2 is accepted; TLS 1.3 is accepted"],
        ),
        ("tls.versions", &["testssl-weak.json"], vec![], Fail, &["testssl.sh: TLS 1.0 is accepted"]),
        ("tls.versions", &["testssl-good.json"], vec![], Pass, &["testssl.sh 3.0.8: TLS 1.2 is accepted"]),
        ("tls.suites", &["testssl-weak.json"], vec![], Fail, &["TLS 1.0: suite TLS_"]),
        ("tls.suites", &["sslyze-good.json"], vec![], Inconclusive, &["signatures may be missing"]),
        ("tls.vulns", &["sslyze-good.json"], vec![], Partial, &["none found; early data were not tried"]),
        ("tls.cert", &["sslyze-good.json"], vec![], Inconclusive, &["its name: not tried"]),
        ("plaintext.ports", &["nmap.xml"], vec![], Inconclusive, &["nmap 7.93: 21 was not looked at"]),
        ("port.scan", &["nmap.xml"], vec![services(&[14433])], Pass, &["14433/tcp is declared"]),
        ("port.scan", &["nmap.xml"], vec![services(&[22])], Fail, &["14433/tcp (Tls) is open and not declared"]),
        ("port.scan", &["nmap.xml"], vec![], Inconclusive, &["declared-services/1"]),
    ]
}

#[test]
fn weak_files_fail_where_they_are_weak_and_good_ones_pass() {
    let mut wrong = Vec::new();
    for (check, files, declared, verdict, said) in cases() {
        let subjects = subjects_of(files);
        let [subject] = subjects.as_slice() else { panic!("{files:?}: {} subjects", subjects.len()) };
        let judgement = judge(check, &subject.target, &evidence(&subject.target, &subject.pieces, &declared));
        let missing: Vec<_> = said.iter().filter(|said| !judgement.observed.contains(**said)).collect();
        if judgement.verdict != verdict || !missing.is_empty() {
            wrong.push(format!(
                "{check} of {files:?}: {} and not {verdict}, without {missing:?}: {}",
                judgement.verdict, judgement.observed
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_secret_of_a_file_is_in_its_evidence() {
    for name in [
        "mosquitto-weak.conf",
        "zigbee-weak.yaml",
        "good.service",
        "hostapd-weak.conf",
        "hostapd.wpa_psk",
        "wpa_supplicant-good.conf",
        "plant-weak.nmconnection",
        "emqx-good.conf",
    ] {
        let text = format!("{:?}", subjects_of(&[name]));
        for secret in [
            "must-not-be-told",
            "password\"",
            "first-station",
            "0123456789abcdef",
            "many words",
            "letmein",
            "of-our-own",
        ] {
            assert!(!text.contains(secret), "{name}: {text}");
        }
    }
}

/// Where our own scan and another's differ, the report says both, and the worse counts.
#[test]
fn scanners_that_disagree_are_both_told() {
    let import = |name: &str| subjects_of(&[name]).remove(0).pieces.remove(0);
    let own: TlsImport = serde_json::from_value(import("sslyze-good.json").data).unwrap();
    let own = Envelope::of(&own.as_scan(), Some("hub"), NOW, "portreeve 0.1.0").unwrap();
    let evidence_of = |name: &str| vec![own.clone(), import(name).envelope("hub", NOW, "portreeve 0.1.0")];
    let differing = judge("tls.versions", "hub", &evidence_of("testssl-weak.json"));
    assert_eq!(differing.verdict, Verdict::Fail);
    assert!(
        differing.observed.starts_with("seen differently: pass by us (TLS 1.2 is accepted"),
        "{}",
        differing.observed
    );
    assert!(differing.observed.contains("fail by testssl.sh: TLS 1.0 is accepted"), "{}", differing.observed);
    let agreeing = judge("tls.versions", "hub", &evidence_of("testssl-good.json"));
    assert_eq!(agreeing.verdict, Verdict::Pass);
    assert!(agreeing.observed.contains("; testssl.sh 3.0.8: TLS 1.2 is accepted"), "{}", agreeing.observed);
}

/// What narrows a rule that drops does not drop the rest.
#[test]
fn a_filter_is_not_taken_for_tighter_than_it_is() {
    let filter = |rules: &str| {
        let text = format!("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:sub - [0:0]\n{rules}COMMIT\n");
        let piece = read("a", text.as_bytes(), Some(Format::Iptables), &certificate).unwrap().remove(0);
        piece.data["chains"].as_array().unwrap().iter().find(|chain| chain["name"] == "INPUT").unwrap()["drops_by_default"]
            == json!(true)
    };
    for (rules, drops) in [
        ("-A INPUT -j DROP\n", true),
        ("-A INPUT -p tcp -j DROP\n", false),
        ("-A INPUT -m conntrack --ctstate NEW -j DROP\n", false),
        ("-A INPUT -m limit --limit 5/min -j DROP\n", false),
        ("-A INPUT -j sub\n-A sub -j DROP\n", true),
        ("-A INPUT -s 10.0.0.1 -j sub\n-A sub -j DROP\n", false),
        ("-A INPUT -j sub\n-A sub -s 10.0.0.1 -j RETURN\n-A sub -j DROP\n", false),
        ("-A INPUT -j sub\n-A sub -s 10.0.0.1 -j RETURN\n-A sub -j DROP\n-A INPUT -j DROP\n", true),
        ("-A INPUT -j ACCEPT\n-A INPUT -j DROP\n", false),
    ] {
        assert_eq!(filter(rules), drops, "{rules}");
    }
}
