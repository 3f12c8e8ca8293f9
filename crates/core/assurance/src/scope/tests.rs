use super::*;
use portreeve_types::UnixMillis;

use crate::{Catalogue, Outcome, Store, judge, scope::bounds::PLACES_MAX};

const HEAD: &str = "[deployment]\nname = \"Hall 4\"\nowner = \"Ada\"\n";

fn read(rest: &str) -> Scope {
    Scope::from_toml(&format!("{HEAD}{rest}")).unwrap_or_else(|error| panic!("{error}\n{rest}"))
}

fn planned(scope: &Scope) -> Vec<(String, String, Option<String>)> {
    plan(scope, Catalogue::embedded())
        .into_iter()
        .flat_map(|visit| {
            let target = visit.target;
            visit.checks.into_iter().map(move |(check, why)| (check.to_string(), target.clone(), why))
        })
        .collect()
}

#[test]
fn the_example_is_a_scope_and_evidence() {
    let scope = Scope::from_toml(Scope::EXAMPLE).unwrap();
    assert_eq!((scope.endpoints.len(), scope.hosts.len(), scope.identities.len()), (2, 1, 3));
    let text = serde_json::to_string(&scope).unwrap();
    assert_eq!(serde_json::from_str::<Scope>(&text).unwrap(), scope);
    assert!(planned(&scope).iter().any(|(check, target, why)| {
        check == "mqtt.acl.matrix" && target == "mqtts://hub.example.org:8883" && why.is_none()
    }));
}

/// What the example has in comments makes sense, too.
#[test]
fn the_example_of_a_login_is_one() {
    let lines = Scope::EXAMPLE.lines().skip_while(|line| !line.contains("[[endpoint.account]]"));
    let lines: Vec<&str> = lines.map_while(|line| line.strip_prefix("# ")).collect();
    let scope = read(&format!("[[endpoint]]\nurl = \"https://hub\"\n{}\n", lines.join("\n")));
    let account = &scope.endpoints[0].accounts[0];
    let form = account.form.as_ref().unwrap();
    assert_eq!(
        (account.login, account.path.as_str(), form.page.as_deref()),
        (Login::HttpForm, "/login", Some("/login"))
    );
    assert_eq!((form.more["realm"].as_str(), form.token.as_ref().unwrap().cookie.as_str()), ("local", "XSRF-TOKEN"));
}

#[test]
fn logins_and_consoles_that_cannot_be_are_told_with_their_place() {
    let https = |rest: &str| format!("[[endpoint]]\nurl = \"https://a\"\n{rest}");
    let account = |rest: &str| https(&format!("[[endpoint.account]]\nuser = \"u\"\nlogin = \"http-form\"\n{rest}"));
    let session =
        |rest: &str| https(&format!("[[endpoint.console.session]]\nrole = \"r\"\nvalue_file = \"f\"\n{rest}"));
    let cases = [
        (https("[[endpoint.account]]\nuser = \"u\"\nlogin = \"ssh\"\n"), (8, 9), "https take http-basic"),
        (https("[[endpoint.account]]\nuser = \"u\"\nlogin = \"http-basic\"\nform = {}\n"), (9, 8), "only http-form"),
        (https("[[endpoint.account]]\nuser = \"u\"\nlogin = \"http-form\"\nsecret = \"s\"\n"), (9, 1), "unknown field"),
        (account("path = \"login\"\n"), (9, 8), "a path begins with /"),
        (account("form.page = \"/a b\"\n"), (9, 13), "without spaces"),
        (account("form.user = \"\"\n"), (9, 13), "must not be empty"),
        (account("form.token = { cookie = \"a\", header = \"b\" }\n"), (9, 14), "has to be declared"),
        (
            account("form.page = \"/\"\nform.token = { cookie = \"a\", header = \"b c\" }\n"),
            (10, 39),
            "no name of a header",
        ),
        (https("console.paths = [\"/\", \"x\"]\n"), (6, 23), "a path begins with /"),
        (https("console.clear_port = 0\n"), (6, 22), "nonzero"),
        ("[[endpoint]]\nurl = \"ssh://a\"\nconsole.paths = [\"/\"]\n".to_owned(), (6, 1), "only http and https"),
        (session("own = [\"/\"]\nvalue = \"secret\"\n"), (10, 1), "unknown field"),
        (session(""), (6, 1), "needs paths"),
        (session("own = [\"/\"]\nheader = \"a:b\"\n"), (10, 10), "no name of a header"),
        (session("own = [\"/\"]\nstanding = \"half\"\n"), (10, 12), "unknown variant"),
        (session(&format!("own = [{}]\n", "\"/\",".repeat(21))), (9, 7), "at most 20"),
    ];
    for (rest, place, says) in cases {
        let error = Scope::from_toml(&format!("{HEAD}{rest}")).unwrap_err();
        assert!(error.problem.contains(says), "{error}\n{rest}");
        assert_eq!((error.line, error.column), place, "{error}\n{rest}");
    }
}

