use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use zeroize::Zeroizing;

use crate::KeyError;

/// Longest passphrase.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;
/// Fewest characters of a passphrase that seals a file: whoever copies the file may guess as long as they like.
/// Devices count wrong attempts, so their PINs may be shorter.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

const TERMINAL: &str = "/dev/tty";
/// Where systemd puts a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A passphrase or PIN: one line of text, wiped from memory when dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a line of text, without its line end.
    ///
    /// # Errors
    /// What is wrong with it, in words for a person.
    pub fn new(text: Zeroizing<String>) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > PASSPHRASE_BYTES_MAX {
            return Err("it is longer than 1024 bytes");
        }
        if text.chars().any(char::is_control) {
            return Err("it is not a single line of text");
        }
        Ok(Self(text))
    }

    fn from_line(mut line: Zeroizing<Vec<u8>>) -> Result<Self, &'static str> {
        for end in [b'\n', b'\r'] {
            if line.last() == Some(&end) {
                line.pop();
            }
        }
        // The bytes move, so nothing is left behind to be wiped.
        let text = String::from_utf8(std::mem::take(&mut line)).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            "it is not UTF-8"
        })?;
        Self::new(Zeroizing::new(text))
    }

    /// Its bytes, for the one call that needs them.
    pub(crate) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    #[cfg(feature = "pkcs11")]
    pub(crate) fn expose_text(&self) -> &str {
        &self.0
    }

    /// Whether it may seal a file.
    pub(crate) fn check_strength(&self) -> Result<(), KeyError> {
        if self.0.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(KeyError::WeakPassphrase { chars_min: PASSPHRASE_CHARS_MIN });
        }
        Ok(())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Where a passphrase comes from. Never the environment or an argument, which other processes can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassphraseSource {
    /// The terminal that the process runs in, without echo.
    Terminal,
    /// The first line of a file that nobody but its owner can read.
    File(PathBuf),
    /// A credential that systemd hands to the service (`LoadCredentialEncrypted=` and its kin).
    Credential(String),
}

impl FromStr for PassphraseSource {
    type Err = KeyError;

    /// `terminal`, `file:PATH` or `credential:NAME`.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.split_once(':') {
            None if text == "terminal" => Ok(Self::Terminal),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("credential", name)) if is_plain(name) => Ok(Self::Credential(name.to_owned())),
            _ => Err(KeyError::NoPassphrase {
                // Not what was given: somebody may have typed the passphrase itself.
                from: "this source".into(),
                reason: "write terminal, file:PATH or credential:NAME".into(),
            }),
        }
    }
}

