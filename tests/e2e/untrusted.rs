//! Stacks of somebody who is not trusted: what they must not read, and templates without end.

use std::{fs, os::unix::fs::symlink, process::Command};

use trunnion_tests::{SandboxProcess, Stage};

const SECRET: &str = "hunter2-of-the-runner";

/// The minimal stack with this template.
fn stage(template: &str) -> Stage {
    let stage = Stage::with("minimal");
    stage.edit("\npools:", &format!("\ngenerator: {{ template: {template:?} }}\n\npools:"));
    stage
}

#[test]
#[expect(clippy::disallowed_methods, reason = "files of the test's own folders")]
fn a_stack_reads_no_file_outside_of_its_repository() {
    let sandbox = SandboxProcess::start(&[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("boot.sh.tera");
    fs::write(&outside, format!("#!/bin/sh\n# {SECRET}\n")).unwrap();
    let links = |stage: &Stage| {
        symlink(&outside, stage.path("link.tera")).unwrap();
        symlink("/proc/self", stage.path("self")).unwrap();
        symlink(".git", stage.path("history")).unwrap();
        fs::create_dir(stage.path(".git")).unwrap();
        stage.write(".git/HEAD", "ref: refs/heads/main\n");
        stage.write(".git/token", SECRET);
        assert!(Command::new("mkfifo").arg(stage.path("pipe")).status().unwrap().success());
    };
    let outside = outside.display().to_string();
    for (template, expected) in [
        ("/proc/self/environ", "is outside of"),
        ("/proc/self/fd/0", "is outside of"),
        ("self/environ", "is outside of"),
        ("/dev/zero", "is outside of"),
        ("/etc/nothing-of-this-name", "is outside of"),
        ("../../../../../../etc/passwd", "is outside of"),
        (&outside, "is outside of"),
        ("link.tera", "is outside of"),
        (".git/token", "belongs to Git"),
        ("history/token", "belongs to Git"),
        (".GIT/token", "belongs to Git"),
        ("pipe", "is not a regular file"),
        (".", "is not a regular file"),
        ("missing.tera", "there is no such file"),
    ] {
        let stage = stage(template).at(&sandbox);
        links(&stage);
        for command in ["plan", "validate"] {
            let ended = stage.run_with(&[command], &[("TOKEN", SECRET)]);
            // Lines are wrapped.
            let said = ended.stderr.replace(['\n', '│', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(ended.code, 1, "{command} {template}: {said}");
            assert!(said.contains(expected) && said.contains("generator.template"), "{command} {template}: {said}");
            assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(SECRET), "{template}");
        }
        // The same for a binary.
        let binary = Stage::with("minimal").at(&sandbox);
        binary.edit("\npools:", &format!("\ngenerator: {{ binary: {template:?} }}\n\npools:"));
        links(&binary);
        let ended = binary.run_with(&["plan"], &[("TOKEN", SECRET)]);
        assert_eq!(ended.code, 1, "{template}: {}", ended.stderr);
        assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(SECRET), "{template}");
    }
    assert!(sandbox.changing_calls().is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "files of the test's own folders")]
fn the_command_line_allows_a_file_and_the_stack_does_not() {
    let sandbox = SandboxProcess::start(&[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("boot.sh.tera");
    fs::write(&outside, "#!/bin/sh\n# from elsewhere\n").unwrap();
    let outside = outside.display().to_string();
    let stage = stage(&outside).at(&sandbox);
    let refused = stage.run(&["plan"]);
    assert!(refused.stderr.contains("--allow-file"), "{}", refused.stderr);
    let allowed = ["--allow-file", &outside];
    for command in [&["validate"][..], &["plan", "--out", "plan.json"], &["render", "boot"], &["permissions"]] {
        stage.succeed(&[command, &allowed].concat());
    }
    assert_eq!(stage.run(&["apply", "plan.json", "--yes"]).code, 1);
    stage.succeed(&[&["apply", "plan.json", "--yes"], &allowed[..]].concat());
    assert!(stage.changes(&allowed).is_empty());
    let shown = stage.succeed(&[&["render", "boot"], &allowed[..]].concat()).stdout;
    assert!(shown.contains("from elsewhere"), "{shown}");
}

#[test]
fn a_template_without_end_is_an_error() {
    let sandbox = SandboxProcess::start(&[]);
    let hundred_thousand = "{% for i in range(end=100000) %}";
    let loops =
        |inner: &str| format!("#!/bin/sh\n{hundred_thousand}{hundred_thousand}{inner}{{% endfor %}}{{% endfor %}}");
    let doubled = "#!/bin/sh\n{% set x = \"0123456789abcdef\" %}{% for i in range(end=64) %}{% set_global x = x ~ x %}\
                   {% endfor %}{{ x | length }}";
    let nested = format!("#!/bin/sh\n{{{{ {}1{} }}}}", "(".repeat(60_000), ")".repeat(60_000));
    let limits = "rendering takes more than 3 seconds, more than 1024 MiB of memory, or nests too deeply";
    for (name, text, expected) in [
        ("output", loops("0123456789abcdef"), "it renders to more than 1 MiB"),
        ("time", loops("{% set x = i %}"), limits),
        ("memory", doubled.to_owned(), limits),
        ("depth", nested, ""),
        ("mistake", "#!/bin/sh\n\n{{ nobody }}".to_owned(), "line 3"),
        ("syntax", "#!/bin/sh\n{% if %}".to_owned(), "line 2"),
    ] {
        let stage = stage("boot.tera").at(&sandbox);
        stage.write("boot.tera", text);
        let ended = stage.run(&["plan"]);
        let said = ended.stderr.replace(['\n', '│', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(ended.code, 1, "{name}: {said}");
        assert!(said.contains(expected) && said.contains("boot.tera"), "{name}: {said}");
    }
    assert!(sandbox.changing_calls().is_empty());
}
