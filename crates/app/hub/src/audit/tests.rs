//! What a hub tells of itself on a clock that the test moves, and what the rules make of it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc, time::Duration};

use portreeve_assurance::{
    Catalogue, Envelope, Inputs, Judgement, Sha256, Verdict,
    evidence::hub::{HubExpectations, HubSubject},
    rule,
};
use portreeve_config::{Config, Role};
use portreeve_events::{Event, Kind as EventKind};
use portreeve_types::Kind;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::{AdminRequest, Fields};

const DAY: Duration = Duration::from_secs(86_400);
/// What this hub is asked for is no secret and has no bound of the fleet's size, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

struct Desk {
    _dir: TempDir,
    hub: Arc<Hub>,
    now: UnixMillis,
}

impl Desk {
    fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let (dir, mut config) = (tempfile::tempdir().unwrap(), Config::default());
        adjust(&mut config);
        // The ledger tells the machine's own time.
        let now = std::time::SystemTime::now().into();
        let hub = Hub::open(&dir.path().join("hub"), config, now).unwrap();
        Self { _dir: dir, hub, now }
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    fn ask_as(&self, name: &str, role: Role, request: AdminRequest) -> Result<Value, AdminError> {
        let actor = Actor { name: name.to_owned(), role };
        self.hub.perform(&actor, request, self.now).map(|outcome| outcome.result)
    }

    fn ask(&self, request: AdminRequest) -> Value {
        self.ask_as("ada", Role::Administrator, request).unwrap()
    }

    fn add(&self, name: &str, fields: Fields) {
        let name = name.parse().unwrap();
        self.ask(AdminRequest::DeviceAdd { name, kind: Kind::Device, fields, bundle: true, days: None });
    }

    fn facts(&self, about: HubSubject) -> Value {
        let told = self.ask(AdminRequest::AuditFacts { about });
        assert!(told.to_string().len() < ANSWER_BYTES_MAX, "{about:?}");
        told
    }

    fn judged_by(&self, about: HubSubject, demands: &HubExpectations) -> Judgement {
        let told = self.facts(about);
        let envelope = Envelope {
            kind: told["kind"].as_str().unwrap().to_owned(),
            target: Some("hub".into()),
            taken: self.now,
            tool: "test".into(),
            data: told["data"].clone(),
        };
        let demands = Envelope::of(demands, None, self.now, "test").unwrap();
        let id = about.checks()[0];
        let check = Catalogue::embedded().check(&id.parse().unwrap()).unwrap();
        let evidence = [(Sha256::of(b"facts"), &envelope), (Sha256::of(b"demands"), &demands)];
        rule(id).unwrap()(&Inputs { check, target: "hub", at: self.now, evidence: &evidence })
    }

    fn judged(&self, about: HubSubject) -> Judgement {
        self.judged_by(about, &HubExpectations::default())
    }

    #[track_caller]
    fn fails(&self, about: HubSubject, because: &str) {
        let judgement = self.judged(about);
        assert_eq!(judgement.verdict, Verdict::Fail, "{judgement:?}");
        assert!(judgement.observed.contains(because), "{judgement:?}");
    }
}

/// Everything that a device can be known by.
fn whole() -> Fields {
    let some = |text: &str| Some(text.to_owned());
    Fields {
        owner: some("Ada"),
        location: some("hall 4"),
        model: some("L1"),
        firmware: some("1.2.3"),
        ..Fields::default()
    }
}

/// CSA-ACT-01, CSA-ACT-04, IIITA-N8: complete and in pattern passes; whatever is missing, out of pattern or idle does not.
#[test]
fn the_registry_is_judged_by_what_is_in_it() {
    let mut desk = Desk::with(|config| config.inventory.name_pattern = "[a-z]+-[0-9]+".parse().unwrap());
    assert_eq!(desk.judged(HubSubject::Registry).verdict, Verdict::Inconclusive, "nobody is registered");
    desk.add("lamp-1", whole());
    assert_eq!(desk.judged(HubSubject::Registry).verdict, Verdict::Pass);
    desk.now = desk.now.plus(91 * DAY);
    desk.fails(HubSubject::Registry, "unused for more than 90 days (1): lamp-1 91");
    desk.add("lamp-2", Fields { owner: None, ..whole() });
    desk.fails(HubSubject::Registry, "devices without owner (1): lamp-2");

    // Without a pattern it is not known whether names are as they should be.
    let desk = Desk::new();
    desk.add("lamp-1", whole());
    assert_eq!(desk.judged(HubSubject::Registry).verdict, Verdict::Partial);
}

