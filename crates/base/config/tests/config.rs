//! The configuration as an operator meets it: layers, errors with their places, and the reference.

use portreeve_config::{
    Config, ConfigError, KeyCustody, LogLevel, Network, Origin, Port, QueueOverflow, Role, Sources, explain, keys,
    load, reference_markdown,
};
use proptest::prelude::*;

fn file(text: &str) -> Sources {
    Sources { file: Some(("hub.toml".to_owned(), text.to_owned())), ..Sources::default() }
}

fn set(texts: &[&str]) -> Sources {
    Sources { set: texts.iter().map(|text| (*text).to_owned()).collect(), ..Sources::default() }
}

fn env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { env, ..Sources::default() }
}

fn refused(sources: &Sources) -> ConfigError {
    match load(sources) {
        Ok(_) => panic!("must be refused: {sources:?}"),
        Err(error) => error,
    }
}

/// The one problem there is, as text.
fn complaint(sources: &Sources) -> String {
    let error = refused(sources);
    assert_eq!(error.problems().len(), 1, "{error}");
    error.to_string()
}

#[test]
fn defaults_are_a_valid_configuration() {
    Config::default().check().unwrap();
    assert_eq!(Config::load(&Sources::default()).unwrap(), Config::default());
}

#[test]
fn every_documented_key_exists_and_its_default_can_be_written_in_a_file() {
    for doc in keys() {
        let (section, field) = doc.path.split_once('.').unwrap();
        let loaded =
            load(&file(&format!("[{section}]\n{field} = {}\n", doc.default))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.config, Config::default(), "{}", doc.path);
        assert_eq!(loaded.origin(doc.path), Origin::File { name: "hub.toml".into(), line: 2, column: field.len() + 4 });
    }
}

#[test]
fn every_key_can_be_set_from_every_layer_by_its_default_as_plain_text() {
    for doc in keys() {
        assert_eq!(load(&set(&[&format!("{}={}", doc.path, doc.default)])).unwrap().config, Config::default());
        assert_eq!(load(&env(&[(&doc.env(), &doc.default)])).unwrap().config, Config::default());
    }
}

#[test]
fn every_existing_key_is_documented() {
    let shown = load(&Sources::default()).unwrap().show();
    assert_eq!(shown.len(), keys().len());
    // The struct's own account of its fields, independent of the key table.
    let debug = format!("{:#?}", Config::default());
    let fields = debug.lines().filter(|line| line.starts_with("        ") && !line.starts_with("         "));
    let names: Vec<&str> = fields.filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name).collect();
    let documented: Vec<&str> =
        keys().iter().filter_map(|doc| doc.path.split_once('.')).map(|(_, field)| field).collect();
    assert_eq!(names, documented);
}

#[test]
fn every_number_has_a_range_that_is_enforced_at_both_ends_and_every_key_a_text() {
    for doc in keys() {
        assert!(doc.text.ends_with('.') && !doc.unit.is_empty(), "{}", doc.path);
        if doc.type_name != "integer" {
            assert_eq!(doc.range, None, "{}", doc.path);
            continue;
        }
        let (low, high) = doc.range.unwrap_or_else(|| panic!("{} has no range", doc.path));
        for outside in [low - 1, high + 1] {
            let error = refused(&set(&[&format!("{}={outside}", doc.path)]));
            assert_eq!(error.problems()[0].key.as_deref(), Some(doc.path));
            assert!(error.to_string().contains("out of range"), "{error}");
        }
        for inside in [low, high] {
            // A combination may still object, but not to the range.
            if let Err(error) = load(&set(&[&format!("{}={inside}", doc.path)])) {
                assert!(error.to_string().contains("must not exceed"), "{error}");
            }
        }
    }
}

#[test]
fn limits_have_metrics() {
    for doc in keys().iter().filter(|doc| doc.path.starts_with("limits.") && doc.path != "limits.disk_reserve_bytes") {
        let (_, field) = doc.path.split_once('.').unwrap();
        assert_eq!(doc.metric, Some(format!("portreeve_{field}").as_str()));
    }
}

