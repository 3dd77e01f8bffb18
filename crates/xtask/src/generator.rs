//! `cargo xtask generator`: builds the generator as one static file that runs on any Linux host of its architecture.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;

use crate::{Failure, cargo, root, run, target_folder};

const PACKAGE: &str = "trunnion-generator";

/// The largest size of a release binary, in bytes. Every host downloads it during its boot.
const MOST_BYTES: u64 = 8 << 20;

/// The binary to build.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The Rust target to build for; without it, this machine's own
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// The Cargo profile to build with
    #[arg(long, default_value = "release", value_name = "NAME")]
    profile: String,
}

/// Builds the binary, copies it to `dist/` and prints its size.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
pub(crate) fn generator(arguments: &Arguments) -> Result<(), Failure> {
    let target = arguments.target.clone().map_or_else(host_triple, Ok)?;
    let built = build(&target, &arguments.profile)?;
    let name = if target.starts_with("aarch64") { format!("{PACKAGE}-arm64") } else { PACKAGE.to_owned() };
    let folder = root().join("dist");
    fs::create_dir_all(&folder)?;
    let placed = folder.join(name);
    let bytes = fs::copy(built, &placed)?;
    let shown = placed.strip_prefix(root()).unwrap_or(&placed).display();
    println!("{shown}: {:.1} MiB, static, {target}", mebibytes(bytes));
    if arguments.profile == "release" && bytes >= MOST_BYTES {
        return Err(format!("`{shown}` is not smaller than {:.0} MiB", mebibytes(MOST_BYTES)).into());
    }
    Ok(())
}

/// Builds the static binary for this machine's own target, and returns its path.
pub(crate) fn build_static(profile: &str) -> Result<PathBuf, Failure> {
    build(&host_triple()?, profile)
}

fn build(target: &str, profile: &str) -> Result<PathBuf, Failure> {
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace(['-', '.'], "_"));
    // With `--target`, the flags do not reach build scripts and procedural macros, which cannot be static.
    run(cargo()
        .current_dir(root())
        .env(flags, "-C target-feature=+crt-static")
        .env_remove("RUSTFLAGS")
        // Lints are checked for this machine's own target.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .args(["build", "--quiet", "--locked", "--package", PACKAGE, "--target", target, "--profile", profile]))?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let path = target_folder().join(target).join(folder).join(PACKAGE);
    check_static(&path)?;
    Ok(path)
}

/// The target that this machine's compiler builds for.
fn host_triple() -> Result<String, Failure> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("`rustc -vV` names no host")?.to_owned())
}

/// Checks that a binary has no interpreter, which loads shared libraries.
fn check_static(path: &Path) -> Result<(), Failure> {
    const PT_INTERP: u32 = 3;
    let bytes = fs::read(path)?;
    let no_elf = || format!("`{}` is not a 64-bit little-endian ELF file", path.display());
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err(no_elf().into());
    }
    let header = elf_field::<8>(&bytes, 0x20).map(u64::from_le_bytes).ok_or_else(no_elf)?;
    let size = elf_field::<2>(&bytes, 0x36).map(u16::from_le_bytes).ok_or_else(no_elf)?;
    let count = elf_field::<2>(&bytes, 0x38).map(u16::from_le_bytes).ok_or_else(no_elf)?;
    for number in 0..u64::from(count) {
        let at = header.checked_add(number * u64::from(size)).ok_or_else(no_elf)?;
        let kind = elf_field::<4>(&bytes, at).map(u32::from_le_bytes).ok_or_else(no_elf)?;
        if kind == PT_INTERP {
            return Err(format!("`{}` is linked dynamically: it names an interpreter", path.display()).into());
        }
    }
    Ok(())
}

fn elf_field<const SIZE: usize>(bytes: &[u8], at: u64) -> Option<[u8; SIZE]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(SIZE)?)?.try_into().ok()
}

#[expect(clippy::cast_precision_loss, reason = "a size for people, rounded to a tenth")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
