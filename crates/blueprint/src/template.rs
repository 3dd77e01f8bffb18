//! Renders templates. The built-in ones in this process. A stack's own template may be text of somebody who is not trusted, and can
//! loop or grow without end: it is rendered in a process of its own, whose memory and time are limited, if the caller names a program
//! for that.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tera::{Context, ErrorKind, Kwargs, State, Tera};

use crate::error::BlueprintError as Error;

/// The longest text that a template renders to, in bytes: far more than AWS takes as user data.
const LONGEST: usize = 1 << 20;

/// The memory that rendering may take, in bytes, with the program itself.
const MEMORY: u64 = 1 << 30;

/// The time of the processor that rendering may take, in seconds.
const SECONDS: u64 = 3;

/// The argument with which the program renders.
pub const RENDER: &str = "render-template";

/// A template that renders for any variables.
pub(crate) struct Template {
    name: String,
    text: String,
    how: How,
}

enum How {
    Here(Arc<Tera>),
    Apart(PathBuf),
}

/// What a process of its own renders. Without variables, the template is only parsed.
#[derive(Serialize, Deserialize)]
struct Request {
    name: String,
    text: String,
    variables: Option<serde_json::Value>,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    Rendered(String),
    Failed { line: Option<usize>, message: String },
}

impl Template {
    /// A template that this process renders. `name` is the one in messages.
    pub(crate) fn here(name: String, text: String) -> Result<Self, Error> {
        let tera = parsed(&name, &text).map_err(|failed| failed.of(&name))?;
        Ok(Self { name, text, how: How::Here(Arc::new(tera)) })
    }

    /// A template of this program, which is parsed once.
    pub(crate) fn built_in(name: &'static str, text: &'static str) -> Result<Self, Error> {
        static PARSED: Mutex<BTreeMap<&str, Arc<Tera>>> = Mutex::new(BTreeMap::new());
        let mut known = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
        let tera = if let Some(tera) = known.get(name) {
            Arc::clone(tera)
        } else {
            let tera = Arc::new(parsed(name, text).map_err(|failed| failed.of(name))?);
            known.insert(name, Arc::clone(&tera));
            tera
        };
        Ok(Self { name: name.to_owned(), text: text.to_owned(), how: How::Here(tera) })
    }

    /// A template that this program renders in a process of its own.
    pub(crate) fn apart(name: String, text: String, program: &Path) -> Result<Self, Error> {
        let template = Self { name, text, how: How::Apart(program.to_path_buf()) };
        template.ask(program, None)?;
        Ok(template)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text for these variables.
    pub(crate) fn render(&self, variables: &impl Serialize) -> Result<String, Error> {
        match &self.how {
            How::Here(tera) => rendered(tera, &self.name, variables).map_err(|failed| failed.of(&self.name)),
            How::Apart(program) => self.ask(program, Some(serde_json::to_value(variables)?)),
        }
    }

    fn ask(&self, program: &Path, variables: Option<serde_json::Value>) -> Result<String, Error> {
        let failed = |message: String| Failed { line: None, message }.of(&self.name);
        let request = Request { name: self.name.clone(), text: self.text.clone(), variables };
        let (status, answer) = exchange(program, &serde_json::to_vec(&request)?)
            .map_err(|error| failed(format!("`{} {RENDER}` does not run: {error}", program.display())))?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Rendered(text)) => Ok(text),
            Ok(Answer::Failed { line, message }) => Err(Failed { line, message }.of(&self.name)),
            Err(_) => Err(failed(format!(
                "rendering takes more than {SECONDS} seconds, more than {} MiB of memory, or nests too deeply ({})",
                MEMORY >> 20,
                ended(status)
            ))),
        }
    }
}

/// How a process ended, in words that are the same on every machine.
fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("its process ended by signal {signal}");
    }
    status.code().map_or_else(|| "its process ended".to_owned(), |code| format!("its process ended with code {code}"))
}

/// Sends a request to the program, without the environment of this process, and returns what it printed.
fn exchange(program: &Path, request: &[u8]) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut process = Command::new(program)
        .arg(RENDER)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // It reads everything before it answers. One that ends before breaks the pipe, and its status says more.
    let _ = process.stdin.take().map(|mut input| input.write_all(request));
    let mut answer = Vec::new();
    // As JSON, a character can take six bytes.
    let limit = (LONGEST * 6 + 1024) as u64;
    let read = process.stdout.take().map(|output| output.take(limit).read_to_end(&mut answer));
    let status = process.wait()?;
    read.transpose()?;
    Ok((status, answer))
}

/// Reads a request, renders it within the limits, and answers: what the program does with the argument [`RENDER`].
///
/// # Errors
/// When the input is no request, or the limits cannot be set.
pub fn render_apart(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut request = Vec::new();
    input.read_to_end(&mut request)?;
    let Request { name, text, variables } = serde_json::from_slice(&request)?;
    limit()?;
    let answer = match (parsed(&name, &text), variables) {
        (Err(failed), _) => Err(failed),
        (Ok(_), None) => Ok(String::new()),
        (Ok(tera), Some(variables)) => rendered(&tera, &name, &variables),
    };
    let answer = match answer {
        Ok(text) => Answer::Rendered(text),
        Err(Failed { line, message }) => Answer::Failed { line, message },
    };
    serde_json::to_writer(&mut output, &answer)?;
    output.flush()
}

#[cfg(unix)]
fn limit() -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    // macOS knows no limit of the address space.
    #[cfg(target_os = "linux")]
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(setrlimit(Resource::RLIMIT_CPU, SECONDS, SECONDS)?)
}

#[cfg(not(unix))]
fn limit() -> io::Result<()> {
    Ok(())
}

/// Why a template does not render.
struct Failed {
    line: Option<usize>,
    message: String,
}

impl Failed {
    fn of(self, template: &str) -> Error {
        Error::Render { template: template.to_owned(), line: self.line, message: self.message }
    }
}

impl From<tera::Error> for Failed {
    fn from(error: tera::Error) -> Self {
        match error.kind() {
            ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
                Self { line: Some(report.span().start_line), message: report.message().to_owned() }
            }
            other => Self { line: None, message: other.to_string() },
        }
    }
}

fn parsed(name: &str, text: &str) -> Result<Tera, Failed> {
    let mut tera = Tera::new();
    tera.register_filter("quote", quote);
    tera.add_raw_template(name, text)?;
    Ok(tera)
}

fn rendered(tera: &Tera, name: &str, variables: &impl Serialize) -> Result<String, Failed> {
    let context = Context::from_serialize(variables)?;
    let mut bounded = Bounded(Vec::new());
    let result = tera.render_to(name, &context, &mut bounded);
    if bounded.0.len() > LONGEST {
        return Err(Failed { line: None, message: format!("it renders to more than {} MiB", LONGEST >> 20) });
    }
    result?;
    String::from_utf8(bounded.0).map_err(|error| Failed { line: None, message: error.to_string() })
}

/// Text that ends as soon as it is too long.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > LONGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Quotes a text as one word for the shell. Plain text stays as it is. Other text is put in single quotes, between
/// which only the single quote itself is special.
fn quote(text: &str, _: Kwargs, _: &State) -> tera::TeraResult<String> {
    if text.contains('\0') {
        return Err(tera::Error::message("text for the shell cannot hold the character NUL"));
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "@%+=:,./-_".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}
