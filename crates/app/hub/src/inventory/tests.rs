//! List and registry together.

use std::sync::Arc;

use portreeve_config::Inventory;
use portreeve_store::{
    ChangeRow, IdentityRow, MemoryRegistry, RegistryContents, RegistryOp, RegistryStore, StoreError,
};
use portreeve_types::{IdentityId, Kind, LifecycleState, UnixMillis};
use proptest::prelude::*;

use super::{Problems, read, read_good, write::cells, write_csv, write_json};
use crate::registry::{By, Effect, ImportError, Registry, Step};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const BY: By<'_> = By { actor: "olga", reason: "import", at: NOW };

struct Desk {
    store: Arc<MemoryRegistry>,
    registry: Registry,
}

impl Desk {
    fn new(rules: &Inventory) -> Self {
        let store = Arc::new(MemoryRegistry::default());
        let registry = Registry::new(store.clone(), RegistryContents::default());
        registry.set_rules(rules);
        Self { store, registry }
    }

    fn import(&self, text: &str, update: bool, dry_run: bool) -> Result<Vec<Step>, String> {
        let (list, problems) = read_good(text);
        self.registry.import(&list.entries, problems, update, dry_run, BY).map_err(|error| match error {
            ImportError::Problems(problems) => problems.to_string(),
            ImportError::Store(error) => error.to_string(),
        })
    }

    fn row(&self, name: &str) -> Option<Arc<IdentityRow>> {
        self.registry.find(&name.parse().unwrap()).ok()
    }

    /// What is stored is what is in memory.
    fn check(&self) {
        let sorted = |mut rows: Vec<IdentityRow>| {
            rows.sort_by_key(|row| row.id);
            rows
        };
        let stored = sorted(self.store.load().unwrap().identities);
        let held = sorted(self.registry.page(None, usize::MAX, |_| true).0.iter().map(|row| (**row).clone()).collect());
        assert_eq!(stored, held);
    }
}

fn rules(pattern: &str, prefix: &str, group: &str) -> Inventory {
    Inventory { name_pattern: pattern.parse().unwrap(), namespaces: [(prefix.into(), group.into())].into() }
}

fn effects(steps: Vec<Step>) -> Vec<Effect> {
    steps.into_iter().map(|step| step.effect).collect()
}

/// IIITA-N4: what an import registers is nobody until it enrols.
#[test]
fn new_identities_are_pending_and_nothing_but_fields_changes_afterwards() {
    let desk = Desk::new(&Inventory::default());
    let text = "name,kind,group,notes\na,gateway,g,x\nb,,,\n";
    assert_eq!(effects(desk.import(text, false, false).unwrap()), [Effect::Added, Effect::Added]);
    let (a, b) = (desk.row("a").unwrap(), desk.row("b").unwrap());
    assert_eq!(
        (a.state, a.kind, a.group.as_str(), b.kind),
        (LifecycleState::Pending, Kind::Gateway, "g", Kind::Device)
    );
    assert!(a.id != b.id && desk.registry.credentials(a.id).is_empty());
    desk.check();

    desk.registry.set_state(&"a".parse().unwrap(), LifecycleState::Disabled, BY).unwrap();
    let text = "name,group,state,id\na,h,active,00000000-0000-0000-0000-000000000000\nb,,,\nc,,,\n";
    let told = effects(desk.import(text, true, false).unwrap());
    assert_eq!(told, [Effect::Updated(vec!["group"]), Effect::Unchanged, Effect::Added]);
    let after = desk.row("a").unwrap();
    assert_eq!(
        *after,
        IdentityRow {
            group: "h".into(),
            state: LifecycleState::Disabled,
            state_reason: "import".into(),
            ..(*a).clone()
        },
        "id, kind, state and notes are as they were"
    );
    desk.check();
}

