//! The life of a pull request: comments on a look-alike of GitHub, policies, and the script of the action.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;
use trunnion_tests::{Fault, SandboxProcess, Stage, What, binary, github::GitHub, root};

const TOKEN: &str = "actions-token";

/// A repository whose branch `main` has the shortest stack, and whose branch `work` is checked out.
fn repository() -> Stage {
    let stack = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap().replace("eu-west-3", "us-east-1");
    let stage = Stage::new(&stack);
    stage.git(&["init", "--initial-branch=main"]);
    stage.write(".gitignore", ".trunnion\n*-generator\n*state*\nout*\noutputs\nsummary\n");
    stage.commit();
    stage.git(&["checkout", "-b", "work"]);
    stage
}

/// A command in a job of GitHub Actions.
fn in_job(stage: &Stage, mut command: Command, github: &GitHub, run: u64) -> Command {
    let trunnion = binary("trunnion");
    let path = std::env::join_paths(
        [trunnion.parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    command.env("PATH", path.unwrap()).envs(github.variables(TOKEN, run, 1));
    command.env("GITHUB_OUTPUT", stage.path("outputs")).env("GITHUB_STEP_SUMMARY", stage.path("summary"));
    command.env("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567");
    command
}

fn post(stage: &Stage, github: &GitHub, run: u64, more: &[&str]) -> Output {
    let arguments = ["preview", "stack.yaml", "--base", "main", "--post", "-vv"];
    in_job(stage, stage.command(&[&arguments, more].concat()), github, run).output().unwrap()
}

fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    assert!(!said.contains(TOKEN), "the token is in\n{said}");
    said
}

/// The only comment.
fn comment(github: &GitHub) -> String {
    let comments = github.comments();
    let [only] = comments.as_slice() else { panic!("{comments:?}") };
    only.body.clone()
}

/// The values of an output of the step, the last one at the end.
fn outputs(stage: &Stage, name: &str) -> Vec<String> {
    let text = fs::read_to_string(stage.path("outputs")).unwrap();
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let (key, value) = match line.split_once("<<") {
            Some((key, end)) => (key, lines.by_ref().take_while(|line| *line != end).collect::<Vec<_>>().join("\n")),
            None => line.split_once('=').map(|(key, value)| (key, value.to_owned())).unwrap(),
        };
        if key == name {
            found.push(value);
        }
    }
    found
}

