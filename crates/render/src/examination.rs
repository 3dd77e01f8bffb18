//! Writes the examination of an account: a line for each finding, what is missing last.

use std::fmt::Write as _;

use anstyle::Style;
use trunnion_engine::{Examination, Finding, Verdict};

use crate::{style, visible::line as visible};

/// The whole examination, with ANSI styles.
pub fn examination(examination: &Examination) -> String {
    let mut text = String::new();
    let title = format!("{} in {}", examination.stack, examination.place);
    line(&mut text, style::STRONG, &visible(&title), "");
    text.push('\n');
    for verdict in [Verdict::Ok, Verdict::Unknown, Verdict::Missing] {
        for finding in examination.findings.iter().filter(|finding| finding.verdict == verdict) {
            write_finding(&mut text, finding);
        }
    }
    text.push('\n');
    let [ok, missing, unknown] = [Verdict::Ok, Verdict::Missing, Verdict::Unknown].map(|one| examination.count(one));
    line(&mut text, style::STRONG, &format!("{ok} ok, {missing} missing, {unknown} unknown"), "");
    text
}

fn write_finding(text: &mut String, finding: &Finding) {
    let (style, word) = match finding.verdict {
        Verdict::Ok => (style::CREATE, "ok"),
        Verdict::Missing => (style::DELETE, "missing"),
        Verdict::Unknown => (style::UPDATE, "unknown"),
    };
    let what = format!("{}: {}", visible(&finding.subject), visible(&finding.detail));
    line(text, style, &format!("{word:8}"), &what);
    if let Some(help) = &finding.help {
        line(text, style::FAINT, "        help: ", &visible(help));
    }
}

fn line(text: &mut String, style: Style, styled: &str, plain: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{style}{styled}{style:#}{plain}");
}
