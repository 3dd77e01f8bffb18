//! Reads the two sides of a preview: each stack file in each of its environments, as it is and as the base has it.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use trunnion_engine::{Origin, preview::Problem};
use trunnion_stack::{Diagnostic, Invalid, LoadOptions, Revision, Stack};

use super::command;
use crate::{Commit, CommitError, Error, commit::root_of};

/// The largest stack file, and a byte more.
const LARGEST_STACK: u64 = (1 << 20) + 1;

/// How many environments of a file are previewed.
const MOST_ENVIRONMENTS: usize = 100;

/// Where the stacks of the base are read.
#[derive(Debug, Clone)]
pub enum BaseFiles {
    /// A commit of the repository.
    Commit(Arc<Commit>),
    /// A file in place of the stack file. What it names is that of the working tree.
    File(PathBuf),
}

/// A stack in one environment, and with what it is compared.
#[derive(Debug, Clone)]
pub struct Pair {
    pub(super) file: PathBuf,
    pub(super) environment: Option<String>,
    pub(super) head: Result<Stack, Problem>,
    pub(super) base: Side,
    /// Whether the text is the same, and with it the environments.
    has_same_text: bool,
}

/// The stack in the base.
#[derive(Debug, Clone)]
pub(super) enum Side {
    Missing,
    Unknown(Problem),
    Stack(Box<Stack>),
}

/// A stack file, as the working tree or the base has it.
#[derive(Debug, Clone)]
enum Text {
    Missing,
    Unknown(Problem),
    Is(String),
}

/// The pairs of a stack file: one for each environment that it has, or has in the base; one without an environment where it has
/// none. With `environment`, that one alone.
pub fn pairs(
    file: &Path,
    environment: Option<&str>,
    base: Result<&BaseFiles, &CommitError>,
    options: &LoadOptions,
) -> Vec<Pair> {
    let head = leads_out(base.ok(), file).map_or_else(|| text_of(file), Text::Unknown);
    let before = match base {
        Ok(base) => text_in(base, file),
        Err(error) => Text::Unknown(Problem { message: error.to_string(), help: Some(error.help.clone()) }),
    };
    let names = |text: &Text| match text {
        Text::Is(text) => Stack::environments_in(text),
        _ => Vec::new(),
    };
    let mut environments = names(&head);
    for name in names(&before) {
        if !environments.contains(&name) {
            environments.push(name);
        }
    }
    let mut environments: Vec<Option<String>> = environments.into_iter().map(Some).collect();
    let is_plain = |text: &Text| matches!(text, Text::Is(text) if Stack::environments_in(text).is_empty());
    if environments.is_empty() || is_plain(&head) || is_plain(&before) {
        environments.insert(0, None);
    }
    if let Some(only) = environment {
        environments = vec![Some(only.to_owned())];
    }
    // Each takes time, and who proposes a change could write any number.
    let too_many = environments.len() > MOST_ENVIRONMENTS;
    if too_many {
        environments = vec![None];
    }
    let has_same_text = matches!((&head, &before), (Text::Is(one), Text::Is(other)) if one == other);
    let in_base = match base {
        Ok(BaseFiles::Commit(commit)) => options.clone().with_revision(Arc::clone(commit) as Arc<dyn Revision>),
        _ => options.clone(),
    };
    let pair = |environment: Option<String>| {
        let chosen = environment.as_deref();
        let has = |text: &str| chosen.is_none_or(|name| Stack::environments_in(text).iter().any(|known| known == name));
        let side = |text: &Text, options: &LoadOptions| match text {
            Text::Missing => Side::Missing,
            Text::Unknown(problem) => Side::Unknown(problem.clone()),
            Text::Is(text) if !has(text) => Side::Missing,
            Text::Is(text) => match Stack::parse(text, file, chosen, options) {
                Ok(stack) => Side::Stack(Box::new(stack)),
                Err(invalid) => Side::Unknown(invalid_problem(&invalid)),
            },
        };
        let (mut head, side_of_base) = (side(&head, options), side(&before, &in_base));
        if too_many {
            let message = format!("it has more than {MOST_ENVIRONMENTS} environments");
            head = Side::Unknown(Problem { message, help: Some("preview some of them with `--env NAME`".to_owned()) });
        }
        // A file that never had the environment has nothing to say of it.
        if chosen.is_some() && matches!((&head, &side_of_base), (Side::Missing, Side::Missing)) {
            return None;
        }
        let head = match head {
            Side::Stack(stack) => Ok(*stack),
            Side::Unknown(problem) => Err(problem),
            Side::Missing => Err(gone(file, chosen)),
        };
        let mut pair = Pair { file: file.to_path_buf(), base: side_of_base, environment, head, has_same_text };
        if let (Side::Missing, Ok(head), Ok(BaseFiles::Commit(commit))) = (&pair.base, &pair.head, base)
            && let Some(stack) = in_another_file(commit, (file, head), &in_base)
        {
            pair.base = Side::Stack(Box::new(stack));
        }
        Some(pair)
    };
    environments.into_iter().filter_map(pair).collect()
}

