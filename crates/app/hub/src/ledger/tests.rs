use std::{fs, os::unix::fs::PermissionsExt as _};

use portreeve_keys::{Custody as _, FileCustody, KeyAlgorithm};
use portreeve_ledger::{Checkpoint, audit};

use super::*;

const T: UnixMillis = UnixMillis(1_700_000_000_000);

struct Place {
    folder: tempfile::TempDir,
    key: Arc<dyn SigningKey>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let key = FileCustody::unsealed(folder.path()).unwrap();
        let key = key.create(&"ledger".parse().unwrap(), KeyAlgorithm::Ed25519).unwrap();
        create(folder.path(), "hub.example/ledger", &*key).unwrap();
        Self { folder, key }
    }

    fn start(&self) -> Recorder {
        self.start_with(Arc::clone(&self.key))
    }

    fn start_with(&self, key: Arc<dyn SigningKey>) -> Recorder {
        let openings = Openings::new(Folder::new(&self.folder.path().join(OPENINGS_FOLDER)));
        Recorder::start(open(self.folder.path(), &*self.key).unwrap(), openings, key).unwrap()
    }

    /// All entries under the signed head, verified.
    fn entries(&self) -> Vec<Entry> {
        let folder = self.folder.path().join(FOLDER);
        let key = verifier_key("hub.example/ledger", &*self.key).unwrap();
        let head = Checkpoint::open(&fs::read(folder.join("checkpoint")).unwrap(), &key).unwrap();
        let ledger = open(self.folder.path(), &*self.key).unwrap();
        let mut entries = Vec::new();
        audit(&ledger, &head, None, |_, entry| entries.push(Entry::from_bytes(entry).unwrap())).unwrap();
        entries
    }
}

fn asked(name: &str) -> Event<'_> {
    Event::new(Kind::AdminRequested, format_args!("")).by(name)
}

fn denied(name: &str) -> Event<'_> {
    Event::new(Kind::PublishDenied, format_args!("")).about(name)
}

/// What was recorded is there although nobody closed the ledger; it goes on after a restart, and every word is signed for.
#[test]
fn what_was_recorded_is_there() {
    let place = Place::new();
    let recorder = place.start();
    assert_eq!(recorder.record(&asked("alice"), T).unwrap(), 0);
    let state = recorder.state();
    assert!(state.entries == 1 && state.trouble.is_none());
    assert_eq!(open(place.folder.path(), &*place.key).unwrap().size(), 1, "as after a crash");
    recorder.note(&denied("lamp-1"), T);
    (0..10).for_each(|_| recorder.note(&denied("lamp-1"), T));
    drop(recorder);
    let entries = place.entries();
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind.as_str(), entry.count)).collect();
    assert_eq!(kinds, [("admin_requested", None), ("publish_denied", None), ("publish_denied", Some(10))]);
    let recorder = place.start();
    assert_eq!(recorder.record(&asked("bob"), T).unwrap(), 3);
    recorder.close();
    assert!(recorder.record(&asked("carol"), T).is_err(), "closed");
    drop(recorder);
    assert_eq!(place.entries().len(), 4);
    // Personal values open beside it.
    let names = fs::read_dir(place.folder.path().join(OPENINGS_FOLDER)).unwrap();
    let texts: String = names.map(|name| fs::read_to_string(name.unwrap().path()).unwrap()).collect();
    assert!(texts.contains("alice") && texts.contains("bob"));
}

