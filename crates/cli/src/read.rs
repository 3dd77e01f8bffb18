//! The commands that only read: `validate`, `show`, `render`.

use std::fmt::Write as _;

use serde_json::json;
use trunnion::render::style;
use trunnion::{Engine, Estimate, ExitCode, Invalid, Note, Options, Outputs, Place, Stack, State, blueprint, plain};

use super::{
    arguments::{Render, Rendered, Show, Validate},
    failure::Failure,
    output::Output,
    plan::{Form, connect, read_document, text},
    stack_file,
};

pub(crate) fn validate(arguments: &Validate, output: Output) -> Result<ExitCode, Failure> {
    let file = &arguments.stack.file;
    stack_file::exists(file, "validate")?;
    let reading = &arguments.stack.reading;
    let mut environments = vec![reading.env.clone()];
    if reading.env.is_none() {
        environments.extend(Stack::environments_of(file).into_iter().map(Some));
    }
    let mut mistakes = Vec::new();
    let mut checked = Vec::new();
    let mut doubts: Vec<Note> = Vec::new();
    for environment in environments {
        match Stack::load(file, environment.as_deref(), &stack_file::options(&reading.allow_file)) {
            Ok(stack) => {
                doubts.extend(
                    trunnion::check(&stack)?.into_iter().filter(|found| !doubts.contains(found)).collect::<Vec<_>>(),
                );
                warn(&stack, output);
            }
            Err(invalid) => mistakes.push(invalid),
        }
        checked.push(environment.unwrap_or_else(|| "the base".to_owned()));
    }
    if let Some(mistakes) = Invalid::join(mistakes) {
        return Err(mistakes.into());
    }
    if !doubts.is_empty() {
        output.say(trunnion::render::notes(&doubts).trim_end());
    }
    output.say(&format!("`{}` is valid ({})", file.display(), checked.join(", ")));
    Ok(ExitCode::Done)
}

/// Warns about values in plain text that may be secrets.
fn warn(stack: &Stack, output: Output) {
    for found in trunnion::blueprint::secrets_in_clear(stack) {
        let mut warning = stack.sources.diagnostic(&found.path, found.code, found.message, found.help);
        warning.severity = trunnion::stack::Severity::Warning;
        // Without the source line, which would show the secret.
        warning.span = None;
        output.report(&warning);
    }
}

pub(crate) async fn show(arguments: Show, output: Output) -> Result<ExitCode, Failure> {
    if stack_file::is_plan(&arguments.file) {
        return show_plan(&arguments, output);
    }
    if arguments.summary || arguments.markdown {
        let message = format!(
            "`--summary` and `--markdown` are for a plan document, but `{}` is not a plan",
            arguments.file.display()
        );
        let help = "write one with `trunnion plan --out PLAN.json`";
        return Err(Failure::with_help("show::arguments", message, help));
    }
    let file = &arguments.file;
    let engine: Engine =
        Box::pin(connect("show", file, &arguments.reading, &arguments.cloud, Options::new(), output)).await?;
    let recorded = engine.recorded().await?;
    let state = engine.state().await?;
    if arguments.cost || arguments.capacity {
        let estimate = blueprint::estimate_of_state(engine.stack(), &state);
        engine.close().await;
        return figures(&arguments, Some(&estimate), output);
    }
    let outputs = Outputs::new(engine.stack(), &state);
    if arguments.json {
        output.data(&format!("{:#}", json!({"state": state, "outputs": outputs})))?;
    } else if state.resources.is_empty() && !recorded.resources.is_empty() {
        output.say(&format!(
            "No resource of `{}` is recorded for {}. The recorded resources were applied to {}.",
            outputs.stack,
            engine.place(),
            shown_place(&recorded.place)
        ));
    } else if state.resources.is_empty() {
        output.say(&format!(
            "No resource of `{}` is recorded. If the stack was applied, the next plan finds its resources by their \
             tags.",
            outputs.stack
        ));
    } else {
        let mut text = format!(
            "{}Stack {}{:#} · applied to {}\n\n",
            style::STRONG,
            outputs.stack,
            style::STRONG,
            shown_place(&recorded.place)
        );
        text += &hosts(&outputs);
        text += &boots(&state);
        let _ = writeln!(text, "\n{}Resources{:#}", style::STRONG, style::STRONG);
        let width = state.resources.keys().map(|address| address.to_string().len()).max().unwrap_or_default();
        for (address, recorded) in &state.resources {
            let _ = writeln!(
                text,
                "  {address:width$}  {}  {}{}{:#}",
                plain(&recorded.id),
                style::FAINT,
                plain(&recorded.applied_at),
                style::FAINT
            );
        }
        output.readable(&text)?;
    }
    engine.close().await;
    Ok(ExitCode::Done)
}

/// Prints a saved plan from its file only, without any AWS call.
fn show_plan(arguments: &Show, output: Output) -> Result<ExitCode, Failure> {
    if arguments.reading.env.is_some() {
        let message =
            format!("`{}` is a plan document, which already contains its environment", arguments.file.display());
        return Err(Failure::with_help("show::arguments", message, "remove `--env`"));
    }
    let document = read_document(&arguments.file)?;
    if arguments.cost || arguments.capacity {
        return figures(arguments, document.remarks.estimate.as_ref(), output);
    }
    if arguments.json {
        output.data(&text(&document)?)?;
    } else {
        Form::of(arguments.summary, arguments.markdown).print(&document, output)?;
    }
    Ok(ExitCode::Done)
}

