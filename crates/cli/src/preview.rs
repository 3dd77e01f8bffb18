//! The command `preview`.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet};
use trunnion::{
    CancellationToken, Commit, CommitError, Error, ExitCode, Options, Policies,
    aws::Reads,
    policies,
    preview::{Base, BaseFiles, Pair, Preview, Previewed, Problem, Terms, pairs},
    render, replace_file,
};

use super::{
    arguments::{CloudArguments, Preview as Arguments, PreviewFormat},
    comment,
    failure::Failure,
    output::Output,
    plan::sandbox_folder,
    signals, stack_file,
    waiting::with_progress,
};

/// How many stacks are planned at once.
const AT_ONCE: usize = 8;

/// Prints the preview. The exit code says whether it is complete and nothing forbids the change.
pub(crate) async fn preview(arguments: Arguments, output: Output) -> Result<ExitCode, Failure> {
    let Arguments { files, base: named, env, allow_file, format, .. } = arguments;
    let Arguments { out, policies: folder, trust_head, offline, cloud, .. } = arguments;
    if let Some(folder) = &out {
        is_new(folder)?;
    }
    // What is missing to post it is known before anything is planned.
    let forge = arguments.post.then(|| comment::forge(&arguments.comment)).transpose()?;
    for file in &files {
        stack_file::exists(file, "preview")?;
    }
    let (base, found) = read_base(&named, &files)?;
    let options = stack_file::options(&allow_file);
    let mut files = files;
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(std::path::absolute(file).unwrap_or_else(|_| file.clone())));
    if let Ok(BaseFiles::Commit(commit)) = &found {
        files.extend(deleted(commit, &files));
    }
    let all = files.iter().flat_map(|file| pairs(file, env.as_deref(), found.as_ref(), &options));
    let (same, different): (Vec<Pair>, Vec<Pair>) = all.partition(Pair::is_unchanged);
    let policies = read_policies(folder.as_deref(), (&found, trust_head))?;
    let mut terms = Terms::new(policies);
    terms.trust_head = trust_head;
    let interrupt = signals::interrupt();
    let what = match different.len() {
        1 => "planning 1 stack".to_owned(),
        count => format!("planning {count} stacks"),
    };
    let work = async {
        let planned = planned(different, (!offline).then_some(&cloud), &terms, &interrupt);
        with_progress(output, &what, planned).await
    };
    let stacks = Box::pin(signals::unless_interrupted(&interrupt, output, work)).await?;
    let preview = Preview { format: Preview::FORMAT, base, is_offline: offline, stacks, unchanged: same.len() };
    let markdown = render::preview(&preview);
    let text = match format {
        PreviewFormat::Markdown => markdown.clone(),
        PreviewFormat::Json => json(&preview)?,
        PreviewFormat::Html => render::preview_html(&preview),
    };
    output.data(text.trim_end())?;
    if let Some(folder) = &out {
        write(folder, &preview, &markdown)?;
    }
    if let Some(forge) = &forge {
        comment::post(forge, &arguments.comment.key, (&preview, &markdown), output).await?;
    }
    Ok(if preview.is_fine() { ExitCode::Done } else { ExitCode::Error })
}

fn json(document: &impl Serialize) -> Result<String, Failure> {
    let failed = |error| Failure::new("preview::json", format!("the preview cannot be written as JSON: {error}"));
    serde_json::to_string_pretty(document).map_err(failed)
}

/// Refuses a folder with content: a plan that an earlier preview left there could be applied with those of this one.
fn is_new(folder: &Path) -> Result<(), Failure> {
    match fs::read_dir(folder).map(|mut content| content.next().is_none()) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(false) => {
            let message = format!("`--out {}` is not empty", folder.display());
            Err(Failure::with_help("preview::out", message, "name a new folder, or delete this one first"))
        }
        Err(error) => {
            let message = format!("`--out {}` cannot be used: {error}", folder.display());
            Err(Failure::with_help("preview::out", message, "name a new folder"))
        }
    }
}

