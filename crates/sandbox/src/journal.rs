//! The file that stores the sandbox's data: one line per call that changed something.
//!
//! `world.jsonl` starts with a header. Every further line is a JSON array of the rows that one call changed. A line is
//! written before the call is answered, so a killed process loses no change that it has answered. A line that a kill
//! cut short is dropped, and with it the whole call. When the file is opened, it is replayed, and rewritten if most of
//! its rows are outdated. A lock file beside it excludes a second process.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{SandboxError, table::AnyTable};

const FORMAT: u32 = 1;

/// The file name of the journal.
const FILE: &str = "world.jsonl";

/// In bytes. A real header is much shorter.
const LONGEST_HEADER: u64 = 4096;

/// The journal is rewritten if this many more rows were replayed than exist now.
const SPARE_ROWS: usize = 10_000;

/// A table with the name it has in the journal.
pub(crate) type NamedTable<'t> = (&'static str, &'t mut dyn AnyTable);

/// The account whose data is in a directory; `None` if the directory has no readable journal.
pub fn account_of(directory: &Path) -> Option<String> {
    let mut header = String::new();
    BufReader::new(File::open(directory.join(FILE)).ok()?.take(LONGEST_HEADER)).read_line(&mut header).ok()?;
    let header: Header<'_> = serde_json::from_str(&header).ok()?;
    Some(header.account.into_owned())
}

/// The open journal of a data directory.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Lines that could not be written so far.
    pending: Vec<u8>,
    /// Held as long as the data is open.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Header<'h> {
    format: u32,
    account: Cow<'h, str>,
}

#[derive(Serialize)]
struct Written<'r> {
    table: &'r str,
    id: String,
    row: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Read<'r> {
    #[serde(borrow)]
    table: Cow<'r, str>,
    id: String,
    #[serde(borrow)]
    row: Option<&'r RawValue>,
}

impl Journal {
    /// Locks `directory`, creates it if necessary, and loads the journal's rows into `tables`.
    pub(crate) fn open(directory: &Path, account: &str, tables: Vec<NamedTable<'_>>) -> Result<Self, SandboxError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SandboxError::File { path, source }
        };
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let lock = lock(directory)?;
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&path)(error)),
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut tables: BTreeMap<&'static str, &mut dyn AnyTable> = tables.into_iter().collect();
        let replayed = replay(&path, text.get(..whole).unwrap_or_default(), account, &mut tables)?;
        let alive: usize = tables.values().map(|table| table.rows()).sum();

        if whole == 0 || replayed > 2 * alive + SPARE_ROWS {
            rewrite(&path, account, &mut tables)?;
        } else if whole < text.len() {
            let file = OpenOptions::new().write(true).open(&path).map_err(failed(&path))?;
            file.set_len(whole as u64).map_err(failed(&path))?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(failed(&path))?;
        Ok(Self { path, file, pending: Vec::new(), _lock: lock })
    }

    /// Writes the rows of `tables` that changed since the last call as one line; nothing if no row changed. If a write
    /// fails, for example because the disk is full, the file has no partial line, and a later call writes the rows.
    pub(crate) fn append(&mut self, tables: Vec<NamedTable<'_>>) -> Result<(), SandboxError> {
        let mut rows = Vec::new();
        for (name, table) in tables {
            collect(name, table, &mut rows)?;
        }
        if !rows.is_empty() {
            self.pending.extend(line(&rows)?);
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.write_pending().map_err(|source| SandboxError::File { path: self.path.clone(), source })
    }

    fn write_pending(&mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        match self.file.write_all(&self.pending) {
            Ok(()) => {
                self.pending.clear();
                Ok(())
            }
            Err(error) => {
                self.file.set_len(end)?;
                Err(error)
            }
        }
    }
}

fn lock(directory: &Path) -> Result<File, SandboxError> {
    let path = directory.join("lock");
    let failed = |source| SandboxError::File { path: path.clone(), source };
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            lock.set_len(0).map_err(failed)?;
            write!(lock, "process {}", std::process::id()).map_err(failed)?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
            Err(SandboxError::InUse { directory: directory.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn replay(
    path: &Path,
    text: &[u8],
    account: &str,
    tables: &mut BTreeMap<&'static str, &mut dyn AnyTable>,
) -> Result<usize, SandboxError> {
    let unreadable = |line: usize, reason: String| SandboxError::Journal { path: path.to_owned(), line, reason };
    let mut rows = 0;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let number = index + 1;
        if index == 0 {
            let header: Header<'_> =
                serde_json::from_slice(line).map_err(|error| unreadable(number, error.to_string()))?;
            if header.format != FORMAT {
                return Err(unreadable(number, format!("format {} is not format {FORMAT}", header.format)));
            }
            if header.account != account {
                return Err(SandboxError::OtherAccount {
                    kept: header.account.into_owned(),
                    asked: account.to_owned(),
                });
            }
            continue;
        }
        let read: Vec<Read<'_>> =
            serde_json::from_slice(line).map_err(|error| unreadable(number, error.to_string()))?;
        rows += read.len();
        for Read { table, id, row } in read {
            let into = tables
                .get_mut(table.as_ref())
                .ok_or_else(|| unreadable(number, format!("there is no table `{table}`")))?;
            into.restore(id, row).map_err(|error| unreadable(number, format!("table `{table}`: {error}")))?;
        }
    }
    Ok(rows)
}

/// Writes the current rows to a new file and replaces the old one with it.
#[expect(clippy::disallowed_methods, reason = "the journal is where the sandbox stores its data")]
fn rewrite(
    path: &Path,
    account: &str,
    tables: &mut BTreeMap<&'static str, &mut dyn AnyTable>,
) -> Result<(), SandboxError> {
    let new = path.with_extension("jsonl.new");
    let mut text = serde_json::to_vec(&Header { format: FORMAT, account: account.into() }).map_err(encoding)?;
    text.push(b'\n');
    for (name, table) in tables.iter_mut() {
        let mut rows = Vec::new();
        table.touch_all();
        collect(name, *table, &mut rows)?;
        if !rows.is_empty() {
            text.extend(line(&rows)?);
        }
    }
    let failed = |source| SandboxError::File { path: new.clone(), source };
    fs::write(&new, text).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

fn collect<'r>(name: &'r str, table: &mut dyn AnyTable, rows: &mut Vec<Written<'r>>) -> Result<(), SandboxError> {
    let touched = table.take_touched().map_err(encoding)?;
    rows.extend(touched.into_iter().map(|(id, row)| Written { table: name, id, row }));
    Ok(())
}

fn line(rows: &[Written<'_>]) -> Result<Vec<u8>, SandboxError> {
    let mut line = serde_json::to_vec(rows).map_err(encoding)?;
    line.push(b'\n');
    Ok(line)
}

fn encoding(source: serde_json::Error) -> SandboxError {
    SandboxError::Encoding { source }
}
