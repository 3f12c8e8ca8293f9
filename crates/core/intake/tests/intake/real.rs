//! What real software has and prints, on this machine. `./test` installs the programs.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use portreeve_assurance::{Judgement, Verdict};
use portreeve_intake::{Format, Piece, read, subjects};
use serde_json::{Value, json};

use crate::common::{certificate, data, evidence, judge};

fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let done = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn pieces(name: &str, bytes: &[u8]) -> Vec<Piece> {
    read(name, bytes, None, &certificate).unwrap_or_else(|error| panic!("{error}"))
}

fn judged(check: &str, pieces: Vec<Piece>, declared: &[(&str, Value)]) -> Judgement {
    let subject = subjects(pieces).remove(0);
    judge(check, &subject.target, &evidence(&subject.target, &subject.pieces, declared))
}

/// Debian's own file: a broker for its own host, which lets everybody on it do everything.
#[test]
fn the_mosquitto_of_debian_is_local_and_open() {
    let name = "/etc/mosquitto/mosquitto.conf";
    let pieces = pieces(name, &std::fs::read(name).unwrap());
    assert_eq!(pieces[0].data["listeners"][0]["is_local"], json!(true));
    let judgement = judged("cfg.broker", pieces, &[]);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.observed.contains("localhost:1883 lets anybody in"), "{}", judgement.observed);
    assert!(!judgement.observed.contains("in clear"), "{}", judgement.observed);
}

/// What we say that holds is what `sshd -T` says that holds.
#[test]
fn sshd_agrees_on_what_its_files_mean() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
    let debian = std::fs::read("/etc/ssh/sshd_config").unwrap();
    for (name, bytes) in [
        ("sshd_config", debian),
        ("sshd-good.conf", data("sshd-good.conf")),
        ("sshd-weak.conf", data("sshd-weak.conf")),
    ] {
        // Algorithms that this sshd does not know end it; the files of others are included by a name that is not there.
        let text = String::from_utf8(bytes)
            .unwrap()
            .replace("/etc/ssh/sshd_config.d/*.conf", "/nowhere/*.conf")
            .replace("+3des-cbc", "+aes128-cbc");
        let path = folder.path().join(name);
        std::fs::write(&path, &text).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let theirs = String::from_utf8(output(
            "/usr/sbin/sshd",
            &["-T", "-f", path.to_str().unwrap(), "-h", key.to_str().unwrap()],
        ))
        .unwrap();
        let piece = &read(name, text.as_bytes(), Some(Format::Sshd), &certificate).unwrap()[0];
        let mut compared = 0;
        for setting in piece.data["settings"].as_array().unwrap() {
            let (key, value) = (setting["key"].as_str().unwrap(), setting["said"]["value"].as_str().unwrap());
            // Lists of algorithms are worked out, and names are told one a line.
            if setting["section"] != "" || ["ciphers", "macs", "kexalgorithms"].contains(&key) {
                continue;
            }
            let said = theirs.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            let said = said.unwrap_or_else(|| panic!("{name}: sshd does not know {key}"));
            let said = if said == "without-password" { "prohibit-password" } else { said };
            assert!(said.eq_ignore_ascii_case(value), "{name}: {key} is {said}, not {value}");
            compared += 1;
        }
        assert!(compared >= 12, "{name}: {compared} settings");
    }
}

/// The kernel of this machine, and the filter that a kernel has loaded from our rules.
#[test]
fn kernels_say_what_we_read() {
    let all = output("/usr/sbin/sysctl", &["-a"]);
    let piece = read("sysctl.txt", &all, Some(Format::Sysctl), &certificate).unwrap().remove(0);
    let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let settings = piece.data["settings"].as_array().unwrap().clone();
    let found = settings.iter().find(|setting| setting["key"] == "net.ipv4.ip_forward").unwrap();
    assert_eq!(found["said"]["value"], forward.trim());
    assert_ne!(judged("cfg.kernel", vec![piece], &[]).verdict, Verdict::Inconclusive);
}