/// Within a second or so the head covers what came, without anybody asking.
#[test]
fn a_head_is_signed_while_it_runs() {
    let place = Place::new();
    let recorder = place.start();
    (0..3).for_each(|_| _ = recorder.record(&asked("alice"), T).unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while recorder.state().sealed < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(place.entries().len(), 3);
}

/// A key that does not answer holds up no entry; what it would have signed is on the disk.
#[test]
fn a_key_that_hangs_holds_up_nobody() {
    #[derive(Debug)]
    struct Stuck(Arc<dyn SigningKey>, Arc<(Mutex<bool>, Condvar)>);
    impl SigningKey for Stuck {
        fn public(&self) -> &portreeve_keys::PublicKey {
            self.0.public()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, portreeve_keys::KeyError> {
            let mut is_free = self.1.0.lock();
            self.1.1.wait_while(&mut is_free, |is_free| !*is_free);
            self.0.sign(message)
        }
    }
    let place = Place::new();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let recorder = place.start_with(Arc::new(Stuck(Arc::clone(&place.key), Arc::clone(&gate))));
    for number in 0..300 {
        assert_eq!(recorder.record(&asked("alice"), T).unwrap(), number);
    }
    assert_eq!(recorder.state().sealed, 0);
    *gate.0.lock() = true;
    gate.1.notify_all();
    drop(recorder);
    assert_eq!(place.entries().len(), 300);
}

/// A disk that refuses: whoever asks is refused, what peers do is counted, and when it is over the count is an entry.
#[test]
fn what_cannot_be_written_is_refused_or_counted() {
    let place = Place::new();
    let recorder = place.start();
    let _ = recorder.record(&asked("alice"), T).unwrap();
    // A file where the folder of the openings should be; works for root as well.
    let folder = place.folder.path().join(OPENINGS_FOLDER);
    let aside = place.folder.path().join("aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "").unwrap();
    // The file of today is open; another day's is not.
    recorder.with_openings(|openings| *openings = Openings::new(Folder::new(&folder)));
    let refused = recorder.record(&asked("bob"), T).unwrap_err();
    assert!(refused.to_string().contains("not done"), "{refused}");
    assert!(recorder.state().trouble.is_some());
    let stranger = Event::new(Kind::HandshakeRefused, format_args!("")).from([192, 0, 2, 7].into());
    recorder.note(&stranger, T);
    let deadline = Instant::now() + Duration::from_secs(20);
    while recorder.state().unrecorded < 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    let _ = recorder.record(&asked("carol"), T).unwrap();
    assert!(recorder.state().trouble.is_none());
    drop(recorder);
    let entries = place.entries();
    assert_eq!(entries.len(), 3, "bob's was not done");
    let told = &entries[1];
    assert_eq!((told.kind.as_str(), told.data.len()), ("ledger_recovered", 2));
    assert!(format!("{:?}", told.data).contains("handshake_refused"), "{told:?}");
}

#[test]
fn little_room_is_kept_for_operators() {
    let place = Place::new();
    let recorder = place.start();
    recorder.set_frugal(true);
    recorder.note(&denied("lamp-1"), T);
    assert_eq!(recorder.state().unrecorded, 1);
    let _ = recorder.record(&asked("alice"), T).unwrap();
    drop(recorder);
    assert!(!place.entries().iter().any(|entry| entry.kind == "publish_denied"));
}

/// What waits for the disk is bounded; what is beyond is counted.
#[test]
fn a_disk_that_is_slow_fills_no_memory() {
    let place = Place::new();
    let recorder = place.start();
    let ledger = recorder.shared.ledger.lock();
    let made = Event::new(Kind::CertificateIssued, format_args!(""));
    // One batch may be in the writer's hands.
    for _ in 0..2 * PENDING_ENTRIES_MAX + 10 {
        recorder.note(&made, T);
    }
    let state = recorder.state();
    assert!(state.pending <= PENDING_ENTRIES_MAX && state.unrecorded >= 10, "{state:?}");
    drop(ledger);
    drop(recorder);
    let entries = place.entries();
    assert!(entries.len() > PENDING_ENTRIES_MAX);
    assert!(entries.iter().any(|entry| entry.kind == "ledger_recovered"));
}

/// A ledger that is gone, or whose key is another, is not begun anew in silence (CSA-SCN-09).
#[test]
fn a_ledger_that_is_gone_is_missed() {
    let place = Place::new();
    let root = place.folder.path();
    assert_eq!(fs::metadata(root.join(FOLDER)).unwrap().permissions().mode() & 0o777, 0o700);
    let other = FileCustody::unsealed(root).unwrap().create(&"other".parse().unwrap(), KeyAlgorithm::Ed25519).unwrap();
    assert!(matches!(open(root, &*other), Err(OpenError::Damaged(_))));
    fs::remove_file(root.join(FOLDER).join("checkpoint")).unwrap();
    assert!(matches!(open(root, &*place.key), Err(OpenError::NoCheckpoint)));
    fs::remove_dir_all(root.join(FOLDER)).unwrap();
    assert!(matches!(open(root, &*place.key), Err(OpenError::NoCheckpoint)));
}

/// CSA-IMT-01: what is too old goes under a signature, what is younger stays, and the ledger goes on.
#[test]
fn old_entries_are_let_go() {
    const HOUR_MS: u64 = 3_600_000;
    let at = |hour: u64| UnixMillis(T.0 + hour * HOUR_MS);
    let place = Place::new();
    let recorder = place.start();
    // Ten days, an entry a quarter of an hour.
    for number in 0..960 {
        recorder.note(&asked("alice"), at(number / 4));
    }
    recorder.record(&asked("alice"), at(240)).unwrap();
    let wait = |is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "{:?}", recorder.state());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(&|| recorder.state().sealed == 961);
    let (ledger, key) =
        (LedgerPlace::of_hub(place.folder.path()), verifier_key("hub.example/ledger", &*place.key).unwrap());
    let first = |before| retention::first_to_keep(&ledger, &key, before).unwrap();
    assert_eq!(first(at(0)), None);
    assert_eq!(first(at(63)), None, "the first file ends in this hour");
    assert_eq!(first(at(64)), Some(256));
    // A clock that is years ahead costs the oldest file, or a day.
    assert_eq!(first(at(24 * 3650)), Some(256));
    recorder.let_go(256, at(300));
    wait(&|| !place.folder.path().join("ledger/tile/entries/000").exists());
    let snapshot = portreeve_ledger_files::Snapshot::take(ledger.files(), &key).unwrap();
    assert_eq!(snapshot.truncation().map(|cut| (cut.first, cut.at_ms)), Some((256, at(300).0)));
    let mut seen = 0;
    audit(&snapshot, snapshot.head(), snapshot.truncation(), |_, _| seen += 1).unwrap();
    assert_eq!(seen, 961 - 256);
    assert_eq!(first(at(24 * 3650)), Some(512), "and the next time the next");
    recorder.let_go(0, at(300));
    assert_eq!(recorder.record(&asked("alice"), at(301)).unwrap(), 961);
    drop(recorder);
    assert_eq!(open(place.folder.path(), &*place.key).unwrap().first(), 256);
}

#[test]
fn what_is_shown_of_a_person_opens_as_long_as_it_is_kept() {
    let place = Place::new();
    let recorder = place.start();
    recorder.record(&asked("alice"), T).unwrap();
    recorder.record(&asked("bob"), T).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while recorder.state().sealed < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (ledger, key) =
        (LedgerPlace::of_hub(place.folder.path()), verifier_key("hub.example/ledger", &*place.key).unwrap());
    let names = || {
        let (extract, proved) = ledger.read(&key, None, 1).unwrap();
        assert_eq!(proved.entries.len(), 2);
        extract.personal.into_iter().map(|opening| opening.value).collect::<Vec<_>>()
    };
    // They are kept under today's date, whenever the event was.
    assert_eq!(recorder.with_openings(|openings| openings.count("alice")).unwrap(), 1);
    let _ = names();
    assert_eq!(recorder.with_openings(|openings| openings.erase("alice")).unwrap(), 1);
    assert!(!names().contains(&"alice".to_owned()));
}
