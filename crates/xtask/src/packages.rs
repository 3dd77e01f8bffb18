//! The software of a generator host, by package: in Amazon Linux 2023, where hosts run, and in Debian 12, of which the tests
//! make their hosts. The lists `TOOLS` have what the machine needs on which the tests run.

use self::Hosts::{All, Kernel, Machine};

/// The hosts of tests that get a package.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    All,
    /// Those of `cargo xtask kernel`.
    Kernel,
    /// The one of `cargo xtask boot-vm`.
    Machine,
}

/// What the image of Amazon Linux has.
const IMAGE: &str = "in the image";
/// What only a host of a test needs.
const TESTS: &str = "not needed";

/// The purpose, the package that the boot script installs on Amazon Linux (`templates/boot.sh.tera`), the package in Debian, and
/// the hosts that get it. The AWS CLI, on Amazon Linux the package `awscli-2`, comes from pip: Debian's does not support
/// endpoints of one's own.
const SOFTWARE: &[(&str, &str, &str, Hosts)] = &[
    ("certificate authorities", IMAGE, "ca-certificates", Kernel),
    ("runs the boot script", IMAGE, "cloud-init", Machine),
    ("fetches from metadata and health", "curl-minimal", "curl", All),
    ("systemd's bus", IMAGE, "dbus", All),
    ("the machine's initrd", IMAGE, "initramfs-tools", Machine),
    ("`ip` and `ss`", IMAGE, "iproute2", All),
    ("`ping`", IMAGE, "iputils-ping", Kernel),
    ("reads JSON, for Gatling too", "jq", "jq", All),
    ("loads kernel modules", IMAGE, "kmod", Machine),
    ("sessions of logins", IMAGE, "libpam-systemd", Machine),
    ("the kernel", IMAGE, "linux-image-cloud-amd64", Machine),
    ("Java 17", "java-17-amazon-corretto-headless", "openjdk-17-jre-headless", All),
    ("the control plane's login", IMAGE, "openssh-server", All),
    ("`sysctl` and `ps`", IMAGE, "procps", All),
    ("runs the AWS CLI and tests", TESTS, "python3", Kernel),
    // `debootstrap` does not resolve virtual packages.
    ("the backend of cloud-init's Python", TESTS, "python3-cffi-backend", Machine),
    ("the administrator's rights", IMAGE, "sudo", Machine),
    ("services", IMAGE, "systemd", All),
    ("answers lookups from a cache", IMAGE, "systemd-resolved", Kernel),
    ("systemd as the first process", IMAGE, "systemd-sysv", All),
    ("names of devices", IMAGE, "udev", Machine),
];

/// Debian's packages for a host, as `debootstrap` takes them.
pub(crate) fn debian(hosts: Hosts) -> String {
    let wanted = SOFTWARE.iter().filter(|(.., on)| *on == All || *on == hosts);
    wanted.map(|(_, _, debian, _)| *debian).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_script_installs_what_the_table_names() {
        let script = include_str!("../../../templates/boot.sh.tera");
        for (_, amazon, ..) in SOFTWARE.iter().filter(|(_, amazon, ..)| ![IMAGE, TESTS].contains(amazon)) {
            let installs = format!("packages+=({})", amazon.replace("java-17-amazon", "\"java-$java-amazon"));
            let installs = if amazon.starts_with("java") { installs.replace(')', "\")") } else { installs };
            assert!(script.contains(&installs), "{installs}");
        }
    }
}
