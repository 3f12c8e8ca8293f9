//! What the process takes from itself: core dumps, tracing by others, and, with Landlock, every file but its own and
//! every TCP connection of its own making.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, path_beneath_rules,
};
use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask},
};

/// The newest set of rights that is asked for; an older kernel enforces those that it knows.
const RIGHTS: ABI = ABI::V5;

/// What may be read besides the hub's own: the table of local users, and how many processors there are.
const READABLE: [&str; 3] = ["/etc", "/proc/self", "/sys/fs/cgroup"];
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// Keeps keys out of core dumps and debuggers, files private, and lifts the soft limit of open files to the hard one.
pub(super) fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process cannot be hidden from debuggers");
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
}

impl Territory {
    /// The data directory, the folder of the administration socket, and that of the configuration file.
    pub(super) fn new(data: &Path, socket: &Path, config: Option<&Path>) -> Self {
        let folder = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { own: vec![data.to_owned(), folder(socket)], readable: config.map(folder).into_iter().collect() }
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
        // The hub answers; it calls nobody.
        .handle_access(AccessNet::ConnectTcp)?
        .create()?
        .add_rules(path_beneath_rules(&territory.own, AccessFs::from_write(RIGHTS) | read))?
        .add_rules(path_beneath_rules(&territory.readable, read))?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
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

    #[test]
    fn a_configuration_file_without_a_folder_is_in_this_one() {
        let territory = Territory::new(Path::new("/d"), Path::new("/run/p/admin.sock"), Some(Path::new("hub.toml")));
        assert_eq!(territory.own, [Path::new("/d"), Path::new("/run/p")]);
        assert_eq!(territory.readable, [Path::new(".")]);
    }
}
