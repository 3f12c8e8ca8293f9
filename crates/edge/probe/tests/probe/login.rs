use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use portreeve_assurance::{
    Verdict,
    checks::{
        login::{auth_bruteforce, auth_defaults},
        ssh::ssh_algos,
    },
    evidence::{
        Seen,
        login::{Authorisation, DefaultLogins, FailuresHeard, Found, GuessPolicy, LoginGuessing, Permitted, Reaction},
    },
};
use portreeve_probe::{
    Dialer, Limits,
    http::Site,
    login::{COMMUNITIES, Door, FACTORY, Form, GUESSES, TestAccount, TokenHeader, defaults, guess},
    mqtt::Broker,
    ssh,
};
use portreeve_types::UnixMillis;
use russh::server::{Auth, Handler};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    mqtt::mosquitto,
    nginx::basic,
    support::{Certificates, Server, free_port, limits, saying, scripted, short, start, survives},
};

const RIGHT: &str = "the-right-secret";

fn leave() -> Permitted {
    let until = UnixMillis(1_900_000_000_000);
    let authorisation = Authorisation { by: "A. Tester".into(), reference: "TICKET-1".into(), until };
    authorisation.permit(UnixMillis(1_800_000_000_000)).unwrap()
}

fn account() -> TestAccount {
    TestAccount { user: "operator".into(), secret: Some(RIGHT.into()) }
}

fn site(dialer: &Dialer) -> Site<'_> {
    Site { dialer, tls: None, host: "localhost".into() }
}

async fn guessed(door: Door<'_>) -> LoginGuessing {
    let facts = guess(&leave(), &[(door, account())], GUESSES).await;
    survives(&facts);
    let json = serde_json::to_string(&facts).unwrap();
    assert!(!json.contains(RIGHT) && !json.contains("portreeve-wrong") && !json.contains("session="), "{json}");
    facts
}

fn judged(facts: &LoginGuessing) -> (Verdict, String) {
    let judgement = auth_bruteforce(facts, &GuessPolicy::default(), None);
    (judgement.verdict, judgement.observed)
}

