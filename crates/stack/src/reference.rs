//! Generates `docs/stack.md`, the reference of the stack language, from the declarations of the keys.

use std::fmt::Write as _;

use crate::{
    environment::ENVIRONMENTS,
    forms,
    language::{Absent, Below, Description, Entry, STACK},
    names,
    sources::path_below,
};

/// The column of the remarks in an example. The remark of a longer line follows directly.
const REMARKS: usize = 56;

const HEAD: &str = "\
# The stack file

<!-- Written from the declarations in crates/stack/src/language. A test of that crate keeps it fresh. -->

One YAML file describes one load-testing platform on AWS: generator hosts, the Gatling control plane and private locations.
`trunnion validate stack.yaml` checks it with every environment in it, and reports each mistake with its place and the next step.
";

const WRITING: &str = "\
## How it is written

- The file is YAML 1.2 in UTF-8, of at most 1 MiB. Anchors, aliases and merge keys (`<<`) work.
- A key that is not listed here is an error. So is a key that is written twice.
- Text that YAML would read as something else needs quotes: `account: \"123456789012\"`. So does a value that ends in a colon.
- A list or a map that is not required may be empty: `zones:` is the same as `zones: []`.
- Relative paths start at the folder of the stack file.
- Secrets are never written into the file. It names their ARNs in Secrets Manager.
- With `# yaml-language-server: $schema=…/stack.schema.json` as the first line, editors complete and check the file.
  `trunnion schema stack` prints that schema.
";

/// The reference of the stack language: every key with its type, default, bounds and examples, as Markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let _ =
        write!(text, "\n## The shortest stack\n\nOnly what is required:\n\n```yaml\n{}```\n", example(Of::Required));
    let _ = write!(
        text,
        "\n## Every key at a glance\n\nEach key has an example value. The comment says what holds without the key.\n\n```yaml\n{}```\n",
        example(Of::Everything)
    );
    let _ = write!(text, "\n{WRITING}");
    text.push_str("\n## The top of the file\n");
    keys(&STACK, "", &mut text);
    text.push('\n');
    text.push_str(&environments());
    text
}

/// What an example shows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    Required,
    Everything,
}

/// A stack file made of the keys' examples.
fn example(of: Of) -> String {
    let mut lines = Vec::new();
    example_of(&STACK, of, "", &mut lines);
    let mut text = String::new();
    for (line, remark) in lines {
        let _ = match of {
            Of::Required => writeln!(text, "{line}"),
            Of::Everything if remark.is_empty() => writeln!(text, "{line}"),
            Of::Everything => writeln!(text, "{line:REMARKS$}  # {remark}"),
        };
    }
    text
}

/// The lines, each with the default of its key.
fn example_of(section: &Description, of: Of, indent: &str, lines: &mut Vec<(String, String)>) {
    for (at, entry) in section.keys.iter().enumerate() {
        let before = section.keys.get(..at).unwrap_or_default();
        // If exactly one of two keys is required, the second one is shown as a comment.
        let is_second = matches!(entry.absent, Absent::Either(other) if before.iter().any(|key| key.name == other));
        let is_required = matches!(entry.absent, Absent::Required | Absent::Either(_)) && !is_second;
        if of == Of::Required && !is_required {
            continue;
        }
        let mark = if is_second { "# " } else { "" };
        let value = entry.examples.first().map(|example| format!(" {example}")).unwrap_or_default();
        lines.push((format!("{indent}{mark}{}:{value}", entry.name), remark(entry)));
        match &entry.kind.below {
            Below::Keys(section) if value.is_empty() => example_of(section, of, &format!("{indent}  "), lines),
            Below::Named(named) => {
                lines.push((format!("{indent}  {}:", named.example), String::new()));
                example_of(&named.each, of, &format!("{indent}    "), lines);
            }
            _ => {}
        }
    }
}

/// The default of a key, or why it has none.
fn without(entry: &Entry) -> Result<String, String> {
    match entry.absent {
        Absent::Required => Err("required".to_owned()),
        Absent::Either(other) => Err(format!("required, or `{other}` instead")),
        Absent::Value(value) => Ok(format!("`{value}`")),
        Absent::Otherwise(words) => Ok(words.to_owned()),
    }
}

/// The default on one line; empty for a section whose keys have defaults.
fn remark(entry: &Entry) -> String {
    match without(entry) {
        Ok(_) if entry.absent == Absent::Value("{}") => String::new(),
        Ok(default) => format!("default: {}", default.replace('`', "")),
        Err(why) => why.replace('`', ""),
    }
}

