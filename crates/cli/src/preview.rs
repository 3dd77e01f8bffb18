//! The command `preview`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{sync::Semaphore, task::JoinSet};
use trunnion::{
    CancellationToken, Commit, CommitError, Error, ExitCode, Options,
    aws::Reads,
    preview::{Base, BaseFiles, Pair, Preview, Previewed, Problem, Terms, pairs},
};

use super::{
    arguments::{CloudArguments, Preview as Arguments, PreviewFormat},
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
    let Arguments { files, base: named, env, allow_file, format, trust_head, offline, cloud } = arguments;
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
    let mut terms = Terms::new();
    terms.trust_head = trust_head;
    let interrupt = signals::interrupt();
    let what = format!("planning {} stacks", different.len());
    let work = async {
        let planned = planned(different, (!offline).then_some(&cloud), &terms, &interrupt);
        with_progress(output, &what, planned).await
    };
    let stacks = Box::pin(signals::unless_interrupted(&interrupt, output, work)).await?;
    let preview = Preview { format: Preview::FORMAT, base, is_offline: offline, stacks, unchanged: same.len() };
    match format {
        PreviewFormat::Markdown => output.data(trunnion::render::preview(&preview).trim_end())?,
        PreviewFormat::Json => {
            let text = serde_json::to_string_pretty(&preview);
            let failed =
                |error| Failure::new("preview::json", format!("the preview cannot be written as JSON: {error}"));
            output.data(&text.map_err(failed)?)?;
        }
    }
    Ok(if preview.is_fine() { ExitCode::Done } else { ExitCode::Error })
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
