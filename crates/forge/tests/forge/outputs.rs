//! Outputs and summaries of a step.

use std::{fs, path::Path};

use trunnion_forge::{LONGEST_SUMMARY, OutputError, Outputs};

fn outputs(folder: &Path) -> Outputs {
    Outputs::from_environment(&|name| {
        let name = match name {
            "GITHUB_OUTPUT" => "output",
            "GITHUB_STEP_SUMMARY" => "summary",
            _ => return None,
        };
        Some(folder.join(name).display().to_string())
    })
}

/// Reads a file of outputs as the runner does (`FileCommandManager` of `actions/runner`).
fn read(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        match (equals, heredoc) {
            (Some(equals), heredoc) if heredoc.is_none_or(|heredoc| equals < heredoc) => {
                found.push((line[..equals].to_owned(), line[equals + 1..].to_owned()));
            }
            (_, Some(heredoc)) => {
                let end = &line[heredoc + 2..];
                let mut value = Vec::new();
                loop {
                    let next = lines.next().unwrap();
                    if next.strip_suffix('\r').unwrap_or(next) == end {
                        break;
                    }
                    value.push(next);
                }
                found.push((line[..heredoc].to_owned(), value.join("\n")));
            }
            _ => panic!("{line:?}"),
        }
    }
    found
}

#[test]
fn every_value_is_read_as_it_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = outputs(folder.path());
    let values = [
        "plain",
        "",
        "a=b<<c",
        "<<EOF",
        "two\nlines",
        "\n",
        "EOF\nother=injected\n",
        "end_\nx<<y\ny\n",
        "a\rother=injected",
        "é 🌈",
    ];
    for value in values {
        outputs.set(&[("comment-url", value), ("_b", "2")]).unwrap();
    }
    let text = fs::read_to_string(folder.path().join("output")).unwrap();
    let expected: Vec<(String, String)> = values
        .iter()
        .flat_map(|value| [("comment-url".to_owned(), (*value).to_owned()), ("_b".to_owned(), "2".to_owned())])
        .collect();
    assert_eq!(read(&text), expected);
    let ends: std::collections::BTreeSet<&str> = text.lines().filter(|line| line.contains("<<end_")).collect();
    assert!(ends.len() >= 4, "a delimiter was used twice: {ends:?}");
}

#[test]
fn an_output_starts_on_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("output");
    std::io::Write::write_all(&mut fs::OpenOptions::new().create_new(true).append(true).open(&path).unwrap(), b"a=1")
        .unwrap();
    outputs(folder.path()).set(&[("b", "2")]).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "a=1\nb=2\n");
}

#[test]
fn names_and_missing_files_are_checked_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "a b", "a\nb", "1a", "a=b", "a<<b", "é", "-a"] {
        let error = outputs(folder.path()).set(&[("ok", "1"), (name, "2")]).unwrap_err();
        assert!(matches!(error, OutputError::Name { .. }), "{error}");
    }
    let long = "x".repeat(600_000);
    assert!(matches!(outputs(folder.path()).set(&[("a", &long)]), Err(OutputError::TooLong { .. })));
    assert!(!folder.path().join("output").exists());
    let none = Outputs::from_environment(&|name| (name == "GITHUB_OUTPUT").then(String::new));
    assert!(!none.has_outputs() && !none.has_summary());
    let error = none.set(&[]).unwrap_err();
    assert!(error.to_string().contains("`GITHUB_OUTPUT` is not set") && error.help().is_some(), "{error}");
    assert!(none.summarize("x").unwrap_err().to_string().contains("`GITHUB_STEP_SUMMARY`"));
    let error = outputs(Path::new("/nonexistent")).set(&[("a", "1")]).unwrap_err();
    assert!(error.to_string().contains("`GITHUB_OUTPUT` cannot be written"), "{error}");
}

#[test]
fn a_summary_stays_below_the_limit_with_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = outputs(folder.path());
    outputs.summarize("# One").unwrap();
    outputs.summarize("two\n").unwrap();
    let path = folder.path().join("summary");
    assert_eq!(fs::read_to_string(&path).unwrap(), "# One\ntwo\n");
    let rest = usize::try_from(LONGEST_SUMMARY).unwrap() - "# One\ntwo\n".len() - 1;
    let error = outputs.summarize(&"x".repeat(rest + 1)).unwrap_err();
    assert!(matches!(error, OutputError::TooLong { bytes, most, .. } if bytes == most + 1), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "# One\ntwo\n");
    outputs.summarize(&"x".repeat(rest)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), LONGEST_SUMMARY);
}
