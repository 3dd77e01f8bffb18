//! A table with the resources of one type, by id.
//!
//! It records which rows a call changed, so that the journal writes only those.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

/// Rows sorted by id, and the ids of rows that changed since the journal last asked.
#[derive(Debug)]
pub struct Table<T> {
    rows: BTreeMap<String, T>,
    touched: BTreeSet<String>,
    /// Set while changes are only tried.
    trial: Option<Trial<T>>,
}

/// What a trial restores when it ends.
#[derive(Debug)]
struct Trial<T> {
    /// The rows that it changed as they were before; `None` for a new row.
    before: BTreeMap<String, Option<T>>,
    touched: BTreeSet<String>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), touched: BTreeSet::new(), trial: None }
    }
}

impl<T> Table<T> {
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
}

impl<T: Clone> Table<T> {
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
        if let Some(trial) = &mut self.trial
            && !trial.before.contains_key(id)
        {
            trial.before.insert(id.to_owned(), self.rows.get(id).cloned());
        }
        self.touched.insert(id.to_owned());
    }
}

/// A table of any row type, for the journal and for trials.
pub trait AnyTable {
    /// From now on, changes are only tried.
    fn begin_trial(&mut self);

    /// Takes back every change since the trial began.
    fn end_trial(&mut self);

    /// The rows that changed since the last call, as JSON; a removed row is `None`.
    fn take_touched(&mut self) -> serde_json::Result<Vec<(String, Option<Box<RawValue>>)>>;

    /// Forgets which rows changed.
    fn forget_touched(&mut self);

    /// Marks every row as changed, so that the journal can be rewritten.
    fn touch_all(&mut self);

    /// Restores a row from the journal without marking it as changed.
    fn restore(&mut self, id: String, row: Option<&RawValue>) -> serde_json::Result<()>;

    /// How many rows there are.
    fn rows(&self) -> usize;
}

impl<T: Clone + Debug + Serialize + DeserializeOwned> AnyTable for Table<T> {
    fn begin_trial(&mut self) {
        self.trial = Some(Trial { before: BTreeMap::new(), touched: self.touched.clone() });
    }

    fn end_trial(&mut self) {
        let Some(Trial { before, touched }) = self.trial.take() else { return };
        self.touched = touched;
        for (id, row) in before {
            match row {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
    }

    fn take_touched(&mut self) -> serde_json::Result<Vec<(String, Option<Box<RawValue>>)>> {
        std::mem::take(&mut self.touched)
            .into_iter()
            .map(|id| {
                let row = self.rows.get(&id).map(to_raw_value).transpose()?;
                Ok((id, row))
            })
            .collect()
    }

    fn forget_touched(&mut self) {
        self.touched.clear();
    }

    fn touch_all(&mut self) {
        self.touched = self.rows.keys().cloned().collect();
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
    use super::{AnyTable, Table};

    #[test]
    fn a_trial_changes_neither_rows_nor_what_the_journal_writes() {
        let mut table = Table::default();
        table.insert("kept", 1);
        table.insert("removed", 2);
        table.forget_touched();
        table.begin_trial();
        table.insert("new", 3);
        table.remove("removed");
        for value in [4, 5] {
            *table.get_mut("kept").unwrap() = value;
        }
        table.end_trial();
        assert_eq!(table.iter().collect::<Vec<_>>(), [("kept", &1), ("removed", &2)]);
        assert!(table.take_touched().unwrap().is_empty());
    }
}