/// IIITA-DI7, CSA-TSP-05, CSA-MSU-04: nginx that limits attempts, and nginx that does not.
#[tokio::test]
async fn guessing_at_basic_is_slowed_or_is_not() {
    let certificates = Certificates::new();
    let open = basic(&certificates, "", "");
    let dialer = Dialer::new(open.address, limits());
    let facts = guessed(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    assert_eq!(facts.services[0].wrong_secrets.len(), 10);
    let (verdict, observed) = judged(&facts);
    assert_eq!((verdict, observed.contains("neither slowed nor stopped")), (Verdict::Fail, true), "{observed}");

    let zone = "limit_req_zone $binary_remote_addr zone=logins:1m rate=1r/m;";
    let limited = basic(&certificates, zone, "limit_req zone=logins burst=5 nodelay; limit_req_status 429;");
    let dialer = Dialer::new(limited.address, limits());
    let facts = guessed(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    let (verdict, observed) = judged(&facts);
    assert_eq!(verdict, Verdict::Partial, "{observed}\n{facts:#?}");
    assert!(
        observed.contains("it says to wait (HTTP 429)") && observed.contains("not seen: its log, alerts"),
        "{observed}"
    );

    let heard = |logged, is_alerted| FailuresHeard { logged: Seen::Known(logged), is_alerted: Seen::Known(is_alerted) };
    let with = |heard| auth_bruteforce(&facts, &GuessPolicy::default(), Some(&heard)).verdict;
    assert_eq!(with(heard(20, true)), Verdict::Pass);
    assert_eq!(with(heard(0, true)), Verdict::Fail);
    assert_eq!(with(heard(20, false)), Verdict::Fail);
}

/// IOTSF-2.4.7.5: answers that tell, locks that say nothing, and a door that is none.
#[tokio::test]
async fn forms_and_json_are_compared_and_their_locks_found() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/logins.py");
    let server = |mode: &str| {
        let port = free_port();
        start("python3", port, &[script, &port.to_string(), mode])
    };
    let form = || Form {
        path: "/login".into(),
        user_field: "user".into(),
        secret_field: "secret".into(),
        more: vec![("next".into(), "/a&b".into())],
        page: None,
        token: None,
    };
    let telling = server("telling");
    let dialer = Dialer::new(telling.address, limits());
    let facts = guessed(Door::HttpForm { site: site(&dialer), form: form() }).await;
    let (verdict, observed) = judged(&facts);
    assert_eq!(verdict, Verdict::Fail);
    assert!(observed.contains("other words") && observed.contains("neither slowed nor stopped"), "{observed}");

    let locking = server("locking");
    let dialer = Dialer::new(locking.address, limits());
    let facts = guessed(Door::HttpJson { site: site(&dialer), form: form() }).await;
    let (verdict, observed) = judged(&facts);
    assert_eq!(
        (verdict, observed.contains("the account is locked")),
        (Verdict::Partial, true),
        "{observed}\n{facts:#?}"
    );
    // Without the account's secret, nobody can see the lock.
    let dialer = Dialer::new(locking.address, limits());
    let who = TestAccount { user: "viewer".into(), secret: None };
    let facts = guess(&leave(), &[(Door::HttpJson { site: site(&dialer), form: form() }, who)], GUESSES).await;
    assert_eq!(judged(&facts).0, Verdict::Inconclusive);

    let careless = server("careless");
    let dialer = Dialer::new(careless.address, limits());
    let facts = guessed(Door::HttpForm { site: site(&dialer), form: form() }).await;
    assert_eq!(judged(&facts).0, Verdict::Inconclusive, "{facts:?}");
}

/// IIITA-DI7, CSA-TSP-05: a token against forgery is fetched and sent along, as a hidden field or as a cookie and header; without it, nothing is
/// claimed.
#[tokio::test]
async fn logins_that_are_guarded_against_forgery_are_tried_like_others() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/logins.py");
    let server = |mode: &str| {
        let port = free_port();
        start("python3", port, &[script, &port.to_string(), mode])
    };
    let form = |page: Option<&str>, token| Form {
        path: "/login".into(),
        user_field: "user".into(),
        secret_field: "secret".into(),
        more: Vec::new(),
        page: page.map(str::to_owned),
        token,
    };
    let guarded = server("guarded");
    let dialer = Dialer::new(guarded.address, limits());
    let facts = guessed(Door::HttpForm { site: site(&dialer), form: form(Some("/login"), None) }).await;
    let right = facts.services[0].right_before.known().unwrap();
    assert_eq!((right.reaction, right.how.as_str()), (Reaction::LetIn, "HTTP 302 to /home"), "{facts:#?}");
    let (verdict, observed) = judged(&facts);
    assert_eq!((verdict, observed.contains("neither slowed nor stopped")), (Verdict::Fail, true), "{observed}");
    // Whoever does not take the token along is refused whatever he says: that is no word on the account.
    let dialer = Dialer::new(guarded.address, limits());
    let facts = guessed(Door::HttpForm { site: site(&dialer), form: form(None, None) }).await;
    assert_eq!(judged(&facts).0, Verdict::Inconclusive, "{facts:#?}");
    let dialer = Dialer::new(guarded.address, limits());
    let facts = tried(Door::HttpForm { site: site(&dialer), form: form(Some("/login"), None) }).await;
    assert_eq!((auth_defaults(&facts).verdict, facts.services[0].tried), (Verdict::Pass, 36), "{facts:?}");

    let doubled = server("doubled");
    let token = || Some(TokenHeader { cookie: "XSRF-TOKEN".into(), header: "X-XSRF-TOKEN".into() });
    let dialer = Dialer::new(doubled.address, limits());
    let facts = guessed(Door::HttpJson { site: site(&dialer), form: form(Some("/login"), token()) }).await;
    let (verdict, observed) = judged(&facts);
    assert_eq!((verdict, observed.contains("the account is locked")), (Verdict::Partial, true), "{observed}");
    let absent = Some(TokenHeader { cookie: "other".into(), header: "X-XSRF-TOKEN".into() });
    let dialer = Dialer::new(doubled.address, limits());
    let facts = guessed(Door::HttpJson { site: site(&dialer), form: form(Some("/login"), absent) }).await;
    let (verdict, observed) = judged(&facts);
    assert_eq!(verdict, Verdict::Inconclusive, "{observed}");
    assert!(observed.contains("does not set the cookie"), "{observed}");
}

