//! The receive queues of interfaces, and the processors that handle their packets.
//!
//! An interface interrupts one processor for each queue. Where there are more processors than queues, the others help only
//! with receive packet steering (Linux, `Documentation/networking/scaling.rst`). Amazon's guide for its driver advises it there,
//! on the processors of the adapter's NUMA node ("ENA Linux Driver Best Practices and Performance Optimization Guide", read
//! November 2026).

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{failure::FileError, layout::Layout};

/// All processors of the host.
const PROCESSORS: &str = "/sys/devices/system/cpu/online";

/// A queue whose packets not all processors near its adapter handle, although they are more than the interface has queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsteered {
    pub(crate) interface: String,
    /// The file with its processors.
    pub(crate) path: PathBuf,
    pub(crate) found: String,
    pub(crate) wanted: String,
}

/// The queues to change. Where `/sys` does not show an interface, as in some containers, it has none.
pub(crate) fn unsteered(layout: &Layout) -> Result<Vec<Unsteered>, FileError> {
    let mut unsteered = Vec::new();
    for interface in &layout.interfaces {
        let Some(processors) = near(&interface.name) else { continue };
        let paths = files(&interface.name);
        // One processor for each queue is what the interface does itself.
        if paths.len() >= processors.len() {
            continue;
        }
        for path in paths {
            let found = get(&path)?.unwrap_or_default();
            let wanted = mask(&processors);
            if bits(&found) != bits(&wanted) {
                unsteered.push(Unsteered { interface: interface.name.clone(), path, found, wanted });
            }
        }
    }
    Ok(unsteered)
}

/// The processors of the adapter's NUMA node; all where it has none, as in most machines and for interfaces without hardware.
fn near(interface: &str) -> Option<Vec<usize>> {
    let node = fs::read_to_string(format!("/sys/class/net/{interface}/device/numa_node")).ok();
    let node = node.and_then(|text| text.trim().parse::<u32>().ok());
    let of_node = node.and_then(|node| fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist")).ok());
    listed(&of_node.or_else(|| fs::read_to_string(PROCESSORS).ok())?)
}

/// How many receive queues the interface has.
pub(crate) fn count(interface: &str) -> usize {
    files(interface).len()
}

/// The processors of the queue, as the kernel shows them; `None` if the queue is gone.
pub(crate) fn get(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path)(error)),
    }
}

pub(crate) fn set(path: &Path, mask: &str) -> Result<(), FileError> {
    let opened = OpenOptions::new().write(true).open(path);
    opened.and_then(|mut file| file.write_all(format!("{mask}\n").as_bytes())).map_err(FileError::new("write", path))
}

/// The files with the processors of each receive queue.
fn files(interface: &str) -> Vec<PathBuf> {
    let queues = Path::new("/sys/class/net").join(interface).join("queues");
    let entries = fs::read_dir(queues).into_iter().flatten().flatten();
    let receiving = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-"));
    receiving.map(|entry| entry.path().join("rps_cpus")).filter(|path| path.exists()).collect()
}

/// The numbers in a list such as `0-3,8`.
fn listed(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// The processors as the kernel reads them: hexadecimal words of 32 bits, the highest first.
fn mask(processors: &[usize]) -> String {
    let words = processors.iter().max().map_or(1, |last| last / 32 + 1);
    let word = |number: usize| {
        let own = processors.iter().filter(|processor| **processor / 32 == number);
        format!("{:08x}", own.fold(0_u32, |bits, processor| bits | 1 << (processor % 32)))
    };
    (0..words).rev().map(word).collect::<Vec<_>>().join(",")
}

/// The bits of a mask, without what leads it.
fn bits(mask: &str) -> String {
    mask.replace(',', "").trim_start_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_a_bit_for_each_processor() {
        assert_eq!(listed("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(listed("0"), Some(vec![0]));
        assert_eq!(listed(""), None);
        assert_eq!(mask(&[0, 1, 2, 3, 8]), "0000010f");
        assert_eq!(mask(&(0..128).collect::<Vec<_>>()), "ffffffff,ffffffff,ffffffff,ffffffff");
        assert_eq!(mask(&[33]), "00000002,00000000");
        assert_eq!(bits("3"), bits("00000000,00000003"));
        assert_ne!(bits("30"), bits("3"));
    }
}
