use std::fs;

use portreeve_assurance::{
    Verdict,
    checks::replay::replay_probe,
    evidence::{
        Outcome, Seen,
        replay::{Replay, Replayed},
    },
};
use portreeve_probe::{
    Dialer,
    mqtt::{self, Broker, Identity},
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    mqtt::mosquitto,
    support::{Authority, Certificates, free_port, limits, saying, scripted, short, start, survives},
};

fn of(facts: &Replay, what: Replayed) -> &Seen<Outcome> {
    &facts.attempts.iter().find(|attempt| attempt.what == what).unwrap().outcome
}

/// ISVS-4.1.1: over TLS nothing that was recorded is heard again.
#[tokio::test]
async fn recordings_of_tls_get_nowhere() {
    let certificates = Certificates::new();
    let authority = Authority::new();
    let settings = authority.mosquitto(&certificates);
    // Mosquitto has no setting for the newest version.
    let openssl = certificates.path("openssl.cnf");
    fs::write(&openssl, "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n")
        .unwrap();
    let environment = [("TLSv1.2", format!("OPENSSL_CONF={openssl}")), ("TLSv1.3", "LANG=C".to_owned())];
    for (version, variable) in environment {
        let port = free_port();
        let config = certificates.path(version);
        fs::write(&config, format!("user root\nlistener {port} 127.0.0.1\n{settings}")).unwrap();
        let server = start("/usr/bin/env", port, &[&variable, "/usr/sbin/mosquitto", "-c", &config]);
        let dialer = Dialer::new(server.address, limits());
        let broker = Broker { dialer: &dialer, tls: Some(ServerName::try_from("localhost").unwrap()) };
        let who = Identity { name: "a".into(), credentials: Some(authority.client("a")) };
        let mut facts = mqtt::replay(&broker, &who, "replay/x").await;
        let Seen::Known(Outcome { accepted: false, how }) = of(&facts, Replayed::Record) else { panic!("{facts:?}") };
        assert!(how.contains("BadRecordMac") || how.contains("closed"), "{version}: {how}");
        // TLS 1.3 says in encrypted records what TLS 1.2 says in clear.
        let Seen::Known(Outcome { accepted: false, how }) = of(&facts, Replayed::Connection) else {
            panic!("{facts:?}")
        };
        assert_eq!(how.contains("application data"), version == "TLSv1.3", "{how}");
        assert!(facts.attempts.iter().all(|attempt| attempt.outcome.known().is_some()), "{facts:?}");
        survives(&facts);
        assert_eq!(replay_probe(&facts).verdict, Verdict::Partial, "{facts:?}");
        for (is_logged, verdict) in [(true, Verdict::Pass), (false, Verdict::Fail)] {
            facts.is_logged = Seen::Known(is_logged);
            assert_eq!(replay_probe(&facts).verdict, verdict);
        }
        facts.attempts.pop();
        assert_ne!(replay_probe(&facts).verdict, Verdict::Pass);
    }
}

/// In clear, whoever has listened can say it all again.
#[tokio::test]
async fn recordings_in_clear_are_taken() {
    let certificates = Certificates::new();
    let (server, _) = mosquitto(&certificates, "allow_anonymous true\n");
    let dialer = Dialer::new(server.address, limits());
    let facts = mqtt::replay(&Broker { dialer: &dialer, tls: None }, &Identity::nobody("a"), "replay/x").await;
    assert!(of(&facts, Replayed::Connection).known().is_some_and(|outcome| outcome.accepted), "{facts:?}");
    assert!(of(&facts, Replayed::Message).known().is_some_and(|outcome| !outcome.accepted), "{facts:?}");
    let judgement = replay_probe(&facts);
    assert_eq!((judgement.verdict, &*judgement.observed), (Verdict::Fail, "a whole connection is taken twice"));

    // Who may not be heard learns nothing.
    let acl = certificates.path("acl");
    fs::write(&acl, "topic write replay/#\n").unwrap();
    let (server, _) = mosquitto(&certificates, &format!("allow_anonymous true\nacl_file {acl}\n"));
    let dialer = Dialer::new(server.address, limits());
    let facts = mqtt::replay(&Broker { dialer: &dialer, tls: None }, &Identity::nobody("a"), "replay/x").await;
    assert_eq!(replay_probe(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
}

/// Noise is no answer, in bounded time.
#[tokio::test]
async fn hostile_brokers_show_nothing() {
    let endless =
        scripted(
            |mut stream| async move { while stream.write_all(&b"\x30\x03\x00\x01a".repeat(1000)).await.is_ok() {} },
        )
        .await;
    let reset = scripted(|stream| async move {
        let _ = stream.set_zero_linger();
    })
    .await;
    let welcoming = scripted(|mut stream| async move {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
            let _ = stream.write_all(b"\x20\x03\x00\x00\x00\x90\x04\x00\x01\x00\x00\x30\xff\xff\xff\x7f").await;
        }
    })
    .await;
    let silent = saying(Vec::new()).await;
    let garbage = saying(b"\x16\x03\x03\xff\xffgarbage".to_vec()).await;
    for address in [endless, reset, welcoming, silent, garbage] {
        for tls in [None, Some(ServerName::try_from("localhost").unwrap())] {
            let started = std::time::Instant::now();
            let dialer = Dialer::new(address, short());
            let facts = mqtt::replay(&Broker { dialer: &dialer, tls }, &Identity::nobody("a"), "x").await;
            assert_eq!(replay_probe(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
            assert!(started.elapsed() < std::time::Duration::from_secs(11));
        }
    }
}