#[test]
fn later_layers_win_and_are_remembered() {
    let mut sources = file("[mqtt]\nreceive_max = 10\nconnect_timeout_s = 11\n[log]\nlevel = \"warn\"\n");
    sources.env =
        vec![("PORTREEVE__MQTT__RECEIVE_MAX".into(), "20".into()), ("PORTREEVE__LOG__LEVEL".into(), "debug".into())];
    sources.set = vec!["mqtt.receive_max=30".into(), "mqtt.receive_max=31".into()];
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.mqtt.receive_max, 31);
    assert_eq!(loaded.config.mqtt.connect_timeout_s, 11);
    assert_eq!(loaded.config.log.level, LogLevel::Debug);
    assert_eq!(loaded.origin("mqtt.receive_max"), Origin::Set("mqtt.receive_max=31".into()));
    assert_eq!(loaded.origin("log.level"), Origin::Env("PORTREEVE__LOG__LEVEL".into()));
    assert_eq!(loaded.origin("mqtt.connect_timeout_s").to_string(), "hub.toml:3:21");
    assert_eq!(loaded.origin("mqtt.listen"), Origin::Default);
    let row = loaded.show().into_iter().find(|row| row.path == "log.level").unwrap();
    assert_eq!((row.value.as_str(), row.origin.to_string().as_str()), ("\"debug\"", "PORTREEVE__LOG__LEVEL"));
}

#[test]
fn values_of_every_type() {
    let loaded = load(&file(
        "mqtt.queue_overflow = \"reject\"\n\
         [hub]\nnames = [\"hub.example.org\", \"192.0.2.7\"]\n\
         [admin]\nsocket = \"/run/hub.sock\"\n[admin.operators]\nalice = \"auditor\"\n\
         [device_https]\nwebsocket = false\n",
    ))
    .unwrap()
    .config;
    assert_eq!(loaded.mqtt.queue_overflow, QueueOverflow::Reject);
    assert_eq!(loaded.hub.names, ["hub.example.org", "192.0.2.7"]);
    assert_eq!(loaded.admin.operators["alice"], Role::Auditor);
    assert_eq!(loaded.admin.socket.to_str(), Some("/run/hub.sock"));
    assert!(!loaded.device_https.websocket);
}

#[test]
fn plain_text_needs_no_quotes() {
    let plain = set(&[
        "mqtt.listen=127.0.0.1:0",
        "mqtt.proxy_protocol_from=10.0.0.0/8, 2001:db8::1",
        "admin.operators=alice=viewer,bob=key-manager",
        "log.format=json",
        "hub.names=",
        "device_https.websocket=false",
    ]);
    let quoted = set(&[
        "mqtt.listen='127.0.0.1:0'",
        "mqtt.proxy_protocol_from=[\"10.0.0.0/8\", \"2001:db8::1\"]",
        "admin.operators={alice=\"viewer\",bob=\"key-manager\"}",
        "log.format=\"json\"",
        "hub.names=[]",
        "device_https.websocket = false",
    ]);
    let config = load(&plain).unwrap().config;
    assert_eq!(config, load(&quoted).unwrap().config);
    assert_eq!(config.admin.operators["bob"], Role::KeyManager);
    assert_eq!(config.mqtt.proxy_protocol_from.len(), 2);
}

#[test]
fn unknown_keys_are_refused_with_place_and_suggestion() {
    assert_eq!(
        complaint(&file("\n[mqtt]\n  lisen = \"0.0.0.0:1\"\n")),
        "hub.toml:3:3: unknown key `mqtt.lisen` (did you mean `mqtt.listen`?)"
    );
    assert_eq!(complaint(&file("[limit]\n")), "hub.toml:1:2: unknown section `limit` (did you mean `limits`?)");
    assert_eq!(
        complaint(&env(&[("PORTREEVE__MQTT__PACKET_BYTES", "1")])),
        "PORTREEVE__MQTT__PACKET_BYTES: unknown key `mqtt.packet_bytes` (did you mean `limits.packet_bytes`?)"
    );
    assert_eq!(complaint(&set(&["nonsense=1"])), "--set nonsense=1: unknown key `nonsense`");
    assert_eq!(complaint(&set(&["nonsense"])), "--set nonsense: expected section.key=value");
    load(&env(&[("PORTREEVE_MQTT", "not ours"), ("HOME", "/")])).unwrap();
}