/// Writes the preview in each format, and each plan: `plans/FILE.json`, or `plans/FILE.ENVIRONMENT.json`.
fn write(folder: &Path, preview: &Preview, markdown: &str) -> Result<(), Failure> {
    let plans = folder.join("plans");
    let failed = |path: &Path, error: io::Error| {
        let message = format!("`{}` cannot be written: {error}", path.display());
        Failure::with_help("preview::out", message, "name a folder that can be written with `--out`")
    };
    fs::create_dir_all(&plans).map_err(|error| failed(&plans, error))?;
    let mut files = vec![
        (folder.join("preview.md"), markdown.to_owned()),
        (folder.join("preview.json"), json(preview)?),
        (folder.join("preview.html"), render::preview_html(preview)),
    ];
    for stack in &preview.stacks {
        let Some(plan) = stack.plan.as_ref().filter(|_| !preview.is_offline) else { continue };
        let environment = stack.environment.iter().flat_map(|name| [".", name]);
        let name: String = [stack.file.as_str()].into_iter().chain(environment).collect();
        let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_');
        let name: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
        let taken = |path: &PathBuf, files: &[(PathBuf, String)]| files.iter().any(|(other, _)| other == path);
        let mut path = plans.join(format!("{name}.json"));
        let mut number = 2;
        while taken(&path, &files) {
            path = plans.join(format!("{name}-{number}.json"));
            number += 1;
        }
        files.push((path, json(plan)?));
    }
    for (path, text) in files {
        replace_file(&path, text.as_bytes()).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The policies of the base, or of a folder.
fn read_policies(
    folder: Option<&Path>,
    (found, trust_head): (&Result<BaseFiles, CommitError>, bool),
) -> Result<Result<Policies, Problem>, Failure> {
    if let Some(folder) = folder {
        let failed = |Problem { message, help }: Problem| match help {
            Some(help) => Failure::with_help("preview::policies", message, help),
            None => Failure::new("preview::policies", message),
        };
        return policies::of_folder(folder).map(Ok).map_err(failed);
    }
    let none = || Ok(Policies::default());
    Ok(match found {
        Ok(BaseFiles::Commit(commit)) if !trust_head => policies::of_commit(commit),
        Ok(BaseFiles::Commit(commit)) => {
            let folder = commit.root().join(policies::FOLDER);
            if folder.is_dir() { policies::of_folder(&folder) } else { none() }
        }
        Ok(BaseFiles::File(_)) | Err(_) => none(),
    })
}

/// The base, and where its stacks are read.
fn read_base(named: &str, files: &[PathBuf]) -> Result<(Base, Result<BaseFiles, CommitError>), Failure> {
    let mut base = Base { named: named.to_owned(), commit: None, problem: None };
    // Who proposes a change may also add a file that has the name of a branch.
    let is_path = ["./", "../", "/"].iter().any(|start| named.starts_with(start));
    if is_path && Path::new(named).is_file() {
        if files.len() > 1 {
            let message =
                format!("`--base {named}` is a file, which is the base of one stack, but there are {}", files.len());
            return Err(Failure::with_help("preview::base", message, "name a branch, tag or commit"));
        }
        return Ok((base, Ok(BaseFiles::File(named.into()))));
    }
    let folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    let found = Commit::base(folder, named);
    match &found {
        Ok(commit) => base.commit = Some(commit.id().to_owned()),
        Err(error) => base.problem = Some(Problem { message: error.to_string(), help: Some(error.help.clone()) }),
    }
    Ok((base, found.map(|commit| BaseFiles::Commit(Arc::new(commit)))))
}

/// The stack files of the base that are not there any more, as they would be typed here.
fn deleted(commit: &Commit, named: &[PathBuf]) -> Vec<PathBuf> {
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    let typed = |path: PathBuf| path.strip_prefix(&here).map(Path::to_path_buf).unwrap_or(path);
    let gone = commit.deleted_stacks().into_iter().map(|path| typed(commit.root().join(path)));
    gone.filter(|path| !named.contains(path)).collect()
}

/// All previews, in the order of the pairs.
async fn planned(
    pairs: Vec<Pair>,
    cloud: Option<&CloudArguments>,
    terms: &Terms,
    interrupt: &CancellationToken,
) -> Result<Vec<Previewed>, Failure> {
    // The data of a sandbox belongs to one process at a time, and within it to one connection.
    let at_once = Arc::new(Semaphore::new(if cloud.is_some_and(|cloud| cloud.sandbox) { 1 } else { AT_ONCE }));
    let reads = Reads::new();
    let mut running: JoinSet<Result<(usize, Previewed), Error>> = JoinSet::new();
    for (at, pair) in pairs.into_iter().enumerate() {
        let options = cloud.map(|cloud| {
            let mut options = Options::new();
            options.sandbox = cloud.sandbox.then(|| sandbox_folder(pair.file()));
            options.transcript.clone_from(&cloud.transcript);
            // In a sandbox of its own, each stack has its own answers.
            options.reads = (!cloud.sandbox).then(|| reads.clone());
            options
        });
        let (at_once, terms, interrupt) = (Arc::clone(&at_once), terms.clone(), interrupt.clone());
        running.spawn(async move {
            let _turn = at_once.acquire_owned().await;
            Ok((at, Box::pin(pair.preview(options, &terms, &interrupt)).await?))
        });
    }
    let mut previews = Vec::new();
    while let Some(done) = running.join_next().await {
        let failed = |error| Failure::new("preview::stack", format!("the preview of a stack ended: {error}"));
        previews.push(done.map_err(failed)??);
    }
    previews.sort_by_key(|(at, _)| *at);
    Ok(previews.into_iter().map(|(_, previewed)| previewed).collect())
}