impl fmt::Display for PassphraseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminal => f.write_str("terminal"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl PassphraseSource {
    /// What is asked when nobody named a source: the credential of this name if systemd handed one to the process, else
    /// the terminal.
    #[must_use]
    pub fn of_process(credential: &str) -> Self {
        let given = std::env::var_os(CREDENTIALS).map(PathBuf::from);
        match given.filter(|directory| is_plain(credential) && directory.join(credential).exists()) {
            Some(_) => Self::Credential(credential.to_owned()),
            None => Self::Terminal,
        }
    }

    /// Gets the passphrase; a terminal shows what it is for.
    ///
    /// # Errors
    /// [`KeyError::NoPassphrase`].
    pub fn read(&self, what_for: &str) -> Result<Passphrase, KeyError> {
        self.read_with(|terminal| ask(terminal, &format!("Passphrase for {what_for}: ")))
    }

    /// Gets a passphrase to be: a terminal asks twice.
    ///
    /// # Errors
    /// [`KeyError::NoPassphrase`], also when the second differs from the first.
    pub fn read_new(&self, what_for: &str) -> Result<Passphrase, KeyError> {
        self.read_with(|terminal| ask_twice(terminal, what_for))
    }

    fn read_with(&self, ask: impl FnOnce(&File) -> Result<Passphrase, String>) -> Result<Passphrase, KeyError> {
        let read = match self {
            Self::Terminal => open_terminal().and_then(|terminal| ask(&terminal)),
            Self::File(path) => read_file(path, 0o077),
            Self::Credential(name) => read_credential(std::env::var_os(CREDENTIALS).map(PathBuf::from), name),
        };
        read.map_err(|reason| KeyError::NoPassphrase { from: self.to_string(), reason })
    }
}

fn open_terminal() -> Result<File, String> {
    let opened = OpenOptions::new().read(true).write(true).open(TERMINAL);
    opened.map_err(|_| "the process has none".into())
}

fn ask_twice(terminal: &File, what_for: &str) -> Result<Passphrase, String> {
    let first = ask(terminal, &format!("New passphrase for {what_for}: "))?;
    let second = ask(terminal, "The same again: ")?;
    if first.expose() != second.expose() {
        return Err("the two differ".into());
    }
    Ok(first)
}

fn ask(mut terminal: &File, prompt: &str) -> Result<Passphrase, String> {
    let echo_off = EchoOff::on(terminal).map_err(|error| error.to_string())?;
    let answer = terminal.write_all(prompt.as_bytes()).and_then(|()| read_line(terminal));
    drop(echo_off);
    // The line end that the terminal did not echo.
    let _ = terminal.write_all(b"\n");
    Ok(Passphrase::from_line(answer.map_err(|error| error.to_string())?)?)
}

/// Restores the terminal's echo when dropped.
struct EchoOff<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> EchoOff<'a> {
    fn on(terminal: &'a File) -> io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        // Flush: what was typed before the question is no answer to it.
        termios::tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for EchoOff<'_> {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that is gone.
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Reads up to the line end, in a buffer that never moves.
fn read_line(mut from: impl io::Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 3));
    let mut byte = Zeroizing::new([0]);
    while line.len() < line.capacity() && from.read(byte.as_mut())? == 1 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    Ok(line)
}

/// Reads a file with one line, unless one of the `forbidden` permission bits is set.
fn read_file(path: &Path, forbidden: u32) -> Result<Passphrase, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    // Of the open file, so that it cannot be another one by now.
    let facts = file.metadata().map_err(|error| error.to_string())?;
    if !facts.is_file() && !facts.file_type().is_fifo() {
        return Err("it is not a file".into());
    }
    if facts.mode() & forbidden != 0 {
        return Err(format!("others can read it (mode {:03o}); chmod 600 it", facts.mode() & 0o777));
    }
    let owner = facts.uid();
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err("it belongs to another user".into());
    }
    let mut rest = Zeroizing::new([0]);
    let line = read_line(&file).map_err(|error| error.to_string())?;
    if (&file).read(rest.as_mut()).map_err(|error| error.to_string())? > 0 {
        return Err("it is not a single line of at most 1024 bytes".into());
    }
    Ok(Passphrase::from_line(line)?)
}

