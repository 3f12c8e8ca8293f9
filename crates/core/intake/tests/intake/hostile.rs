use portreeve_intake::{FILE_BYTES_MAX, Format, IntakeError, read, sbom::Matcher, secrets::Scanner};

use crate::common::{certificate, data};

const FILES: [(&str, Format); 27] = [
    ("mosquitto-weak.conf", Format::Mosquitto),
    ("aclfile", Format::BrokerAcl),
    ("emqx-good.conf", Format::Emqx),
    ("vernemq-good.conf", Format::VerneMq),
    ("sshd-weak.conf", Format::Sshd),
    ("hostapd-weak.conf", Format::Hostapd),
    ("hostapd.wpa_psk", Format::HostapdKeys),
    ("wpa_supplicant-good.conf", Format::WpaSupplicant),
    ("wpa_supplicant-weak.conf", Format::WpaSupplicant),
    ("plant.nmconnection", Format::NetworkManager),
    ("main-weak.conf", Format::Bluetoothd),
    ("ruleset-good.json", Format::Nftables),
    ("ruleset-weak.json", Format::Nftables),
    ("iptables.txt", Format::Iptables),
    ("sysctl-router.conf", Format::Sysctl),
    ("good.service", Format::SystemdUnit),
    ("sockets.txt", Format::Sockets),
    ("zigbee-good.yaml", Format::Zigbee2Mqtt),
    ("zigbee-weak.yaml", Format::Zigbee2Mqtt),
    ("testssl-weak.json", Format::Testssl),
    ("testssl-good.json", Format::Testssl),
    ("sslyze-weak.json", Format::Sslyze),
    ("sslyze-good.json", Format::Sslyze),
    ("nmap.xml", Format::Nmap),
    ("exposure-weak.json", Format::SystemdSecurity),
    ("emqx-weak.conf", Format::Emqx),
    ("vernemq-weak.conf", Format::VerneMq),
];

#[test]
fn files_are_recognised_without_a_word() {
    for (name, format) in FILES {
        let bytes = data(name);
        let of_itself = read(name, &bytes, None, &certificate).unwrap();
        assert_eq!(of_itself, read(name, &bytes, Some(format), &certificate).unwrap(), "{name}");
    }
    assert!(matches!(read("notes.txt", b"nothing", None, &certificate), Err(IntakeError::Unknown { .. })));
    assert!(Format::ALL.iter().all(|format| format.name().parse() == Ok(*format)));
}

/// Each file ends at every place (of large ones, at many), and is read as every other format. Nothing panics, and every refusal has a place.
#[test]
fn truncated_and_misnamed_files_are_refused_or_read() {
    for (name, format) in FILES {
        let bytes = data(name);
        let step = bytes.len() / 500 + 1;
        for end in (0..bytes.len()).step_by(step) {
            is_placed(read(name, &bytes[..end], Some(format), &certificate).map(drop));
        }
        Format::ALL.iter().for_each(|other| is_placed(read(name, &bytes, Some(*other), &certificate).map(drop)));
    }
    for name in ["sbom.json", "spdx.json"] {
        let bytes = data(name);
        (0..bytes.len()).for_each(|end| is_placed(Matcher::new(name, &bytes[..end]).map(drop)));
    }
    let mut matcher = Matcher::new("sbom.json", &data("sbom.json")).unwrap();
    for name in ["feed/smallvec.json", "vex.json"] {
        let bytes = data(name);
        (0..bytes.len()).for_each(|end| is_placed(matcher.advisory(name, &bytes[..end])));
    }
}

fn is_placed(outcome: Result<(), IntakeError>) {
    if let Err(IntakeError::At { line, column, problem, .. }) = outcome {
        assert!(line > 0 && column > 0 && !problem.is_empty() && problem.len() <= 300, "{line}:{column}: {problem}");
    }
}

#[test]
fn what_is_not_text_is_refused_where_it_is_not() {
    let error = read("mosquitto.conf", b"listener 1883\n# \xff", None, &certificate).unwrap_err();
    assert_eq!(error.to_string(), "mosquitto.conf:2:3: this is not text in UTF-8");
    assert!(matches!(read("a", &vec![b' '; FILE_BYTES_MAX + 1], None, &certificate), Err(IntakeError::Large { .. })));
}

/// Deep, wide, and growing when followed.
#[test]
fn bombs_do_not_go_off() {
    let deep = |open: &str, count: usize| open.repeat(count).into_bytes();
    for (format, bytes) in [
        (Format::Emqx, deep("a{", 100_000)),
        (Format::Emqx, format!("a = {}", "[".repeat(100_000)).into_bytes()),
        (Format::Zigbee2Mqtt, deep("[", 100_000)),
        (Format::Zigbee2Mqtt, deep("a: {", 10_000)),
        (Format::Nftables, format!(r#"{{"nftables": {}"#, "[".repeat(100_000)).into_bytes()),
        (Format::Testssl, deep("[", 100_000)),
        (Format::Nmap, format!("<nmaprun>{}", "<host>".repeat(100_000)).into_bytes()),
        (Format::Mosquitto, deep("listener 1883\n", 100_000)),
        (Format::BrokerAcl, deep("topic a\n", 100_000)),
        (Format::Sockets, deep("tcp LISTEN 0 0 0.0.0.0:1 0.0.0.0:*\n", 100_000)),
    ] {
        let error = read("bomb", &bytes, Some(format), &certificate).unwrap_err();
        assert!(matches!(error, IntakeError::At { .. }), "{format}");
    }
    let laughs: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    assert!(
        read("b", format!("a0: &a0 ha\n{laughs}").as_bytes(), Some(Format::Zigbee2Mqtt), &certificate).is_ok(),
        "aliases are told"
    );
    let entities = "<!DOCTYPE nmaprun [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;\">]>";
    let text = format!("{entities}<nmaprun version=\"{}\"/>", "&c;".repeat(10_000));
    assert!(read("b", text.as_bytes(), Some(Format::Nmap), &certificate).is_err());
    // A chain that sends packets twice to the next, fourteen deep.
    let mut rules = String::from("*filter\n:INPUT DROP [0:0]\n");
    (0..15).for_each(|n| rules.push_str(&format!(":c{n} - [0:0]\n")));
    rules.push_str("-A INPUT -j c0\n");
    (0..14).for_each(|n| rules.push_str(&format!("-A c{n} -s 10.0.0.{n} -j c{0}\n", n + 1).repeat(4)));
    rules.push_str("-A c14 -p tcp -j ACCEPT\n");
    let piece = &read("b", rules.as_bytes(), Some(Format::Iptables), &certificate).unwrap()[0];
    assert!(piece.data.to_string().contains("more rules than are read"));
}

#[test]
fn any_bytes_can_be_looked_through_for_secrets() {
    let mut scanner = Scanner::new(&[0; 32]);
    scanner.file("zeros", &[0; 100_000]);
    scanner.file("long", &b"password=".repeat(100_000));
    scanner.file("many", &b"password=\"k3jd82kd93\"\n".repeat(20_000));
    let piece = scanner.finish("image");
    assert_eq!(piece.data["findings"].as_array().map(Vec::len), Some(10_000));
    assert!(piece.data["unlisted"].as_u64().unwrap() >= 10_000);
}
