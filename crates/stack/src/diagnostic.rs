//! Mistakes in a stack file, each with its place and the next step.
//!
//! Collects the findings of every stage, in any order, into an [`Invalid`], which is sorted by place and which `miette`
//! can print.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    sync::Arc,
};

use miette::{LabeledSpan, Severity, SourceCode, SourceSpan};

use crate::excerpt::{Shown, cut};

/// The most mistakes that are reported. A hostile file may have a hundred thousand.
const MOST: usize = 100;

/// One mistake, or one warning, about one place of a stack file. `Display` is its one sentence.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// What kind of mistake it is, such as `stack::unknown_key`; stable, for tools.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// The bytes of the mistake; `None` if it concerns the whole file.
    pub span: Option<SourceSpan>,
    /// An error stops the plan, a warning does not.
    pub severity: Severity,
    also: Option<(SourceSpan, &'static str)>,
    source: Option<Arc<Shown>>,
}

impl Diagnostic {
    /// An error about this place, still without its file.
    pub(crate) fn new(code: &'static str, span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            message: message.into(),
            help: None,
            span: span.map(SourceSpan::from),
            severity: Severity::Error,
            also: None,
            source: None,
        }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at a second place, with a label.
    pub(crate) fn with_also(mut self, span: Range<usize>, label: &'static str) -> Self {
        self.also = Some((span.into(), label));
        self
    }

    pub(crate) fn with_source(mut self, source: &Arc<Shown>) -> Self {
        self.source = Some(Arc::clone(source));
        self
    }

    /// Line and column of the mistake, both counted from 1, the column in characters.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let text = &self.source.as_ref()?.text;
        let before = text.get(..self.span?.offset())?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before.get(line_start..)?.chars().count() + 1))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let here = LabeledSpan::new_primary_with_span(self.also.map(|_| "here".to_owned()), cut(self.span?));
        let also = self.also.map(|(span, label)| LabeledSpan::new_with_span(Some(label.to_owned()), cut(span)));
        Some(Box::new(std::iter::once(here).chain(also)))
    }
}

/// A stack file that cannot be used, with everything that is wrong with it.
#[derive(Debug, Clone)]
pub struct Invalid {
    diagnostics: Vec<Diagnostic>,
    name: String,
}

impl Invalid {
    /// All mistakes of several readings of one file, each once; `None` without any reading.
    pub fn join(readings: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut readings = readings.into_iter();
        let mut all = readings.next()?;
        for found in readings.flat_map(|reading| reading.diagnostics) {
            let is_same = |known: &Diagnostic| {
                (known.code, &known.message, known.span) == (found.code, &found.message, found.span)
            };
            if !all.diagnostics.iter().any(is_same) {
                all.diagnostics.push(found);
            }
        }
        all.diagnostics.sort_by_key(|found| found.span.map(|span| span.offset()));
        Some(all)
    }

    /// Every mistake, sorted by place; never empty.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.diagnostics.len() {
            1 => write!(f, "`{}` has a mistake", self.name),
            MOST => write!(f, "`{}` has {MOST} mistakes or more", self.name),
            mistakes => write!(f, "`{}` has {mistakes} mistakes", self.name),
        }
    }
}

impl std::error::Error for Invalid {}

impl miette::Diagnostic for Invalid {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(self.diagnostics.iter().map(|found| found as &dyn miette::Diagnostic)))
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Diagnostic>,
    hidden: Vec<Range<usize>>,
    mistyped: BTreeSet<String>,
    removed: BTreeMap<String, Removal>,
}

/// The `null` with which an environment removes a key.
#[derive(Debug)]
struct Removal {
    environment: String,
    place: Range<usize>,
}

impl Findings {
    pub(crate) fn push(&mut self, found: Diagnostic) {
        if self.list.len() < MOST {
            self.list.push(found);
        }
    }

    /// Hides these bytes of the file in all output, because they may be a secret.
    pub(crate) fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// Records that the key at this path exists but is mistyped, so that it is not also reported as missing.
    pub(crate) fn mistyped(&mut self, path: String) {
        self.mistyped.insert(path);
    }

    pub(crate) fn is_mistyped(&self, path: &str) -> bool {
        self.mistyped.contains(path)
    }

    /// Records which environment removes the key at this path, and where.
    pub(crate) fn removed(&mut self, path: String, environment: &str, place: Range<usize>) {
        self.removed.insert(path, Removal { environment: environment.to_owned(), place });
    }

    /// Which environment removes the key at this path, and where.
    pub(crate) fn removal(&self, path: &str) -> Option<(&str, Range<usize>)> {
        self.removed.get(path).map(|removal| (removal.environment.as_str(), removal.place.clone()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The hidden places.
    pub(crate) fn hidden(&self) -> &[Range<usize>] {
        &self.hidden
    }

    /// The mistakes of a file whose text cannot be shown.
    pub(crate) fn into_invalid_without_text(self, name: &str) -> Invalid {
        Invalid { diagnostics: self.list, name: name.to_owned() }
    }

    /// The mistakes, sorted by place, each with its file.
    pub(crate) fn into_invalid(self, source: &Arc<Shown>) -> Invalid {
        let mut list = self.list;
        list.sort_by(|a, b| {
            let place = |found: &Diagnostic| found.span.map(|span| (span.offset(), span.len()));
            (place(a), a.code, &a.message).cmp(&(place(b), b.code, &b.message))
        });
        Invalid {
            diagnostics: list.into_iter().map(|found| found.with_source(source)).collect(),
            name: source.name.clone(),
        }
    }
}