/// The chapters of all keys. Each key is followed by the keys below it.
fn keys(section: &Description, path: &str, text: &mut String) {
    for entry in &section.keys {
        let path = path_below(path, entry.name);
        match &entry.kind.below {
            Below::Keys(section) if entry.examples.is_empty() => {
                let _ = write!(text, "\n## `{path}`\n\n{}\n", about(entry));
                keys(section, &path, text);
            }
            Below::Named(named) => {
                let _ = write!(text, "\n## `{path}`\n\n{}\n\n{}", about(entry), facts(entry));
                let path = path_below(&path, named.placeholder);
                let _ = write!(text, "\n{}\n", named.each.about);
                keys(&named.each, &path, text);
            }
            Below::Keys(_) | Below::Anything => {
                let _ = write!(text, "\n### `{path}`\n\n{}\n\n{}", entry.about, facts(entry));
                if let Below::Keys(section) = &entry.kind.below {
                    keys(section, &path, text);
                }
            }
        }
    }
}

/// What a section is for, and whether it is required.
fn about(entry: &Entry) -> String {
    let needed = if entry.absent == Absent::Required { "Required." } else { "May be left out." };
    format!("{} {needed}", entry.about)
}

/// Type, bounds, default and examples as a list.
fn facts(entry: &Entry) -> String {
    let default = without(entry).unwrap_or_else(|why| format!("none ({why})"));
    let examples: Vec<String> = entry.examples.iter().map(|example| format!("`{}: {example}`", entry.name)).collect();
    let facts = [
        ("Type", std::slice::from_ref(&entry.kind.name)),
        ("Allowed", &entry.kind.bounds),
        ("Default", &[default]),
        (if examples.len() > 1 { "Examples" } else { "Example" }, &examples),
    ];
    let mut text = String::new();
    for (label, values) in facts {
        match values {
            [] => {}
            [only] => {
                let _ = writeln!(text, "- **{label}:** {only}");
            }
            several => {
                let _ = writeln!(text, "- **{label}:**");
                for one in several {
                    let _ = writeln!(text, "  - {one}");
                }
            }
        }
    }
    text
}

/// The chapter about environments.
fn environments() -> String {
    let mut replaced = Vec::new();
    whole(&STACK, "", &mut replaced);
    let replaced: Vec<String> = replaced.iter().map(|path| format!("`{path}`")).collect();
    let name = forms::ENVIRONMENT_NAME.words();
    let (joint, pair) = (names::JOINT, names::LONGEST_PAIR);
    format!(
        "\
## `{ENVIRONMENTS}`

What differs between environments of the same platform, by name. May be left out.

```yaml
{ENVIRONMENTS}:
  staging:
    pools: {{ heavy: {{ count: 1 }} }}       # the other keys of the pool stay as they are
    generator: {{ metrics_from: null }}    # removes the key: the default holds
  same-again:                            # differs by its name alone
```

`--env staging` chooses an environment, and without `--env` none is chosen. An environment may have every key above but
`{ENVIRONMENTS}`, and needs none. It is laid over the stack:

- Maps are merged, key by key. Everything else is replaced, lists included.
- {} are replaced as a whole, also where both values are maps.
- A pool's `zone` takes the place of its `subnet`, and the other way round.
- `null` or `~` removes a key. Nothing after the colon leaves a map as it is.

Each environment is a stack of its own, next to the one without an environment. It has its own resources and its own state.

- Its name is the stack's name, a hyphen and the environment's: `loadtest-staging`. Where one of the two has a hyphen itself, two
  hyphens join them: `loadtest{joint}same-again`.
- An environment's name has {name}, and no two hyphens in a row.
  Both names have {pair} characters together at most.
- All environments are searched for unknown keys and for secrets, whichever is chosen. The rest of an environment is checked once
  it is chosen, and by `trunnion validate`.
",
        replaced.join(" and "),
    )
}

/// The keys that an environment replaces as a whole.
fn whole(section: &Description, path: &str, found: &mut Vec<String>) {
    for entry in &section.keys {
        let path = path_below(path, entry.name);
        match &entry.kind.below {
            _ if entry.kind.is_replaced => found.push(path),
            Below::Keys(section) => whole(section, &path, found),
            Below::Named(named) => whole(&named.each, &path_below(&path, named.placeholder), found),
            Below::Anything => {}
        }
    }
}