/// Pages that are no form, or far too much of one: inconclusive within the limits.
#[tokio::test]
async fn hostile_forms_are_inconclusive() {
    let page = |body: &str, length: usize| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let of = |body: &str| page(body, body.len());
    let end = "<input name=secret></form>";
    let cases = [
        ("no form", of("<p>Welcome</p>")),
        ("huge", of(&format!("<form>{}{end}", "x".repeat(8 << 20)))),
        ("unclosed", of("<form><input name='secret")),
        ("an unclosed comment", of(&format!("<!-- <form>{end}"))),
        ("thousands of inputs", of(&format!("<form>{}{end}", "<input type=hidden name=a value=b>".repeat(5_000)))),
        ("tags within tags", of(&format!("{}{end}", "<form ".repeat(10_000)))),
        ("shorter than it says", page("<form>", 1_000_000)),
        ("no page", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("another place", b"HTTP/1.1 302 No\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n".to_vec()),
        (
            "cookies that are none",
            [
                b"HTTP/1.1 200 OK\r\nSet-Cookie: a=\xff\xfe\r\nSet-Cookie: =;;\r\nContent-Length: 26\r\n\r\n",
                end.as_bytes(),
            ]
            .concat(),
        ),
    ];
    for (what, answer) in cases {
        let address = saying(answer).await;
        let dialer = Dialer::new(address, Limits { connection_time: Duration::from_millis(150), ..short() });
        let form = Form {
            path: "/login".into(),
            user_field: "user".into(),
            secret_field: "secret".into(),
            more: Vec::new(),
            page: Some("/".into()),
            token: None,
        };
        let started = Instant::now();
        let facts = guessed(Door::HttpForm { site: site(&dialer), form }).await;
        assert_eq!(judged(&facts).0, Verdict::Inconclusive, "{what}: {facts:#?}");
        assert!(started.elapsed() < Duration::from_secs(9), "{what}: {:?}", started.elapsed());
    }
}

/// Mosquitto with one account of a user name and secret.
fn broker(certificates: &Certificates, user: &str, secret: &str) -> Server {
    let passwords = certificates.path(&format!("mosquitto-{user}"));
    let made = Command::new("mosquitto_passwd").args(["-b", "-c", &passwords, user, secret]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    mosquitto(certificates, &format!("allow_anonymous false\npassword_file {passwords}\n")).0
}

async fn tried(door: Door<'_>) -> DefaultLogins {
    let facts = defaults(&leave(), &[door]).await;
    survives(&facts);
    facts
}

/// IOTSF-2.4.7.7, IIITA-DI2, CSA-SDV-04, CSA-CRD-05: Mosquitto with a factory credential is found out, and told by its place.
#[tokio::test]
async fn factory_credentials_open_some_brokers() {
    let certificates = Certificates::new();
    let weak = broker(&certificates, "admin", "12345");
    let dialer = Dialer::new(weak.address, limits());
    let facts = tried(Door::Mqtt(Broker { dialer: &dialer, tls: None })).await;
    assert_eq!(facts.services[0].found, Seen::Known(Found::Entry { index: 4, user: "admin".into() }));
    assert_eq!((facts.services[0].tried, auth_defaults(&facts).verdict), (5, Verdict::Fail));
    assert!(!serde_json::to_string(&facts).unwrap().contains("12345"));

    let strong = broker(&certificates, "operator", RIGHT);
    let dialer = Dialer::new(strong.address, limits());
    let facts = tried(Door::Mqtt(Broker { dialer: &dialer, tls: None })).await;
    let judgement = auth_defaults(&facts);
    assert_eq!((judgement.verdict, facts.services[0].tried), (Verdict::Pass, 36), "{judgement:?}");
    // Mosquitto knows no lockout.
    let dialer = Dialer::new(strong.address, limits());
    let facts = guessed(Door::Mqtt(Broker { dialer: &dialer, tls: None })).await;
    assert_eq!(judged(&facts).0, Verdict::Fail);

    let (open, _) = mosquitto(&certificates, "allow_anonymous true\n");
    let dialer = Dialer::new(open.address, limits());
    let facts = tried(Door::Mqtt(Broker { dialer: &dialer, tls: None })).await;
    assert_eq!(facts.services[0].found, Seen::Known(Found::Anything));
    assert_eq!(auth_defaults(&facts).verdict, Verdict::Fail);
}

/// The same for nginx, and for a path that is for everybody.
#[tokio::test]
async fn factory_credentials_at_basic() {
    let certificates = Certificates::new();
    let server = basic(&certificates, "", "");
    let dialer = Dialer::new(server.address, limits());
    let facts = tried(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    assert_eq!(auth_defaults(&facts).verdict, Verdict::Pass, "{facts:?}");
    fs::write(certificates.path("passwords"), "root:{PLAIN}toor\n").unwrap();
    let dialer = Dialer::new(server.address, limits());
    let facts = tried(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    assert_eq!(
        auth_defaults(&facts).observed,
        format!("HTTP Basic on port {}: factory credential 18 (user \"root\") is accepted", server.address.port())
    );
    // A path that is not there refuses nothing.
    let absent = saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let dialer = Dialer::new(absent, limits());
    let form = Form {
        path: "/none".into(),
        user_field: "u".into(),
        secret_field: "s".into(),
        more: Vec::new(),
        page: None,
        token: None,
    };
    let facts = tried(Door::HttpForm { site: site(&dialer), form }).await;
    assert_eq!((auth_defaults(&facts).verdict, facts.services[0].tried), (Verdict::Inconclusive, 0), "{facts:?}");
    // Digest refuses whatever comes as Basic: that shows nothing.
    let digest = saying(
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\nContent-Length: 0\r\n\r\n"
            .to_vec(),
    )
    .await;
    let dialer = Dialer::new(digest, limits());
    let facts = tried(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    assert_eq!(auth_defaults(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
    let open = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let dialer = Dialer::new(open, limits());
    let facts = tried(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    assert_eq!(auth_defaults(&facts).verdict, Verdict::Inconclusive);
}

/// CSA-CRD-06, CSA-COM-07: dropbear with and without passwords.
#[tokio::test]
async fn ssh_servers_tell_how_one_may_log_in() {
    let certificates = Certificates::new();
    let key = certificates.path("host-key");
    let made = Command::new("dropbearkey").args(["-t", "ed25519", "-f", &key]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let dropbear = |more: &[&str]| {
        let port = free_port();
        let (address, pid) = (format!("127.0.0.1:{port}"), certificates.path(&format!("dropbear-{port}.pid")));
        start("/usr/sbin/dropbear", port, &[&["-F", "-E", "-r", &key, "-p", &address, "-P", &pid], more].concat())
    };
    let with_passwords = dropbear(&[]);
    let facts = ssh::scan(&Dialer::new(with_passwords.address, limits())).await;
    let methods = facts.methods.known().unwrap();
    assert!(methods.iter().any(|method| method == "password"), "{facts:?}");
    let judgement = ssh_algos(&facts);
    assert!(judgement.observed.contains("password is offered"), "{judgement:?}");
    survives(&facts);
    let dialer = Dialer::new(with_passwords.address, limits());
    let facts =
        guess(&leave(), &[(Door::Ssh(&dialer), TestAccount { user: "operator".into(), secret: None })], 2).await;
    let refused =
        |guess: &Seen<_>| guess.known().map(|guess: &portreeve_assurance::evidence::login::Guess| guess.reaction);
    assert!(facts.services[0].wrong_secrets.iter().all(|guess| refused(guess) == Some(Reaction::Refused)), "{facts:?}");

    let keys_only = dropbear(&["-s"]);
    let facts = ssh::scan(&Dialer::new(keys_only.address, limits())).await;
    survives(&facts);
    assert_eq!(facts.methods, Seen::Known(vec!["publickey".into()]));
    assert!(!ssh_algos(&facts).observed.contains("offered"));
    let mut strong = facts;
    // Dropbear's own lists have algorithms that the policy does not know.
    strong.algorithms = Seen::Known(portreeve_assurance::evidence::ssh::SshAlgorithms {
        key_exchange: vec!["curve25519-sha256".into()],
        host_keys: vec!["ssh-ed25519".into()],
        encryption: vec!["aes256-gcm@openssh.com".into()],
        macs: vec!["hmac-sha2-256".into()],
        compression: vec!["none".into()],
    });
    assert_eq!(ssh_algos(&strong).verdict, Verdict::Pass);
    let dialer = Dialer::new(keys_only.address, limits());
    let facts = tried(Door::Ssh(&dialer)).await;
    assert_eq!(facts.services[0].found, Seen::Known(Found::NoPasswords));
    assert_eq!(auth_defaults(&facts).verdict, Verdict::Pass);
}

/// A login over SSH that takes one factory credential: no account of this machine has one.
struct Ubnt;

impl Handler for Ubnt {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(if (user, password) == ("admin", "1234") { Auth::Accept } else { Auth::reject() })
    }
}

#[tokio::test]
async fn a_factory_credential_opens_ssh() {
    let key = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]).into();
    let config = Arc::new(russh::server::Config {
        keys: vec![key],
        auth_rejection_time: Duration::from_millis(1),
        ..russh::server::Config::default()
    });
    let address = scripted(move |stream| {
        let config = Arc::clone(&config);
        async move {
            if let Ok(session) = russh::server::run_stream(config, stream, Ubnt).await {
                let _ = session.await;
            }
        }
    })
    .await;
    let dialer = Dialer::new(address, limits());
    let facts = tried(Door::Ssh(&dialer)).await;
    assert_eq!(facts.services[0].found, Seen::Known(Found::Entry { index: 3, user: "admin".into() }), "{facts:?}");
}

/// SSH that refuses slowly is tried to the end if there is time for it, and else told to have been cut off by us.
#[tokio::test]
async fn a_slow_ssh_server_needs_time_and_is_not_blamed_for_ours() {
    let key = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]).into();
    let config = Arc::new(russh::server::Config {
        keys: vec![key],
        auth_rejection_time: Duration::from_millis(150),
        auth_rejection_time_initial: Some(Duration::from_millis(1)),
        ..russh::server::Config::default()
    });
    let address = scripted(move |stream| {
        let config = Arc::clone(&config);
        async move {
            if let Ok(session) = russh::server::run_stream(config, stream, Ubnt).await {
                let _ = session.await;
            }
        }
    })
    .await;
    for (total_ms, is_whole) in [(60_000, true), (900, false)] {
        let dialer = Dialer::new(address, Limits { total_time: Duration::from_millis(total_ms), ..limits() });
        let facts = guessed(Door::Ssh(&dialer)).await;
        let guesses = &facts.services[0].wrong_secrets;
        let refused =
            guesses.iter().filter_map(Seen::known).filter(|guess| guess.reaction == Reaction::Refused).count();
        assert_eq!(refused == guesses.len(), is_whole, "{guesses:?}");
        assert!(is_whole || guesses.iter().filter_map(Seen::gap).all(|gap| gap.contains("are over")), "{guesses:?}");
    }
}

/// Net-SNMP with the community that everybody knows, and with another.
#[tokio::test]
async fn communities_that_are_common_knowledge() {
    let certificates = Certificates::new();
    for (community, verdict) in [("public", Verdict::Fail), ("of-our-own", Verdict::Pass)] {
        // snmpd says nothing over TCP: its TCP port shows that it has started.
        let port = free_port();
        let (path, state) = (certificates.path(&format!("{community}.conf")), certificates.path("state"));
        fs::write(&path, format!("rocommunity {community}\n[snmp] persistentDir {state}\n")).unwrap();
        let (udp, tcp) = (format!("udp:127.0.0.1:{port}"), format!("tcp:127.0.0.1:{port}"));
        let agent = start("snmpd", port, &["-f", "-C", "-c", &path, "-Ln", "-I", "-smux", &udp, &tcp]);
        let dialer = Dialer::new(agent.address, limits());
        let facts = tried(Door::Snmp(&dialer)).await;
        assert_eq!(auth_defaults(&facts).verdict, verdict, "{facts:?}");
    }
    // Silence alone says nothing.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dialer = Dialer::new(silent.local_addr().unwrap(), limits());
    assert_eq!(auth_defaults(&tried(Door::Snmp(&dialer)).await).verdict, Verdict::Inconclusive);
}

/// A device that asks at two prompts, as BusyBox does, with an option before each.
async fn device(mut stream: TcpStream, secret: &'static str) {
    let mut line = String::new();
    let _ = stream.write_all(b"\xff\xfd\x01\xff\xfb\x03\r\n### camera ###\r\n\r\ncamera login: ").await;
    let mut heard = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        // Each option is answered with three bytes.
        match byte {
            255 => drop((stream.read_u8().await, stream.read_u8().await)),
            b'\n' => {
                heard.push(std::mem::take(&mut line));
                let is_right = heard.len() == 2 && heard == ["root", secret];
                let answer = match (heard.len(), is_right) {
                    (1, _) => "Password: ",
                    (_, true) => "\r\nBusyBox v1.36.1 built-in shell\r\n\r\n~ # ",
                    _ => "\r\nLogin incorrect\r\ncamera login: ",
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            b'\r' => {}
            byte => line.push(char::from(byte)),
        }
    }
}

#[tokio::test]
async fn telnet_and_rtsp_are_tried_like_the_rest() {
    let generous = Limits { total_time: Duration::from_secs(300), ..limits() };
    for (secret, verdict) in [("vizxv", Verdict::Fail), ("none-of-the-list", Verdict::Pass)] {
        let address = scripted(move |stream| device(stream, secret)).await;
        let dialer = Dialer::new(address, generous);
        let facts = tried(Door::Telnet(&dialer)).await;
        assert_eq!(auth_defaults(&facts).verdict, verdict, "{facts:?}");

        let address = scripted(move |mut stream: TcpStream| async move {
            let mut request = [0; 2048];
            let length = stream.read(&mut request).await.unwrap_or_default();
            // root:vizxv
            let is_right =
                secret == "vizxv" && String::from_utf8_lossy(&request[..length]).contains("cm9vdDp2aXp4dg==");
            let answer = if is_right {
                "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 0\r\n\r\n"
            } else {
                "RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await;
        let dialer = Dialer::new(address, limits());
        let facts = tried(Door::Rtsp { dialer: &dialer, path: "/stream".into() }).await;
        assert_eq!(auth_defaults(&facts).verdict, verdict, "{facts:?}");
    }
}

/// Whatever a target says to a login, nothing is claimed, and nothing costs more than the limits.
#[tokio::test]
async fn hostile_logins_are_inconclusive() {
    let random: Vec<u8> = (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for answer in [
        Vec::new(),
        random,
        b"220 ready\r\n".to_vec(),
        b"\xff\xfd".repeat(300_000),
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\x00".to_vec(),
    ] {
        let address = saying(answer.clone()).await;
        let hasty = Limits { connection_time: Duration::from_millis(150), ..short() };
        let dialers: Vec<Dialer> = (0..5).map(|_| Dialer::new(address, hasty)).collect();
        let form = Form {
            path: "/".into(),
            user_field: "u".into(),
            secret_field: "s".into(),
            more: Vec::new(),
            page: None,
            token: None,
        };
        let doors = [
            Door::Ssh(&dialers[0]),
            Door::Telnet(&dialers[1]),
            Door::Rtsp { dialer: &dialers[2], path: "/".into() },
            Door::Mqtt(Broker { dialer: &dialers[3], tls: None }),
            Door::HttpJson { site: site(&dialers[4]), form },
        ];
        let started = Instant::now();
        let facts = defaults(&leave(), &doors).await;
        let judgement = auth_defaults(&facts);
        assert_eq!(judgement.verdict, Verdict::Inconclusive, "{answer:?}: {facts:?}");
        assert!(facts.services.iter().all(|service| service.tried == 0), "{facts:?}");
        let guessing = guess(&leave(), &doors.map(|door| (door, account())), 1).await;
        assert_eq!(judged(&guessing).0, Verdict::Inconclusive, "{guessing:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
}

/// A target that stops answering has stopped the guessing; one that was never there has not.
#[tokio::test]
async fn whoever_stops_answering_has_locked_one_out() {
    let left = Arc::new(std::sync::atomic::AtomicU32::new(6));
    let address = scripted(move |mut stream: TcpStream| {
        let left = Arc::clone(&left);
        async move {
            use std::sync::atomic::Ordering::SeqCst;
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let dialer = Dialer::new(address, limits());
    let who = TestAccount { user: "operator".into(), secret: None };
    let facts = guess(&leave(), &[(Door::HttpBasic { site: site(&dialer), path: "/".into() }, who)], GUESSES).await;
    let (verdict, observed) = judged(&facts);
    assert_eq!(verdict, Verdict::Partial, "{observed}");
    assert!(observed.contains("it stops answering") && observed.contains("at attempt 6"), "{observed}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dialer = Dialer::new(nobody, short());
    let facts = guessed(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    assert_eq!(judged(&facts).0, Verdict::Inconclusive);
    // Our own bound is no lockout.
    let certificates = Certificates::new();
    let server = basic(&certificates, "", "");
    let dialer = Dialer::new(server.address, Limits { connections_max: 6, ..limits() });
    let facts = guessed(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
    assert_eq!((judged(&facts).0, facts.effort.connections), (Verdict::Inconclusive, 6));
}

/// Nor is the end of our own time, wherever in an attempt it comes: the target was not silent.
#[tokio::test]
async fn the_end_of_our_own_time_is_no_silence_of_the_target() {
    let address = scripted(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 2048]).await;
        tokio::time::sleep(Duration::from_millis(120)).await;
        let _ = stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    for total_ms in [300, 380, 460] {
        let dialer = Dialer::new(address, Limits { total_time: Duration::from_millis(total_ms), ..limits() });
        let facts = guessed(Door::HttpBasic { site: site(&dialer), path: "/".into() }).await;
        let guesses = &facts.services[0].wrong_secrets;
        assert!(guesses.iter().all(|guess| guess.known().is_none_or(|guess| guess.reaction == Reaction::Refused)));
        assert!(guesses.last().unwrap().gap().unwrap().contains("are over"), "{guesses:?}");
        assert_eq!(judged(&facts).0, Verdict::Inconclusive);
    }
}

#[test]
fn nothing_is_tried_without_leave() {
    let of = |by: &str, until| Authorisation { by: by.into(), reference: "x".into(), until: UnixMillis(until) };
    let now = UnixMillis(1000);
    assert!(of("A. Tester", 1000).permit(now).is_ok());
    for refused in [of("A. Tester", 999), of(" ", 2000), of("a\nb", 2000), of(&"a".repeat(301), 2000)] {
        assert!(refused.permit(now).is_err());
    }
}

/// Evidence names entries by their place: each is there once, and the lists are as long as the scope allows.
#[test]
fn the_lists_are_short_and_without_repetition() {
    assert!(FACTORY.len() + COMMUNITIES.len() <= 40);
    for list in [FACTORY, COMMUNITIES] {
        for (at, entry) in list.iter().enumerate() {
            assert!(!list[..at].iter().any(|earlier| earlier == entry), "{at}");
        }
    }
}