/// Prints what is asked for of an estimate.
fn figures(arguments: &Show, estimate: Option<&Estimate>, output: Output) -> Result<ExitCode, Failure> {
    let Some(estimate) = estimate else {
        let message = format!("`{}` has no estimate", arguments.file.display());
        return Err(Failure::with_help("show::estimate", message, "make a new plan with this version of trunnion"));
    };
    if arguments.json {
        output.data(&format!("{:#}", json!(estimate)))?;
        return Ok(ExitCode::Done);
    }
    let mut parts = Vec::new();
    if arguments.cost {
        parts.push(trunnion::render::cost(estimate));
    }
    if arguments.capacity {
        parts.push(trunnion::render::capacity(estimate));
    }
    parts.push(trunnion::render::assumptions(estimate));
    output.readable(&parts.join("\n"))?;
    Ok(ExitCode::Done)
}

/// What the hosts of each pool boot, from the recorded launch templates.
fn boots(state: &State) -> String {
    let mut text = String::new();
    for (address, recorded) in &state.resources {
        let boot = recorded.attributes.get("boot").and_then(|boot| boot.as_map());
        let word = |name: &str| boot?.get(name)?.as_text();
        if let (Some(generator), Some(trunnion)) = (word("generator"), word("trunnion")) {
            let short = generator.get(..12).unwrap_or(generator);
            let _ = writeln!(text, "  {}  {}  Trunnion {}", plain(&address.name), plain(short), plain(trunnion));
        }
    }
    if text.is_empty() { text } else { format!("{}Generators{:#}\n{text}", style::STRONG, style::STRONG) }
}

fn shown_place(key: &str) -> String {
    plain(&Place::of_key(key).map_or_else(|| key.to_owned(), |place| place.to_string()))
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn boot(stack: &Stack, pool: &str) -> Result<String, Failure> {
    let boot = || blueprint::boot(stack, pool, &blueprint::Binaries::of(stack));
    boot().map_err(refused(stack))
}

fn refused(stack: &Stack) -> impl Fn(blueprint::BlueprintError) -> Failure + '_ {
    |error| trunnion::Error::blueprint(stack, error).into()
}

/// One line per host.
pub(crate) fn hosts(outputs: &Outputs) -> String {
    let mut text = format!("{}Hosts of {}{:#}\n", style::STRONG, outputs.stack, style::STRONG);
    let width = |of: fn(&trunnion::Host) -> usize| outputs.hosts.iter().map(of).max().unwrap_or_default();
    let (address_width, ip_width) = (width(|host| host.address.len()), width(|host| host.private_ip.len()));
    let public_width = width(|host| host.public_ip.as_ref().map_or(0, |ip| ip.len() + 2));
    for host in &outputs.hosts {
        let public = host.public_ip.as_ref().map(|ip| format!("  {ip}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "  {:address_width$}  {}  {:ip_width$}{public:public_width$}  {}  {}  {}",
            host.address,
            host.id,
            host.private_ip,
            counted(host.interfaces.len(), "interface", "interfaces"),
            counted(host.addresses as usize, "address", "addresses"),
            host.location.as_deref().unwrap_or("in no location"),
        );
    }
    if let Some(control_plane) = &outputs.control_plane {
        let _ = writeln!(text, "{}Control plane{:#}\n  {control_plane}", style::STRONG, style::STRONG);
    }
    text
}

pub(crate) fn render(arguments: &Render, output: Output) -> Result<ExitCode, Failure> {
    let verb = match arguments.what {
        Rendered::Boot => "render boot",
        Rendered::Conf => "render conf",
        Rendered::Policy => "render policy",
    };
    let stack = stack_file::load(&arguments.stack.file, &arguments.stack.reading, verb)?;
    match arguments.what {
        Rendered::Boot => {
            let pools: Vec<&str> = stack.pools.keys().map(String::as_str).collect();
            let pool = match (&arguments.pool, pools.as_slice()) {
                (Some(pool), _) => pool.as_str(),
                (None, [only]) => only,
                (None, _) => {
                    return Err(Failure::with_help(
                        "render::pool",
                        format!("the stack has {} pools", pools.len()),
                        format!("choose one with `--pool NAME`: {}", pools.join(", ")),
                    ));
                }
            };
            output.data(&boot(&stack, pool)?)?;
        }
        Rendered::Conf => {
            output.data(&blueprint::with_placeholders(
                &blueprint::control_plane_conf(&stack).map_err(refused(&stack))?,
            ))?;
        }
        Rendered::Policy => {
            let mut text = String::new();
            for (name, policy) in blueprint::policies(&stack).map_err(refused(&stack))? {
                let _ = writeln!(text, "# {name}\n{policy}\n");
            }
            output.data(text.trim_end())?;
        }
    }
    Ok(ExitCode::Done)
}