fn read_credential(directory: Option<PathBuf>, name: &str) -> Result<Passphrase, String> {
    let directory = directory.ok_or("systemd gave this process no credentials")?;
    // systemd owns the file and lets the service in by an access list, which shows as a group permission.
    read_file(&directory.join(name), 0o007)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::PermissionsExt as _};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    fn file_with(bytes: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn read(file: &tempfile::NamedTempFile) -> Result<Vec<u8>, String> {
        let source = PassphraseSource::File(file.path().to_owned());
        source.read("a test").map(|passphrase| passphrase.expose().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_holds_one_line() {
        assert_eq!(read(&file_with(b"correct horse\n", 0o600)).unwrap(), b"correct horse");
        assert_eq!(
            read(&file_with("Schlüssel ohne Ende".as_bytes(), 0o400)).unwrap(),
            "Schlüssel ohne Ende".as_bytes()
        );
        assert_eq!(read(&file_with(b"windows\r\n", 0o400)).unwrap(), b"windows");
        for bad in [b"".as_slice(), b"\n", b"two\nlines\n", b"\xff\xfe", b"tab\there", &[b'x'; 2000]] {
            assert!(read(&file_with(bad, 0o600)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o620] {
            let refused = read(&file_with(b"correct horse", mode)).unwrap_err();
            assert!(refused.contains("others can read it"), "{refused}");
        }
        let refused = PassphraseSource::File("/".into()).read("a test").unwrap_err().to_string();
        assert!(refused.contains("not a file"), "{refused}");
    }

    #[test]
    fn a_credential_is_a_file_of_systemd() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca");
        fs::write(&file, "correct horse\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        let read = |name| read_credential(Some(directory.path().to_owned()), name);
        assert_eq!(read("ca").unwrap().expose(), b"correct horse");
        assert!(read("other").is_err());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(read("ca").is_err(), "the world can read it");
        assert!(read_credential(None, "ca").unwrap_err().contains("systemd"));
    }

    #[test]
    fn sources_are_written_as_text() {
        for text in ["terminal", "file:/etc/pass", "credential:ca.pass"] {
            assert_eq!(text.parse::<PassphraseSource>().unwrap().to_string(), text);
        }
        for bad in ["", "env:SECRET", "file:", "credential:../x", "credential:.x", "correct horse battery"] {
            let refused = bad.parse::<PassphraseSource>().unwrap_err().to_string();
            assert!(!refused.contains("horse"), "a mistyped passphrase is not shown");
        }
    }

    /// The terminal's own end and the one that a person sits at.
    fn terminal() -> (File, File) {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let process = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        (process, File::from(person))
    }

    /// Answers each question and returns what the screen showed.
    fn dialogue(
        answers: &[&str],
        ask: impl FnOnce(&File) -> Result<Passphrase, String>,
    ) -> (Result<Passphrase, String>, String) {
        let (process, mut person) = terminal();
        let before = termios::tcgetattr(&process).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO));
        let answers: Vec<String> = answers.iter().map(|answer| format!("{answer}\n")).collect();
        let reader = std::thread::spawn(move || {
            let mut screen = Vec::new();
            let mut byte = [0];
            for answer in answers {
                while !screen.ends_with(b": ") {
                    person.read_exact(&mut byte).unwrap();
                    screen.extend(byte);
                }
                person.write_all(answer.as_bytes()).unwrap();
                screen.extend(b"\n");
            }
            // The line end after the last answer is the last thing shown.
            person.read_exact(&mut byte).unwrap();
            screen.extend(byte);
            // Kept open: a terminal whose other end is gone has no modes to look at.
            (String::from_utf8(screen).unwrap(), person)
        });
        let asked = ask(&process);
        let (screen, _person) = reader.join().unwrap();
        assert_eq!(termios::tcgetattr(&process).unwrap().local_modes, before.local_modes, "echo is back");
        (asked, screen)
    }

    #[test]
    fn a_terminal_does_not_show_what_is_typed() {
        let (asked, screen) = dialogue(&["correct horse"], |terminal| ask(terminal, "Passphrase: "));
        assert_eq!(asked.unwrap().expose(), b"correct horse");
        assert!(screen.contains("Passphrase: ") && !screen.contains("horse"), "{screen:?}");
    }

    #[test]
    fn a_new_passphrase_is_typed_twice() {
        let twice = |terminal: &File| ask_twice(terminal, "the CA");
        let (asked, screen) = dialogue(&["correct horse", "correct horse"], twice);
        assert_eq!(asked.unwrap().expose(), b"correct horse");
        assert!(!screen.contains("horse"), "{screen:?}");
        let (asked, _) = dialogue(&["correct horse", "correct house"], twice);
        assert!(asked.unwrap_err().contains("differ"));
    }

    #[test]
    fn a_passphrase_is_not_shown_by_debug() {
        let passphrase = Passphrase::new(Zeroizing::new("correct horse".into())).unwrap();
        assert!(!format!("{passphrase:?}").contains("horse"));
        assert!(passphrase.check_strength().is_ok());
        let short = Passphrase::new(Zeroizing::new("elf letters".into())).unwrap();
        assert!(matches!(short.check_strength(), Err(KeyError::WeakPassphrase { .. })));
    }
}