#[test]
fn wrong_types_and_ranges_are_refused_with_place() {
    assert_eq!(
        complaint(&file("[mqtt]\nreceive_max = \"many\"\n")),
        "hub.toml:2:15: mqtt.receive_max: expected an integer, found \"many\""
    );
    assert_eq!(
        complaint(&file("[limits]\npacket_bytes = 12\n")),
        "hub.toml:2:16: limits.packet_bytes: 12 is out of range: allowed is 1024 to 268435460"
    );
    assert_eq!(
        complaint(&set(&["log.level=loud"])),
        "--set log.level=loud: log.level: expected log level, found \"loud\": allowed: error, warn, info, debug, trace"
    );
    assert_eq!(
        complaint(&file("[mqtt]\nproxy_protocol_from = [\"10.0.0.0/8\", \"10.0.0.1/8\"]\n")),
        "hub.toml:2:23: mqtt.proxy_protocol_from: item 2: expected address or network, found \"10.0.0.1/8\": bits beyond the prefix length are set"
    );
    assert_eq!(complaint(&file("mqtt = 1\n")), "hub.toml:1:1: `mqtt` is a section: write [mqtt] and its keys below");
    assert_eq!(
        complaint(&file("[[admin.operators]]\na = \"viewer\"\n")),
        "hub.toml:1:1: admin.operators: expected table of user name to role, found an array"
    );
    assert!(complaint(&file("[mqtt\n")).starts_with("hub.toml:1:6: "));
    assert!(complaint(&file("[log]\nlevel='info'\nlevel='info'\n")).starts_with("hub.toml:3:1: "));
    assert!(complaint(&file("[admin.operators]\nbob = \"root\"\n")).contains("`bob`: expected role"));
}

#[test]
fn all_problems_are_told_at_once() {
    let mut sources = file("[mqtt]\nlisen = 1\nreceive_max = 0\n[tls]\n");
    sources.env = vec![("PORTREEVE__LOG__LEVEL".into(), "loud".into())];
    sources.set = vec!["metrics.listen=0.0.0.0:9464".into()];
    let error = refused(&sources);
    assert_eq!(error.problems().len(), 5, "{error}");
    assert_eq!(error.to_string().lines().count(), 5);
}

/// `ISVS-4.1.1`: what asks nobody for a certificate stays on this machine.
#[test]
fn metrics_are_never_served_beyond_loopback() {
    for address in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"] {
        let told = complaint(&set(&[&format!("metrics.listen={address}")]));
        assert!(told.contains("must be a loopback address"), "{told}");
    }
    for address in ["127.0.0.2:1", "[::1]:9464", "[::ffff:127.0.0.1]:9464"] {
        load(&set(&[&format!("metrics.listen={address}")])).unwrap();
    }
}

/// `ISVS-4.1.1`, `GLOSSARY-P2`, `CSA-COM-02`: plain listeners, anonymous clients and permissive policies cannot even be spelt.
#[test]
fn no_key_weakens_the_hub() {
    for doc in keys() {
        for word in ["tls", "plain", "anonymous", "insecure", "allow", "verify", "auth", "password", "policy"] {
            assert!(!doc.path.contains(word), "{}", doc.path);
        }
    }
    for attempt in
        ["mqtt.tls=false", "mqtt.allow_anonymous=true", "mqtt.client_certificate=false", "policy.allow_all=true"]
    {
        assert!(complaint(&set(&[attempt])).contains("unknown key"), "{attempt}");
    }
}

