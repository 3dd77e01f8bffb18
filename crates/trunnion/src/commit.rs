//! The files of a repository at a commit, as the `git` program reads them: without a checkout, hooks, filters, text conversion and
//! the network.

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use trunnion_stack::{Revision, Stack};

/// A commit of a repository.
pub struct Commit {
    root: PathBuf,
    id: String,
    reader: Mutex<Option<Reader>>,
    stack_files: OnceLock<Vec<(PathBuf, String)>>,
}

/// Why no commit was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommitError {
    message: String,
    /// What to do next.
    pub help: String,
}

impl CommitError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// The largest stack file.
const LARGEST_STACK: u64 = 1 << 20;

/// The branch that a pull request would change, if CI of GitHub or GitLab says that this commit is its own merge of it. Another
/// merge commit is one of the author's, whose first parent is the author's, too.
fn target_of_merge(head: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let is = |name: &str, expected: &dyn Fn(&str) -> bool| variable(name).is_some_and(|value| expected(&value));
    let of_github = is("GITHUB_REF", &|name| name.starts_with("refs/pull/") && name.ends_with("/merge"))
        && is("GITHUB_SHA", &|id| id == head);
    let of_gitlab = is("CI_MERGE_REQUEST_EVENT_TYPE", &|kind| kind == "merged_result" || kind == "merge_train")
        && is("CI_COMMIT_SHA", &|id| id == head);
    let branch = match (of_github, of_gitlab) {
        (true, _) => variable("GITHUB_BASE_REF"),
        (false, true) => variable("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
        (false, false) => None,
    };
    branch.filter(|branch| !branch.is_empty())
}

/// The root of the outermost repository that a folder is in: what a submodule has is another's.
pub(crate) fn root_of(folder: &Path) -> Result<PathBuf, CommitError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let existing = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let mut root = path_of(existing, "--show-toplevel")?.ok_or_else(|| {
        let message = format!("`{}` is in no repository that Git reads", existing.display());
        let help = "name a file with `--base ./FILE`, or run it in a clone; if Git says why: `git -C FOLDER status`";
        CommitError::new(message, help)
    })?;
    while let Some(outer) = path_of(&root, "--show-superproject-working-tree")? {
        root = outer;
    }
    Ok(root)
}

/// A path that Git knows, byte by byte.
fn path_of(folder: &Path, question: &str) -> Result<Option<PathBuf>, CommitError> {
    let answer = answered(folder, &["rev-parse", question])?.filter(|answer| !answer.is_empty());
    Ok(answer.map(|answer| PathBuf::from(OsString::from_vec(answer))))
}

impl Commit {
    /// The commit that the work in a folder of a repository began with: where its history left that of `named`, a branch, tag or
    /// commit. CI tests a pull request on a merge commit of its own, whose first parent is the base.
    ///
    /// # Errors
    /// When the folder is in no repository, when there is no such commit, or when the clone does not reach back to it.
    pub fn base(folder: &Path, named: &str) -> Result<Self, CommitError> {
        Self::base_with(folder, named, &|name| env::var(name).ok())
    }

    fn base_with(folder: &Path, named: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, CommitError> {
        let root = root_of(folder)?;
        let git = |arguments: &[&str]| asked(&root, arguments);
        let commit = |named: &str| {
            git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{named}^{{commit}}")])
        };
        let is_shallow = || Ok(git(&["rev-parse", "--is-shallow-repository"])?.as_deref() == Some("true"));
        let parents = parents(&root)?;
        let head = git(&["rev-parse", "HEAD"])?.unwrap_or_default();
        let is_target = target_of_merge(&head, variable).is_some_and(|branch| {
            named == branch || named.strip_suffix(&branch).is_some_and(|start| start.ends_with('/'))
        });
        if let ([first, _], true) = (parents.as_slice(), is_target) {
            return match commit(first)? {
                Some(id) => Ok(Self::at(root, id)),
                None => Err(too_short(named)),
            };
        }
        let Some(id) = commit(named)? else {
            if is_shallow()? {
                return Err(too_short(named));
            }
            let message = format!("there is no commit `{named}`");
            return Err(CommitError::new(
                message,
                "fetch it with `git fetch origin`, or name another branch, tag or commit, or a file as `./FILE`",
            ));
        };
        match git(&["merge-base", "--end-of-options", &id, "HEAD"])? {
            Some(id) => Ok(Self::at(root, id)),
            None if is_shallow()? => Err(too_short(named)),
            None => {
                let message = format!("`{named}` and this commit have no common history");
                Err(CommitError::new(message, "name a branch, tag or commit of the same history"))
            }
        }
    }

    fn at(root: PathBuf, id: String) -> Self {
        Self { root, id, reader: Mutex::new(None), stack_files: OnceLock::new() }
    }

    /// The stack files that it has and the working tree does not, by their paths from the root.
    pub fn deleted_stacks(&self) -> Vec<PathBuf> {
        let is_gone = |path: &PathBuf| fs::symlink_metadata(self.root.join(path)).is_err();
        self.stack_files().iter().map(|(path, _)| path.clone()).filter(is_gone).collect()
    }

    /// The stack files that it has, by their paths from the root, with their texts: YAML with a top-level key `stack`.
    pub(crate) fn stack_files(&self) -> &[(PathBuf, String)] {
        self.stack_files.get_or_init(|| self.read_stack_files())
    }

    /// The paths of all files, from the root.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let listed = git(&self.root).args(["ls-tree", "-r", "-z", "--name-only", "--full-tree", &self.id]).output();
        let listed = listed.map(|output| output.stdout).unwrap_or_default();
        listed.split(|byte| *byte == 0).filter_map(|path| std::str::from_utf8(path).ok()).map(PathBuf::from).collect()
    }

