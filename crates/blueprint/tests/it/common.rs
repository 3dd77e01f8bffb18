//! The stacks of `stacks/`, with a placeholder for the generator binary.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trunnion_blueprint::{Binaries, Binary};
use trunnion_catalog::Architecture;
use trunnion_stack::{LoadOptions, Stack};

/// The digest of the reference binary.
pub const SHA256: &str = "6a0c3f2d1b9e8d7c6b5a49382716051423324150697887a6b5c4d3e2f1009f8e";

/// A minimal ELF file that the stack accepts as a binary.
fn elf(machine: u8) -> Vec<u8> {
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, machine, 0, 1, 0, 0, 0];
    bytes.resize(64, 0);
    bytes
}

/// A directory with a generator binary for `x86_64`.
pub fn executables() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("trunnion-generator"), elf(62)).unwrap();
    directory
}

fn stacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks")
}

/// A stack of `stacks/`.
pub fn stack(name: &str, environment: Option<&str>) -> Stack {
    parse(&std::fs::read_to_string(stacks().join(name)).unwrap(), environment)
}

/// The stack with this text.
pub fn parse(text: &str, environment: Option<&str>) -> Stack {
    parse_beside(&executables(), text, environment)
}

/// The same beside the executables of a folder.
pub fn parse_beside(executables: &TempDir, text: &str, environment: Option<&str>) -> Stack {
    let options = LoadOptions::new().with_executable_dir(executables.path());
    match Stack::parse(text, Path::new("stack.yaml"), environment, &options) {
        // Golden files must not depend on the folder of this machine.
        Ok(stack) => Stack { home: "github.com/acme/infra/loadtest".to_owned(), ..stack },
        Err(invalid) => panic!("{invalid:?}"),
    }
}

/// The reference binary, with a path that exists on no machine.
pub fn binaries() -> Binaries {
    let binary = |architecture: Architecture| {
        let path = format!("dist/{architecture}/generator").into();
        (architecture, Binary { path, sha256: SHA256.to_owned(), is_dynamic: false })
    };
    Binaries::new([binary(Architecture::X86_64)])
}
