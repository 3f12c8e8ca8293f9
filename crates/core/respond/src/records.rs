use std::collections::BTreeMap;

use serde::Serialize;

/// A record to write or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Put these bytes under this key, whatever was there.
    Put {
        /// Unique among all records of this crate.
        key: String,
        /// At most some KiB.
        bytes: Vec<u8>,
    },
    /// Delete what is under this key, if anything is.
    Delete {
        /// As for [`Change::Put`].
        key: String,
    },
}

/// A stored record that cannot be used. It stays where it is, and nothing overwrites it but a record of that very key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct Damaged {
    /// The record's key.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Damaged {
    pub(crate) fn new(key: &str, problem: impl Into<String>) -> Self {
        Self { key: key.to_owned(), problem: problem.into() }
    }
}

/// Changes that nobody took yet: the last one of each key, so that there are never more than records.
#[derive(Debug, Default)]
pub(crate) struct Pending(BTreeMap<String, Option<Vec<u8>>>);

impl Pending {
    pub(crate) fn put(&mut self, key: String, value: &impl Serialize) {
        // Plain values always have a JSON form.
        self.put_bytes(key, serde_json::to_vec(value).unwrap_or_default());
    }

    pub(crate) fn put_bytes(&mut self, key: String, bytes: Vec<u8>) {
        self.0.insert(key, Some(bytes));
    }

    pub(crate) fn delete(&mut self, key: String) {
        self.0.insert(key, None);
    }

    pub(crate) fn take(&mut self) -> Vec<Change> {
        let change = |(key, bytes)| match bytes {
            Some(bytes) => Change::Put { key, bytes },
            None => Change::Delete { key },
        };
        std::mem::take(&mut self.0).into_iter().map(change).collect()
    }

    /// Changes that could not be written wait again, unless there are newer ones of their keys.
    pub(crate) fn give_back(&mut self, changes: Vec<Change>) {
        for change in changes {
            let (key, bytes) = match change {
                Change::Put { key, bytes } => (key, Some(bytes)),
                Change::Delete { key } => (key, None),
            };
            self.0.entry(key).or_insert(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_written_does_not_undo_what_came_later() {
        let mut pending = Pending::default();
        pending.put("a".into(), &1);
        pending.put("b".into(), &1);
        let failed = pending.take();
        pending.delete("a".into());
        pending.give_back(failed);
        let expected = [Change::Delete { key: "a".into() }, Change::Put { key: "b".into(), bytes: b"1".to_vec() }];
        assert_eq!(pending.take(), expected);
        assert_eq!(pending.take(), []);
    }
}
