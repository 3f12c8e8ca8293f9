//! A hub of one's own, on ports that the system chooses.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_portreeve");

const LOOPBACK: [&str; 3] =
    ["mqtt.listen=127.0.0.1:0", "device_https.listen=127.0.0.1:0", "metrics.listen=127.0.0.1:0"];
const PATIENCE: Duration = Duration::from_secs(60);

/// A scratch directory whose `data` is the hub's.
pub(crate) struct Place {
    pub(crate) root: TempDir,
    /// Set for every command.
    pub(crate) env: Vec<(&'static str, String)>,
}

/// A running hub, killed with the test.
pub(crate) struct Running<'a> {
    place: &'a Place,
    child: Child,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), env: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    /// A file that nobody else can read.
    pub(crate) fn secret(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.root.path()).args(["--data", "data"]).args(args).stdin(Stdio::null());
        // An auditor's key is made where the user's configuration is.
        command.env("XDG_CONFIG_HOME", self.path("config"));
        // What the caller has set for its own hub is not for this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTREEVE_")) {
            command.env_remove(name);
        }
        command.envs(self.env.iter().cloned());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.command(args).output().unwrap().into()
    }

    /// Must succeed; returns what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.status, 0, "{args:?}: {done:?}");
        done.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--output", "json"]].concat())).unwrap()
    }

    /// Starts the hub and waits until it is ready.
    pub(crate) fn serve(&self, args: &[&str]) -> Running<'_> {
        let sets = LOOPBACK.iter().flat_map(|set| ["--set", set]);
        let args: Vec<&str> = ["serve"].into_iter().chain(sets).chain(args.iter().copied()).collect();
        let log = std::fs::File::create(self.path("log")).unwrap();
        let out = std::fs::File::create(self.path("out")).unwrap();
        let child = self.command(&args).stdout(out).stderr(log).spawn().unwrap();
        let mut running = Running { place: self, child };
        let until = Instant::now() + PATIENCE;
        while !self.out().contains("is ready") {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "not ready ({ended:?}): {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// A start that has to fail by itself.
    pub(crate) fn fails_to_serve(&self, args: &[&str]) -> Done {
        let sets = LOOPBACK.iter().flat_map(|set| ["--set", set]);
        let args: Vec<&str> = ["serve"].into_iter().chain(sets).chain(args.iter().copied()).collect();
        let mut child = self.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                child.kill().unwrap();
                panic!("it runs, and should not: {:?}", Done::from(child.wait_with_output().unwrap()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        child.wait_with_output().unwrap().into()
    }

    /// What `openssl` says, in the scratch directory; it must succeed.
    pub(crate) fn openssl(&self, line: &str) -> String {
        let mut command = Command::new("openssl");
        let done = Done::from(command.current_dir(self.root.path()).args(line.split_whitespace()).output().unwrap());
        assert_eq!(done.status, 0, "openssl {line}: {done:?}");
        done.out
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn out(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap_or_default()
    }
}

impl Running<'_> {
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let status = self.place.json(&["status"]);
        let row = status["listeners"].as_array().unwrap().iter().find(|row| row["name"] == listener).unwrap().clone();
        row["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn port(&self) -> String {
        self.address("mqtt").port().to_string()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends the hub in order.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.place.log());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the hub does not end: {}", self.place.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits until `check` holds.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < until, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Head and body of a plain HTTP answer.
pub(crate) fn http(at: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}
