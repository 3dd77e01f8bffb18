//! Reads stack files: one YAML file describes one platform.
//!
//! From a stack file and the name of an environment, this crate makes a [`Stack`] with all defaults filled in and all
//! values checked, or an [`Invalid`] with every mistake and its place. It makes no AWS call.
//!
//! ```
//! use trunnion_stack::{LoadOptions, Stack};
//!
//! let mistakes = Stack::parse("stack: Loadtest", "loadtest.yaml".as_ref(), None, &LoadOptions::default()).unwrap_err();
//! let mistake = mistakes.diagnostics().last().unwrap();
//! assert!(mistake.message.starts_with("`stack` is `Loadtest`"));
//! assert_eq!(mistake.line_and_column(), Some((1, 8)));
//! ```
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod diagnostic;
mod environment;
mod excerpt;
mod field;
mod files;
mod forms;
mod home;
mod language;
mod merge;
mod model;
mod names;
mod read;
mod reference;
mod schema;
mod secrets;
mod shape;
mod sources;
mod tree;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use ipnet::{IpNet, Ipv4Net};
pub use miette::{Severity, SourceSpan};
pub use trunnion_catalog as catalog;

pub use crate::{
    diagnostic::{Diagnostic, Invalid},
    files::{FileError, Files, Revision},
    language::built_for,
    model::*,
    reference::reference,
    schema::json_schema,
    secrets::may_be_secret,
    sources::Sources,
};

/// What the caller knows about the machine. Without a folder, a stack that names no generator binary has none.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The folder of the running executable. Its file `trunnion-generator` is the default generator binary.
    pub executable_dir: Option<PathBuf>,
    /// The files outside of its repository that a stack may name.
    pub allowed_files: Vec<PathBuf>,
    /// The program that renders a stack's own boot template in a process of its own, within limits of time and memory: it calls
    /// `blueprint::render_apart` for the argument `blueprint::RENDER`. Without one, the template is rendered in this process.
    pub template_program: Option<PathBuf>,
    /// Where the files of the repository come from, if not from the working tree.
    pub revision: Option<Arc<dyn Revision>>,
}

impl LoadOptions {
    /// No folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options for this process.
    pub fn of_this_process() -> Self {
        let executable = std::env::current_exe().ok();
        Self { executable_dir: executable.and_then(|path| path.parent().map(Path::to_path_buf)), ..Self::default() }
    }

    /// The same with this folder.
    #[must_use]
    pub fn with_executable_dir(self, folder: impl Into<PathBuf>) -> Self {
        Self { executable_dir: Some(folder.into()), ..self }
    }

    /// The same, and the stack may also name these files. Beside them, it may name those of its repository, and of its folder
    /// where there is no repository.
    #[must_use]
    pub fn with_allowed_files(self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { allowed_files: files.into_iter().collect(), ..self }
    }

    /// The same, and this program renders a stack's own boot template.
    #[must_use]
    pub fn with_template_program(self, program: impl Into<PathBuf>) -> Self {
        Self { template_program: Some(program.into()), ..self }
    }

    /// The same, and files of the repository are those of another revision.
    #[must_use]
    pub fn with_revision(self, revision: Arc<dyn Revision>) -> Self {
        Self { revision: Some(revision), ..self }
    }

    /// The files that a stack in this folder may name.
    pub fn files(&self, folder: &Path) -> Files {
        let default = self.executable_dir.iter().map(|folder| folder.join(language::DEFAULT_BINARY));
        let allowed: Vec<PathBuf> = self.allowed_files.iter().cloned().chain(default).collect();
        Files::of(folder, &allowed, self.revision.clone())
    }
}

impl Stack {
    /// Reads and checks a stack file of at most 1 MiB, in this environment if one is named.
    pub fn load(path: &Path, environment: Option<&str>, options: &LoadOptions) -> Result<Stack, Invalid> {
        let text = read::text(path)?;
        Stack::parse(&text, path, environment, options)
    }

    /// The text of a stack file, as [`Stack::parse`] takes it.
    pub fn text_of(path: &Path) -> Result<String, Invalid> {
        read::text(path)
    }

    /// The text of a stack file that was read from elsewhere. Messages name it by the path.
    pub fn text_from(bytes: Vec<u8>, path: &Path) -> Result<String, Invalid> {
        read::decoded(bytes, path)
    }

    /// The names of a file's environments; empty if the file cannot be read.
    pub fn environments_of(path: &Path) -> Vec<String> {
        read::text(path).map(|text| Self::environments_in(&text)).unwrap_or_default()
    }

    /// Whether a text is that of a stack file: YAML with a top-level key `stack`.
    pub fn is_stack_file(text: &str) -> bool {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = tree::read(text, &mut diagnostic::Findings::default());
        root.is_some_and(|root| root.entries().iter().any(|entry| entry.key == "stack"))
    }

    /// The names of the environments of a stack file's text; empty if it is damaged.
    pub fn environments_in(text: &str) -> Vec<String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = tree::read(text, &mut diagnostic::Findings::default());
        root.map(|root| environment::names(&root)).unwrap_or_default()
    }

    /// Checks the text of a stack file. Messages name it by the path, and relative paths in it start at its folder.
    pub fn parse(text: &str, path: &Path, environment: Option<&str>, options: &LoadOptions) -> Result<Stack, Invalid> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut findings = diagnostic::Findings::default();
        let files = options.files(path.parent().unwrap_or(Path::new("")));
        let decoded = decoded(text, path, environment, (options, &files), &mut findings);
        let source = sources::shown_source(path, text, findings.hidden());
        match decoded {
            Some((decoded, root, environments, home)) if findings.is_empty() => Ok(Stack {
                name: decoded.name,
                former_name: decoded.former_name,
                home,
                folder: path.parent().unwrap_or(Path::new("")).to_path_buf(),
                files,
                template_program: options.template_program.clone(),
                environments,
                environment: environment.map(str::to_owned),
                region: decoded.region,
                account: decoded.account,
                tags: decoded.tags,
                state: decoded.state,
                network: decoded.network,
                generator: decoded.generator,
                pools: decoded.pools,
                moved: decoded.moved,
                control_plane: decoded.control_plane,
                locations: decoded.locations,
                workload: decoded.workload,
                prices: decoded.prices,
                budget: decoded.budget,
                sources: Sources::new(source, &root),
            }
            .settled()),
            _ => Err(findings.into_invalid(&source)),
        }
    }
}

fn decoded(
    text: &str,
    path: &Path,
    environment: Option<&str>,
    (options, files): (&LoadOptions, &Files),
    findings: &mut diagnostic::Findings,
) -> Option<(language::Decoded, tree::Node, Vec<String>, String)> {
    let root = tree::read(text, findings)?;
    secrets::refuse(&root, findings);
    shape::check(&root, findings);
    let environments = environment::names(&root);
    let root = environment::choose(root, environment, findings)?;
    let around = language::Around::new(path.parent().unwrap_or(Path::new("")), environment, options, files);
    let decoded = language::read(&root, &around, findings)?;
    let home = home::of(&decoded.state, around.directory).map_err(|found| findings.push(*found)).ok()?;
    Some((decoded, root, environments, home))
}
