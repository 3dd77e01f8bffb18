//! A table with the resources of one type, by id.
//!
//! It records which rows a call changed, so that the journal writes only those, and what they were before, so that a
//! change that cannot be written is undone.

use std::{collections::BTreeMap, fmt::Debug};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

/// Rows sorted by id.
#[derive(Debug)]
pub struct Table<T> {
    rows: BTreeMap<String, T>,
    /// What the rows were that have changed since the journal was last written; `None` for a new row.
    before: BTreeMap<String, Option<T>>,
    /// The same for the changes of a trial, while one runs.
    trial: Option<BTreeMap<String, Option<T>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: BTreeMap::new(), trial: None }
    }
}

impl<T: Clone> Table<T> {
    /// The row with this id.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(id)
    }

    /// Every row with its id, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.rows.iter().map(|(id, row)| (id.as_str(), row))
    }

    /// The row with this id, and the table's own copy of the id.
    pub fn entry(&self, id: &str) -> Option<(&str, &T)> {
        self.rows.get_key_value(id).map(|(id, row)| (id.as_str(), row))
    }

    /// Every row, sorted by id.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.rows.values()
    }

    /// The row with this id, for changes; it counts as changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        if !self.rows.contains_key(id) {
            return None;
        }
        self.touch(id);
        self.rows.get_mut(id)
    }

    /// Inserts a row, replacing one with the same id.
    pub fn insert(&mut self, id: impl Into<String>, row: T) {
        let id = id.into();
        self.touch(&id);
        self.rows.insert(id, row);
    }

    /// Removes a row.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        if !self.rows.contains_key(id) {
            return None;
        }
        self.touch(id);
        self.rows.remove(id)
    }

    /// Must be called before a row changes.
    fn touch(&mut self, id: &str) {
        let before = self.trial.as_mut().unwrap_or(&mut self.before);
        if !before.contains_key(id) {
            before.insert(id.to_owned(), self.rows.get(id).cloned());
        }
    }

    fn put_back(&mut self, before: BTreeMap<String, Option<T>>) {
        for (id, row) in before {
            match row {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
    }
}

/// A table of any row type, for the journal and for trials.
pub trait AnyTable {
    /// From now on, changes can be taken back on their own. Those of a trial that has begun already are kept.
    fn begin_trial(&mut self);

    /// Keeps every change since the trial began, or takes all of them back.
    fn end_trial(&mut self, keep: bool);

    /// The rows that have changed, as JSON; a removed row is `None`.
    fn changed(&self) -> serde_json::Result<Vec<(String, Option<Box<RawValue>>)>>;

    /// Makes the changes permanent.
    fn keep(&mut self);

    /// Undoes the changes.
    fn undo(&mut self);

    /// Every row as JSON.
    fn all(&self) -> serde_json::Result<Vec<(String, Option<Box<RawValue>>)>>;

    /// Restores a row from the journal without marking it as changed.
    fn restore(&mut self, id: String, row: Option<&RawValue>) -> serde_json::Result<()>;

    /// How many rows there are.
    fn rows(&self) -> usize;
}

impl<T: Debug + Clone + Serialize + DeserializeOwned> AnyTable for Table<T> {
    fn begin_trial(&mut self) {
        self.end_trial(true);
        self.trial = Some(BTreeMap::new());
    }

    fn end_trial(&mut self, keep: bool) {
        let Some(trial) = self.trial.take() else { return };
        if !keep {
            return self.put_back(trial);
        }
        for (id, row) in trial {
            self.before.entry(id).or_insert(row);
        }
    }

    fn changed(&self) -> serde_json::Result<Vec<(String, Option<Box<RawValue>>)>> {
        let row = |id: &String| Ok((id.clone(), self.rows.get(id).map(to_raw_value).transpose()?));
        self.before.keys().map(row).collect()
    }

    fn keep(&mut self) {
        self.before.clear();
    }

    fn undo(&mut self) {
        let before = std::mem::take(&mut self.before);
        self.put_back(before);
    }

    fn all(&self) -> serde_json::Result<Vec<(String, Option<Box<RawValue>>)>> {
        self.rows.iter().map(|(id, row)| Ok((id.clone(), Some(to_raw_value(row)?)))).collect()
    }

    fn restore(&mut self, id: String, row: Option<&RawValue>) -> serde_json::Result<()> {
        match row {
            Some(row) => {
                self.rows.insert(id, serde_json::from_str(row.get())?);
            }
            None => {
                self.rows.remove(&id);
            }
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{AnyTable as _, Table};

    #[test]
    fn changes_are_undone_to_the_last_state_that_was_kept() {
        let mut table = Table::default();
        table.insert("changed", 1);
        table.insert("removed", 2);
        table.keep();
        *table.get_mut("changed").unwrap() = 10;
        *table.get_mut("changed").unwrap() = 11;
        table.insert("new", 3);
        table.remove("new");
        table.insert("new", 4);
        table.remove("removed");
        assert_eq!(table.changed().unwrap().len(), 3);
        table.undo();
        assert_eq!(table.iter().collect::<Vec<_>>(), [("changed", &1), ("removed", &2)]);
        assert!(table.changed().unwrap().is_empty());
    }

    #[test]
    fn a_trial_changes_neither_rows_nor_what_the_journal_writes() {
        let mut table = Table::default();
        table.insert("kept", 1);
        table.insert("removed", 2);
        table.keep();
        table.begin_trial();
        table.insert("new", 3);
        table.remove("removed");
        for value in [4, 5] {
            *table.get_mut("kept").unwrap() = value;
        }
        table.end_trial(false);
        assert_eq!(table.iter().collect::<Vec<_>>(), [("kept", &1), ("removed", &2)]);
        assert!(table.changed().unwrap().is_empty());
        table.begin_trial();
        table.insert("new", 3);
        table.end_trial(true);
        assert_eq!(table.changed().unwrap().len(), 1);
    }

    #[test]
    fn a_trial_that_was_kept_is_undone_if_it_cannot_be_written() {
        let mut table = Table::default();
        table.insert("row", 1);
        table.keep();
        for value in [2, 3] {
            table.begin_trial();
            *table.get_mut("row").unwrap() = value;
        }
        table.end_trial(false);
        assert_eq!(table.get("row"), Some(&2));
        table.undo();
        assert_eq!(table.get("row"), Some(&1));
    }
}