#[test]
fn one_problem_and_nothing_is_changed() {
    let desk = Desk::new(&rules("[a-z.]+", "plant", "p"));
    desk.import("name,kind,notes\nknown,gateway,old\n", false, false).unwrap();
    for (text, update, said) in [
        ("name\nnew\nknown\n", false, "line 3, name: `known` is registered already; with --update"),
        ("name,kind\nnew,\nknown,device\n", true, "line 3, kind: `known` is a gateway and cannot become a device"),
        ("name,notes\nknown,changed\nNew,\n", true, "line 3, name: `New` does not match `[a-z.]+`"),
        ("name,group\nnew,\nplant.x,q\n", false, "line 3, group: names that begin with `plant.` are for the group `p`"),
        ("name\nnew\nplant.x\n", false, "line 3, group: names that begin with `plant.`"),
    ] {
        let error = desk.import(text, update, false).map(drop).unwrap_err();
        assert!(error.starts_with(said) && error.lines().count() == 1, "{text:?}: {error}");
        assert_eq!(desk.import(text, update, true).map(drop).unwrap_err(), error, "a dry run says the same");
        assert!(desk.row("new").is_none() && desk.row("known").unwrap().notes == "old", "{text:?}");
        desk.check();
    }
    let told = desk.import("name,kind\nknown,\na/b,\nPLANT,\nok,robot\n", false, false).map(drop).unwrap_err();
    let lines: Vec<_> = told.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        lines,
        ["line 2, name", "line 3, name", "line 4, name", "line 5, kind"],
        "the file's and the registry's: {told}"
    );
    let both = desk.import("name\nplant.X\nKNOWN\n", false, false).map(drop).unwrap_err();
    assert_eq!(both.lines().count(), 3, "a name can break two rules: {both}");
}

/// A store that has no room.
struct Full;

