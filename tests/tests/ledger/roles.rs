//! Who may read the ledger: auditors; and who runs the hub, as long as nobody was made one.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Output, Stdio},
    time::Instant,
};

use portreeve_tests::{
    Hub,
    hub::{PATIENCE, program},
};

use crate::told;

/// Local users that every Debian has.
const NOBODY: u32 = 65_534;
const DAEMON: u32 = 1;

/// A hub on which these users have roles, and whose socket they reach.
fn office(operators: &str) -> Hub {
    let mut hub = Hub::start(&[]);
    hub.kill();
    let socket = hub.data().join("admin.sock");
    hub.configure(&format!("[admin]\nsocket = \"{}\"\noperators = {{ {operators} }}\n", socket.display()));
    hub.launch();
    for (folder, mode) in [(hub.directory().to_owned(), 0o755), (hub.data(), 0o711)] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    hub
}

/// What comes of a command of another user.
fn run_as(hub: &Hub, user: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).arg("--data").arg(hub.data()).uid(user).gid(user).current_dir("/").output().unwrap()
}

/// CSA-SCN-09: reading is the auditor's, writing nobody's; each attempt is an entry.
#[test]
fn auditors_read_and_nobody_else() {
    let hub = office("nobody = \"auditor\", daemon = \"administrator\"");
    let show = ["ledger", "show", "--output", "json"];
    let output = run_as(&hub, NOBODY, &show);
    assert!(output.status.success(), "{}", told(&output).1);
    for (who, output) in [
        ("an administrator", run_as(&hub, DAEMON, &show)),
        ("the hub's own user", hub.run(&show)),
        ("an administrator", run_as(&hub, DAEMON, &["ledger", "prove", "0"])),
        ("an administrator", run_as(&hub, DAEMON, &["ledger", "export", "--out", "/tmp/never-made"])),
    ] {
        let (status, said) = told(&output);
        assert!(status == 4 || status == 2, "{who}: {said}");
        assert!(!said.contains("hub_started"), "{who}: {said}");
    }
    // To know that it is whole is for everybody, without files as well.
    let (status, said) = told(&run_as(&hub, DAEMON, &["ledger", "verify"]));
    assert!(status == 0 && said.contains("as the hub itself checked it"), "{said}");
    assert_eq!(told(&run_as(&hub, DAEMON, &["ledger", "key"])).0, 0);
    // Who reads does nothing else.
    assert_eq!(told(&run_as(&hub, NOBODY, &["ledger", "erase", "--value", "daemon"])).0, 4);
    assert_eq!(told(&run_as(&hub, NOBODY, &["device", "add", "x"])).0, 4);
    let is_told = || {
        let read = run_as(&hub, NOBODY, &["ledger", "show", "--output", "json", "--kind", "admin_denied"]);
        String::from_utf8_lossy(&read.stdout).contains("daemon")
    };
    let started = Instant::now();
    while !is_told() {
        assert!(started.elapsed() < PATIENCE, "that it was refused is an entry");
    }
}

#[test]
fn who_runs_the_hub_reads_until_there_is_an_auditor() {
    let hub = office("nobody = \"viewer\", daemon = \"administrator\"");
    assert!(hub.run(&["ledger", "show"]).status.success());
    assert_eq!(told(&run_as(&hub, DAEMON, &["ledger", "show"])).0, 4);
    assert_eq!(told(&run_as(&hub, NOBODY, &["ledger", "show"])).0, 4);
    assert_eq!(told(&run_as(&hub, 4711, &["ledger", "key"])).0, 4, "a stranger");
}

/// A user who opens as many connections as he can, and says nothing.
const HOLDER: &str = r#"
import socket, sys
held = []
for _ in range(100):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(5)
    one.connect(sys.argv[1])
    held.append(one)
print("held", flush=True)
sys.stdin.read()
"#;

/// One local user keeps no other from the administration.
#[test]
fn a_user_takes_no_more_than_his_share_of_the_socket() {
    let hub = office("daemon = \"administrator\"");
    let mut holder = Command::new("python3");
    let socket = hub.data().join("admin.sock");
    holder.args(["-c", HOLDER]).arg(socket).uid(NOBODY).gid(NOBODY).current_dir("/");
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let _ = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let started = Instant::now();
    assert_eq!(told(&run_as(&hub, DAEMON, &["status"])).0, 0);
    assert_eq!(told(&hub.run(&["status"])).0, 0);
    assert!(started.elapsed() < PATIENCE / 4, "they waited for somebody else's connections to end");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
}
