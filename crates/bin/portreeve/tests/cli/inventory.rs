use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    os::unix::{net::UnixStream, process::CommandExt as _},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{BINARY, Done, Place, eventually, http, mode};

/// A file that must be refused, with these words; then nothing of it is there.
fn refused(place: &Place, bytes: &[u8], said: &[&str]) {
    let before = place.json(&["device", "list"]);
    std::fs::write(place.path("bad"), bytes).unwrap();
    for dry in [true, false] {
        let args = ["device", "import", "bad", "--dry-run"];
        let done = place.run(&args[..if dry { 4 } else { 3 }]);
        assert_eq!((done.status, done.out.as_str()), (2, ""), "{said:?}: {done:?}");
        for said in said {
            assert!(done.err.contains(said), "{said}: {done:?}");
        }
    }
    assert_eq!(place.json(&["device", "list"]), before, "{said:?}");
}

/// IIITA-N4: who is in the file is known, and nobody before it enrols.
#[test]
fn a_fleet_goes_out_comes_back_and_is_the_same() {
    let place = Place::new();
    let hub = place.serve(&[]);
    let list = "name,kind,group,location,notes\n\
                lamp-1,,lamps,hall 2,\"a, \"\"b\"\"\"\n\
                gate-1,gateway,,,=1+1\n";
    place.write("fleet.csv", list);
    let dry = place.ok(&["device", "import", "fleet.csv", "--dry-run"]);
    assert!(dry.starts_with("Nothing was changed. It would be: 2 added, 0 updated, 0 unchanged\n"), "{dry}");
    assert!(dry.contains("LINE  NAME    EFFECT  FIELDS\n   2  lamp-1  added\n   3  gate-1  added\n"), "{dry}");
    assert_eq!(place.json(&["device", "list"]), Value::Array(Vec::new()));

    let told = place.ok(&["device", "import", "fleet.csv"]);
    assert!(told.starts_with("2 added, 0 updated, 0 unchanged\n") && told.contains("device code"), "{told}");
    let lamp = place.json(&["device", "show", "lamp-1"]);
    assert_eq!((&lamp["state"], &lamp["certificates"]), (&"pending".into(), &Value::Array(Vec::new())));
    assert_eq!((&lamp["kind"], &lamp["notes"]), (&"device".into(), &"a, \"b\"".into()));
    assert!(place.ok(&["device", "code", "lamp-1"]).contains("One-time code for lamp-1"));

    for (file, format) in [("out.csv", "csv"), ("out.json", "json")] {
        let told = place.ok(&["device", "export", "--out", file, "--format", format]);
        assert_eq!(told, format!("2 identities are in {file}\n"));
        assert_eq!(mode(&place.path(file)), 0o600);
        let again = place.json(&["device", "import", file, "--update"]);
        assert_eq!((&again["unchanged"], &again["updated"], &again["added"]), (&2.into(), &0.into(), &0.into()));
        assert_eq!(again["passed_over"], serde_json::json!(["created", "id", "last_seen", "state"]));
    }
    let csv = place.ok(&["device", "export"]);
    assert!(
        csv.starts_with("name,kind,group,owner,location,model,firmware,notes,state,id,created,last_seen\n"),
        "{csv}"
    );
    assert!(csv.contains("\ngate-1,gateway,,,,,,'=1+1,pending,"), "no cell begins a formula: {csv}");
    assert_eq!(place.json(&["device", "export"])[1]["notes"], "a, \"b\"", "--output json is JSON");

    let twice = place.run(&["device", "export", "--out", "out.csv"]);
    assert!(twice.status == 4 && twice.err.contains("is there already"), "{twice:?}");
    let nowhere = place.run(&["device", "export", "--out", "none/out.csv"]);
    assert_eq!(nowhere.status, 2, "{nowhere:?}");

    let (_, metrics) = http(hub.address("metrics"), "GET", "/metrics");
    assert!(metrics.contains("portreeve_events_total{kind=\"inventory_imported\"} 3"), "{metrics}");
    assert!(metrics.contains("portreeve_events_total{kind=\"identity_imported\"} 2"), "{metrics}");
    eventually("the events are logged", || place.log().contains("lamp-1") && place.log().contains("identity_imported"));
    let log = place.log();
    let event = log.lines().find(|line| line.contains("inventory_imported")).unwrap();
    assert!(
        event.contains("2 added, 0 updated, 0 unchanged, from ")
            && event.contains("actor=")
            && event.contains("fleet.csv"),
        "{event}"
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, list.as_bytes());
    assert!(event.contains(&hex::encode(digest)), "{event}");
}

