//! Files of identities, as operators import them, `portreeve-hub`.

use std::collections::BTreeSet;

use portreeve_hub::{
    Fields,
    inventory::{Cells, Entry, read, write_csv, write_json},
};

/// CSV or JSON. What is refused has a place; what is read can be written, and reads as it was.
pub fn inventory_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let list = match read(text) {
        Ok(list) => list,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.lines().all(|line| line >= 1), "{problems}");
            assert!(!problems.to_string().contains(|c: char| c.is_control() && c != '\n'), "{problems:?}");
            return;
        }
    };
    let names: BTreeSet<_> = list.entries.iter().map(Entry::name).collect();
    assert_eq!(names.len(), list.entries.len());
    let cells: Vec<Cells> = list.entries.iter().map(cells).collect();
    let json = Ok(write_json(&cells));
    for again in [write_csv(&cells), json].map(|text| text.map(|text| read(&text))) {
        let Ok(Ok(again)) = again else { panic!("{again:?}") };
        let same = again.entries.iter().map(self::cells).eq(cells.iter().cloned());
        assert!(same, "{:?}", again.entries);
    }
}

/// A field that the file lacks is written as an empty one.
fn cells(entry: &Entry) -> Cells {
    let Fields { group, owner, location, model, firmware, notes } = entry.fields().clone();
    let texts = [group, owner, location, model, firmware, notes].map(Option::unwrap_or_default);
    let [group, owner, location, model, firmware, notes] = texts;
    let (name, none) = (entry.name().to_string(), String::new);
    [name, none(), group, owner, location, model, firmware, notes, none(), none(), none(), none()]
}
