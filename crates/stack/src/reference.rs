//! The reference of the stack language as Markdown, made from the declarations of the keys: `docs/stack.md`.

use std::fmt::Write as _;

use crate::{
    environment::ENVIRONMENTS,
    forms,
    language::{Absent, Below, Description, Entry, STACK},
    names,
    sources::path_below,
};

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
- Secrets never stand in the file. It names their ARNs in Secrets Manager.
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
        "\n## Every key at a glance\n\nWith example values. The comments say what holds without the key.\n\n```yaml\n{}```\n",
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

/// A stack file of the keys' own examples.
fn example(of: Of) -> String {
    let mut text = String::new();
    example_of(&STACK, of, 0, &mut text);
    text
}

fn example_of(section: &Description, of: Of, indent: usize, text: &mut String) {
    let blank = " ".repeat(2 * indent);
    for (at, entry) in section.keys.iter().enumerate() {
        let is_second = matches!(entry.absent, Absent::Either(other)
            if section.keys.iter().take(at).any(|earlier| earlier.name == other));
        let is_required = matches!(entry.absent, Absent::Required | Absent::Either(_)) && !is_second;
        if of == Of::Required && !is_required {
            continue;
        }
        let remark = match of {
            Of::Required => String::new(),
            Of::Everything => without(entry, ""),
        };
        let hidden = if is_second { "# " } else { "" };
        let line = match entry.examples.first() {
            Some(example) => format!("{blank}{hidden}{}: {example}", entry.name),
            None => format!("{blank}{hidden}{}:", entry.name),
        };
        let remark = if remark.is_empty() { remark } else { format!("  # {remark}") };
        let _ = writeln!(text, "{line}{remark}");
        match &entry.kind.below {
            Below::Keys(section) if entry.examples.is_empty() => example_of(section, of, indent + 1, text),
            Below::Named(named) => {
                let _ = writeln!(text, "{blank}  {}:", named.example);
                example_of(&named.each, of, indent + 2, text);
            }
            _ => {}
        }
    }
}

/// What holds without a key, with this mark around what a file would have.
fn without(entry: &Entry, mark: &str) -> String {
    match entry.absent {
        Absent::Required => "required".to_owned(),
        Absent::Either(other) => format!("required, or {mark}{other}{mark} instead"),
        Absent::Value("{}") => String::new(),
        Absent::Value(value) => format!("default: {mark}{value}{mark}"),
        Absent::Otherwise(words) if mark.is_empty() => format!("default: {}", words.replace('`', "")),
        Absent::Otherwise(words) => format!("default: {words}"),
    }
}

/// The chapters of all keys: those of one section one after the other, each followed by the keys below it.
fn keys(section: &Description, path: &str, text: &mut String) {
    for entry in &section.keys {
        let path = path_below(path, entry.name);
        match &entry.kind.below {
            Below::Keys(section) if entry.examples.is_empty() => {
                let _ = write!(text, "\n## `{path}`\n\n{}\n", about(entry));
                keys(section, &path, text);
            }
            Below::Named(named) => {
                let _ = write!(text, "\n## `{path}`\n\n{}\n\n{}", about(entry), facts(entry, &[]));
                let path = path_below(&path, named.placeholder);
                let _ = write!(text, "\n{}\n", named.each.about);
                keys(&named.each, &path, text);
            }
            Below::Keys(_) | Below::Anything => {
                let _ = write!(text, "\n### `{path}`\n\n{}\n\n{}", entry.about, facts(entry, entry.examples));
                if let Below::Keys(section) = &entry.kind.below {
                    keys(section, &path, text);
                }
            }
        }
    }
}

/// What a section is for, and whether it has to be there.
fn about(entry: &Entry) -> String {
    let needed = if entry.absent == Absent::Required { "Required." } else { "May be left out." };
    format!("{} {needed}", entry.about)
}

/// Type, bounds, default and examples as a list.
fn facts(entry: &Entry, examples: &[&str]) -> String {
    let mut text = String::new();
    match entry.kind.bounds.as_slice() {
        [] => {
            let _ = writeln!(text, "- **Type:** {}", entry.kind.name);
        }
        [only] => {
            let _ = writeln!(text, "- **Type:** {}\n- **Bounds:** {only}", entry.kind.name);
        }
        several => {
            let _ = writeln!(text, "- **Type:** {}\n- **Bounds:**", entry.kind.name);
            for bounds in several {
                let _ = writeln!(text, "  - {bounds}");
            }
        }
    }
    let holds = without(entry, "`");
    match holds.strip_prefix("default: ") {
        Some(default) => {
            let _ = writeln!(text, "- **Default:** {default}");
        }
        None => {
            let _ = writeln!(text, "- **Default:** none, it is {holds}");
        }
    }
    let label = if examples.len() > 1 { "Examples" } else { "Example" };
    let shown: Vec<String> = examples.iter().map(|example| format!("`{}: {example}`", entry.name)).collect();
    if !shown.is_empty() {
        let _ = writeln!(text, "- **{label}:** {}", shown.join(", "));
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

Each environment is a stack of its own, beside the one without an environment: it has resources and a state of its own.

- Its name is the stack's name, a hyphen and the environment's: `loadtest-staging`. Where one of the two has a hyphen itself, two
  hyphens join them: `loadtest{joint}same-again`.
- An environment's name has {name}, and no two hyphens in a row. Both names have {pair} characters together at most.
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
