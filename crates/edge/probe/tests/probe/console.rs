use std::time::{Duration, Instant};

use hyper::header::{COOKIE, HeaderValue};
use portreeve_assurance::{
    Verdict,
    checks::console::console_auth,
    evidence::{
        Seen,
        console::{Clear, ConsolePolicy, ConsoleScan, Page, Standing, Stranger},
    },
};
use portreeve_probe::{
    Dialer, Limits,
    console::{Console, PATHS, Session, scan},
    http::{Place, Site},
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    nginx::{strong_console, weak_console},
    support::{Certificates, limits, saying, scripted, short, survives},
};

fn tls(dialer: &Dialer) -> Site<'_> {
    Site { dialer, tls: Some(ServerName::try_from("localhost").unwrap()), host: "localhost".into() }
}

fn clear(dialer: &Dialer) -> Site<'_> {
    Site { dialer, tls: None, host: "localhost".into() }
}

fn session(role: &str, standing: Standing, cookie: &'static str, own: &[&str], foreign: &[&str]) -> Session {
    let texts = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let header = (COOKIE, HeaderValue::from_static(cookie));
    Session { role: role.into(), standing, header, own: texts(own), foreign: texts(foreign) }
}

/// CSA-CLS-09, CSA-CLS-11, CSA-SCN-07, CSA-SCN-08, IIITA-I1, IIITA-I2: a console of nginx that keeps strangers and other roles out passes,
/// and what was not tried is open.
#[tokio::test]
async fn a_console_that_asks_for_sessions_passes() {
    let certificates = Certificates::new();
    let (server, clear_port) = strong_console(&certificates);
    let dialer = Dialer::new(server.address, limits());
    let sessions = vec![
        session("admin", Standing::Full, "session=of-admin", &["/admin", "/api"], &[]),
        session("operator", Standing::Full, "session=of-operator", &["/api"], &["/admin"]),
        session("admin", Standing::FirstFactor, "session=of-half-an-admin", &[], &["/api", "/admin"]),
        session("admin", Standing::Ended, "session=of-yesterday", &[], &["/api"]),
    ];
    let console = Console { site: tls(&dialer), paths: Vec::new(), sessions, clear_port: Some(clear_port) };
    let facts = scan(&console).await;
    let policy = ConsolePolicy::default();
    let judgement = console_auth(&facts, &policy);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}\n{facts:#?}");
    survives(&facts);
    let json = serde_json::to_string(&facts).unwrap();
    for secret in ["of-admin", "of-operator", "of-half", "fresh-and-secret", "secret-of-the-query"] {
        assert!(!json.contains(secret), "{secret}");
    }
    assert_eq!(facts.knocks.len(), PATHS.len() * Stranger::ALL.len());

    let mut strangers_only = facts.clone();
    strangers_only.visits.clear();
    let judgement = console_auth(&strangers_only, &policy);
    assert_eq!(judgement.verdict, Verdict::Partial);
    assert!(judgement.observed.contains("second factor"), "{judgement:?}");

    // An operator's session that was never good shows nothing.
    let mut no_control = facts;
    let operator = no_control.visits.iter_mut().find(|visit| visit.role == "operator").unwrap();
    operator.page = Seen::Known(Page { status: 401, ..Page::default() });
    assert_eq!(console_auth(&no_control, &policy).verdict, Verdict::Inconclusive);
}

