//! Two system calls that no crate wraps: what a network driver tells of itself, and whether the clock is synchronised.
#![expect(unsafe_code, reason = "SIOCETHTOOL and adjtimex take pointers, and no crate wraps them safely")]

use std::{io, mem, net::UdpSocket, os::fd::AsRawFd as _};

// linux/sockios.h and linux/ethtool.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GCOALESCE: u32 = 0xe;
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;
/// The size of `struct ethtool_drvinfo`, and the ranges of two of its fields.
const DRVINFO: usize = 196;
const DRIVER: std::ops::Range<usize> = 4..36;
const N_STATS: std::ops::Range<usize> = 180..184;

/// More statistics are an error. ENA has about 30 for each queue.
const MOST: usize = 8_192;

/// The driver of an interface, and its own statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Driver {
    pub(crate) name: String,
    /// By name, in the driver's order.
    pub(crate) statistics: Vec<(String, u64)>,
}

/// Reads the driver of an interface, and its own statistics.
pub(crate) fn driver(interface: &str) -> io::Result<Driver> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut info = vec![0; DRVINFO.div_ceil(8)];
    ask(&socket, interface, ETHTOOL_GDRVINFO, 0, 0, &mut info)?;
    let info = bytes(&info);
    let name = text(info.get(DRIVER).unwrap_or_default());
    let count = info.get(N_STATS).and_then(|raw| raw.try_into().ok()).map_or(0, u32::from_ne_bytes) as usize;
    if count == 0 {
        return Ok(Driver { name, statistics: Vec::new() });
    }
    if count > MOST {
        return Err(io::Error::other(format!("`{interface}` has {count} statistics")));
    }
    // The kernel writes as many statistics as the driver has at that moment, not as many as we ask for. The number only
    // changes with the number of queues, so the buffers have twice the size that any driver needs. Pages that the kernel
    // does not write take no memory.
    let mut names = vec![0; 2 * MOST * ETH_GSTRING_LEN / 8 + 2];
    ask(&socket, interface, ETHTOOL_GSTRINGS, ETH_SS_STATS, as_u32(count), &mut names)?;
    let mut values = vec![0; 2 * MOST + 1];
    ask(&socket, interface, ETHTOOL_GSTATS, as_u32(count), 0, &mut values)?;
    let names = bytes(&names);
    let names = names.get(12..).unwrap_or_default().chunks_exact(ETH_GSTRING_LEN).map(text);
    Ok(Driver { name, statistics: names.zip(values.into_iter().skip(1)).take(count).collect() })
}

/// The rings, the moderation of interrupts and the queues of an interface. What its driver does not tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// How many packets a receive ring holds, and could hold.
    pub(crate) ring: Option<(u32, u32)>,
    /// Whether the driver adapts the pace of interrupts to the received packets.
    pub(crate) is_adaptive: Option<bool>,
    /// How many queues the interface has, and could have.
    pub(crate) queues: Option<(u32, u32)>,
}

/// Reads the tuning of an interface.
pub(crate) fn tuning(interface: &str) -> Tuning {
    Tuning {
        // `struct ethtool_ringparam`: after the command rx_max_pending, and as the fifth rx_pending.
        ring: numbers(interface, ETHTOOL_GRINGPARAM).and_then(|found| Some((*found.get(5)?, *found.get(1)?))),
        // `struct ethtool_coalesce`: use_adaptive_rx_coalesce.
        is_adaptive: numbers(interface, ETHTOOL_GCOALESCE).and_then(|found| Some(*found.get(10)? != 0)),
        // `struct ethtool_channels`: max_combined and combined_count.
        queues: numbers(interface, ETHTOOL_GCHANNELS).and_then(|found| Some((*found.get(8)?, *found.get(4)?))),
    }
}

/// The answer to a command whose structure has numbers of 32 bits alone: the command, and at most 22 others.
fn numbers(interface: &str, command: u32) -> Option<Vec<u32>> {
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    let mut buffer = vec![0; 16];
    ask(&socket, interface, command, 0, 0, &mut buffer).ok()?;
    Some(bytes(&buffer).chunks_exact(4).map(|raw| raw.try_into().map_or(0, u32::from_ne_bytes)).collect())
}

/// Whether the clock is synchronised, as an NTP or PTP daemon last reported it to the kernel.
pub(crate) fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: `timex` is plain numbers, for which zero is a value.
    let mut timex: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: it points to a whole `timex` of ours, which lives until the call returns; `modes` is zero, so the kernel only
    // writes to it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

/// Sends a command and up to two numbers to the driver. They are at the beginning of the buffer that gets the answer.
fn ask(
    socket: &UdpSocket,
    interface: &str,
    command: u32,
    first: u32,
    second: u32,
    buffer: &mut [u64],
) -> io::Result<()> {
    let head = [command.to_ne_bytes(), first.to_ne_bytes(), second.to_ne_bytes(), [0; 4]].concat();
    for (word, raw) in buffer.iter_mut().zip(head.chunks_exact(8)) {
        *word = raw.try_into().map_or(0, u64::from_ne_bytes);
    }
    // SAFETY: `ifreq` is a name and a union of plain values and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
    // SAFETY: the request is ours and points to a buffer of ours, aligned to 8 bytes and alive until the call returns, and
    // large enough for all that the kernel writes for these commands (see `driver`).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The text before the first zero.
fn text(raw: &[u8]) -> String {
    let end = raw.iter().position(|&byte| byte == 0).unwrap_or(raw.len());
    String::from_utf8_lossy(raw.get(..end).unwrap_or_default()).into_owned()
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_has_no_driver() {
        assert_eq!(driver("no-such-if0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(driver("a-name-that-is-much-too-long").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn text_ends_at_the_first_zero() {
        assert_eq!(text(b"ena\0\0x"), "ena");
        assert_eq!(text(b"full"), "full");
    }

    #[test]
    fn the_clock_says_whether_it_is_synchronised() {
        clock_is_synchronised().unwrap();
    }
}