impl RegistryStore for Full {
    fn document(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn load(&self) -> Result<RegistryContents, StoreError> {
        Ok(RegistryContents::default())
    }

    fn commit(&self, _: &[RegistryOp]) -> Result<(), StoreError> {
        Err(StoreError::Full { file: "registry.redb".into() })
    }

    fn history(&self, _: IdentityId) -> Result<Vec<ChangeRow>, StoreError> {
        Ok(Vec::new())
    }
}

#[test]
fn what_the_store_does_not_take_is_nowhere() {
    let registry = Registry::new(Arc::new(Full), RegistryContents::default());
    let (list, problems) = read_good("name\na\nb\n");
    let import = |dry_run| registry.import(&list.entries, problems.clone(), false, dry_run, BY);
    assert!(import(true).is_ok());
    assert!(matches!(import(false), Err(ImportError::Store(StoreError::Full { .. }))));
    assert!(registry.is_empty());
}

#[test]
fn a_dry_run_changes_nothing_and_tells_the_same() {
    let desk = Desk::new(&Inventory::default());
    desk.import("name,notes\na,x\n", false, false).unwrap();
    let text = "name,notes\na,y\nb,\n";
    let told = effects(desk.import(text, true, true).unwrap());
    assert_eq!((desk.registry.len(), desk.row("a").unwrap().notes.as_str()), (1, "x"));
    desk.check();
    assert_eq!(effects(desk.import(text, true, false).unwrap()), told);
    assert_eq!((desk.registry.len(), desk.row("a").unwrap().notes.as_str()), (2, "y"));
}

/// Names from before a rule can be kept, and moved to where the rule wants them.
#[test]
fn a_rule_is_for_what_comes_after_it() {
    let desk = Desk::new(&Inventory::default());
    desk.import("name,group\nplant.X,q\n", false, false).unwrap();
    desk.registry.set_rules(&rules("[a-z.]+", "plant", "p"));
    desk.import("name,group,notes\nplant.X,q,kept\n", true, false).unwrap();
    assert!(desk.import("name,group\nplant.X,r\n", true, false).is_err());
    desk.import("name,group\nplant.X,p\n", true, false).unwrap();
    assert!(desk.import("name,group\nplant.X,q\n", true, false).is_err());
}

#[test]
fn pages_follow_each_other_without_gap_or_end() {
    let desk = Desk::new(&Inventory::default());
    let names: Vec<String> = (100..125).map(|at| format!("d{at}")).collect();
    desk.import(&format!("name\n{}\n", names.join("\n")), false, false).unwrap();
    let (mut got, mut after) = (Vec::new(), None);
    loop {
        let (rows, next) = desk.registry.page(after.as_ref(), 7, |row| row.name.as_str() != "d110");
        assert!(!rows.is_empty() && rows.len() <= 7);
        got.extend(rows.iter().map(|row| row.name.to_string()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(got, names.iter().filter(|name| *name != "d110").cloned().collect::<Vec<_>>());
    assert_eq!(desk.registry.page(None, 25, |_| true).1, None, "a full last page is the last");
}

prop_compose! {
    fn field()(text in "[^\\p{Cc}]{0,24}|['=+@-]{0,4}[\",;\u{feff}＝a -]{0,6}|\u{1f600}{256}") -> String { text }
}

prop_compose! {
    fn identity()(
        name in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}",
        kind in prop_oneof![Just(Kind::Device), Just(Kind::Gateway), Just(Kind::Application)],
        fields in proptest::array::uniform6(field()),
        id in any::<u128>(),
        seen in proptest::option::of(any::<u64>()),
        created in any::<u64>(),
    ) -> IdentityRow {
        let [group, owner, location, model, firmware, notes] = fields;
        IdentityRow {
            id: IdentityId(uuid::Uuid::from_u128(id)),
            name: name.parse().unwrap(),
            kind, group, owner, location, model, firmware, notes,
            state: LifecycleState::Active,
            state_reason: String::new(),
            created: UnixMillis(created),
            changed: UnixMillis(created),
            last_seen: seen.map(UnixMillis),
        }
    }
}

proptest! {
    /// What was exported and is imported again changes nothing; on another hub it registers the same.
    #[test]
    fn an_export_reads_back_as_it_was(rows in proptest::collection::vec(identity(), 0..12)) {
        let mut rows = rows;
        rows.sort_by_key(|row| row.name.clone());
        rows.dedup_by_key(|row| row.name.clone());
        let contents = RegistryContents { identities: rows.clone(), ..RegistryContents::default() };
        let same = Registry::new(Arc::new(MemoryRegistry::default()), contents);
        let other = Desk::new(&Inventory::default());
        let cells: Vec<_> = rows.iter().map(|row| cells(row, row.last_seen)).collect();
        for text in [write_csv(&cells).unwrap(), write_json(&cells)] {
            let list = read(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
            prop_assert_eq!(list.entries.len(), rows.len());
            let steps = same.import(&list.entries, Problems::default(), true, false, BY).unwrap();
            prop_assert!(steps.iter().all(|step| step.effect == Effect::Unchanged), "{}", text);
            other.import(&text, true, false).unwrap();
            for row in &rows {
                let copy = other.row(row.name.as_str()).unwrap();
                let expected = IdentityRow {
                    id: copy.id,
                    state: LifecycleState::Pending,
                    state_reason: copy.state_reason.clone(),
                    created: NOW,
                    changed: NOW,
                    last_seen: None,
                    ..row.clone()
                };
                prop_assert_eq!(&*copy, &expected);
            }
        }
    }

    /// No cell that a spreadsheet opens begins a formula, and every line of text is read or refused with a place.
    #[test]
    fn no_exported_cell_begins_a_formula(rows in proptest::collection::vec(identity(), 1..4)) {
        let cells: Vec<_> = rows.iter().map(|row| cells(row, None)).collect();
        let text = write_csv(&cells).unwrap();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        for record in reader.records() {
            for cell in &record.unwrap() {
                prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']), "{}", cell);
            }
        }
    }

    #[test]
    fn arbitrary_text_is_read_or_refused_with_a_place(text in "(name,group,notes\n|\\[|)[ -~\n\r\"',{}\\[\\]]{0,200}") {
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.is_empty() && problems.lines().all(|line| line >= 1));
        }
    }
}
