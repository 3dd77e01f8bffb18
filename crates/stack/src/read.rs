//! Reads the stack file: a regular file of bounded size, in UTF-8.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use crate::{
    diagnostic::{Diagnostic, Findings, Invalid},
    language::reason,
    sources::{shown_path, shown_source},
};

/// The largest stack file, in bytes. Time and memory for reading grow with the size.
const LARGEST: u64 = 1 << 20;

pub(crate) fn text(path: &Path) -> Result<String, Invalid> {
    let name = shown_path(path);
    let wrong = |code, message: String, help: &str| wrong(&name, code, message, help);
    let unreadable = |error: &std::io::Error| {
        let message = format!("`{name}` cannot be read: {}", reason(error));
        wrong("stack::file", message, "check the path of the stack file")
    };
    // Check before opening: opening a pipe would wait for its other end.
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "not a regular file" };
        return Err(wrong("stack::file", format!("`{name}` is {what}"), "name the stack file itself"));
    }
    if metadata.len() > LARGEST {
        return Err(too_large(&name));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    decoded(bytes, path)
}

/// The bytes of a stack file as text.
pub(crate) fn decoded(bytes: Vec<u8>, path: &Path) -> Result<String, Invalid> {
    let name = shown_path(path);
    let wrong = |code, message: String, help: &str| wrong(&name, code, message, help);
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(&name));
    }
    if is_utf16(&bytes) {
        let help =
            "save it as UTF-8; in Windows PowerShell, `>` and `Out-File` write UTF-16 unless `-Encoding utf8` is given";
        return Err(wrong("stack::not_utf8", format!("`{name}` is UTF-16, but a stack file is UTF-8"), help));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let mut findings = Findings::default();
        let found = Diagnostic::new("stack::not_utf8", Some(at..at), "the file is not UTF-8 from here on");
        findings.push(found.with_help("save it as UTF-8: it may be Latin-1 or Windows-1252 now"));
        findings.into_invalid(&shown_source(path, &String::from_utf8_lossy(error.as_bytes()), &[]))
    })
}

fn wrong(name: &str, code: &'static str, message: String, help: &str) -> Invalid {
    let mut findings = Findings::default();
    findings.push(Diagnostic::new(code, None, message).with_help(help));
    findings.into_invalid_without_text(name)
}

fn too_large(name: &str) -> Invalid {
    let message = format!("`{name}` is larger than 1 MiB, the limit for a stack file");
    wrong(name, "stack::file", message, "check the path of the stack file")
}

/// Whether bytes are UTF-16, judged by a byte order mark or by zero bytes beside ASCII characters.
fn is_utf16(bytes: &[u8]) -> bool {
    let starts = |pattern: [bool; 4]| {
        bytes.len() >= 4 && bytes.iter().zip(pattern).all(|(byte, is_zero)| (*byte == 0) == is_zero)
    };
    bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || starts([false, true, false, true])
        || starts([true, false, true, false])
}
