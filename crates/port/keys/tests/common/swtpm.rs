//! A software TPM for a test: `swtpm`, started on a socket of its own and ended with the value.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const START_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Swtpm {
    directory: tempfile::TempDir,
    process: Child,
}

impl Swtpm {
    /// A TPM that never existed before, with seeds of its own.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = launch(&directory);
        Self { directory, process }
    }

    /// The same TPM after a power cut: what was not stored is gone.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.process = launch(&self.directory);
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(self.socket());
    }

    /// It neither answers nor hangs up until [`Self::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(directory: &tempfile::TempDir) -> Child {
    let socket = directory.path().join("socket");
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
    command.arg("--tpmstate").arg(format!("dir={}", directory.path().display()));
    command.arg("--server").arg(format!("type=unixio,path={}", socket.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = command.spawn().expect("swtpm is missing: apt-get install swtpm, or ./test");
    let started = Instant::now();
    while !is_listening(&socket) {
        assert!(started.elapsed() < START_TIMEOUT, "swtpm does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}

/// A socket has its name a moment before it takes connections, and swtpm serves one at a time: so nobody knocks, the
/// kernel is asked. Its list has flags in the fourth column and the path in the last (`proc_net(5)`).
fn is_listening(socket: &Path) -> bool {
    const ACCEPTS: u32 = 1 << 16;
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let flags = |line: &str| u32::from_str_radix(line.split_whitespace().nth(3)?, 16).ok();
    sockets
        .lines()
        .filter(|line| line.split_whitespace().last().is_some_and(|path| Path::new(path) == socket))
        .any(|line| flags(line).is_some_and(|flags| flags & ACCEPTS != 0))
}
