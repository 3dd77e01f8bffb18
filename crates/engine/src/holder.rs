//! Who holds a lock, and whether that process still runs.

use std::{fmt, fs};

use serde::{Deserialize, Serialize};

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    /// The user's name: `USER`, `LOGNAME` or `USERNAME` of the environment, else that of the system.
    pub owner: String,
    /// The machine's name; `unknown` where neither Linux nor `HOSTNAME` says it.
    pub host: String,
    /// The process id on that machine.
    pub process: u32,
    /// What is being done: `apply`, `destroy`.
    pub operation: String,
    /// When it was taken, RFC 3339 in UTC, to the second.
    pub since: String,
    /// What distinguishes the process from all others, where the system says it: names of machines repeat in containers, and
    /// process ids on every machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
}

/// What distinguishes a process from every other one, together with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The UUID that the kernel chose at its start: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// The namespaces in which the process id and the start time count: `pid:[4026531836] time:[4026531834]`.
    pub namespaces: String,
    /// When the process began, in ticks of the clock since the start of the machine.
    pub started: u64,
}

impl LockInfo {
    /// Describes this process.
    pub fn of_this_process(operation: impl Into<String>) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let owner = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(variable).or_else(user_of_this_process);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        Self {
            owner: owner.unwrap_or_else(|| "unknown".to_owned()),
            host: host.or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "unknown".to_owned()),
            process: std::process::id(),
            operation: operation.into(),
            since: jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default().to_string(),
            life: Life::of_this_process(),
        }
    }

    /// Whether it is certain that the holder does not run any more: it ran on this machine since its last start, and no
    /// process is the one that it was. It is never certain of a process of another machine or in another container.
    pub fn is_dead(&self) -> bool {
        let (Some(theirs), Some(ours)) = (&self.life, Life::of_this_process()) else { return false };
        (&theirs.boot, &theirs.namespaces) == (&ours.boot, &ours.namespaces) && is_over(self.process, theirs.started)
    }
}

impl fmt::Display for LockInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, host, process, operation, since, .. } = self;
        write!(f, "{owner}@{host} (process {process}), who runs `{operation}` since {since}")
    }
}

/// The name of the user that the process runs as, or its number where it has no name, as in containers.
#[cfg_attr(unix, expect(clippy::unnecessary_wraps, reason = "other systems have no such number"))]
fn user_of_this_process() -> Option<String> {
    #[cfg(unix)]
    {
        let id = nix::unistd::geteuid();
        let user = nix::unistd::User::from_uid(id).ok().flatten();
        Some(user.map_or_else(|| format!("user {id}"), |user| user.name))
    }
    #[cfg(not(unix))]
    None
}

#[cfg(not(target_os = "linux"))]
impl Life {
    /// Other systems do not say it: a lock of a killed process ends with its lease.
    fn of_this_process() -> Option<Self> {
        None
    }
}

#[cfg(not(target_os = "linux"))]
fn is_over(_: u32, _: u64) -> bool {
    false
}

#[cfg(target_os = "linux")]
impl Life {
    fn of_this_process() -> Option<Self> {
        let stat = Stat::read("self")?;
        // Where `/proc` shows another namespace, its numbers are not those of this process.
        if stat.process != std::process::id() {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let namespace = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).ok();
        let mut namespaces = namespace("pid")?.display().to_string();
        // Since Linux 5.6.
        if let Some(time) = namespace("time") {
            namespaces = format!("{namespaces} {}", time.display());
        }
        Some(Self { boot, namespaces, started: stat.started })
    }
}

/// Whether the process with this id that began at this time does not run any more.
#[cfg(target_os = "linux")]
fn is_over(process: u32, started: u64) -> bool {
    use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
    let Some(id) = i32::try_from(process).ok().filter(|id| *id > 0) else { return false };
    // `/proc` can hide the processes of other users, so only this answer says that there is none.
    if kill(Pid::from_raw(id), None) == Err(Errno::ESRCH) {
        return true;
    }
    let Some(stat) = Stat::read(&process.to_string()) else { return false };
    // A killed process stays as a zombie until its parent asks for it, which in containers often nobody does.
    let is_zombie = || {
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().count();
        stat.state == 'Z' && threads <= 1
    };
    stat.process == process && (stat.started != started || is_zombie())
}

/// A part of `/proc/PID/stat`.
#[cfg(target_os = "linux")]
struct Stat {
    process: u32,
    state: char,
    started: u64,
}

#[cfg(target_os = "linux")]
impl Stat {
    fn read(process: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// `proc_pid_stat(5)`, man-pages 6.9, read November 2026: the id, the name in brackets, which can contain any character, the
    /// state, and as the 22nd field the start time.
    fn parse(text: &str) -> Option<Self> {
        let process = text.split_once(' ')?.0.parse().ok()?;
        let mut behind = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = behind.next()?.chars().next()?;
        Some(Self { process, state, started: behind.nth(18)?.parse().ok()? })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn of(process: u32) -> LockInfo {
        let stat = Stat::read(&process.to_string()).unwrap();
        let ours = LockInfo::of_this_process("apply");
        LockInfo { process, life: ours.life.clone().map(|life| Life { started: stat.started, ..life }), ..ours }
    }

    #[test]
    fn a_holder_is_dead_once_its_process_ended_and_not_before() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let info = of(child.id());
        assert!(!info.is_dead() && !LockInfo::of_this_process("apply").is_dead());
        // A process of another user runs as well, also where `/proc` hides it.
        assert!(!is_over(1, Stat::read("1").map_or(0, |stat| stat.started)));
        child.kill().unwrap();
        // Nobody asked for its end yet.
        while !info.is_dead() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(info.is_dead());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_the_holder() {
        let ours = LockInfo::of_this_process("apply");
        let with = |change: fn(&mut Life)| {
            let mut life = ours.life.clone().unwrap();
            change(&mut life);
            LockInfo { life: Some(life), ..ours.clone() }
        };
        assert!(with(|life| life.started += 1).is_dead());
        // Of other machines, containers and earlier versions nothing is known, however their numbers look.
        for unknown in [
            with(|life| (life.boot, life.started) = ("of another machine".to_owned(), 0)),
            with(|life| (life.namespaces, life.started) = ("pid:[1]".to_owned(), 0)),
            LockInfo { life: None, process: 1 << 30, ..ours.clone() },
            LockInfo { process: 0, ..ours.clone() },
            LockInfo { process: u32::MAX, ..ours.clone() },
        ] {
            assert!(!unknown.is_dead(), "{unknown:?}");
        }
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let fields = (4..=30).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        let stat = Stat::parse(&format!("4711 (a) b (c) S {fields}\n")).unwrap();
        assert_eq!((stat.process, stat.state, stat.started), (4711, 'S', 22));
        for damaged in ["", "1", "1 (a)", "1 (a) S 1 2", "x (a) S 4 5 6"] {
            assert!(Stat::parse(damaged).is_none(), "{damaged}");
        }
    }
}
