//! What the process takes from itself: core dumps, tracing by others, and, with Landlock, every file but its own and
//! every TCP connection of its own making but those that keys and alerts need.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, path_beneath_rules,
};
use portreeve_alert::{AlertSettings, ChannelKind};
use portreeve_config::{KeyCustody, Keys};
use portreeve_keys::{forbid_core_dumps, tpm::TpmAddress};
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

/// The newest set of rights that is asked for; an older kernel enforces those that it knows.
const RIGHTS: ABI = ABI::V5;

/// What may be read besides the hub's own: the table of local users, and how many processors there are.
const READABLE: [&str; 3] = ["/etc", "/proc/self", "/sys/fs/cgroup"];
/// What else a channel of alerts may take: resolv.conf and the system's trust anchors, where these are links.
const FOR_OUTGOING: [&str; 2] = ["/run/systemd/resolve", "/usr/share/ca-certificates"];
/// What every process needs.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// Keeps keys out of core dumps and debuggers, files private, and lifts the soft limit of open files to the hard one.
pub(super) fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
    if let Err(error) = forbid_core_dumps() {
        tracing::warn!(%error, "keys cannot be kept out of core dumps and debuggers");
    }
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", files.current);
    }
}

/// Where the hub may go.
#[derive(Debug)]
pub(super) struct Territory {
    /// Directories to read and write in.
    pub(super) own: Vec<PathBuf>,
    /// Directories to read in.
    pub(super) readable: Vec<PathBuf>,
    /// Devices to talk to.
    devices: Vec<PathBuf>,
    /// TCP ports to connect to.
    ports: Vec<u16>,
    /// Files to read, as far as they are there.
    files: Vec<PathBuf>,
}

