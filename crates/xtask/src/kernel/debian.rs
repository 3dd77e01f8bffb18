//! The files of a booting host: a small Debian with the software of a generator host, made once and kept in the target
//! folder.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Failure,
    packages::{self, Hosts},
    root, run, target_folder,
};

const RELEASE: &str = "bookworm";
/// The Python version of that release, for which the AWS CLI is downloaded. Debian's own CLI does not support endpoints in
/// the environment.
const PYTHON: &str = "3.11";

/// Units that would change the surrounding machine, wait for hardware, or are not needed on a stage.
const NOT_HERE: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "getty.target",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-logind.service",
    "systemd-modules-load.service",
    // The scene of the cache starts it.
    "systemd-resolved.service",
    "systemd-remount-fs.service",
    "systemd-sysctl.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udevd.service",
];

const AWS: &str = "#!/bin/sh\nPYTHONPATH=/opt/aws exec python3 -m awscli \"$@\"\n";

/// The folder of the files. They are downloaded on first use, which takes a minute or two.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn files() -> Result<PathBuf, Failure> {
    let requirements = fs::read_to_string(root().join("tests/conformance/requirements.txt"))?;
    let cli = requirements.lines().find(|line| line.starts_with("awscli==")).ok_or("no version of the AWS CLI")?;
    let mut recipe = DefaultHasher::new();
    let packages = packages::debian(Hosts::Kernel);
    (RELEASE, PYTHON, packages.as_str(), NOT_HERE, AWS, cli).hash(&mut recipe);
    let folder = target_folder().join("kernel");
    let done = folder.join(format!("debian-{:016x}", recipe.finish()));
    if done.exists() {
        return Ok(done);
    }
    eprintln!("Fetching the Debian that the host boots …");
    // It gets its name only when it is complete.
    let draft = folder.join("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    fs::create_dir_all(&folder)?;
    let log = folder.join("debootstrap.log");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", "--include", &packages, RELEASE]).arg(&draft);
    run(debootstrap.stdout(create(&log)?)).map_err(|error| format!("{error}\nhelp: its log is `{}`", log.display()))?;
    install_aws_cli(cli, &folder, &draft)?;
    for unit in NOT_HERE {
        let path = draft.join("etc/systemd/system").join(unit);
        if path.is_symlink() {
            fs::remove_file(&path)?;
        }
        symlink("/dev/null", path)?;
    }
    write(&draft.join("etc/hostname"), "generator\n")?;
    rename(&draft, &done)?;
    Ok(done)
}

fn install_aws_cli(version: &str, folder: &Path, draft: &Path) -> Result<(), Failure> {
    let environment = folder.join("python");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    run(Command::new(environment.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--python-version", PYTHON])
        .args(["--platform", &format!("manylinux2014_{}", std::env::consts::ARCH), "--target"])
        .arg(draft.join("opt/aws"))
        .arg(version))?;
    let aws = draft.join("usr/local/bin/aws");
    write(&aws, AWS)?;
    Ok(fs::set_permissions(aws, fs::Permissions::from_mode(0o755))?)
}

#[expect(clippy::disallowed_methods, reason = "files under the target folder")]
fn create(path: &Path) -> Result<fs::File, Failure> {
    Ok(fs::File::create(path)?)
}

#[expect(clippy::disallowed_methods, reason = "files under the target folder")]
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(fs::write(path, text)?)
}

#[expect(clippy::disallowed_methods, reason = "files under the target folder")]
fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    Ok(fs::rename(from, to)?)
}