#[test]
fn combinations_are_checked_where_somebody_set_something() {
    assert_eq!(
        complaint(&file("[limits]\nconnect_bytes = 4096\npacket_bytes = 2048\nretained_message_bytes = 10\n")),
        "hub.toml:2:17: limits.connect_bytes (4096) must not exceed limits.packet_bytes (2048)"
    );
    assert_eq!(
        complaint(&set(&["limits.half_open_connections=50"])),
        "--set limits.half_open_connections=50: limits.half_open_per_source (2048) must not exceed limits.half_open_connections (50)"
    );
    assert!(complaint(&set(&["device_https.listen=0.0.0.0:8883"])).contains("are both 0.0.0.0:8883"));
    assert!(complaint(&set(&["mqtt.provisioning_listen=0.0.0.0:8444"])).contains("are both 0.0.0.0:8444"));
    load(&set(&["device_https.listen=127.0.0.1:0", "mqtt.listen=127.0.0.1:0"])).unwrap();
    assert!(complaint(&set(&["hub.names=*.example.org"])).contains("neither an IP address nor a DNS name"));
    assert!(complaint(&set(&["enrolment.key_algorithms="])).contains("no device gets a certificate"));
    assert!(complaint(&set(&["enrolment.key_algorithms=rsa-2048"])).contains("rsa-4096"), "it says what there is");
    assert!(complaint(&set(&["device_https.websocket_origins=*"])).contains("is not an origin"));
    assert!(complaint(&file("[admin.operators]\n\"a b\" = \"viewer\"\n")).contains("is not a user name"));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let error = Sources::gather(Some(&missing), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("none.toml") && error.contains("cannot be read"), "{error}");
    let latin1 = dir.path().join("latin1.toml");
    std::fs::write(&latin1, b"# fine\n# M\xfcnchen\n").unwrap();
    let error = Sources::gather(Some(&latin1), Vec::new()).unwrap_err().to_string();
    assert!(error.ends_with("latin1.toml:2:4: not UTF-8"), "{error}");
    let huge = dir.path().join("huge.toml");
    std::fs::write(&huge, vec![b'#'; 1_048_577]).unwrap();
    assert!(Sources::gather(Some(&huge), Vec::new()).unwrap_err().to_string().contains("larger than"));
    let good = dir.path().join("good.toml");
    std::fs::write(&good, "[log]\nlevel = \"trace\"\n").unwrap();
    let sources = Sources::gather(Some(&good), vec!["hub.workers=2".into()]).unwrap();
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.log.level, config.hub.workers), (LogLevel::Trace, 2));
}

#[test]
fn a_reload_takes_what_it_can_and_names_the_rest() {
    let running = Config::default();
    let new = load(&set(&[
        "limits.packet_bytes=2048",
        "limits.connect_bytes=2048",
        "limits.retained_message_bytes=2048",
        "hub.workers=3",
    ]));
    let (after, waiting) = running.reloaded(&new.unwrap().config);
    assert_eq!(waiting, ["hub.workers"]);
    assert_eq!(after.hub.workers, 0);
    assert_eq!(after.limits.packet_bytes, 2048);
    assert_eq!(running.reloaded(&running), (running.clone(), Vec::new()));
}

#[test]
fn networks_contain_what_they_should() {
    let contains =
        |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
    assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3") && contains("::ffff:10.1.2.3", "10.1.2.3"));
    assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "2001:db8::1"));
    assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "2001:db9::1"));
    for bad in ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "host", "10.0.0.1/24"] {
        assert!(bad.parse::<Network>().is_err(), "{bad}");
    }
}

/// A door for strangers is there when somebody asked for it, and not before.
#[test]
fn a_listener_may_be_none() {
    let listen = |text: &str| load(&set(&[&format!("mqtt.provisioning_listen={text}")]));
    assert_eq!(load(&Sources::default()).unwrap().config.mqtt.provisioning_listen, None);
    assert_eq!(listen("").unwrap().config.mqtt.provisioning_listen, None);
    let address = "127.0.0.1:8882".parse().unwrap();
    assert_eq!(listen("127.0.0.1:8882").unwrap().config.mqtt.provisioning_listen, Some(address));
    assert!(complaint(&set(&["mqtt.provisioning_listen=off"])).contains("expected address:port"));
}

