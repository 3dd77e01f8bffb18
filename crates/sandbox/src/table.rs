//! A table with the resources of one type, by id.
//!
//! It records which rows a call changed, so that the journal writes only those, and what they were before, so that a
//! change that cannot be written is undone.

use std::{collections::BTreeMap, fmt::Debug};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

/// Rows sorted by id, and the earlier value of each row that has changed since the last [`AnyTable::keep`] or
/// [`AnyTable::undo`]; `None` for a new row.
#[derive(Debug)]
pub struct Table<T> {
    rows: BTreeMap<String, T>,
    before: BTreeMap<String, Option<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<T: Clone> Table<T> {
    /// The row with this id.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(id)
    }

    /// The row with this id, for changes; it counts as changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        let row = self.rows.get_mut(id)?;
        self.before.entry(id.to_owned()).or_insert_with(|| Some(row.clone()));
        Some(row)
    }

    /// Inserts a row, replacing one with the same id.
    pub fn insert(&mut self, id: impl Into<String>, row: T) {
        let id = id.into();
        let before = self.rows.insert(id.clone(), row);
        self.before.entry(id).or_insert(before);
    }

    /// Removes a row.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        let row = self.rows.remove(id)?;
        self.before.entry(id.to_owned()).or_insert_with(|| Some(row.clone()));
        Some(row)
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

/// A table of any row type, for the journal.
pub trait AnyTable {
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
    fn changed(&self) -> serde_json::Result<Vec<(String, Option<Box<RawValue>>)>> {
        let row = |id: &String| Ok((id.clone(), self.rows.get(id).map(to_raw_value).transpose()?));
        self.before.keys().map(row).collect()
    }

    fn keep(&mut self) {
        self.before.clear();
    }

    fn undo(&mut self) {
        for (id, before) in std::mem::take(&mut self.before) {
            match before {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
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
}