impl Pair {
    /// The stack file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the base has the same stack, with the same content of the files that it names.
    pub fn is_unchanged(&self) -> bool {
        match (&self.head, &self.base) {
            (Ok(head), Side::Stack(base)) => self.has_same_text && has_same_files(head, base),
            // Nothing is known of what cannot be read.
            _ => false,
        }
    }
}

/// The same stack in another file of the base: one that was renamed, or that has a second file now.
fn in_another_file(commit: &Commit, (file, head): (&Path, &Stack), options: &LoadOptions) -> Option<Stack> {
    let folder = inside(commit.root(), file).and_then(|path| path.parent().map(Path::to_path_buf));
    commit.stack_files().iter().find_map(|(path, text)| {
        // In the same folder, paths begin as those of the file do.
        let is_beside = path.parent() == folder.as_deref();
        let name = path.file_name().filter(|_| is_beside);
        let path = name.map_or_else(|| commit.root().join(path), |name| file.with_file_name(name));
        let environments = Stack::environments_in(text).into_iter().map(Some).chain([None]);
        let parsed = |environment: Option<String>| Stack::parse(text, &path, environment.as_deref(), options).ok();
        environments.filter_map(parsed).find(|stack| is_same_stack(head, stack))
    })
}

/// What was applied stays, and nobody plans it any more.
fn gone(file: &Path, environment: Option<&str>) -> Problem {
    let file = file.display().to_string();
    let what = match environment {
        Some(name) => format!("`{file}` has no environment `{name}` any more"),
        None => format!("the stack file `{file}` is not there any more"),
    };
    let environment = environment.map(str::to_owned);
    let command = command("destroy", &Origin { file, environment, ..Origin::default() });
    Problem {
        message: format!("{what}: what was applied of it stays, and costs what it costs"),
        help: Some(format!("delete it first, with the file as it was: `{command}`")),
    }
}

/// The text of a stack file in the working tree.
fn text_of(file: &Path) -> Text {
    match Stack::text_of(file) {
        Ok(text) => Text::Is(text),
        Err(_) if fs::symlink_metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) => {
            Text::Missing
        }
        Err(invalid) => Text::Unknown(invalid_problem(&invalid)),
    }
}

/// Refuses a link that leads out of the repository, or into Git's own folder: what is there could be shown to the author of the link.
/// Where Git reads no repository, the file's folder is all that there is.
fn leads_out(base: Option<&BaseFiles>, file: &Path) -> Option<Problem> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = match base {
        Some(BaseFiles::Commit(commit)) => commit.root().to_path_buf(),
        _ => root_of(folder).unwrap_or_else(|_| folder.to_path_buf()),
    };
    let (root, real) = (fs::canonicalize(root).ok()?, fs::canonicalize(file).ok()?);
    let is_inside =
        real.strip_prefix(&root).is_ok_and(|path| !path.components().any(|part| part.as_os_str() == ".git"));
    let message = format!("`{}` is a link that leads out of the repository: it is not read", file.display());
    (!is_inside).then(|| Problem { message, help: Some("put the stack file itself into the repository".to_owned()) })
}