/// A fleet of any size makes an answer of one size, and nobody who offends is hidden by it.
#[test]
fn a_fleet_is_counted() {
    let desk = Desk::new();
    for number in 0..60 {
        desk.add(&format!("lamp-{number}"), Fields::default());
    }
    desk.fails(HubSubject::Registry, "devices without owner (60): lamp-0,");
    let told = desk.facts(HubSubject::Registry);
    assert_eq!(told["data"]["lacking"][0]["who"]["named"].as_array().unwrap().len(), 20);
}

/// CSA-TSP-03, CSA-CRD-02, CSA-CRD-10: keys in the clear fail; certificates that live too long or were not renewed do.
#[test]
fn certificates_are_judged_by_the_demands() {
    let mut desk = Desk::new();
    desk.add("lamp-1", whole());
    desk.fails(HubSubject::Pki, "the key of root: unencrypted file");
    let demands = HubExpectations { ca_protections: vec!["unencrypted file".into()], ..HubExpectations::default() };
    let judged = |desk: &Desk| desk.judged_by(HubSubject::Pki, &demands);
    assert_eq!(judged(&desk).verdict, Verdict::Inconclusive, "a hub that does not run has no connections");
    desk.hub.set_listeners(vec![("mqtt".into(), "127.0.0.1:8883".into())]);
    assert_eq!(judged(&desk).verdict, Verdict::Pass, "{:?}", judged(&desk));
    let strict = HubExpectations { certificate_days_max: 10, ..demands.clone() };
    let long = desk.judged_by(HubSubject::Pki, &strict);
    assert_eq!(long.verdict, Verdict::Fail);
    assert!(long.observed.contains("live longer than 10 days (1): lamp-1"), "{long:?}");
    let consent = HubExpectations { issuance_consent: true, ..demands.clone() };
    assert_eq!(desk.judged_by(HubSubject::Pki, &consent).verdict, Verdict::Fail, "a code needs none");
    let days = desk.facts(HubSubject::Pki)["data"]["lifetime_days"][0]["value"].as_u64().unwrap();
    desk.now = desk.now.plus(DAY * u32::try_from(days).unwrap()).plus(DAY);
    assert!(judged(&desk).observed.contains("their newest certificate is over (1): lamp-1"), "{:?}", judged(&desk));
}

/// ISVS-4.2.2, CSA-COM-01: what lets everybody at everything fails, and so does what is there for nothing.
#[test]
fn policies_are_judged_by_how_far_they_reach() {
    let desk = Desk::new();
    assert_eq!(desk.judged(HubSubject::Policy).verdict, Verdict::Partial, "the policy that is built in");
    let apply = |text: &str| {
        let source = serde_json::from_value(json!({ "file": "own.cedar", "text": text })).unwrap();
        desk.ask(AdminRequest::PolicyApply { sources: vec![source], dry_run: false });
    };
    apply(r#"@id("all") permit (principal, action == Action::"publish", resource);"#);
    desk.fails(HubSubject::Policy, "all permits every topic to everyone");
    apply(
        r#"@id("old") permit (principal == Identity::"gone", action == Action::"publish", resource in Topic::"x/#");"#,
    );
    desk.fails(HubSubject::Policy, "for nobody who is registered (1): old");
}

/// CSA-SCN-09, CSA-IMT-01, CSA-CLS-13: what was not damaged is found whole; a changed entry and an open file are told.
#[test]
fn the_ledger_is_read_and_its_files_are_looked_at() {
    let desk = Desk::new();
    desk.add("lamp-1", whole());
    let ledger = desk.hub.data().join("ledger");
    // A hub that runs lets nobody else at what it makes; a test has the umask of whoever starts it.
    let closed = || fs::set_permissions(&ledger, fs::Permissions::from_mode(0o700)).unwrap();
    closed();
    let personal = desk.hub.data().join("ledger-personal");
    fs::create_dir_all(&personal).unwrap();
    fs::set_permissions(&personal, fs::Permissions::from_mode(0o700)).unwrap();
    let good = desk.judged(HubSubject::Ledger);
    assert_eq!(good.verdict, Verdict::Partial, "it is the hub's word: {good:?}");
    let told = desk.facts(HubSubject::Ledger);
    assert_eq!((&told["data"]["whole"], &told["data"]["missing"]), (&true.into(), &json!([])), "{told}");

    let key = ledger.join("verifier.key");
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o622)).unwrap();
    desk.fails(HubSubject::Ledger, "files can be written by others (1): ledger/verifier.key");
    closed();
    assert_eq!(desk.judged(HubSubject::Ledger).verdict, Verdict::Partial);

    // Whoever writes knows the last entries, up to 256, and would write them again.
    for number in 0..300 {
        desk.hub.record(&Event::new(EventKind::LedgerRead, format_args!("{number}")).by("ada")).unwrap();
    }
    assert_eq!(desk.judged(HubSubject::Ledger).verdict, Verdict::Partial);
    for file in files_below(ledger.join("tile/entries")) {
        let mut bytes = fs::read(&file).unwrap();
        bytes[2] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    desk.fails(HubSubject::Ledger, "damaged:");
}