#[test]
fn a_preview_is_one_comment() {
    let (sandbox, github) = (SandboxProcess::start(&["--vcpus", "1000"]), GitHub::default());
    let stage = repository().at(&sandbox);
    stage.edit("zone: us-east-1a }", "zone: us-east-1a, count: 2 }");
    let marker = "<!-- trunnion key=preview run=99.9 -->\nnot ours";
    github.add("mallory", marker);
    let first = post(&stage, &github, 1, &[]);
    assert!(first.status.success(), "{}", said(&first));
    stage.edit("count: 2", "count: 3");
    github.fault(Fault::before("GET", "", What::Answer(502, Vec::new(), "")));
    github.fault(Fault::after("PATCH", "", What::Close));
    let second = post(&stage, &github, 2, &["--format", "html"]);
    assert!(second.status.success(), "{}", said(&second));
    assert!(String::from_utf8_lossy(&second.stdout).starts_with("<!DOCTYPE html>"));
    let comments = github.comments();
    let [foreign, own] = comments.as_slice() else { panic!("{comments:?}") };
    assert_eq!(foreign.body, marker);
    assert!(own.body.contains("**1 stack changes · 4 to create"), "{}", own.body);
    assert!(own.body.contains("<!-- trunnion key=preview run=2.1 -->"), "{}", own.body);
    let summary = fs::read_to_string(stage.path("summary")).unwrap();
    assert_eq!(summary.matches("# Trunnion preview\n").count(), 2, "{summary}");
    assert_eq!(outputs(&stage, "create"), ["3", "4"]);
    assert_eq!((outputs(&stage, "delete"), outputs(&stage, "severity")), (vec!["0".into(); 2], vec!["none".into(); 2]));
    assert!(outputs(&stage, "cost-per-hour")[1].ends_with(" USD"));
    let refused = in_job(&stage, stage.command(&["preview", "--base", "main", "--post"]), &github, 3)
        .env_remove("GITHUB_TOKEN")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let message = said(&refused);
    assert!(message.contains("GITHUB_TOKEN") && message.contains("help"), "{message}");
    let nowhere = stage.command(&["preview", "--base", "main", "--post"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(said(&nowhere).contains("GITHUB_ACTIONS"), "{}", said(&nowhere));
}

#[test]
fn a_fork_gets_a_summary() {
    let github = GitHub::default();
    let stage = repository();
    stage.edit("zone: us-east-1a }", "zone: us-east-1a, count: 2 }");
    let event = r#"{"pull_request": {"number": 7, "head": {"repo": {"id": 2}}}, "repository": {"id": 1}}"#;
    stage.write("out-event.json", event);
    let arguments = ["preview", "stack.yaml", "--base", "main", "--post", "--offline", "--out", "out"];
    let mut command = in_job(&stage, stage.command(&arguments), &github, 1);
    let done = command.env("GITHUB_EVENT_PATH", stage.path("out-event.json")).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("fork"), "{}", said(&done));
    assert!(github.asked().is_empty(), "{:?}", github.asked());
    let summary = fs::read_to_string(stage.path("summary")).unwrap();
    for expected in ["without any call to AWS", "1 to create", "USD an hour"] {
        assert!(summary.contains(expected), "{expected} in\n{summary}");
    }
    crate::golden::golden("fork", &summary);
    assert_eq!(fs::read_dir(stage.path("out/plans")).unwrap().count(), 0, "nobody applies what was not planned in AWS");
}

#[test]
fn policies_are_those_of_the_base() {
    let stage = repository();
    stage.git(&["checkout", "main"]);
    fs::create_dir(stage.path("policies")).unwrap();
    for policy in ["instances", "tags"] {
        let text = fs::read_to_string(root().join(format!("policies/{policy}.rego"))).unwrap();
        stage.write(&format!("policies/{policy}.rego"), text);
    }
    stage.commit();
    stage.git(&["checkout", "-B", "work"]);
    // The pull request takes another family, and removes the policy that forbids it.
    stage.edit("c7i.xlarge", "t3.xlarge");
    fs::remove_file(stage.path("policies/instances.rego")).unwrap();
    stage.commit();
    let run = |more: &[&str]| {
        let arguments = ["preview", "--base", "main", "--offline", "--format", "json"];
        let ended = stage.run_with(&[&arguments, more].concat(), &[]);
        let preview: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
        let verdicts = preview["stacks"][0]["verdicts"].as_array().cloned().unwrap_or_default();
        let codes = verdicts.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        (codes, ended.code, verdicts)
    };
    let (codes, code, verdicts) = run(&[]);
    assert_eq!((codes.contains(&"policy::instances".to_owned()), code), (true, 1), "{verdicts:?}");
    let (codes, ..) = run(&["--trust-head"]);
    assert!(!codes.contains(&"policy::instances".to_owned()), "{codes:?}");
    // One that is wrong forbids everything: nobody knows what it would say.
    stage.git(&["checkout", "main"]);
    stage.write("policies/tags.rego", "package trunnion.tags\n\ndeny contains {\n");
    stage.commit();
    stage.git(&["checkout", "-B", "work"]);
    stage.edit("c7i.xlarge", "c7i.2xlarge");
    let (codes, code, verdicts) = run(&[]);
    assert_eq!((codes, code), (vec!["policy::invalid".to_owned()], 1));
    assert!(verdicts[0]["message"].as_str().unwrap().starts_with("policies/tags.rego:"), "{verdicts:?}");
    let absent = stage.run_with(&["preview", "--base", "main", "--offline", "--policies", "nowhere"], &[]);
    assert_eq!(absent.code, 1);
    assert!(absent.stderr.contains("nowhere"), "{}", absent.stderr);
}

#[test]
fn policies_do_not_blame_a_change_for_what_the_base_asks_for() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let stage = repository().at(&sandbox);
    // The base has a forbidden family, and nobody applied it yet.
    stage.git(&["checkout", "main"]);
    let two = "t3.xlarge, zone: us-east-1a }\n  more: { instance_type: c7i.xlarge, zone: us-east-1a }";
    stage.edit("c7i.xlarge, zone: us-east-1a }", two);
    fs::create_dir(stage.path("policies")).unwrap();
    stage.write("policies/instances.rego", fs::read_to_string(root().join("policies/instances.rego")).unwrap());
    stage.commit();
    stage.git(&["checkout", "-B", "work"]);
    let codes = || {
        let ended = stage.run(&["preview", "--base", "main", "--format", "json"]);
        let preview: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
        let stack = &preview["stacks"][0];
        assert!(stack["plan"].is_object(), "{stack}");
        let verdicts = stack["verdicts"].as_array().cloned().unwrap_or_default();
        verdicts.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    stage.edit("c7i.xlarge, zone: us-east-1a }", "c7i.xlarge, zone: us-east-1a, count: 2 }");
    assert_eq!(codes(), [""; 0]);
    stage.edit("c7i.xlarge, zone: us-east-1a, count: 2 }", "t3.2xlarge, zone: us-east-1a }");
    assert!(codes().contains(&"policy::instances".to_owned()), "{:?}", codes());
}

#[test]
fn what_was_previewed_is_applied_once_it_is_merged() {
    let (sandbox, github) = (SandboxProcess::start(&["--vcpus", "1000"]), GitHub::default());
    let stage = repository().at(&sandbox);
    stage.converge(&[]);
    let script = root().join("action/run");
    let action = |run: u64, folder: &str, inputs: &[(&str, &str)]| {
        let mut command = Command::new(&script);
        // The endpoint and the credentials of the stage.
        let like = stage.command(&[]);
        command.current_dir(stage.path("")).env_clear();
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut command = in_job(&stage, command, &github, run);
        command.envs([("MODE", "preview"), ("STACKS", "*.yaml"), ("BASE", "main"), ("OFFLINE", "false")]);
        command.envs([("FOLDER", folder), ("REQUEST", "")]).envs(inputs.iter().copied());
        let output = command.output().unwrap();
        let said = said(&output);
        (output.status.success(), said)
    };
    // A pull request, and a second push.
    stage.edit("zone: us-east-1a }", "zone: us-east-1a, count: 2 }");
    stage.commit();
    let (is_done, said) = action(1, "out1", &[]);
    assert!(is_done, "{said}");
    assert!(comment(&github).contains("**1 stack changes · 1 to create"), "{}", comment(&github));
    stage.edit("count: 2", "count: 3");
    stage.commit();
    let (is_done, said) = action(2, "out2", &[]);
    assert!(is_done, "{said}");
    assert!(comment(&github).contains("**1 stack changes · 2 to create"), "{}", comment(&github));
    for file in ["preview.md", "preview.json", "preview.html", "plans/stack.yaml.json"] {
        assert!(stage.path("out2").join(file).is_file(), "{file}");
    }
    let (is_done, said) = action(2, "out2", &[]);
    assert!(!is_done && said.contains("is not empty"), "{said}");

    // Another pull request is merged and applied first.
    stage.git(&["checkout", "main"]);
    let tags = fs::read_to_string(stage.path("stack.yaml")).unwrap() + "\ntags: { team: load }\n";
    stage.write("stack.yaml", tags);
    stage.commit();
    stage.succeed(&["apply", "--yes"]);
    stage.git(&["merge", "--no-ff", "-m", "merge", "work"]);
    let changing = sandbox.changing_calls();
    let (is_done, said) = action(3, "out2", &[("MODE", "apply"), ("REQUEST", "7")]);
    assert!(!is_done && said.contains("is out of date"), "{said}");
    assert_eq!(sandbox.changing_calls(), changing, "nothing was changed");
    let text = comment(&github);
    for expected in ["## Not all was applied", "is out of date", "what the stack asks for has changed", "## `minimal`"]
    {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }

    // A new plan of what is merged now, and its apply.
    let (is_done, said) = action(4, "out3", &[("BASE", "HEAD^"), ("REQUEST", "7"), ("GITHUB_REF", "refs/heads/main")]);
    assert!(is_done, "{said}");
    assert!(comment(&github).contains("**1 stack changes · 2 to create"), "{}", comment(&github));
    let (is_done, said) = action(5, "out3", &[("MODE", "apply"), ("REQUEST", "7"), ("GITHUB_REF", "refs/heads/main")]);
    assert!(is_done, "{said}");
    let text = comment(&github);
    assert!(text.contains("## Applied") && text.contains("✅ applied: stack.yaml"), "{text}");
    assert_eq!(stage.changes(&[]), [""; 0]);

    // Plans that somebody put into the artifact: of a deletion, and of a file that nobody merged.
    fs::create_dir_all(stage.path("out4/plans")).unwrap();
    stage.succeed(&["plan", "--destroy", "--out", "out4/plans/a.json"]);
    fs::copy(stage.path("stack.yaml"), stage.path("out4/stack.yaml")).unwrap();
    stage.succeed(&["plan", "out4/stack.yaml", "--out", "out4/plans/b.json"]);
    let changing = sandbox.changing_calls();
    let (is_done, said) = action(6, "out4", &[("MODE", "apply")]);
    assert!(!is_done && said.contains("made with options") && said.contains("Git does not track"), "{said}");
    assert_eq!(sandbox.changing_calls(), changing, "nothing was changed");
    let refused = stage.run(&["apply", "--previewed", "--yes"]);
    assert!(refused.code == 1 && refused.stderr.contains("`--previewed` is only for a plan"), "{}", refused.stderr);
}

/// The policies of the base, with the prices and the workload of the base.
#[test]
fn policies_count_with_the_prices_of_the_base() {
    let stage = repository();
    stage.git(&["checkout", "main"]);
    fs::create_dir(stage.path("policies")).unwrap();
    stage.write(
        "policies/cost.rego",
        "package trunnion.cost\n\ndeny contains \"too much\" if to_number(input.remarks.estimate.cost.hourly) > 0.5\n",
    );
    stage.commit();
    stage.git(&["checkout", "-B", "work"]);
    stage.edit("zone: us-east-1a }", "zone: us-east-1a, count: 4 }");
    for prices in ["", "\nprices: { instances: { c7i.xlarge: 0.0001 }, fargate_vcpu_hour: 0, fargate_gb_hour: 0 }\n"] {
        let text = fs::read_to_string(stage.path("stack.yaml")).unwrap();
        stage.write("stack.yaml", text + prices);
        let ended = stage.run_with(&["preview", "--base", "main", "--offline"], &[]);
        assert!(ended.code == 1 && ended.stdout.contains("too much"), "{}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn verdicts_on_many_stacks_fit_into_a_comment() {
    let stage = repository();
    stage.git(&["checkout", "main"]);
    fs::create_dir(stage.path("policies")).unwrap();
    fs::copy(root().join("policies/tags.rego"), stage.path("policies/tags.rego")).unwrap();
    stage.commit();
    stage.git(&["checkout", "-B", "work"]);
    let names: Vec<String> = (0..60).map(|number| format!("new{number}.yaml")).collect();
    let text = fs::read_to_string(stage.path("stack.yaml")).unwrap();
    for (number, name) in names.iter().enumerate() {
        stage.write(name, text.replace("stack: minimal", &format!("stack: number{number}")));
    }
    let names = names.iter().map(String::as_str);
    let arguments: Vec<&str> = ["preview", "--base", "main", "--offline"].into_iter().chain(names).collect();
    let ended = stage.run_with(&arguments, &[]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stdout.chars().count() < 65_536, "{}", ended.stdout.chars().count());
    assert!(
        ended.stdout.contains("verdicts and notes") && ended.stdout.contains("\nand 12 more\n"),
        "{}",
        ended.stdout
    );
}