#[test]
fn a_table_is_shown_so_that_it_can_be_read_again() {
    let loaded = load(&set(&[r#"lifecycle.firmware_min={ plain = "1", "\"'" = "2", "" = "3" }"#])).unwrap();
    let shown = loaded.show().into_iter().find(|row| row.path == "lifecycle.firmware_min").unwrap();
    let again = load(&set(&[&format!("lifecycle.firmware_min={}", shown.value)])).unwrap();
    assert_eq!(again.config.lifecycle.firmware_min, loaded.config.lifecycle.firmware_min);
    assert_eq!(loaded.config.lifecycle.firmware_min.len(), 3);
}

#[test]
fn the_reference_names_every_key() {
    let reference = reference_markdown();
    for doc in keys() {
        assert!(reference.contains(&format!("\n| `{}` | `{}` |", doc.path, doc.default)), "{}", doc.path);
    }
    assert_eq!(explain("mqtt.listen").unwrap().default, "\"0.0.0.0:8883\"");
    assert_eq!(explain("mqtt.nothing"), None);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}", key in "[a-z_.]{0,20}", value in "\\PC{0,40}") {
        let mut sources = file(&text);
        sources.env = vec![(format!("PORTREEVE__{}", key.to_uppercase()), value.clone())];
        sources.set = vec![format!("{key}={value}"), text];
        let _ = load(&sources);
    }

    #[test]
    fn arbitrary_values_of_known_keys_never_panic_and_never_pass_unseen(at in 0..keys().len(), value in "[\\[\\]{}\"',.:=a-z0-9 \n-]{0,30}") {
        let doc = &keys()[at];
        let (section, field) = doc.path.split_once('.').unwrap();
        let _ = load(&file(&format!("[{section}]\n{field} = {value}\n")));
        if let Ok(loaded) = load(&set(&[&format!("{}={value}", doc.path)])) {
            // What was accepted can be written down and read again.
            let shown = loaded.show().into_iter().find(|row| row.path == doc.path).unwrap();
            let again = load(&set(&[&format!("{}={}", doc.path, shown.value)])).unwrap();
            prop_assert_eq!(again.config, loaded.config);
        }
    }
}

#[test]
fn a_token_needs_a_module_and_a_label() {
    let whole = ["keys.custody=pkcs11", "keys.pkcs11_module=/m.so", "keys.pkcs11_token=hub"];
    let keys = load(&set(&whole)).unwrap().config.keys;
    assert_eq!((keys.custody, keys.pkcs11_token.as_str()), (KeyCustody::Pkcs11, "hub"));
    assert!(complaint(&set(&[whole[0], whole[2]])).contains("keys.pkcs11_module"));
    assert!(complaint(&set(&[whole[0], whole[2], "keys.pkcs11_module=m.so"])).contains("absolute path"));
    assert!(complaint(&set(&whole[..2])).contains("keys.pkcs11_token"));
    assert!(complaint(&set(&["keys.pkcs11_paths=/a, b"])).contains("\"b\" is no absolute path"));
    // Whoever keeps keys in files need not say anything about tokens.
    assert!(load(&set(&["keys.custody=sealed"])).is_ok());
    assert!(complaint(&set(&["keys.custody=cloud"])).contains("file, sealed, pkcs11, tpm"));
}

#[test]
fn ports_are_numbers_in_a_file_and_words_elsewhere() {
    let ports = |sources: &Sources| load(sources).unwrap().config.keys.pkcs11_ports;
    for sources in [file("[keys]\npkcs11_ports = [1792, 65535]\n"), set(&["keys.pkcs11_ports=1792,65535"])] {
        assert_eq!(ports(&sources), [Port(1792), Port(65535)]);
    }
    for bad in ["0", "65536", "-1", "ssh", "1.5", "true"] {
        assert!(
            complaint(&file(&format!("[keys]\npkcs11_ports = [{bad}]\n").replace("ssh", "\"ssh\""))).contains("item 1")
        );
    }
}