fn files_below(folder: PathBuf) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// CSA-SCN-07, CSA-CRD-03, CSA-GVN-04: duties that are not apart fail, and so does an account that nobody uses.
#[test]
fn operators_are_judged_by_their_roles_and_what_they_do() {
    Desk::new().fails(HubSubject::Roles, "administrators handle keys, too");
    let mut desk = Desk::with(|config| {
        config.admin.keys_apart = true;
        config.admin.two_persons = true;
        let roles = [("ada", Role::Administrator), ("grace", Role::Auditor), ("kay", Role::KeyManager)];
        config.admin.operators = roles.map(|(name, role)| (name.to_owned(), role)).into();
    });
    let judged = desk.judged(HubSubject::Roles);
    assert_eq!(judged.verdict, Verdict::Partial, "the second factor is the machine's: {judged:?}");
    let act = |desk: &Desk, name: &str| {
        let actor = Actor { name: name.to_owned(), role: Role::Auditor };
        desk.hub.audit_facts(&actor, HubSubject::Ledger, desk.now).unwrap();
    };
    act(&desk, "grace");
    // Of the 92nd day not all is over: the entry is younger than the test.
    desk.now = desk.now.plus(92 * DAY);
    let told = desk.facts(HubSubject::Roles);
    assert_eq!(told["data"]["operators"][1]["idle_days"], 91, "{told}");
    desk.fails(HubSubject::Roles, "grace did nothing for 91 days");
}

/// CSA-OPA-10: without a declared load nobody knows how long a queue lasts.
#[test]
fn queues_are_judged_by_the_load() {
    use portreeve_assurance::evidence::hub::Load;
    let desk = Desk::new();
    assert_eq!(desk.judged(HubSubject::Queue).verdict, Verdict::Inconclusive);
    let with = |messages_per_hour| {
        let load = Some(Load { messages_per_hour, message_bytes: 100, sessions_away: 10 });
        desk.judged_by(HubSubject::Queue, &HubExpectations { load, ..HubExpectations::default() }).verdict
    };
    assert_eq!((with(1), with(1_000_000)), (Verdict::Pass, Verdict::Fail));
}

/// CSA-BCN-01, CSA-SNT-10: alerts that reach nobody fail.
#[test]
fn the_self_test_is_told_as_it_was() {
    let desk = Desk::new();
    desk.fails(HubSubject::Canary, "alerts reach nobody");
    desk.ask(AdminRequest::Canary);
    let told = desk.facts(HubSubject::Canary);
    assert_eq!(told["data"]["rehearsed"]["known"]["missed"], json!([]), "{told}");
    desk.fails(HubSubject::Canary, "alerts reach nobody");
}

/// What a hub says of its listeners is what it was told by its shell; what is no TCP port is left out.
#[test]
fn listeners_are_told_with_what_they_demand() {
    let desk = Desk::new();
    desk.hub.set_listeners(vec![
        ("mqtt".into(), "0.0.0.0:8883".into()),
        ("metrics".into(), "127.0.0.1:9090".into()),
        ("admin".into(), "/run/portreeve/admin.socket".into()),
    ]);
    let told = desk.facts(HubSubject::Listeners);
    let listeners = told["data"]["listeners"].as_array().unwrap();
    let words = |listener: &Value| [listener["name"].clone(), listener["client_certificates"].clone()];
    assert_eq!(
        listeners.iter().map(words).collect::<Vec<_>>(),
        [["mqtt".into(), "required".into()], ["metrics".into(), "none".into()]] as [[Value; 2]; 2]
    );
    assert!(told["data"]["anchors_pem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}