    fn read_stack_files(&self) -> Vec<(PathBuf, String)> {
        let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let text = |path: PathBuf| {
            let text = String::from_utf8(self.read(&path, LARGEST_STACK).ok()?).ok()?;
            Stack::is_stack_file(&text).then_some((path, text))
        };
        self.paths().into_iter().filter(is_yaml).filter_map(text).collect()
    }

    /// Its hash.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The root of the working tree.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// The clone does not have enough of the history.
fn too_short(named: &str) -> CommitError {
    CommitError::new(
        format!("this clone does not reach back to `{named}`"),
        "fetch more: `git fetch --deepen=1` for the merge commit of a pull request (`fetch-depth: 2` in actions/checkout), or \
         `git fetch --unshallow` and `git fetch origin`",
    )
}

/// The parents of the present commit, also those that a shallow clone does not have.
fn parents(root: &Path) -> Result<Vec<String>, CommitError> {
    let head = asked(root, &["cat-file", "commit", "HEAD"])?.ok_or_else(|| {
        CommitError::new(
            "the repository has no commit yet",
            "commit the stack file, or name a file with `--base ./FILE`",
        )
    })?;
    let header = head.lines().take_while(|line| !line.is_empty());
    Ok(header.filter_map(|line| line.strip_prefix("parent ")).map(str::to_owned).collect())
}

/// Whether a repository tracks a file, so that who reads the repository reads the file. A link counts as what it leads to.
pub fn is_tracked(root: &Path, path: &Path) -> bool {
    let (Ok(root), Ok(path)) = (fs::canonicalize(root), fs::canonicalize(path)) else { return false };
    let listed = git(&root).args(["--literal-pathspecs", "ls-files", "--error-unmatch", "--"]).arg(path).output();
    listed.is_ok_and(|listed| listed.status.success())
}

/// Git in a folder. Variables that point it elsewhere do not count, and it asks nobody anything.
fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        git.env_remove(name);
    }
    git.env("LC_ALL", "C");
    for (name, value) in [
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
    ] {
        git.env(name, value);
    }
    git.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C"]).arg(folder).stdin(Stdio::null());
    git
}

/// What Git answers, without the end of the last line; nothing where it fails.
fn answered(folder: &Path, arguments: &[&str]) -> Result<Option<Vec<u8>>, CommitError> {
    let output = git(folder).args(arguments).output().map_err(|error| {
        let message = format!("`git` did not start: {error}");
        CommitError::new(message, "install Git, or name a file with `--base ./FILE`")
    })?;
    let mut answer = output.stdout;
    if answer.last() == Some(&b'\n') {
        answer.pop();
    }
    Ok(output.status.success().then_some(answer))
}

/// The same as text; nothing where it is empty.
fn asked(folder: &Path, arguments: &[&str]) -> Result<Option<String>, CommitError> {
    let answer = answered(folder, arguments)?.map(|answer| String::from_utf8_lossy(&answer).into_owned());
    Ok(answer.filter(|answer| !answer.is_empty()))
}

/// A process of Git that answers with the content of objects.
struct Reader {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn start(root: &Path) -> io::Result<Self> {
        let mut process = git(root)
            .args(["cat-file", "--batch", "--follow-symlinks"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("git has no pipes"));
        };
        Ok(Self { process, questions, answers: BufReader::new(answers) })
    }

