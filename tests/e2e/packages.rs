//! The packages of the library: a program that uses `trunnion` from a registry gets all that its crates need.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use trunnion_tests::{packages, root};

const LIBRARY: &str = "trunnion";

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// The packages that Cargo may publish.
fn published() -> Vec<Value> {
    packages().into_iter().filter(|package| package["publish"].is_null()).collect()
}

#[test]
fn the_library_and_what_it_needs_can_be_published_and_nothing_else() {
    let packages = packages();
    let mut needed = BTreeSet::from([LIBRARY]);
    let mut new = vec![LIBRARY];
    while let Some(next) = new.pop() {
        let package = packages.iter().find(|package| name(package) == next).unwrap();
        let used = package["dependencies"].as_array().unwrap().iter().filter(|used| used["kind"].is_null());
        new.extend(used.filter(|used| used["path"].is_string()).map(name).filter(|name| needed.insert(name)));
    }
    let published = published();
    assert_eq!(published.iter().map(name).collect::<BTreeSet<_>>(), needed);
    for package in &published {
        let description = package["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.') && !description.contains('\n'), "{}: `{description}`", name(package));
        assert!(package["license"].is_string(), "{}", name(package));
    }
}

/// Packs every package that can be published into this folder and unpacks it there.
fn unpacked(folder: &Path) -> Vec<PathBuf> {
    let published = published();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut package = Command::new(cargo);
    package.args(["package", "--no-verify", "--offline", "--allow-dirty", "--target-dir"]).arg(folder);
    package.args(published.iter().flat_map(|package| ["--package", name(package)])).current_dir(root());
    let packed = package.output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let unpack = |package: &Value| {
        let stem = format!("{}-{}", name(package), package["version"].as_str().unwrap());
        let mut tar = Command::new("tar");
        tar.current_dir(folder).arg("-xzf").arg(format!("package/{stem}.crate"));
        assert!(tar.status().unwrap().success(), "{stem}");
        folder.join(stem)
    };
    published.iter().map(unpack).collect()
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The files that a source includes: what is between the quotes of `include_str!("…")` and its like.
fn included(source: &str) -> impl Iterator<Item = &str> {
    let after = |call| source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
    ["include_str!(\"", "include_bytes!(\"", "include!(\""].into_iter().flat_map(after)
}

#[test]
fn a_package_has_every_file_that_its_sources_include() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = BTreeSet::new();
    for package in unpacked(&folder.path().canonicalize().unwrap()) {
        for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
            let text = fs::read(package.join(license)).unwrap();
            assert_eq!(text, fs::read(root().join(license)).unwrap(), "{}", package.display());
        }
        for path in files(&package).into_iter().filter(|path| path.extension() == Some(OsStr::new("rs"))) {
            let source = fs::read_to_string(&path).unwrap();
            assert!(!source.contains("(\"CARGO_MANIFEST_DIR\"), \"/.."), "{} leaves its package", path.display());
            for name in included(&source) {
                let file = path.parent().unwrap().join(name);
                let file = file.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                assert!(file.starts_with(&package), "{} leaves its package for {name}", path.display());
                found.insert(file.file_name().unwrap().to_owned());
                let same = ["templates", "stacks"].map(|folder| root().join(folder).join(file.file_name().unwrap()));
                if let Some(same) = same.iter().find(|same| same.exists()) {
                    assert_eq!(fs::read(&file).unwrap(), fs::read(same).unwrap(), "{}", same.display());
                }
            }
        }
    }
    let expected = [
        "boot-0.1.0.sh.tera",
        "boot.sh.tera",
        "instance-types.csv",
        "minimal.yaml",
        "names.txt",
        "on-demand-prices.csv",
        "other-prices.csv",
        "reference.txt",
        "spot-prices.csv",
        "style.css",
    ]
    .map(Into::into);
    assert_eq!(found, BTreeSet::from(expected));
}
