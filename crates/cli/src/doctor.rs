//! The command `doctor`.

use trunnion::{ExitCode, Options, Verdict, aws};

use super::{
    arguments::{Doctor, Examined},
    failure::Failure,
    output::Output,
    plan::connect,
    print_calls, signals,
    waiting::with_progress,
};

impl From<Examined> for aws::Purpose {
    fn from(examined: Examined) -> Self {
        match examined {
            Examined::Plan => Self::Plan,
            Examined::Apply => Self::Apply,
            Examined::Destroy => Self::Destroy,
        }
    }
}

/// Prints the findings. The exit code says whether something is missing.
pub(crate) async fn doctor(arguments: Doctor, output: Output) -> Result<ExitCode, Failure> {
    let Doctor { stack, cloud, purposes, json } = arguments;
    let all = || vec![Examined::Plan, Examined::Apply, Examined::Destroy];
    let purposes = if purposes.is_empty() { all() } else { purposes };
    let purposes: Vec<aws::Purpose> = purposes.into_iter().map(aws::Purpose::from).collect();
    let interrupt = signals::interrupt();
    let work = async {
        let engine = Box::pin(connect("doctor", &stack.file, &stack.reading, &cloud, Options::new(), output)).await?;
        let what = format!("examining {}", engine.place());
        let examination = with_progress(output, &what, Box::pin(engine.examine(&purposes, &interrupt))).await?;
        Ok::<_, Failure>((engine, examination))
    };
    let (engine, examination) = signals::unless_interrupted(&interrupt, output, work).await?;
    if json {
        let text = serde_json::to_string_pretty(&examination);
        let failed = |error| Failure::new("doctor::json", format!("the findings cannot be written as JSON: {error}"));
        output.data(&text.map_err(failed)?)?;
    } else {
        output.readable(&trunnion::render::examination(&examination))?;
    }
    print_calls(&engine, output);
    engine.close().await;
    Ok(if examination.count(Verdict::Missing) > 0 { ExitCode::Error } else { ExitCode::Done })
}