    /// The content of a regular file.
    fn read(&mut self, object: &str, most: u64) -> io::Result<Vec<u8>> {
        self.questions.write_all(format!("{object}\n").as_bytes())?;
        self.questions.flush()?;
        let mut header = String::new();
        self.answers.read_line(&mut header)?;
        let header = header.trim_end();
        if header.ends_with(" missing") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let words: Vec<&str> = header.rsplitn(3, ' ').collect();
        let size = words.first().and_then(|size| size.parse::<u64>().ok());
        let size = size.ok_or_else(|| io::Error::other("git gave no answer"))?;
        // What follows is read in any case, so that the next answer is at its place.
        let (is_file, is_large) = (words.get(1) == Some(&"blob"), size > most);
        let mut content = Vec::new();
        let mut answer = (&mut self.answers).take(size.saturating_add(1));
        if is_file && !is_large {
            answer.read_to_end(&mut content)?;
            content.pop();
        } else {
            io::copy(&mut answer, &mut io::sink())?;
        }
        match words.get(1) {
            Some(&"blob") if is_large => Err(io::ErrorKind::FileTooLarge.into()),
            Some(&"blob") => Ok(content),
            Some(&"tree") => Err(io::ErrorKind::IsADirectory.into()),
            _ if header.starts_with("symlink ") => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is a link that leads out of the repository"))
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Revision for Commit {
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let path = path.to_str().filter(|path| !path.contains('\n')).ok_or(io::ErrorKind::InvalidInput)?;
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match reader.take() {
            Some(running) => running,
            None => Reader::start(&self.root)?,
        };
        let read = reader.insert(running).read(&format!("{}:{path}", self.id), most);
        let is_answer = |error: &io::Error| {
            use io::ErrorKind::{FileTooLarge, IsADirectory, NotFound, PermissionDenied};
            matches!(error.kind(), FileTooLarge | IsADirectory | NotFound | PermissionDenied)
        };
        if read.as_ref().is_err_and(|error| !is_answer(error)) {
            *reader = None;
        }
        read
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").field("root", &self.root).field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and writes its own files")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn run(folder: &Path, arguments: &[&str]) {
        fs::create_dir_all(folder).unwrap();
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"];
        let done = git(folder).args(identity).args(arguments).output().unwrap();
        assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A repository whose branch `main` is a commit further than the base of `work`.
    fn repository(place: &Path) -> PathBuf {
        let root = place.join("a repository ö");
        fs::create_dir_all(root.join("stacks")).unwrap();
        run(&root, &["init", "--initial-branch=main"]);
        fs::write(root.join("stacks/a.yaml"), "one\r\n").unwrap();
        fs::write(root.join(".gitattributes"), "* text eol=lf filter=bad diff=bad\n").unwrap();
        symlink("a.yaml", root.join("stacks/inner")).unwrap();
        symlink("../../outside", root.join("stacks/outer")).unwrap();
        symlink("inner-of-nothing", root.join("stacks/dangling")).unwrap();
        run(&root, &["add", "."]);
        run(&root, &["commit", "-m", "one"]);
        run(&root, &["branch", "work"]);
        fs::write(root.join("stacks/a.yaml"), "two\n").unwrap();
        run(&root, &["commit", "-am", "two"]);
        run(&root, &["checkout", "work"]);
        fs::write(root.join("stacks/b.yaml"), "three\n").unwrap();
        run(&root, &["add", "."]);
        run(&root, &["commit", "-m", "three"]);
        // What Git would run if it converted or looked at the working tree.
        for (key, value) in [
            ("filter.bad.smudge", "touch ran; cat"),
            ("diff.bad.textconv", "touch ran; cat"),
            ("core.fsmonitor", "touch ran"),
        ] {
            run(&root, &["config", key, value]);
        }
        root
    }

    #[test]
    fn the_base_is_where_the_histories_parted_and_nothing_is_run_to_read_it() {
        let place = tempfile::tempdir().unwrap();
        let root = repository(place.path());
        fs::remove_file(root.join("stacks/a.yaml")).unwrap();
        let base = Commit::base(&root.join("stacks"), "main").unwrap();
        let read = |path: &str| match base.read(Path::new(path), 100) {
            Ok(content) => String::from_utf8(content).unwrap(),
            Err(error) => format!("{:?}", error.kind()),
        };
        for (path, expected) in [
            ("stacks/a.yaml", "one\n"),
            ("stacks/inner", "one\n"),
            ("stacks/b.yaml", "NotFound"),
            ("stacks/outer", "PermissionDenied"),
            ("stacks/dangling", "NotFound"),
            ("stacks/a.yaml/below", "NotFound"),
            ("stacks", "IsADirectory"),
            ("stacks/a b", "NotFound"),
            ("stacks/a\nb", "InvalidInput"),
            ("stacks/a.yaml", "one\n"),
        ] {
            assert_eq!(read(path), expected, "{path}");
        }
        assert_eq!(base.read(Path::new("stacks/a.yaml"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read("stacks/a.yaml"), "one\n");
        assert!(!root.join("ran").exists() && !root.join("stacks/ran").exists());
        for (named, expected) in
            [("nothing", "there is no commit"), ("--help", "there is no commit"), ("", "there is no commit")]
        {
            let error = Commit::base(&root, named).unwrap_err();
            assert!(error.to_string().contains(expected), "{named}: {error}");
        }
        let nowhere = Commit::base(place.path(), "main").unwrap_err();
        assert!(nowhere.to_string().contains("is in no repository"), "{nowhere}");
    }

    #[test]
    fn only_the_merge_commit_of_ci_has_the_base_as_its_first_parent() {
        let place = tempfile::tempdir().unwrap();
        let root = repository(place.path());
        let id = |named: &str| asked(&root, &["rev-parse", named]).unwrap().unwrap();
        let (main, work) = (id("main"), id("work"));
        // The author merges main into the branch; CI merges the branch into main.
        run(&root, &["merge", "main", "-m", "of the author"]);
        let ours = id("HEAD");
        run(&root, &["checkout", "--detach", "main"]);
        run(&root, &["merge", "--no-ff", &work, "-m", "of CI"]);
        let of_ci = id("HEAD");
        let base = |head: &str, sha: &str| {
            run(&root, &["checkout", "--detach", head]);
            let variables = [("GITHUB_REF", "refs/pull/7/merge"), ("GITHUB_SHA", sha), ("GITHUB_BASE_REF", "main")];
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Commit::base_with(&root, "main", &variable).unwrap().id().to_owned()
        };
        assert_eq!(base(&of_ci, &of_ci), main);
        assert_eq!(base(&ours, &of_ci), main);
        assert_ne!(base(&ours, &of_ci), work);
        // Also where the clone has no branch of that name.
        run(&root, &["branch", "--move", "main", "other"]);
        assert_eq!(base(&of_ci, &of_ci), main);
    }

    #[test]
    fn deleted_stacks_are_found_however_they_are_written() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("ends in a space ");
        run(&root, &["init", "--initial-branch=main"]);
        for (name, text) in [
            ("plain.yaml", "stack: a\n"),
            ("quoted.yml", "\"stack\": a\n"),
            ("spaced.yaml", "# first\nstack : a\n"),
            ("asked.yaml", "? stack\n: a\n"),
            ("inner.yaml", "other: { stack: a }\n"),
            ("kept.yaml", "stack: a\n"),
            ("text.txt", "stack: a\n"),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        run(&root, &["add", "."]);
        run(&root, &["commit", "-m", "one"]);
        run(
            &root,
            &["rm", "--quiet", "plain.yaml", "quoted.yml", "spaced.yaml", "asked.yaml", "inner.yaml", "text.txt"],
        );
        let base = Commit::base(&root, "main").unwrap();
        assert_eq!(base.deleted_stacks(), ["asked.yaml", "plain.yaml", "quoted.yml", "spaced.yaml"].map(PathBuf::from));
    }

    #[test]
    fn a_submodule_does_not_bring_its_own_base() {
        let place = tempfile::tempdir().unwrap();
        let (outer, inner) = (repository(&place.path().join("outer")), repository(&place.path().join("inner")));
        run(&outer, &["rm", "-r", "--quiet", "stacks"]);
        run(&outer, &["submodule", "add", &inner.display().to_string(), "stacks"]);
        let base = Commit::base(&outer.join("stacks/stacks"), "main").unwrap();
        assert_eq!(base.root().canonicalize().unwrap(), outer.canonicalize().unwrap());
    }

    #[test]
    fn a_clone_without_the_base_says_what_to_fetch() {
        let place = tempfile::tempdir().unwrap();
        let root = repository(place.path());
        let url = format!("file://{}", root.display());
        let clone = place.path().join("shallow");
        run(place.path(), &["clone", "--depth=1", "--no-single-branch", "--branch=work", &url, "shallow"]);
        let error = Commit::base(&clone, "origin/main").unwrap_err();
        assert!(
            error.to_string().contains("does not reach back") && error.help.contains("fetch-depth: 2"),
            "{error:?}"
        );
        let error = Commit::base(&clone, "origin/nothing").unwrap_err();
        assert!(error.to_string().contains("does not reach back"), "{error:?}");
        run(&clone, &["fetch", "--unshallow"]);
        assert_eq!(Commit::base(&clone, "origin/main").unwrap().id(), Commit::base(&root, "main").unwrap().id());
        fs::create_dir(place.path().join("empty")).unwrap();
        run(&place.path().join("empty"), &["init"]);
        let error = Commit::base(&place.path().join("empty"), "main").unwrap_err();
        assert!(error.to_string().contains("no commit yet"), "{error}");
    }
}
