//! The machine's disk: a Debian with the software of Amazon Linux as an ext4 file, and its kernel. Making it takes
//! minutes, so it is kept until its recipe changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{vpc, write};
use crate::{
    Failure,
    packages::{self, Hosts},
    root, run,
};

/// Makes the folder `$1`, and the image `$2` from it. `$3` is the list of packages, `$4` the AWS endpoint, `$5` the AWS CLI
/// for pip.
///
/// The AWS CLI comes from pip, because Debian's version does not support `endpoint_url`. networkd manages the primary
/// interface, as in Amazon Linux.
const RECIPE: &str = r#"
set -eu
root=$1 image=$2 packages=$3 endpoint=$4 cli=$5
debootstrap --variant=minbase --include="$packages" bookworm "$root"
python3 -m pip install --quiet --no-compile --target "$root/opt/awscli" "$cli"
printf '#!/bin/sh\nPYTHONPATH=/opt/awscli exec python3 /opt/awscli/bin/aws "$@"\n' > "$root/usr/local/bin/aws"
chmod 755 "$root/usr/local/bin/aws"
mkdir "$root/root/.aws"
printf '[default]\nendpoint_url = %s\n' "$endpoint" > "$root/root/.aws/config"
chroot "$root" systemctl enable systemd-networkd
chroot "$root" systemctl mask apt-daily.timer apt-daily-upgrade.timer
printf 'locale: C.UTF-8\n' > "$root/etc/cloud/cloud.cfg.d/95-locale.cfg"
printf '127.0.0.1 localhost\n127.0.1.1 generator\n' > "$root/etc/hosts"
: > "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
cp "$root"/boot/vmlinuz-* "$(dirname "$image")/vmlinuz"
cp "$root"/boot/initrd.img-* "$(dirname "$image")/initrd"
rm -f "$image"
truncate -s 4G "$image"
mkfs.ext4 -q -F -d "$root" "$image"
"#;

/// The files that a machine starts from.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    root: PathBuf,
}

impl Image {
    /// The image in this folder. It is made first if it is missing or has another recipe.
    #[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        let image =
            Self { kernel: folder.join("vmlinuz"), initrd: folder.join("initrd"), root: folder.join("root.ext4") };
        let requirements = fs::read_to_string(root().join("tests/conformance/requirements.txt"))?;
        let cli = requirements.lines().find(|line| line.starts_with("awscli==")).ok_or("no version of the AWS CLI")?;
        let packages = packages::debian(Hosts::Machine);
        let recipe = format!("{packages}\n{}\n{cli}\n{RECIPE}", vpc::ENDPOINT);
        let made_by = folder.join("root.recipe");
        if fs::read_to_string(&made_by).is_ok_and(|made_by| made_by == recipe) {
            return Ok(image);
        }
        eprintln!("Making a root image of Debian; it is kept for later runs …");
        if made_by.exists() {
            fs::remove_file(&made_by)?;
        }
        image.make(folder, &packages, cli)?;
        // Written last: it shows that the other files are complete.
        write(&made_by, &recipe)?;
        Ok(image)
    }

    #[expect(clippy::disallowed_methods, reason = "the log of the making, in the target folder")]
    fn make(&self, folder: &Path, packages: &str, cli: &str) -> Result<(), Failure> {
        let pip = Command::new("python3").args(["-m", "pip", "--version"]).stdout(Stdio::null()).status()?;
        if !pip.success() {
            return Err("`python3 -m pip` is missing\nhelp: apt-get install python3-pip".into());
        }
        // On the file system of the target folder, which has enough space.
        let draft = tempfile::tempdir_in(folder)?;
        let log = folder.join("root.log");
        let output = fs::File::create(&log)?;
        let mut command = Command::new("sh");
        command.args(["-c", RECIPE, "sh"]).arg(draft.path().join("root")).arg(&self.root).args([
            packages,
            vpc::ENDPOINT,
            cli,
        ]);
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        if command.status()?.success() {
            Ok(())
        } else {
            Err(format!("the root image cannot be made: see {}", log.display()).into())
        }
    }

    /// Makes a writable copy of the root file system at this path.
    pub(super) fn copy_root(&self, path: &Path) -> Result<(), Failure> {
        run(Command::new("cp").args(["--sparse=always", "--reflink=auto", "--"]).arg(&self.root).arg(path))
    }
}

/// The disk in this folder from which cloud-init reads the data of the host (`NoCloud`).
pub(super) fn seed(folder: &Path, meta_data: &str, network_config: &str, user_data: &str) -> Result<PathBuf, Failure> {
    let seed = folder.join("seed.img");
    run(Command::new("mkfs.vfat").args(["-n", "CIDATA", "-C"]).arg(&seed).arg("1024").stdout(Stdio::null()))?;
    let mut copy = Command::new("mcopy");
    copy.arg("-i").arg(&seed);
    for (name, text) in [("meta-data", meta_data), ("network-config", network_config), ("user-data", user_data)] {
        let path = folder.join(name);
        write(&path, text)?;
        copy.arg(path);
    }
    run(copy.arg("::"))?;
    Ok(seed)
}
