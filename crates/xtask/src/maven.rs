//! Libraries from Maven Central, for chores that run Java programs.

use std::{ffi::OsString, fs, io, path::Path, process::Command};

use crate::{Failure, run, target_folder};

/// Makes the folder contain exactly the libraries of this `pom.xml`, which are downloaded unless they are there already.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn libraries(pom: &Path, folder: &Path) -> Result<(), Failure> {
    // The copy says which libraries were downloaded completely.
    let done = folder.join("pom.xml");
    if fs::read(pom)? == fs::read(&done).unwrap_or_default() {
        return Ok(());
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    eprintln!("Downloading the libraries of {} …", pom.display());
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(name);
        option.push(value);
        option
    };
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--file"]).arg(pom).arg("dependency:copy-dependencies");
    maven.arg(option("-Dmaven.repo.local=", &target_folder().join("maven")));
    run(maven.arg(option("-DoutputDirectory=", folder)).stdout(io::stderr())).map_err(|error| {
        format!(
            "Maven could not download the libraries: {error}\n\
             help: see Maven's messages above; a proxy or a mirror belongs into `~/.m2/settings.xml`"
        )
    })?;
    fs::copy(pom, done)?;
    Ok(())
}
