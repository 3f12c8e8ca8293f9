//! The hub as a process.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::guard::Guard;

/// How long anything may take that should take no time.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A TLS connection to the hub.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Grants the application `app` everything but `$SYS`, and forbids one topic to everybody.
pub const OPEN_POLICY: &str = r#"
@id("test.app")
permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);
@id("test.nosubscribe")
forbid (principal, action == Action::"subscribe", resource == Topic::"test/nosubscribe");
"#;

/// A running hub with a data directory of its own. It is killed when dropped and when the test process ends.
#[derive(Debug)]
pub struct Hub {
    directory: TempDir,
    settings: Vec<String>,
    /// Megabytes of the file system of its own that the data directory is on, where that matters.
    disk_mib: Option<u32>,
    process: Option<(Child, Guard)>,
    listeners: Vec<(String, SocketAddr)>,
    app: Option<Identity>,
    policies: Mutex<usize>,
}

/// A registered identity with the bundle that `device add` wrote.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// The folder with `ca.pem`, `cert.pem` and `key.pem`.
    pub bundle: PathBuf,
    tls: Arc<ClientConfig>,
}

impl Identity {
    /// Reads a bundle.
    ///
    /// # Panics
    /// If it does not hold together.
    #[must_use]
    pub fn from_bundle(name: &str, bundle: &Path) -> Self {
        let read = |file: &str| fs::read(bundle.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let tls = client_config(&read("ca.pem"), Some((&read("cert.pem"), &read("key.pem"))));
        Self { name: name.into(), bundle: bundle.into(), tls }
    }

    /// The TLS configuration with its key.
    #[must_use]
    pub fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }
}

/// A client's TLS configuration that never resumes; `credentials` are chain and key in PEM.
///
/// # Panics
/// If the files do not parse.
#[must_use]
pub fn client_config(ca_pem: &[u8], credentials: Option<(&[u8], &[u8])>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(anchor.expect("ca.pem")).expect("an anchor");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match credentials {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().expect("cert.pem");
            let key = PrivateKeyDer::from_pem_slice(key).expect("key.pem");
            builder.with_client_auth_cert(chain, key).expect("a key that fits its certificate")
        }
    };
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The program under test: `PORTREEVE_BIN`, or the one that was built beside the tests.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn program() -> PathBuf {
    let program = std::env::var_os("PORTREEVE_BIN").map_or_else(
        || {
            // target/debug/deps/the-test → target/debug/portreeve
            let test = std::env::current_exe().expect("the path of the test");
            test.ancestors().nth(2).expect("a target directory").join("portreeve")
        },
        PathBuf::from,
    );
    assert!(program.is_file(), "{}: build it with `cargo build -p portreeve`", program.display());
    program
}

