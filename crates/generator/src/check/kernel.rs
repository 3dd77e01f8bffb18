//! Two questions that Linux answers by pointers alone: a driver's own statistics, and whether the clock is synchronised.
#![expect(unsafe_code, reason = "SIOCETHTOOL and adjtimex take pointers; nothing safe wraps them")]

use std::{io, mem, net::UdpSocket, os::fd::AsRawFd as _};

// linux/sockios.h and linux/ethtool.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;
/// `struct ethtool_drvinfo`, and two places in it.
const DRVINFO: usize = 196;
const DRIVER: std::ops::Range<usize> = 4..36;
const N_STATS: std::ops::Range<usize> = 180..184;

/// No driver has more statistics than this. ENA has some thirty for each queue.
const MOST: usize = 8_192;

/// An interface's driver and the statistics that it keeps itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Driver {
    pub(crate) name: String,
    /// By name, in the driver's order.
    pub(crate) statistics: Vec<(String, u64)>,
}

/// The driver of an interface and the statistics that it keeps itself.
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
    // The kernel writes as many as the driver has at that moment, whatever we ask for. A driver's number changes with its
    // queues at most, so there is room for twice what any has. Pages that are not written take no memory.
    let mut names = vec![0; 2 * MOST * ETH_GSTRING_LEN / 8 + 2];
    ask(&socket, interface, ETHTOOL_GSTRINGS, ETH_SS_STATS, as_u32(count), &mut names)?;
    let mut values = vec![0; 2 * MOST + 1];
    ask(&socket, interface, ETHTOOL_GSTATS, as_u32(count), 0, &mut values)?;
    let names = bytes(&names);
    let names = names.get(12..).unwrap_or_default().chunks_exact(ETH_GSTRING_LEN).map(text);
    Ok(Driver { name, statistics: names.zip(values.into_iter().skip(1)).take(count).collect() })
}

/// Whether the kernel takes its clock for synchronised, as NTP or PTP daemons tell it.
pub(crate) fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: `timex` is plain numbers, for which zero is a value.
    let mut timex: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: it points to a whole `timex` of ours, which lives until the call is over; no mode is set, so the kernel only
    // writes to it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

/// Asks the driver: a command, and up to two numbers that follow it, at the head of a buffer that holds the answer.
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
    // SAFETY: the request is ours and names a buffer of ours, aligned to 8 and alive until the call is over, with room for
    // all that the kernel writes for these commands (see `driver`).
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