/// The text of a stack file in the base.
fn text_in(base: &BaseFiles, file: &Path) -> Text {
    let read = match base {
        BaseFiles::File(base) => Stack::text_of(base),
        BaseFiles::Commit(commit) => {
            let Some(path) = inside(commit.root(), file) else {
                let message = format!("`{}` is in another repository than the base", file.display());
                return Text::Unknown(Problem { message, help: None });
            };
            match commit.read(&path, LARGEST_STACK) {
                Ok(bytes) => Stack::text_from(bytes, file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Text::Missing,
                Err(error) => {
                    let message = format!("`{}` cannot be read in the base: {error}", path.display());
                    return Text::Unknown(Problem { message, help: None });
                }
            }
        }
    };
    match read {
        Ok(text) => Text::Is(text),
        Err(invalid) => Text::Unknown(invalid_problem(&invalid)),
    }
}

/// The path of a file from the root of its repository. It need not exist.
fn inside(root: &Path, file: &Path) -> Option<PathBuf> {
    let root = fs::canonicalize(root).ok()?;
    let here = std::env::current_dir().ok()?.join(file);
    let mut path = PathBuf::new();
    for part in here.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    // Links within the repository are not followed: they may be other ones in the base.
    let above = path.ancestors().filter(|above| fs::canonicalize(above).is_ok_and(|above| above == root)).last()?;
    Some(path.strip_prefix(above).ok()?.to_path_buf())
}

fn invalid_problem(invalid: &Invalid) -> Problem {
    problem_of(invalid.diagnostics())
}

fn problem_of(diagnostics: &[Diagnostic]) -> Problem {
    let said = |diagnostic: &Diagnostic| match diagnostic.line_and_column() {
        Some((line, _)) => format!("line {line}: {}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let help = match diagnostics {
        [only] => only.help.clone(),
        _ => None,
    };
    Problem { message: diagnostics.iter().map(said).collect::<Vec<_>>().join("; "), help }
}

pub(super) fn problem(error: &Error) -> Problem {
    if let Error::Refused(diagnostics) = error {
        return problem_of(diagnostics);
    }
    let shown = error.diagnostics();
    let with_causes = |diagnostic: &dyn miette::Diagnostic| {
        let mut message = diagnostic.to_string();
        let mut cause = diagnostic.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        message
    };
    let message = shown.iter().map(|diagnostic| with_causes(diagnostic.as_ref())).collect::<Vec<_>>().join("; ");
    let help = match shown.as_slice() {
        [only] => only.help().map(|help| help.to_string()),
        _ => None,
    };
    Problem { message, help }
}

/// Whether the files that both stacks name have the same content.
fn has_same_files(one: &Stack, other: &Stack) -> bool {
    let names = |stack: &Stack| -> Vec<PathBuf> {
        stack.generator.template.iter().chain(stack.generator.binaries.values()).cloned().collect()
    };
    let content = |stack: &Stack, path: &Path| {
        let mut content = Vec::new();
        let read = stack.files.open(path).map(|mut file| io::Read::read_to_end(&mut file, &mut content));
        matches!(read, Ok(Ok(_))).then_some(content)
    };
    let is_same =
        |path: &PathBuf| content(one, path).is_some_and(|content_of_one| Some(content_of_one) == content(other, path));
    names(one) == names(other) && names(one).iter().all(is_same)
}
/// Whether two versions of a stack are the same one: its resources, its place and its state.
pub(super) fn is_same_stack(one: &Stack, other: &Stack) -> bool {
    (&one.name, &one.account, &one.region, &one.state, &one.home)
        == (&other.name, &other.account, &other.region, &other.state, &other.home)
}