impl Territory {
    /// The data directory, the folder of the administration socket, and that of the configuration file.
    pub(super) fn new(data: &Path, socket: &Path, config: Option<&Path>) -> Self {
        let folder = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self {
            own: vec![data.to_owned(), folder(socket)],
            readable: config.map(folder).into_iter().collect(),
            devices: DEVICES.map(PathBuf::from).into(),
            ports: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The same, and calls to these ports.
    pub(super) fn with_calls_to(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports.extend(ports);
        self
    }

    /// The same, and what the custody of the keys needs while the hub runs.
    pub(super) fn with_custody(mut self, keys: &Keys) -> Self {
        match keys.custody {
            KeyCustody::File | KeyCustody::Sealed => {}
            KeyCustody::Pkcs11 => {
                self.own.extend(keys.pkcs11_paths.iter().map(PathBuf::from));
                self.ports.extend(keys.pkcs11_ports.iter().map(|port| port.0));
            }
            // The address of one that was opened is good; a socket needs no right of this kind.
            KeyCustody::Tpm => {
                if let Ok(TpmAddress::Device(path)) = keys.tpm_tcti.parse() {
                    self.devices.push(path);
                }
            }
        }
        self
    }
}

impl Territory {
    /// The same, and what the channels of these alerts need: their servers' ports, their files, and what finding a server by its
    /// name and trusting it takes.
    pub(super) fn with_alerts(mut self, settings: Option<&AlertSettings>) -> Self {
        for channel in settings.into_iter().flat_map(AlertSettings::channels) {
            let Some(server) = channel.kind.server() else { continue };
            self.ports.push(server.port);
            self.files.extend(channel.kind.files().into_iter().filter(|file| file.exists()).map(Path::to_owned));
            self.readable.extend(FOR_OUTGOING.map(PathBuf::from));
        }
        self
    }

    /// Whether a channel's server can be connected to, and its files be read.
    pub(super) fn reaches(&self, kind: &ChannelKind) -> bool {
        let Some(server) = kind.server() else { return true };
        let may_read = |file: &&Path| {
            let folders = self.own.iter().chain(&self.readable).map(PathBuf::as_path).chain(READABLE.map(Path::new));
            folders.into_iter().any(|folder| file.starts_with(folder)) || self.files.iter().any(|own| own == file)
        };
        self.ports.contains(&server.port) && kind.files().iter().all(may_read)
    }
}

/// Confines this thread, and every thread that it starts from now on. Whatever is connected or bound already stays.
///
/// # Errors
/// The kernel has Landlock and refuses; one that lacks it is no error.
pub(super) fn confine(territory: &Territory) -> Result<RulesetStatus, RulesetError> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))?
        // The hub answers; nobody but a token's module, who asks witnesses, and the channels of alerts calls somebody.
        .handle_access(AccessNet::ConnectTcp)?
        .create()?
        .add_rules(path_beneath_rules(&territory.own, AccessFs::from_write(RIGHTS) | read))?
        .add_rules(path_beneath_rules(&territory.readable, read))?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(&territory.files, AccessFs::ReadFile))?
        .add_rules(path_beneath_rules(&territory.devices, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(
            territory.ports.iter().map(|&port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::ConnectTcp))),
        )?
        .restrict_self()?;
    Ok(status.ruleset)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, thread};

    use super::*;

    /// What the kernel allows after confinement. In a thread of its own, for it is for ever.
    #[test]
    fn a_confined_hub_writes_nowhere_else() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "x").unwrap();
        let territory = Territory::new(inside.path(), &inside.path().join("admin.sock"), None);
        let (data, elsewhere) = (inside.path().to_owned(), outside.path().to_owned());
        let enforced = thread::spawn(move || {
            let status = confine(&territory).unwrap();
            fs::write(data.join("own"), "x").unwrap();
            fs::rename(data.join("own"), data.join("renamed")).unwrap();
            if status == RulesetStatus::NotEnforced {
                return false;
            }
            assert!(fs::write(elsewhere.join("new"), "x").is_err());
            assert!(fs::read(elsewhere.join("secret")).is_err());
            assert!(fs::remove_file(elsewhere.join("secret")).is_err());
            true
        });
        if !enforced.join().unwrap() {
            writeln!(std::io::stderr(), "SKIPPED: this kernel has no Landlock; what it would enforce was not tested")
                .unwrap();
        }
        // The rest of the process is as free as before.
        assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "x");
    }

    /// What a token's module may reach, and that it is no more than what was said.
    #[test]
    fn a_module_gets_its_paths_and_ports() {
        let (inside, token, outside) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [allowed, forbidden] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [allowed_at, forbidden_at] = [&allowed, &forbidden].map(|listener| listener.local_addr().unwrap());
        let keys = Keys {
            custody: KeyCustody::Pkcs11,
            pkcs11_paths: vec![token.path().display().to_string()],
            pkcs11_ports: vec![portreeve_config::Port(allowed_at.port())],
            ..Keys::default()
        };
        let territory = Territory::new(inside.path(), &inside.path().join("admin.sock"), None).with_custody(&keys);
        let (token, elsewhere) = (token.path().to_owned(), outside.path().to_owned());
        let enforced = thread::spawn(move || {
            let status = confine(&territory).unwrap();
            fs::write(token.join("object"), "x").unwrap();
            std::net::TcpStream::connect(allowed_at).unwrap();
            if status != RulesetStatus::NotEnforced {
                assert!(fs::write(elsewhere.join("object"), "x").is_err());
            }
            // Older kernels confine files only.
            if status == RulesetStatus::FullyEnforced {
                assert!(std::net::TcpStream::connect(forbidden_at).is_err());
            }
            status != RulesetStatus::NotEnforced
        });
        if !enforced.join().unwrap() {
            writeln!(std::io::stderr(), "SKIPPED: this kernel has no Landlock; what it would enforce was not tested")
                .unwrap();
        }
    }

    #[test]
    fn only_the_chosen_custody_gets_anything() {
        let keys = |custody| Keys {
            custody,
            pkcs11_paths: vec!["/token".into()],
            pkcs11_ports: vec![portreeve_config::Port(1792)],
            tpm_tcti: "device:/dev/tpmrm7".into(),
            ..Keys::default()
        };
        let of = |custody| {
            let territory = Territory::new(Path::new("/d"), Path::new("/d/s"), None).with_custody(&keys(custody));
            let extra = territory.devices.len() - DEVICES.len();
            (territory.own.contains(&PathBuf::from("/token")), territory.ports.len(), extra)
        };
        assert_eq!(of(KeyCustody::File), (false, 0, 0));
        assert_eq!(of(KeyCustody::Sealed), (false, 0, 0));
        assert_eq!(of(KeyCustody::Pkcs11), (true, 1, 0));
        assert_eq!(of(KeyCustody::Tpm), (false, 0, 1));
    }

    /// What is applied when the hub starts can be reached, and nothing that comes later.
    #[test]
    fn channels_get_their_ports_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("secret"), "x").unwrap();
        let settings = |port: u16, secret: &str| {
            let text = format!(
                "[[channel]]\nname = \"soc\"\nkind = \"webhook\"\nurl = \"https://soc.example.org:{port}/\"\n\
                 secret_file = \"{secret}\"\n[[contact]]\nname = \"ann\"\nchannels = [\"soc\"]\n\
                 reviewed = 2026-11-22\n[[route]]\ncontacts = [\"ann\"]\n"
            );
            AlertSettings::parse("alerts.toml", &text, &[]).unwrap()
        };
        let bare = || Territory::new(Path::new("/d"), Path::new("/run/p/admin.sock"), Some(Path::new("/e/hub.toml")));
        let applied = settings(8443, &path("secret"));
        let reaches = |territory: &Territory, settings: &AlertSettings| territory.reaches(&settings.channels()[0].kind);
        assert!(!reaches(&bare().with_alerts(None), &applied));
        let territory = bare().with_alerts(Some(&applied));
        assert!(reaches(&territory, &applied));
        assert!(reaches(&territory, &settings(8443, "/e/secret")), "the folder of the configuration is the hub's");
        assert!(!reaches(&territory, &settings(8444, &path("secret"))));
        assert!(!reaches(&territory, &settings(8443, &path("another"))));
        let missing = settings(8443, &path("another"));
        assert!(!reaches(&bare().with_alerts(Some(&missing)), &missing), "a file that came later");
    }

    #[test]
    fn a_configuration_file_without_a_folder_is_in_this_one() {
        let territory = Territory::new(Path::new("/d"), Path::new("/run/p/admin.sock"), Some(Path::new("hub.toml")));
        assert_eq!(territory.own, [Path::new("/d"), Path::new("/run/p")]);
        assert_eq!(territory.readable, [Path::new(".")]);
    }
}