impl Hub {
    /// Starts a hub with further settings (`key=value`) and no identity.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        Self::start_on(None, settings)
    }

    /// Starts a hub whose data directory is alone on a file system of this size, in a mount namespace of its own. That
    /// takes root; the file system ends with the process.
    #[must_use]
    pub fn start_on_small_disk(disk_mib: u32, settings: &[&str]) -> Self {
        Self::start_on(Some(disk_mib), settings)
    }

    /// Starts a hub with a configuration file, `portreeve.toml` in [`Hub::directory`].
    #[must_use]
    pub fn start_configured(toml: &str) -> Self {
        let hub = Self::prepare(None, &[]);
        hub.configure(toml);
        hub.launched()
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, toml: &str) {
        fs::write(self.config_path(), toml).expect("a configuration file");
    }

    fn config_path(&self) -> PathBuf {
        self.directory().join("portreeve.toml")
    }

    /// Starts a hub, with the application `app` that may do everything ([`OPEN_POLICY`]).
    #[must_use]
    pub fn open(settings: &[&str]) -> Self {
        Self::start(settings).with_app()
    }

    fn start_on(disk_mib: Option<u32>, settings: &[&str]) -> Self {
        Self::prepare(disk_mib, settings).launched()
    }

    fn launched(mut self) -> Self {
        self.launch();
        self
    }

    fn prepare(disk_mib: Option<u32>, settings: &[&str]) -> Self {
        Self {
            directory: TempDir::with_prefix("portreeve-test-").expect("a temporary directory"),
            settings: settings.iter().map(ToString::to_string).collect(),
            disk_mib,
            process: None,
            listeners: Vec::new(),
            app: None,
            policies: Mutex::new(0),
        }
    }

    /// Adds the application `app` and applies [`OPEN_POLICY`].
    #[must_use]
    pub fn with_app(mut self) -> Self {
        self.app = Some(self.add("app", "application"));
        self.apply_policy(OPEN_POLICY);
        self
    }

    /// Where everything of this hub lies: bundles, policies, the log, and the data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory, as the hub sees it.
    fn data_inside(&self) -> PathBuf {
        if self.disk_mib.is_some() { self.disk().join("hub") } else { self.directory().join("data") }
    }

    /// Where a file system of its own is mounted.
    fn disk(&self) -> PathBuf {
        self.directory().join("disk")
    }

    /// A path of the hub's as this process reaches it: through the hub's mount namespace if it has one of its own.
    fn outside(&self, path: &Path) -> PathBuf {
        match (&self.process, self.disk_mib) {
            (Some((child, _)), Some(_)) => PathBuf::from(format!("/proc/{}/root{}", child.id(), path.display())),
            _ => path.to_owned(),
        }
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.outside(&self.data_inside())
    }

    /// A file beside the data directory on its file system.
    #[must_use]
    pub fn beside_data(&self, name: &str) -> PathBuf {
        self.outside(&self.disk().join(name))
    }

    fn command(&self) -> Command {
        let Some(disk_mib) = self.disk_mib else { return Command::new(program()) };
        let mut command = Command::new("unshare");
        let script = r#"mkdir -p "$0" && mount -t tmpfs -o size="$1m" tmpfs "$0" && shift && exec "$@""#;
        command.args(["--mount", "sh", "-c", script]).arg(self.disk()).arg(disk_mib.to_string()).arg(program());
        command
    }

    /// Starts the program on the directory and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; its log is shown.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = fs::File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = self.command();
        command.arg("serve").arg("--data").arg(self.data_inside());
        let fixed = ["mqtt.listen", "device_https.listen", "metrics.listen"].map(|key| format!("{key}=127.0.0.1:0"));
        for setting in fixed.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        if self.config_path().exists() {
            command.arg("--config").arg(self.config_path());
        }
        let output = log.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().expect("the hub's process");
        let guard = Guard::over(child.id(), self.directory());
        self.process = Some((child, guard));
        let status = self.wait_until_ready();
        self.listeners = status["listeners"]
            .as_array()
            .expect("listeners")
            .iter()
            // The administration socket's address is a path.
            .filter_map(|row| Some((text(&row["name"]), text(&row["address"]).parse().ok()?)))
            .collect();
    }

    fn wait_until_ready(&mut self) -> Value {
        let started = Instant::now();
        loop {
            if let Some((child, _)) = &mut self.process
                && let Some(status) = child.try_wait().expect("its state")
            {
                panic!("the hub ended with {status}:\n{}", self.log());
            }
            let output = self.run(&["status", "--wait", "5s", "--output", "json"]);
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).expect("status as JSON");
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(started.elapsed() < Duration::from_secs(30), "not ready: {said}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("hub.log")
    }

    /// Everything the hub has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where a listener listens, by the name that `status` gives it.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(name, _)| name == listener);
        found.unwrap_or_else(|| panic!("no listener {listener} among {:?}", self.listeners)).1
    }

    /// The MQTT listener.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.address("mqtt")
    }

    /// The application that may do everything.
    ///
    /// # Panics
    /// If the hub was started without it.
    #[must_use]
    pub fn app(&self) -> &Identity {
        self.app.as_ref().expect("a hub with an application")
    }

    /// Runs `portreeve` on this hub's directory.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(arguments).arg("--data").arg(self.data()).stdin(Stdio::null());
        command.output().expect("portreeve")
    }

    /// Runs a command that must succeed and returns its output.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "portreeve {arguments:?}: {}\n{out}{err}\n{}", output.status, self.log());
        out.into_owned()
    }

    /// Runs a command with `--output json`.
    ///
    /// # Panics
    /// If it fails or does not answer with JSON.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let out = self.succeed(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("portreeve {arguments:?}: {error}: {out}"))
    }

    /// The hub's status.
    #[must_use]
    pub fn status(&self) -> Value {
        self.json(&["status"])
    }

    /// Registers an identity and makes its bundle.
    #[must_use]
    pub fn add(&self, name: &str, kind: &str) -> Identity {
        let bundle = self.directory.path().join(name);
        let _ = self.succeed(&["device", "add", name, "--kind", kind, "--out", &bundle.display().to_string()]);
        Identity::from_bundle(name, &bundle)
    }

    /// Moves an identity along its life: `disable`, `enable`, `revoke` …
    pub fn device(&self, verb: &str, name: &str) {
        let _ = self.succeed(&["device", verb, name]);
    }

    /// Replaces the applied policy.
    ///
    /// # Panics
    /// If it cannot be written or is refused.
    pub fn apply_policy(&self, text: &str) {
        let file = self.policy_file(text);
        let _ = self.succeed(&["policy", "apply", &file.display().to_string()]);
    }

    /// A file with this text.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn policy_file(&self, text: &str) -> PathBuf {
        let mut count = self.policies.lock().expect("no panic while counting");
        *count += 1;
        let file = self.directory.path().join(format!("policy-{count}.cedar"));
        fs::write(&file, text).expect("a policy file");
        file
    }

    /// A finished TLS handshake as `identity`.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn dial(&self, identity: &Identity) -> TlsStream {
        self.try_dial(identity.tls()).unwrap_or_else(|error| panic!("{}: {error}\n{}", identity.name, self.log()))
    }

    /// A TLS handshake that may fail. In TLS 1.3 the server's refusal comes after it, with the first read.
    ///
    /// # Errors
    /// What TLS or TCP say.
    pub fn try_dial(&self, tls: Arc<ClientConfig>) -> std::io::Result<TlsStream> {
        dial_address(self.mqtt(), tls)
    }

    /// Kills the hub without warning.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let (mut child, guard) = self.process.take().expect("a running hub");
        guard.dismiss();
        child.kill().expect("a signal");
        child.wait().expect("its end");
    }

    /// Sends a signal, by name.
    ///
    /// # Panics
    /// If there is nobody to send it to.
    pub fn signal(&self, name: &str) {
        let (child, _) = self.process.as_ref().expect("a running hub");
        let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill");
        assert!(sent.success(), "the hub takes signals");
    }

    /// Asks the hub to end, and waits for it.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        let (mut child, guard) = self.process.take().expect("a running hub");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("its state") {
                break status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        guard.dismiss();
        status
    }

    /// A figure of `/metrics`, summed over its labels.
    ///
    /// # Panics
    /// If the endpoint does not answer.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = http_get(self.address("metrics"), "/metrics");
        let values =
            page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let values: Vec<f64> = values.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some((mut child, guard)) = self.process.take() {
            guard.dismiss();
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let mut shown = String::new();
            for line in tail.iter().rev() {
                let _ = writeln!(shown, "hub: {line}");
            }
            // A failed test shows what the hub had to say.
            #[allow(clippy::print_stderr)]
            {
                eprint!("{shown}");
            }
        }
    }
}

/// A finished TLS handshake with the listener at `address`, named `localhost`.
///
/// # Errors
/// What TLS or TCP say.
///
/// # Panics
/// If the name does not parse, which it does.
pub fn dial_address(address: SocketAddr, tls: Arc<ClientConfig>) -> std::io::Result<TlsStream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let name = "localhost".try_into().expect("a host name");
    let connection = ClientConnection::new(tls, name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The answer to a plain HTTP request, headers included.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn http_get(address: SocketAddr, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