/// CSA-SDV-18, IIITA-I7, CSA-SDV-03: one that does not is told each of its weaknesses.
#[tokio::test]
async fn a_console_that_is_open_fails_where_it_is() {
    let certificates = Certificates::new();
    let (server, clear_port) = weak_console(&certificates);
    let dialer = Dialer::new(server.address, limits());
    let console = Console { site: tls(&dialer), paths: Vec::new(), sessions: Vec::new(), clear_port: Some(clear_port) };
    let facts = scan(&console).await;
    survives(&facts);
    let policy = ConsolePolicy { public_paths: vec!["/".into()], ..ConsolePolicy::default() };
    assert_eq!(console_auth(&facts, &policy).verdict, Verdict::Fail);
    assert_eq!(facts.clear, Seen::Known(Clear::Answers(200)));
    let alone = |change: &dyn Fn(&mut ConsoleScan)| {
        let mut facts = facts.clone();
        change(&mut facts);
        console_auth(&facts, &policy).observed
    };
    let only = |path: &'static str| alone(&move |facts| facts.knocks.retain(|knock| knock.path == path));
    assert!(only("/admin").contains("/admin without a session: shown"), "{}", only("/admin"));
    assert!(only("/config").contains("/config without a session: asks for HTTP Basic"), "{}", only("/config"));
    let metrics = only("/metrics");
    assert!(
        metrics.contains("/metrics with an invented token: shown") && !metrics.contains("session: shown"),
        "{metrics}"
    );
    let front = only("/");
    for weakness in [
        "no Strict-Transport-Security",
        "no Content-Security-Policy",
        "frame it",
        "no X-Content-Type-Options",
        "cookie sid without Secure, HttpOnly, SameSite",
        "HTTP in clear answers 200",
    ] {
        assert!(front.contains(weakness), "{weakness}: {front}");
    }
}

/// CSA-CLS-11: what a policy lets in is judged as it was sent, wherever in a long list it stands.
#[tokio::test]
async fn a_policy_that_lets_any_script_in_is_found_however_long_it_is() {
    let hosts: String = (0..100).map(|n| format!("cdn-{n}.example.org ")).collect();
    let hashes = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' ".repeat(20);
    for (policy, is_lax) in [
        ("script-src 'self'".to_owned(), false),
        ("script-src 'self' 'unsafe-inline'".to_owned(), true),
        ("default-src 'self'; script-src 'nonce-abc' 'unsafe-inline'".to_owned(), false),
        (format!("script-src {hosts}'unsafe-inline'"), true),
        (format!("script-src {hosts}https:"), true),
        (format!("script-src {hashes}{hosts}'self' data:"), true),
        (format!("script-src {hosts}'unsafe-inline' 'sha256-abc'"), false),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Security-Policy: {policy}\r\nContent-Length: 2\r\n\r\nok"
        );
        let dialer = Dialer::new(saying(answer.into_bytes()).await, limits());
        let console = Console { site: clear(&dialer), paths: vec!["/".into()], sessions: Vec::new(), clear_port: None };
        let observed = console_auth(&scan(&console).await, &ConsolePolicy::default()).observed;
        assert_eq!(observed.contains("allows any script"), is_lax, "{policy:.60}: {observed}");
    }
}

/// What a console of TLS with these answers would be judged.
fn as_tls(mut facts: ConsoleScan) -> Verdict {
    facts.is_tls = true;
    console_auth(&facts, &ConsolePolicy::default()).verdict
}