#[test]
fn a_loaded_filter_is_read_as_it_works() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let script = |rules: &str| format!("nft -f {folder}/{rules} && nft -j list ruleset");
    let list = |rules: &str| output("unshare", &["-rn", "sh", "-c", &script(rules)]);
    let good = judged("cfg.firewall", pieces("a.json", &list("rules-good.nft")), &[]);
    assert_eq!(good.verdict, Verdict::Partial, "{}", good.observed);
    let weak = judged("cfg.firewall", pieces("a.json", &list("rules-weak.nft")), &[]);
    assert_eq!(weak.verdict, Verdict::Fail);
    let empty =
        judged("cfg.firewall", pieces("a.json", &output("unshare", &["-rn", "nft", "-j", "list", "ruleset"])), &[]);
    assert!(empty.verdict == Verdict::Fail && empty.observed.contains("no chain filters input"), "{}", empty.observed);
}

/// Every unit that Debian has put here, and systemd's word on one.
#[test]
fn units_of_debian_are_read() {
    let mut count = 0;
    for entry in std::fs::read_dir("/lib/systemd/system").unwrap().flatten() {
        let path = entry.path();
        let is_service = path.extension().is_some_and(|end| end == "service")
            && std::fs::metadata(&path).is_ok_and(|data| data.is_file());
        let Some(bytes) = is_service
            .then(|| std::fs::read(&path).unwrap())
            .filter(|bytes| String::from_utf8_lossy(bytes).contains("\n[Service]"))
        else {
            continue;
        };
        let pieces = pieces(path.to_str().unwrap(), &bytes);
        assert_eq!(pieces[0].kind, "settings/1");
        count += 1;
    }
    assert!(count > 20, "{count} units");
}

/// What systemd thinks of our two units, and we of its word.
#[test]
fn systemd_and_we_agree_on_who_is_exposed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut scores = Vec::new();
    for (name, verdict) in [("good.service", Verdict::Partial), ("weak.service", Verdict::Fail)] {
        let path = format!("{folder}/{name}");
        let bytes = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--json=short", &path])
            .output()
            .unwrap()
            .stdout;
        let piece = pieces("exposure.json", &bytes).remove(0);
        assert_eq!(piece.data["is_root"], json!(name == "weak.service"));
        scores.push(piece.data["exposure_tenths"].as_u64().unwrap());
        let policy = ("host-policy/1", json!({ "exposure_tenths_max": 60 }));
        let judgement = judged("cfg.host", vec![piece], &[policy]);
        assert_eq!(judgement.verdict, verdict, "{name}: {}", judgement.observed);
    }
    assert!(scores[0] < scores[1], "{scores:?}");
}

/// `ss` and `nmap` see a listener that is there.
#[test]
fn a_listener_is_in_what_others_print() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sockets = pieces("ss.txt", &output("ss", &["-tulpn"]));
    let is_ours = |socket: &&Value| socket["port"] == json!(port) && socket["is_local"] == json!(true);
    assert!(sockets[0].data["sockets"].as_array().unwrap().iter().any(|socket| is_ours(&socket)));
    let xml = output("nmap", &["-n", "-Pn", "-p", &port.to_string(), "-oX", "-", "127.0.0.1"]);
    let services = |port: u16| ("declared-services/1", json!({ "services": [{ "transport": "tcp", "port": port }] }));
    let found = pieces("nmap.xml", &xml);
    assert_eq!(judged("port.scan", found.clone(), &[services(port)]).verdict, Verdict::Pass);
    assert_eq!(judged("port.scan", found, &[services(1)]).verdict, Verdict::Fail);
}

/// `iptables` and `nft` load one filter, and both print it as the same.
#[test]
fn iptables_says_what_its_file_says() {
    assert!(Path::new("/usr/sbin/iptables").exists(), "install iptables");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/iptables.txt");
    let script = format!("iptables-restore < {file} && iptables-save");
    let printed = pieces("iptables.txt", &output("unshare", &["-rn", "sh", "-c", &script]));
    assert_eq!(printed[0].data["chains"], pieces("iptables.txt", &data("iptables.txt"))[0].data["chains"]);
}
