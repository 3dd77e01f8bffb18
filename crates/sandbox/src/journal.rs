//! The file that stores the sandbox's data: one line per call that changed something.
//!
//! `world.jsonl` starts with a header. Every further line is a JSON array of the rows that one call changed, a tab, and
//! the beginning of the array's SHA-256, so that damage is found and its line is named. A line is written before the
//! call is answered, so a killed process loses no change that it has answered. A last line that a kill cut short is
//! moved to `world.jsonl.cut`, and with it the whole call, which was not answered. A kill only shortens a line: an end
//! that is not the beginning of a line is damage. A line that cannot be written, for example because the
//! disk is full, is cut off again, and its call is refused and undone. When the file is opened, it is replayed, and
//! rewritten if most of its rows are outdated. A lock file beside it excludes a second process.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{SandboxError, json::hex, table::AnyTable};

const FORMAT: u32 = 2;

/// The format without checksums, which is read and then rewritten.
const FORMAT_WITHOUT_SUMS: u32 = 1;

/// How many hexadecimal digits of the SHA-256 a line has.
const SUM_DIGITS: usize = 16;

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
    /// The length of the file up to its last complete line.
    whole: u64,
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
        let (end, whole) = match end_of(&text, account) {
            Ok(End::Cut { whole }) => (End::Cut { whole }, whole),
            Ok(end) => (end, text.len()),
            Err(reason) => {
                let line = text.split(|byte| *byte == b'\n').count();
                return Err(SandboxError::Journal { path, line, reason });
            }
        };
        let mut tables: BTreeMap<&'static str, &mut dyn AnyTable> = tables.into_iter().collect();
        let replayed = replay(&path, text.get(..whole).unwrap_or_default(), account, &mut tables)?;
        let alive: usize = tables.values().map(|table| table.rows()).sum();

        let cut = text.get(whole..).unwrap_or_default();
        if !cut.is_empty() {
            keep_cut(&path, cut)?;
        }
        if replayed.format != FORMAT || end == End::LacksNewline || replayed.rows > 2 * alive + SPARE_ROWS {
            rewrite(&path, account, &tables)?;
        } else if !cut.is_empty() {
            let file = OpenOptions::new().write(true).open(&path).map_err(failed(&path))?;
            file.set_len(whole as u64).map_err(failed(&path))?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(failed(&path))?;
        let whole = file.metadata().map_err(failed(&path))?.len();
        Ok(Self { path, file, whole, _lock: lock })
    }

    /// Writes the rows of `tables` that have changed as one line; nothing if no row has. If that fails, the file keeps
    /// its earlier lines only.
    pub(crate) fn append(&mut self, tables: &[NamedTable<'_>]) -> Result<(), SandboxError> {
        let mut rows = Vec::new();
        for (name, table) in tables {
            collect(name, table.changed(), &mut rows)?;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let line = line(&rows)?;
        self.write(&line).map_err(|source| SandboxError::File { path: self.path.clone(), source })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // An earlier attempt may have left a part of its line that could not be cut off.
        if self.file.metadata()?.len() > self.whole {
            self.file.set_len(self.whole)?;
        }
        if let Err(error) = self.file.write_all(line) {
            if let Err(also) = self.file.set_len(self.whole) {
                tracing::warn!(%also, "the partial line of a refused call is cut off later");
            }
            return Err(error);
        }
        self.whole += line.len() as u64;
        Ok(())
    }
}

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a complete line, or the file is empty.
    Whole,
    /// Only the newline of the last line is missing.
    LacksNewline,
    /// The line that begins here was cut short.
    Cut { whole: usize },
}

/// How a journal ends; an error if no kill can have left it so.
fn end_of(text: &[u8], account: &str) -> Result<End, String> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let rest = text.get(whole..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(End::Whole);
    }
    if whole == 0 {
        let is_header = [FORMAT, FORMAT_WITHOUT_SUMS].into_iter().any(|format| {
            serde_json::to_vec(&Header { format, account: account.into() }).is_ok_and(|header| header.starts_with(rest))
        });
        return if is_header { Ok(End::Cut { whole }) } else { Err("its header does not end".to_owned()) };
    }
    let mut parts = rest.splitn(2, |byte| *byte == b'\t');
    let (rows, sum) = (parts.next().unwrap_or_default(), parts.next());
    let read = serde_json::from_slice::<IgnoredAny>(rows);
    let Some(sum) = sum else {
        let can_go_on = read.as_ref().map_or_else(serde_json::Error::is_eof, |_| true);
        return if rows.starts_with(b"[") && can_go_on {
            // Lines without checksums are whole once their array is.
            let has_sums = !text.starts_with(br#"{"format":1,"#);
            Ok(if read.is_ok() && !has_sums { End::LacksNewline } else { End::Cut { whole } })
        } else {
            Err("it is not the beginning of a line".to_owned())
        };
    };
    match sum_of(rows) {
        expected if expected.as_bytes() == sum => Ok(End::LacksNewline),
        expected if expected.as_bytes().starts_with(sum) => Ok(End::Cut { whole }),
        expected if sum.starts_with(expected.as_bytes()) => Err("it does not end after its checksum".to_owned()),
        _ => Err("its checksum is wrong".to_owned()),
    }
}