#[tokio::test]
async fn whoever_answers_nonsense_hangs_or_lies_is_not_judged_by_it() {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{rest}").into_bytes();
    let cases: [(&str, Vec<u8>); 12] = [
        ("nothing", Vec::new()),
        ("another protocol", b"SSH-2.0-x\r\n".to_vec()),
        ("random", (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("half a head", b"HTTP/1.1 200 O".to_vec()),
        ("too many headers", head(&"a: b\r\n".repeat(5000))),
        ("a header that is too long", head(&format!("a: {}\r\n\r\n", "b".repeat(300_000)))),
        ("two lengths", head("Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
        ("a length that is no number", head("Content-Length: -1\r\n\r\n")),
        ("preliminary answers", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000)),
        ("status 999", b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("redirects in a circle", b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("switching protocols", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in cases {
        let hasty = Limits { connection_time: Duration::from_millis(150), ..short() };
        let dialer = Dialer::new(saying(bytes).await, hasty);
        let paths = vec!["/".to_owned(), "/api".to_owned()];
        let console = Console { site: clear(&dialer), paths, sessions: Vec::new(), clear_port: None };
        let started = Instant::now();
        let facts = scan(&console).await;
        assert_eq!(as_tls(facts), Verdict::Inconclusive, "{what}");
        assert!(started.elapsed() < Duration::from_secs(9), "{what}: {:?}", started.elapsed());
        assert!(dialer.effort().connections <= 60, "{what}: {:?}", dialer.effort());
    }
}

/// A beginning is enough to see a status, however much is said to follow.
#[tokio::test]
async fn bodies_that_never_end_are_cut() {
    for head in ["Content-Length: 99999999999\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", "\r\n"] {
        let endless = scripted(move |mut stream| async move {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).await;
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
        })
        .await;
        let dialer = Dialer::new(endless, short());
        let console =
            Console { site: clear(&dialer), paths: vec!["/a".into()], sessions: Vec::new(), clear_port: None };
        let facts = scan(&console).await;
        assert_eq!(facts.knocks[0].page.known().map(|page| page.status), Some(200), "{facts:?}");
        assert!(dialer.effort().elapsed_ms < 5000);
    }
    let short_of_it = saying(b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nab".to_vec()).await;
    let dialer = Dialer::new(short_of_it, short());
    let console = Console { site: clear(&dialer), paths: vec!["/a".into()], sessions: Vec::new(), clear_port: None };
    assert_eq!(scan(&console).await.knocks[0].page.known().map(|page| page.status), Some(401));
}

/// Nobody is sent anywhere by a target; where it would have sent him is on record, without what may be secret.
#[tokio::test]
async fn redirects_out_of_the_origin_are_reported_and_not_followed() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = format!("http://user:pw@{}/landing?token=secret", other.local_addr().unwrap());
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n");
    let dialer = Dialer::new(saying(answer.into_bytes()).await, limits());
    let console = Console { site: clear(&dialer), paths: vec!["/a".into()], sessions: Vec::new(), clear_port: None };
    let facts = scan(&console).await;
    let page = facts.knocks[0].page.known().unwrap();
    assert_eq!(page.elsewhere, Some(format!("http://{}/landing", other.local_addr().unwrap())));
    assert_eq!((page.status, page.hops), (302, 0));
    assert!(tokio::time::timeout(Duration::from_millis(100), other.accept()).await.is_err());
}

#[tokio::test]
async fn locations_are_resolved_within_the_origin_only() {
    let dialer = Dialer::new("127.0.0.1:8443".parse().unwrap(), limits());
    let site = tls(&dialer);
    let here = |path: &str| Place::Here(path.to_owned());
    let elsewhere = |there: &str| Place::Elsewhere(there.to_owned());
    let cases = [
        ("/b", here("/b")),
        ("b?c#d", here("/a/b?c")),
        ("", here("/a/x")),
        ("?q", here("/a/x?q")),
        ("https://LOCALHOST:8443/b", here("/b")),
        ("HTTPS://localhost:8443?q", here("/?q")),
        ("//localhost:8443/b", here("/b")),
        ("/path:with/colon", here("/path:with/colon")),
        ("http://localhost:8443/b", elsewhere("http://localhost:8443/b")),
        ("https://localhost/b", elsewhere("https://localhost/b")),
        ("https://localhost:8443.evil.example/", elsewhere("https://localhost:8443.evil.example/")),
        ("https://localhost:8443@evil.example/?s", elsewhere("https://evil.example/")),
        ("//evil.example/b?s", elsewhere("https://evil.example/b")),
        ("javascript:alert(1)", elsewhere("javascript")),
    ];
    for (location, place) in cases {
        assert_eq!(site.place("/a/x?old", location), place, "{location}");
    }
    let dialer = Dialer::new("127.0.0.1:443".parse().unwrap(), limits());
    assert_eq!(tls(&dialer).place("/", "https://localhost:443/b"), here("/b"));
    assert_eq!(tls(&dialer).place("/", "https://localhost/b"), here("/b"));
}