#[test]
fn an_update_changes_fields_and_nothing_else() {
    let place = Place::new();
    drop(place.serve(&[]));
    // While no hub runs, its owner works on the directory itself.
    place.ok(&["device", "add", "lamp-1", "--group", "lamps", "--location", "hall 2", "--out", "lamp-1"]);
    let before = place.json(&["device", "show", "lamp-1"]);
    place.write("fleet.json", r#"[{"name":"lamp-1","group":"","firmware":"2.0","state":"retired"},{"name":"lamp-2"}]"#);
    let known = place.run(&["device", "import", "fleet.json"]);
    assert_eq!(known.status, 2, "{known:?}");
    assert!(known.err.contains("line 1, name: `lamp-1` is registered already; with --update"), "{known:?}");
    assert_eq!(place.run(&["device", "show", "lamp-2"]).status, 4, "all or nothing");

    let told = place.ok(&["device", "import", "fleet.json", "--update"]);
    assert!(
        told.starts_with("1 added, 1 updated, 0 unchanged\nPassed over, for an import changes none of them: state\n"),
        "{told}"
    );
    let hub = place.serve(&[]);
    let mut after = place.json(&["device", "show", "lamp-1"]);
    assert_eq!(
        (&after["group"], &after["firmware"], &after["location"]),
        (&"".into(), &"2.0".into(), &"hall 2".into())
    );
    for key in ["group", "firmware", "changed_ms"] {
        after[key] = before[key].clone();
    }
    assert_eq!(after, before);
    let port = hub.port();
    place.ok(&["client", "pub", "--bundle", "lamp-1", "--port", &port, "-t", "devices/lamp-1/telemetry/x", "-m", "1"]);
}

#[test]
fn a_file_with_a_problem_is_refused_whole_and_the_problem_named() {
    let place = Place::new();
    let set = ["--set", "inventory.name_pattern=[a-z0-9.-]+", "--set", "inventory.namespaces=plant7=plant-7"];
    let _hub = place.serve(&set);
    place.ok(&["device", "add", "known"]);
    let long = format!("name,notes\ngood,\nbad,{}\n", "x".repeat(257));
    let rows = (0..=100_000).fold(String::from("name\n"), |mut text, at| {
        let _ = writeln!(text, "d{at}");
        text
    });
    let cases: [(&[u8], &[&str]); 15] = [
        (b"", &["the file is empty"]),
        (b"good,known\nx,y\n", &["line 1: there is no column `good`", "line 1, name: the header has no such column"]),
        (b"name\ngood\ngood\n", &["there is a problem", "line 3, name: `good` stands on line 2 already"]),
        (
            b"name\ngood\nBAD\nalso/bad\n",
            &["2 problems", "line 3, name: `BAD`", "line 4, name: `also/bad` is not a valid name"],
        ),
        (b"name\ngood\nBAD\n", &["line 3, name: `BAD` does not match `[a-z0-9.-]+`", "inventory.name_pattern"]),
        (b"name,group\ngood,\nplant7.pump,plant-8\n", &["line 3, group: names that begin with `plant7.`"]),
        (b"name\ngood\nknown\n", &["line 3, name: `known` is registered already"]),
        (b"name,kind\ngood,robot\n", &["line 2, kind: `robot` is not one of"]),
        (long.as_bytes(), &["line 3, notes: it must have at most 256 characters"]),
        (b"name,notes\ngood,a\x1bb\n", &["line 2, notes: it must have", "no control characters"]),
        (b"name,notes\ngood,a\nbad,\xc3\x28\n", &["bad, line 3: not UTF-8"]),
        (b"name,notes\ngood,\nbad,a,b\n", &["line 3: 3 cells; the header names 2 columns"]),
        (b"[{\"name\":\"good\"},\n{\"name\":", &["line 2: EOF while parsing"]),
        (rows.as_bytes(), &["line 100002: the file has more than 100000 identities; split it"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &["line 1: not UTF-8"]),
    ];
    for (bytes, said) in cases {
        refused(&place, bytes, said);
    }
    refused(&place, &vec![b'a'; (32 << 20) + 1], &["more than 33554432 bytes; split it"]);
    let missing = place.run(&["device", "import", "none.csv"]);
    assert!(missing.status == 2 && missing.err.contains("cannot read none.csv"), "{missing:?}");
}

/// CSA-ACT-04: the naming rule holds for whatever way a name comes in.
#[test]
fn names_follow_the_rules_wherever_they_come_from() {
    let place = Place::new();
    let file = place.write(
        "hub.toml",
        "[inventory]\nname_pattern = '(plant[0-9]\\.)?[a-z]+-[0-9]+'\nnamespaces = { plant7 = \"plant-7\" }\n",
    );
    let _hub = place.serve(&["--config", &file]);
    let name = place.run(&["device", "add", "Lamp"]);
    assert_eq!(name.status, 4, "{name:?}");
    assert!(name.err.contains("`Lamp` does not match") && name.err.contains("inventory.name_pattern"), "{name:?}");
    let group = place.run(&["device", "add", "plant7.pump-1", "--group", "pumps"]);
    assert_eq!(group.status, 4, "{group:?}");
    assert!(group.err.contains("are for the group `plant-7`"), "{group:?}");
    place.ok(&["device", "add", "plant7.pump-1", "--group", "plant-7"]);
    place.ok(&["device", "add", "plant8.pump-1", "--group", "anything"]);
    let moved = place.run(&["device", "edit", "plant7.pump-1", "--group", "pumps"]);
    assert_eq!(moved.status, 4, "nor does it leave its group: {moved:?}");
    place.ok(&["device", "edit", "plant7.pump-1", "--owner", "ann"]);

    place.write("hub.toml", "[inventory]\nname_pattern = '[A-Z].*'\n");
    place.ok(&["reload", "--config", &file]);
    place.ok(&["device", "add", "Lamp"]);
    assert_eq!(place.run(&["device", "add", "lamp-2"]).status, 4);
    place.write("hub.toml", "[inventory]\nname_pattern = '[A-Z'\nnamespaces = { 'a.b' = \"g\" }\n");
    let wrong = place.run(&["reload", "--config", &file]);
    assert!(wrong.status == 2 && wrong.err.contains("unclosed character class"), "{wrong:?}");
}

#[test]
fn lists_are_filtered_by_the_hub() {
    let place = Place::new();
    let _hub = place.serve(&[]);
    place.write("fleet.csv", "name,kind,group\nlamp-1,,lamps\nlamp-2,,lamps\ngate-1,gateway,lamps\nspare,,\n");
    place.ok(&["device", "import", "fleet.csv"]);
    place.ok(&["device", "disable", "lamp-2"]);
    let names = |args: &[&str]| {
        let list = place.json(&[&["device", "list"], args].concat());
        let names: Vec<_> =
            list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        names.join(" ")
    };
    assert_eq!(names(&[]), "gate-1 lamp-1 lamp-2 spare");
    assert_eq!(names(&["--group", "lamps"]), "gate-1 lamp-1 lamp-2");
    assert_eq!(names(&["--group", ""]), "spare");
    assert_eq!(names(&["--group", "lamps", "--kind", "device", "--state", "pending"]), "lamp-1");
    assert_eq!(names(&["--unused", "30d", "--limit", "2"]), "gate-1 lamp-1");
    assert_eq!(names(&["--group", "none"]), "");
    let csv = place.ok(&["device", "export", "--state", "disabled"]);
    assert!(csv.lines().count() == 2 && csv.contains("\nlamp-2,device,lamps,"), "{csv}");
    let some = place.run(&["device", "list", "--limit", "3"]);
    assert!(some.out.lines().count() == 4 && some.err.contains("more than these 3"), "{some:?}");
    for bad in [["--kind", "robot"], ["--state", "lost"], ["--limit", "0"], ["--unused", "soon"]] {
        assert_eq!(place.run(&[&["device", "list"][..], &bad].concat()).status, 2, "{bad:?}");
    }
}

/// Whoever is connected is in use; whoever was a moment ago is, too; the others are not.
#[test]
fn unused_are_those_who_did_not_come() {
    let place = Place::new();
    let hub = place.serve(&[]);
    for name in ["came", "stays", "never"] {
        place.ok(&["device", "add", name, "--out", name]);
    }
    let port = hub.port();
    place.ok(&["client", "pub", "--bundle", "came", "--port", &port, "-t", "devices/came/telemetry/x", "-m", "1"]);
    let args = ["client", "sub", "--bundle", "stays", "--port", &port, "-t", "devices/stays/commands/#"];
    let mut stays = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it is connected", || place.json(&["status"])["clients_connected"] == 1);
    let unused = |time| place.ok(&["device", "list", "--unused", time]);
    let month = unused("30d");
    assert!(month.contains("never") && !month.contains("came") && !month.contains("stays"), "{month}");
    eventually("a second has passed", || unused("1s").contains("came"));
    assert!(!unused("0s").contains("stays"), "it is connected");
    stays.kill().unwrap();
    stays.wait().unwrap();
}

#[test]
fn a_large_fleet_takes_little_time_and_one_request() {
    const COUNT: usize = 20_000;
    let place = Place::new();
    let hub = place.serve(&[]);
    let mut text = String::from("name,group,notes\n");
    for at in 0..COUNT {
        // 300 bytes a row: more than an ordinary request may have.
        let _ = writeln!(text, "plant{}.sensor-{at:05},plant-{},{}", at % 7, at % 7, "n".repeat(250));
    }
    place.write("fleet.csv", &text);
    let begin = Instant::now();
    let result = place.json(&["device", "import", "fleet.csv"]);
    assert_eq!(result["added"], COUNT);
    assert!(begin.elapsed() < Duration::from_secs(45), "{:?}", begin.elapsed());
    assert_eq!(place.ok(&["device", "list"]).lines().count(), COUNT + 1, "page after page");
    place.ok(&["device", "export", "--out", "out.csv"]);
    assert_eq!(place.json(&["device", "import", "out.csv", "--update"])["unchanged"], COUNT);

    // Of a file that is wrong in its last line nothing is taken.
    let _ = writeln!(text, "plant0.sensor-00000,again,");
    place.write("fleet.csv", &text);
    assert_eq!(place.run(&["device", "import", "fleet.csv", "--update"]).status, 2);
    drop(hub);
    let _hub = place.serve(&[]);
    assert_eq!(place.json(&["status"])["identities"], COUNT, "and it is on disk");
}

/// Large requests are held in memory: one at a time, and nothing but imports.
#[test]
fn large_requests_are_imports_one_at_a_time() {
    const BYTES: usize = 5 << 20;
    let place = Place::new();
    let _hub = place.serve(&[]);
    let mut large = String::from("name,notes\n");
    (0..30_000).for_each(|at| _ = writeln!(large, "d{at},{}", "n".repeat(200)));
    place.write("large.csv", &large);
    let begin = || {
        let mut stream = UnixStream::connect(place.path("data/admin.sock")).unwrap();
        write!(stream, "POST /admin/v1 HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: {BYTES}\r\n\r\n")
            .unwrap();
        stream
    };
    let held = begin();
    let import = || place.run(&["device", "import", "large.csv", "--dry-run"]);
    eventually("one that is not finished keeps others out", || {
        let done = import();
        done.status == 4 && done.err.contains("another import is under way; try again when it is done")
    });
    assert_eq!(place.run(&["device", "list"]).status, 0, "what is small goes on");
    drop(held);
    eventually("whoever leaves makes room", || import().status == 0);

    let mut stream = begin();
    let mut request = br#"{"do":"status"}"#.to_vec();
    request.resize(BYTES, b' ');
    stream.write_all(&request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("only an import or an SBOM may have more"),
        "{answer}"
    );
}

#[test]
fn a_list_may_come_through_a_pipe() {
    let place = Place::new();
    let _hub = place.serve(&[]);
    let mut command = place.command(&["device", "import", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"name\nlamp-1\n").unwrap();
    let done = Done::from(child.wait_with_output().unwrap());
    assert!(done.status == 0 && done.out.starts_with("1 added"), "{done:?}");
}

/// Whoever may look may export; who may not change may not import, large or small, and hears why.
#[test]
fn roles_decide_who_imports() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user; the role table itself is tested in the hub");
        return;
    }
    let place = Place::new();
    // The socket's folder can be entered by all; the data directory cannot.
    std::fs::set_permissions(place.root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let binary = place.path("portreeve");
    std::fs::copy(BINARY, &binary).unwrap();
    let role = |role: &str| {
        let socket = place.path("admin.sock");
        place.write("hub.toml", &format!("[admin]\nsocket = {socket:?}\noperators = {{ nobody = \"{role}\" }}\n"))
    };
    let file = role("viewer");
    let _hub = place.serve(&["--config", &file]);
    let as_nobody = |args: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        command.args(["--data", "data", "--config", &file]).args(args).current_dir(place.root.path());
        Done::from(command.uid(NOBODY).gid(NOBODY).output().unwrap())
    };
    place.write("fleet.csv", "name\nlamp-1\n");
    let mut large = String::from("name,notes\n");
    (0..30_000).for_each(|at| _ = writeln!(large, "d{at},{}", "n".repeat(200)));
    place.write("large.csv", &large);
    for (name, imports) in [
        ("viewer", false),
        ("auditor", false),
        ("release-signer", false),
        ("operator", true),
        ("key-manager", true),
        ("administrator", true),
    ] {
        role(name);
        place.ok(&["reload", "--config", &file]);
        assert_eq!(as_nobody(&["device", "export"]).status, 0, "{name}");
        for file in ["fleet.csv", "large.csv"] {
            let done = as_nobody(&["device", "import", file, "--update"]);
            assert_eq!(done.status == 0, imports, "{name}, {file}: {done:?}");
            if !imports {
                assert_eq!(done.status, 4, "{name}, {file}: {done:?}");
                assert!(done.err.contains(&format!("has the role {name}, which does not permit this")), "{done:?}");
            }
        }
        let registered = place.json(&["status", "--config", &file])["identities"].as_u64().unwrap();
        assert_eq!(registered, if imports { 30_001 } else { 0 }, "{name}");
    }
    assert!(place.log().contains("admin_denied"));
}