/// Line and column are those of what is wrong.
#[test]
fn what_is_wrong_is_told_with_its_place() {
    let cases = [
        ("[deployment]\nname = \"a\"\n", (1, 1), "missing field `owner`"),
        ("[deployment]\nname = \"a\"\nowner = \" \"\n", (3, 9), "this must not be empty"),
        ("[deployment]\nname = \"a\"\nowner = \"b\"\ncolour = 1\n", (4, 1), "unknown field `colour`"),
        ("[deployment\n", (1, 12), ""),
    ];
    for (text, place, says) in cases {
        let error = Scope::from_toml(text).unwrap_err();
        assert_eq!((error.line, error.column), place, "{error}");
        assert!(error.problem.contains(says), "{error}");
    }
    let cases = [
        ("[[endpoint]]\nurl = \"ftp://a\"\n", (5, 7), "an endpoint begins with"),
        ("[[endpoint]]\nurl = \"mqtts://a\"\n[[endpoint]]\nurl = \"mqtts://a:8883\"\n", (7, 7), "declared twice"),
        ("[[endpoint]]\nurl = \"mqtts://a\"\nidentities = [\"lamp\"]\n", (6, 15), "no [[identity]] is called lamp"),
        ("[checks]\nclass = \"intrusive\"\n", (5, 9), "[authorisation]"),
        ("[checks]\nonly = [\"tls.*\", \"nothing.*\"]\n", (5, 8), "no check is called"),
        ("[bounds]\nconnections_per_s = 0\n", (5, 21), "1 to 10000"),
        ("[assess]\nlevel = 4\n", (4, 1), "levels are 1 to 3"),
        ("[[host]]\naddress = \"a\"\nservices = [\"tcp/0\"]\n", (6, 12), "ports are written"),
        ("[[file]]\npath = \"a\"\nof = \"mqtts://a:8883\"\n", (6, 6), "neither an [[endpoint]] nor a [[host]]"),
        (
            "[[not_applicable]]\nsubject = \"tls.nothing\"\nreason = \"a\"\nowner = \"b\"\nstated = 2026-01-01\nnext_review = 2027-01-01\n",
            (5, 11),
            "the catalogue has no tls.nothing",
        ),
        (
            "[[exception]]\ncheck = \"tls.cert\"\ntarget = \"a\"\nreason = \"a\"\nowner = \"b\"\ngranted = 2026-01-02\nexpires = 2026-01-01\n",
            (10, 11),
            "expires after",
        ),
    ];
    for (rest, place, says) in cases {
        let error = Scope::from_toml(&format!("{HEAD}{rest}")).unwrap_err();
        assert_eq!((error.line, error.column), place, "{error}\n{rest}");
        assert!(error.problem.contains(says), "{error}\n{rest}");
    }
}

#[test]
fn a_scope_is_bounded() {
    let many = |count: usize| {
        let endpoint = |port| format!("[[endpoint]]\nurl = \"tls://a:{}\"\n", port + 1);
        Scope::from_toml(&format!("{HEAD}{}", (0..count).map(endpoint).collect::<String>()))
    };
    assert!(many(PLACES_MAX).is_ok());
    assert!(many(PLACES_MAX + 1).is_err_and(|error| error.problem == "at most 256 [[endpoint]]"));
    let long = format!("{HEAD}#{}", "x".repeat(SCOPE_BYTES_MAX));
    assert!(Scope::from_toml(&long).is_err_and(|error| error.line == 0 && error.problem.contains("1048576 bytes")));
}

#[test]
fn only_what_the_scope_allows_is_planned() {
    let endpoint = "[[endpoint]]\nurl = \"mqtts://hub\"\n";
    let objection = |scope: &Scope, name: &str| {
        planned(scope).into_iter().find(|(check, ..)| check == name).map(|(.., why)| why.unwrap_or_default())
    };
    let safe = read(endpoint);
    assert_eq!(objection(&safe, "tls.versions").as_deref(), Some(""));
    assert_eq!(objection(&safe, "auth.defaults").as_deref(), Some("it is intrusive, and the scope allows safe"));
    assert_eq!(objection(&safe, "mqtt.acl.matrix").as_deref(), Some("the scope says of nobody what they may do here"));
    // What no selected row rests on is not looked at.
    let isvs = read(&format!("[assess]\nframeworks = [\"ISVS\"]\n{endpoint}"));
    assert_eq!(objection(&isvs, "mqtt.limits"), None);
    let named = read(&format!("[checks]\nonly = [\"tls.*\"]\nexcept = [\"tls.pqc\"]\n{endpoint}"));
    assert_eq!(objection(&named, "tls.versions").as_deref(), Some(""));
    assert_eq!(objection(&named, "tls.pqc").as_deref(), Some("the scope excepts it"));
    assert_eq!(objection(&named, "mqtt.anon").as_deref(), Some("it is not among the checks that the scope names"));
    let passive = read(&format!("[checks]\nclass = \"passive\"\n{endpoint}"));
    assert!(plan(&passive, Catalogue::embedded()).iter().all(|visit| !visit.is_allowed()));
}

#[test]
fn what_a_report_leaves_out_is_missed() {
    let scope = read("[[endpoint]]\nurl = \"tls://hub:443\"\n[[endpoint]]\nurl = \"tls://hub:444\"\n");
    let catalogue = Catalogue::embedded();
    let attempts: Vec<_> = plan(&scope, catalogue)
        .into_iter()
        .flat_map(|visit| {
            let target = visit.target;
            visit.checks.into_iter().map(move |(check, _)| crate::Attempt {
                check,
                target: target.clone(),
                outcome: Outcome::NotTested("a test".into()),
            })
        })
        .collect();
    let mut results = judge(catalogue, &attempts, &Store::default(), UnixMillis(0));
    assert_eq!(missing(&scope, catalogue, &results), []);
    let gone = results.remove(3);
    assert_eq!(missing(&scope, catalogue, &results), [(gone.id, gone.target)]);
}

#[test]
fn ports_are_written_in_one_way() {
    let ports = |text: &str| Ports::try_from(text.to_owned());
    assert_eq!(ports("tcp/8883").map(String::from).as_deref(), Ok("tcp/8883"));
    assert_eq!(ports("udp/1-3").map(|ports| ports.each().count()), Ok(3));
    for bad in ["8883", "tcp/", "tcp/0", "tcp/65536", "tcp/2-1", "sctp/1", "tcp/1-2-3"] {
        assert!(ports(bad).is_err(), "{bad}");
    }
}