/// Stores what a kill left of a line beside the journal.
fn keep_cut(path: &Path, cut: &[u8]) -> Result<(), SandboxError> {
    let beside = path.with_extension("jsonl.cut");
    let failed = |source| SandboxError::File { path: beside.clone(), source };
    let mut file = OpenOptions::new().append(true).create(true).open(&beside).map_err(failed)?;
    file.write_all(cut).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all()).map_err(failed)?;
    tracing::warn!(
        bytes = cut.len(), beside = %beside.display(),
        "the last call was cut short before it was answered; the beginning of its line is kept in another file"
    );
    Ok(())
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
) -> Result<Replayed, SandboxError> {
    let unreadable = |line: usize, reason: String| SandboxError::Journal { path: path.to_owned(), line, reason };
    let mut replayed = Replayed { format: 0, rows: 0 };
    if text.is_empty() {
        return Ok(replayed);
    }
    let lines = text.strip_suffix(b"\n").unwrap_or(text);
    for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if index == 0 {
            let header: Header<'_> =
                serde_json::from_slice(line).map_err(|error| unreadable(number, error.to_string()))?;
            if ![FORMAT_WITHOUT_SUMS, FORMAT].contains(&header.format) {
                return Err(unreadable(number, format!("format {} is not format {FORMAT}", header.format)));
            }
            replayed.format = header.format;
            if header.account != account {
                return Err(SandboxError::OtherAccount {
                    kept: header.account.into_owned(),
                    asked: account.to_owned(),
                });
            }
            continue;
        }
        let rows = checked(line, replayed.format).map_err(|reason| unreadable(number, reason))?;
        let read: Vec<Read<'_>> =
            serde_json::from_slice(rows).map_err(|error| unreadable(number, error.to_string()))?;
        replayed.rows += read.len();
        for Read { table, id, row } in read {
            let into = tables
                .get_mut(table.as_ref())
                .ok_or_else(|| unreadable(number, format!("there is no table `{table}`")))?;
            into.restore(id, row).map_err(|error| unreadable(number, format!("table `{table}`: {error}")))?;
        }
    }
    Ok(replayed)
}

/// The format of a journal and its number of rows, outdated ones included.
struct Replayed {
    format: u32,
    rows: usize,
}

/// The rows of a line whose checksum is right.
fn checked(line: &[u8], format: u32) -> Result<&[u8], String> {
    if format == FORMAT_WITHOUT_SUMS {
        return Ok(line);
    }
    // JSON texts contain no tabs.
    let tab = line.iter().rposition(|byte| *byte == b'\t').ok_or("it has no checksum")?;
    let (rows, sum) = line.split_at(tab);
    if sum.get(1..) == Some(sum_of(rows).as_bytes()) { Ok(rows) } else { Err("its checksum is wrong".to_owned()) }
}

fn sum_of(rows: &[u8]) -> String {
    let mut sum = hex(&Sha256::digest(rows));
    sum.truncate(SUM_DIGITS);
    sum
}

/// Writes the current rows to a new file and replaces the old one with it.
#[expect(clippy::disallowed_methods, reason = "the journal is where the sandbox stores its data")]
fn rewrite(path: &Path, account: &str, tables: &BTreeMap<&'static str, &mut dyn AnyTable>) -> Result<(), SandboxError> {
    let new = path.with_extension("jsonl.new");
    let mut text = serde_json::to_vec(&Header { format: FORMAT, account: account.into() }).map_err(encoding)?;
    text.push(b'\n');
    for (name, table) in tables {
        let mut rows = Vec::new();
        collect(name, table.all(), &mut rows)?;
        if !rows.is_empty() {
            text.extend(line(&rows)?);
        }
    }
    let failed = |source| SandboxError::File { path: new.clone(), source };
    let mut file = File::create(&new).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

fn collect<'r>(
    name: &'r str,
    of_table: serde_json::Result<Vec<(String, Option<Box<RawValue>>)>>,
    rows: &mut Vec<Written<'r>>,
) -> Result<(), SandboxError> {
    rows.extend(of_table.map_err(encoding)?.into_iter().map(|(id, row)| Written { table: name, id, row }));
    Ok(())
}

fn line(rows: &[Written<'_>]) -> Result<Vec<u8>, SandboxError> {
    let mut line = serde_json::to_vec(rows).map_err(encoding)?;
    let sum = sum_of(&line);
    line.extend(format!("\t{sum}\n").into_bytes());
    Ok(line)
}

fn encoding(source: serde_json::Error) -> SandboxError {
    SandboxError::Encoding { source }
}
