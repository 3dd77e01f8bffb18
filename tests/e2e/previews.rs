//! What a pull request changes, compared with its base.

use std::{fs, io::Write as _};

use serde_json::Value;
use trunnion_tests::{SandboxProcess, Stage, root};

fn minimal() -> String {
    fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap().replace("eu-west-3", "us-east-1")
}

/// A stack in a repository whose branch `main` has it, and whose branch `work` is checked out.
fn repository(stack: &str) -> Stage {
    let stage = Stage::new(stack);
    stage.git(&["init", "--initial-branch=main"]);
    stage.write(".gitignore", ".trunnion\n*-generator\n");
    stage.commit();
    stage.git(&["checkout", "-b", "work"]);
    stage
}

/// The preview as JSON, and the exit code.
fn preview(stage: &Stage, more: &[&str]) -> (Value, i32) {
    let arguments = [&["preview", "stack.yaml", "--base", "main", "--format", "json"], more].concat();
    let run = stage.run(&arguments);
    (serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr)), run.code)
}

fn shown(stage: &Stage, more: &[&str]) -> String {
    stage.run(&[&["preview", "stack.yaml", "--base", "main"], more].concat()).stdout
}

fn markdown(stage: &Stage) -> String {
    shown(stage, &[])
}

/// The changes of a plan: `create instance.small[0]`.
fn changes(plan: &Value) -> Vec<String> {
    let changes = plan["compared"]["changes"].as_array().unwrap().iter();
    let changes = changes.filter(|change| change["action"] != "none");
    changes
        .map(|change| format!("{} {}", change["action"].as_str().unwrap(), change["address"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_preview_tells_apart_what_the_base_asks_for_already() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let stage = repository(&minimal()).at(&sandbox);
    stage.converge(&[]);
    let (same, code) = preview(&stage, &[]);
    assert_eq!((code, &same["unchanged"], same["stacks"].as_array().unwrap().len()), (0, &Value::from(1), 0));
    assert!(markdown(&stage).contains("**No stack changes**"), "{}", markdown(&stage));

    // On main, somebody merged another host and did not apply it. The pull request adds two further ones.
    stage.git(&["checkout", "main"]);
    stage.edit("zone: us-east-1a }", "zone: us-east-1a, count: 2 }");
    stage.commit();
    stage.git(&["checkout", "-B", "work"]);
    stage.edit("count: 2", "count: 4");
    stage.commit();
    let (four, code) = preview(&stage, &[]);
    assert_eq!(code, 0, "{four}");
    let stack = &four["stacks"][0];
    assert_eq!((&stack["file"], &stack["base"]), (&Value::from("stack.yaml"), &Value::from("planned")));
    let pending: Vec<&str> = stack["pending"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(pending, ["instance.small[1]"]);
    for instance in 1..4 {
        assert!(changes(&stack["plan"]).contains(&format!("create instance.small[{instance}]")), "{stack}");
    }
    assert_eq!(stack["before"]["virtual_users"], 2 * 17_572);
    let text = markdown(&stage);
    for expected in [
        "**1 stack changes · 2 to create",
        "0.37 USD an hour",
        "+35,144 virtual users",
        "Created and changed by what the base asks for, not applied yet",
        "`instance.small[1]`",
        "`instance.small[2…3]`",
        "To apply it: `trunnion apply stack.yaml`",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn what_decides_comes_from_the_base() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let guarded =
        minimal().replace("zone: us-east-1a }", "zone: us-east-1a, protect: true }") + "budget: { hourly: 0.3 }\n";
    let stage = repository(&guarded).at(&sandbox);
    stage.converge(&[]);
    // A pull request that lifts its own limits.
    stage.write("stack.yaml", minimal().replace("c7i.xlarge", "c7i.2xlarge") + "budget: { hourly: 100 }\n");
    stage.commit();
    let (denied, code) = preview(&stage, &[]);
    let verdicts: Vec<&str> =
        denied["stacks"][0]["verdicts"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(code, 1, "{denied}");
    assert!(verdicts.contains(&"plan::budget") && verdicts.contains(&"plan::protected"), "{verdicts:?}");
    let text = markdown(&stage);
    assert!(text.contains("⛔ ") && text.contains("the base protects it"), "{text}");
    let (trusted, code) = preview(&stage, &["--trust-head"]);
    assert_eq!((code, &trusted["stacks"][0]["verdicts"]), (0, &Value::Null), "{trusted}");
}

#[test]
fn each_environment_and_each_deleted_stack_is_previewed() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let stage = repository(&(minimal() + "environments: { prod: {}, old: {} }\n")).at(&sandbox);
    stage.write("other.yaml", minimal().replace("stack: minimal", "stack: other"));
    stage.git(&["checkout", "main"]);
    stage.commit();
    stage.git(&["checkout", "-B", "work"]);
    stage.edit("{ prod: {}, old: {} }", "{ prod: {}, new: {} }");
    fs::remove_file(stage.path("other.yaml")).unwrap();
    stage.commit();
    let (all, code) = preview(&stage, &[]);
    assert_eq!(code, 1);
    let stacks = all["stacks"].as_array().unwrap();
    let found: Vec<(Option<&str>, bool, &Value)> =
        stacks.iter().map(|one| (one["environment"].as_str(), one["plan"].is_object(), &one["base"])).collect();
    let (planned, missing) = (Value::from("planned"), Value::from("missing"));
    assert_eq!(
        found,
        [
            (Some("prod"), true, &planned),
            (Some("new"), true, &missing),
            (Some("old"), false, &planned),
            (None, false, &planned)
        ],
        "{all}"
    );
    assert!(stacks[2]["problem"]["message"].as_str().unwrap().contains("no environment `old` any more"), "{all}");
    assert_eq!(stacks[3]["file"], "other.yaml");
    let (one, code) = preview(&stage, &["--env", "new"]);
    assert_eq!((one["stacks"][0]["environment"].as_str(), code), (Some("new"), 0), "{one}");
}

#[test]
fn a_base_that_cannot_be_read_is_said() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = repository(&minimal()).at(&sandbox);
    for (base, expected) in [("nothing", "there is no commit `nothing`"), ("--flag", "there is no commit `--flag`")] {
        let run = stage.run(&["preview", "stack.yaml", "--format", "json", &format!("--base={base}")]);
        let found: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(run.code, 1);
        assert_eq!(found["base"]["problem"]["message"], expected);
        assert!(!changes(&found["stacks"][0]["plan"]).is_empty(), "every change is shown: {found}");
    }
    // A file in its place.
    stage.write("before.yaml", minimal());
    stage.edit("zone: us-east-1a }", "zone: us-east-1a, count: 2 }");
    let run = stage.run(&["preview", "stack.yaml", "--format", "json", "--base", "./before.yaml"]);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let pending = found["stacks"][0]["pending"].as_array().unwrap();
    assert!(pending.contains(&Value::from("instance.small[0]")), "{found}");
    assert!(!pending.contains(&Value::from("instance.small[1]")), "{found}");
    // Mistakes of the stack are part of the preview.
    stage.edit("count: 2", "cuont: 2");
    let wrong = markdown(&stage);
    assert!(wrong.contains("❌ 1 stack has no plan") && wrong.contains("cuont"), "{wrong}");
}

#[test]
fn files_that_a_stack_names_are_those_of_each_side() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let stage = Stage::new(&(minimal() + "generator: { template: boot/own.tera }\n"));
    let stage = stage.at(&sandbox);
    fs::create_dir(stage.path("boot")).unwrap();
    fs::copy(root().join("templates/boot.sh.tera"), stage.path("boot/own.tera")).unwrap();
    stage.git(&["init", "--initial-branch=main"]);
    stage.write(".gitignore", ".trunnion\n*-generator\n");
    stage.commit();
    stage.git(&["checkout", "-b", "work"]);
    stage.converge(&[]);
    let (same, _) = preview(&stage, &[]);
    assert_eq!(same["unchanged"], 1, "{same}");
    // The template alone changes, and what it was stays in the base.
    let changed = fs::read_to_string(stage.path("boot/own.tera")).unwrap() + "# more: {{ variables.packages }}\n";
    stage.write("boot/own.tera", changed);
    stage.edit("boot/own.tera }", "boot/own.tera, variables: { packages: \"hunter2's hunter2\" } }");
    let (different, code) = preview(&stage, &[]);
    assert_eq!((code, &different["stacks"][0]["base"]), (0, &Value::from("planned")), "{different}");
    assert!(different["stacks"][0]["pending"].is_null(), "{different}");
    // It is shown line by line, without what the stack puts into it.
    for text in [markdown(&stage), shown(&stage, &["--format", "html"]), different.to_string()] {
        assert!(text.contains("# more: sha256:") && !text.contains("hunter2"), "{text}");
    }
    assert!(markdown(&stage).contains("\n+   # more: sha256:"), "{}", markdown(&stage));
    // Who reads the repository does not read files from elsewhere.
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::copy(stage.path("boot/own.tera"), elsewhere.path()).unwrap();
    stage.edit("boot/own.tera", &elsewhere.path().display().to_string());
    let text = shown(&stage, &["--allow-file", &elsewhere.path().display().to_string()]);
    assert!(text.contains("data.user_data (sensitive) changed") && !text.contains("# more"), "{text}");
    // A template that decides by a value is not shown at all: with a digest, it would be another one.
    stage.edit(&elsewhere.path().display().to_string(), "boot/own.tera");
    let own = fs::read_to_string(stage.path("boot/own.tera")).unwrap();
    let decides = "{% if variables.packages == \"hunter2's hunter2\" %}# decided{% endif %}\n";
    stage.write("boot/own.tera", own.clone() + decides);
    let text = markdown(&stage);
    assert!(text.contains("data.user_data (sensitive) changed") && !text.contains("# decided"), "{text}");
    // What was a variable in the base is none in the template either.
    stage.write("boot/own.tera", format!("{own}# hunter2's hunter2\n"));
    let text = markdown(&stage);
    assert!(text.contains("+   # sha256:") && !text.contains("hunter2"), "{text}");
    stage.write("boot/own.tera", own);
    stage.edit("boot/own.tera", &elsewhere.path().display().to_string());
    // Nor files that a step of CI left in the working tree, also behind a link.
    stage.edit(&elsewhere.path().display().to_string(), "boot/link.tera");
    fs::copy(elsewhere.path(), stage.path("left.tera")).unwrap();
    std::os::unix::fs::symlink("../left.tera", stage.path("boot/link.tera")).unwrap();
    stage.git(&["add", "boot/link.tera"]);
    let text = markdown(&stage);
    assert!(text.contains("data.user_data (sensitive) changed") && !text.contains("# more"), "{text}");
    stage.edit("boot/link.tera", "boot/own.tera");
    // A path out of the repository is refused on both sides.
    stage.edit("boot/own.tera", "../../../../../../proc/self/environ");
    let text = markdown(&stage);
    assert!(text.contains("❌ 1 stack has no plan") && !text.contains("PATH="), "{text}");
}

/// The codes of all verdicts.
#[test]
fn without_credentials_files_alone_are_compared() {
    let stage = repository(&minimal());
    stage.edit("c7i.xlarge, zone: us-east-1a }", "c7i.2xlarge, zone: us-east-1a, count: 3, public_ip: true }");
    stage.write("new.yaml", minimal().replace("stack: minimal", "stack: new"));
    stage.commit();
    let run = |more: &[&str]| {
        let arguments = ["preview", "stack.yaml", "new.yaml", "--base", "main", "--offline"];
        let no_address = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        stage.run_with(&[&arguments, more].concat(), &[no_address])
    };
    let json = run(&["--format", "json"]);
    assert_eq!(json.code, 0, "{}", json.said());
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["is_offline"], true);
    let [changed, new] = json["stacks"].as_array().unwrap().as_slice() else { panic!("{json}") };
    let found = changes(&changed["plan"]);
    for expected in ["replace instance.small[0]", "create instance.small[2]", "create elastic_ip.small[1]"] {
        assert!(found.contains(&expected.to_owned()), "{expected} in {found:?}");
    }
    // What is the same in the base is the same here, although its identifiers are not known.
    for same in ["iam_role", "ecs_cluster", "log_group", "s3_object"] {
        assert!(!found.iter().any(|change| change.contains(same)), "{same} in {found:?}");
    }
    assert_eq!(
        (&changed["pending"], &changed["command"], &changed["drift"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(changed["before"]["virtual_users"], 17_572);
    assert_eq!((&new["base"], changes(&new["plan"]).len()), (&Value::from("missing"), 15));

    let text = run(&[]).stdout;
    assert!(text.contains("without any call to AWS"), "{text}");
    for wrong in ["no state knows", "are not used", "To apply it"] {
        assert!(!text.contains(wrong), "{wrong} in\n{text}");
    }
    let refused = run(&["--sandbox"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
}

#[test]
fn stacks_of_one_account_share_what_is_read() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let stage = repository(&minimal()).at(&sandbox);
    let calls = || {
        let calls = sandbox.calls();
        let all = || calls.as_object().unwrap().iter();
        let quotas = all().filter(|(name, _)| name.ends_with("GetServiceQuota"));
        let count = |(_, call): (&String, &Value)| call["count"].as_u64().unwrap();
        (all().map(count).sum::<u64>(), quotas.map(count).sum::<u64>())
    };
    let names: Vec<String> = (0..4).map(|n| format!("stack{n}.yaml")).collect();
    for (n, name) in names.iter().enumerate() {
        stage.write(name, minimal().replace("stack: minimal", &format!("stack: number{n}")));
    }
    stage.commit();
    let run = |names: &[String]| {
        let names = names.iter().map(String::as_str);
        let arguments: Vec<&str> = ["preview"].into_iter().chain(names).chain(["--base", "main"]).collect();
        let before = calls();
        let ended = stage.run(&arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let after = calls();
        (after.0 - before.0, after.1 - before.1)
    };
    let ((one, quotas), (four, shared_quotas)) = (run(&names[..1]), run(&names));
    // That a quota has no value of its own is an answer, too.
    assert!(quotas > 0 && quotas == shared_quotas, "{quotas} quotas for one stack, {shared_quotas} for four");
    // Each further stack reads its own resources, and neither the network, nor images and types.
    assert!(four + 30 < 4 * one, "{one} calls for one stack, {four} for four");
}

#[test]
fn each_stack_of_a_preview_is_compared_with_what_the_others_use() {
    let sandbox = SandboxProcess::start(&["--vcpus", "16"]);
    let stage = repository(&minimal().replace("stack: minimal", "stack: one")).at(&sandbox);
    let three = minimal().replace("stack: minimal", "stack: three").replace("us-east-1a }", "us-east-1a, count: 3 }");
    stage.write("three.yaml", three);
    stage.converge(&[]);
    stage.succeed(&["apply", "three.yaml", "--yes"]);
    stage.commit();
    stage.git(&["checkout", "-B", "main"]);
    stage.git(&["checkout", "-B", "work"]);
    stage.edit("us-east-1a }", "us-east-1a, count: 2 }");
    let three = fs::read_to_string(stage.path("three.yaml")).unwrap().replace("count: 3", "count: 4");
    stage.write("three.yaml", three);
    stage.commit();
    let run = stage.run(&["preview", "stack.yaml", "three.yaml", "--base", "main", "--format", "json"]);
    let preview: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    let notes = |stack: &Value| -> Vec<String> {
        let notes = stack["plan"]["remarks"]["notes"].as_array().unwrap().iter();
        let of_quotas = notes.filter(|note| note["code"] == "plan::quota_too_low");
        of_quotas.map(|note| note["message"].as_str().unwrap().to_owned()).collect()
    };
    let stacks = preview["stacks"].as_array().unwrap();
    let said: Vec<String> = stacks.iter().flat_map(notes).collect();
    let says = |needed: u32, others: u32| {
        format!(
            "the quota of vCPUs of On-Demand Standard instances stops the apply: the stack needs {needed}, {others} are in \
             use by others, and the quota is 16"
        )
    };
    assert_eq!(said, [says(8, 12), says(16, 4)]);
}

/// With one endpoint for all regions, their answers differ all the same.
#[test]
fn stacks_of_two_regions_share_nothing() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let stage = repository(&minimal()).at(&sandbox);
    let other = minimal().replace("us-east-1", "eu-west-3").replace("stack: minimal", "stack: other");
    stage.write("other.yaml", other);
    stage.write("new.yaml", minimal().replace("stack: minimal", "stack: new"));
    let ended = stage.run(&["preview", "new.yaml", "other.yaml", "--base", "main"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn what_cannot_be_read_is_never_the_same() {
    let stage = repository("stack: [broken\n");
    let arguments = ["preview", "stack.yaml", "--base", "main", "--offline"];
    let ended = stage.run_with(&arguments, &[]);
    assert!(ended.code == 1 && ended.stdout.contains("1 stack has no plan"), "{}", ended.stdout);
    // Without Git, a link still leads nowhere.
    let mut outside = tempfile::NamedTempFile::new().unwrap();
    outside.write_all(b"canary_key: 1\n").unwrap();
    fs::remove_file(stage.path("stack.yaml")).unwrap();
    std::os::unix::fs::symlink(outside.path(), stage.path("stack.yaml")).unwrap();
    let ended = stage.run_with(&arguments, &[("PATH", "/nonexistent")]);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("leads out of the repository") && !said.contains("canary"), "{said}");
}

#[test]
fn drift_is_listed_apart_from_the_change() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let url = "https://git.example.org/acme/load.git";
    let clone = |stack: &str| {
        let stage = repository(stack).at(&sandbox);
        stage.git(&["remote", "add", "origin", url]);
        stage
    };
    let tagged = minimal() + "\ntags: { cost-center: quality }\n";
    let stage = clone(&tagged);
    stage.converge(&[]);
    // A colleague applied another version, which this state does not know.
    clone(&tagged.replace("cost-center: quality", "cost-center: platform")).converge(&[]);
    stage.edit("zone: us-east-1a }", "zone: us-east-1a, count: 2 }");
    let (preview, code) = preview(&stage, &[]);
    assert_eq!(code, 0, "{preview}");
    let stack = &preview["stacks"][0];
    let drifted = stack["drift"]["resources"].as_array().unwrap();
    assert!(drifted.len() > 5, "{drifted:?}");
    // Apply puts it back, with this change or without it.
    let pending = stack["pending"].as_array().unwrap();
    assert!(pending.contains(&Value::from("log_group.control_plane")), "{pending:?}");
    let text = markdown(&stage);
    assert!(text.contains("**1 stack changes · 1 to create"), "{text}");
    let summary = format!("<summary>Drift: {} resources are not as they were applied</summary>", drifted.len());
    for expected in [&*summary, "| `instance` | changed | `tags.cost-center` | 1 |"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    // Where the sandbox listens, and who applied it when.
    let is_fixed = |line: &&str| !["127.0.0.1", "applied this stack at"].iter().any(|varies| line.contains(varies));
    let lines = text.lines().filter(is_fixed);
    crate::golden::golden("drift", &lines.flat_map(|line| [line, "\n"]).collect::<String>());
}

#[test]
fn what_lies_outside_of_the_repository_is_not_shown() {
    let stage = repository(&minimal());
    let outside = Stage::new("canary_of_the_mine: x\n");
    for (name, target) in [("out.yaml", outside.path("stack.yaml")), ("head.yaml", stage.path(".git/HEAD"))] {
        std::os::unix::fs::symlink(target, stage.path(name)).unwrap();
    }
    let many: Vec<String> = (0..101).map(|number| format!("  e{number}: {{}}")).collect();
    let many = many.join("\n");
    stage
        .write("many.yaml", format!("{}\nenvironments:\n{many}\n", minimal().replace("stack: minimal", "stack: many")));
    let ended = stage.run(&["preview", "out.yaml", "head.yaml", "many.yaml", "--base", "main", "--offline"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert_eq!(ended.stdout.matches("is a link that leads out of the repository").count(), 2, "{}", ended.stdout);
    for shown in ["canary_of_the_mine", "refs", "`ref"] {
        assert!(!ended.stdout.contains(shown), "{shown} in\n{}", ended.stdout);
    }
    assert!(ended.stdout.contains("more than 100 environments"), "{}", ended.stdout);
    assert!(ended.stdout.contains("- ❌ no plan: `out.yaml`, `head.yaml`, `many.yaml`"), "{}", ended.stdout);
    // However many mistakes there are, the text fits into a comment.
    let environment = |number: usize| {
        let keys: Vec<String> = (0..20).map(|key| format!("wrong{number}_{key}: x")).collect();
        format!("  e{number}: {{ pools: {{ small: {{ {} }} }} }}", keys.join(", "))
    };
    let broken: Vec<String> = (0..90).map(environment).collect();
    let broken = format!("{}\nenvironments:\n{}\n", minimal(), broken.join("\n"));
    stage.write("stack.yaml", broken);
    let ended = stage.run(&["preview", "stack.yaml", "--base", "main", "--offline"]);
    assert_eq!(ended.code, 1);
    let length = ended.stdout.chars().count();
    assert!((10_000..65_536).contains(&length), "{length}: {}", ended.stderr);
}

fn verdicts(preview: &Value) -> Vec<&str> {
    let stacks = preview["stacks"].as_array().unwrap().iter();
    let all = stacks.flat_map(|stack| stack["verdicts"].as_array().into_iter().flatten());
    all.map(|verdict| verdict["code"].as_str().unwrap()).collect()
}

#[test]
fn no_file_of_the_change_takes_the_place_of_the_base() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let guarded =
        minimal().replace("zone: us-east-1a }", "zone: us-east-1a, protect: true }") + "budget: { hourly: 0.3 }\n";
    let bad = minimal().replace("c7i.xlarge", "c7i.2xlarge");
    let both = ["plan::budget", "plan::protected"];
    let denied = |stage: &Stage, files: &[&str]| {
        let run = stage.run(&[&["preview", "--base", "main", "--format", "json"], files].concat());
        let found: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
        assert_eq!(run.code, 1, "{found}");
        let verdicts = verdicts(&found);
        assert!(both.iter().all(|code| verdicts.contains(code)), "{verdicts:?}: {found}");
    };
    let stage = repository(&guarded).at(&sandbox);
    stage.converge(&[]);

    // A file that is named like the branch.
    stage.write("stack.yaml", &bad);
    stage.write("main", &bad);
    denied(&stage, &["stack.yaml"]);
    fs::remove_file(stage.path("main")).unwrap();

    // A second file for the same stack.
    stage.write("stack.yaml", &guarded);
    stage.write("second.yaml", &bad);
    denied(&stage, &["stack.yaml", "second.yaml"]);
    fs::remove_file(stage.path("second.yaml")).unwrap();

    // An environment that hides the stack itself.
    stage.write("stack.yaml", bad.clone() + "environments: { x: {} }\n");
    denied(&stage, &["stack.yaml"]);

    // A protected host under another name.
    let renamed = bad.replace("small: {", "large: {").replace("pool: small", "pool: large");
    stage.write("stack.yaml", renamed + "moved: [{ from: small, to: large }]\n");
    let (found, code) = preview(&stage, &[]);
    let of_host =
        |verdict: &Value| verdict["message"].as_str().unwrap().contains("`instance.large[0]` would be replaced");
    assert!(code == 1 && found["stacks"][0]["verdicts"].as_array().unwrap().iter().any(of_host), "{found}");

    // A file that is a link to another one.
    fs::remove_file(stage.path("stack.yaml")).unwrap();
    stage.write("other.yaml", &bad);
    std::os::unix::fs::symlink("other.yaml", stage.path("stack.yaml")).unwrap();
    denied(&stage, &["stack.yaml"]);
}

#[test]
fn what_one_types_is_quoted_and_each_file_counts_once() {
    let sandbox = SandboxProcess::start(&["--vcpus", "1000"]);
    let stage = repository(&minimal()).at(&sandbox);
    let named = "a $(touch ran) b.yaml";
    stage.write(named, minimal().replace("stack: minimal", "stack: other"));
    let run =
        stage.run(&["preview", "--base", "main", "--format", "json", named, &format!("./{named}"), "--env", "none"]);
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap()["stacks"], serde_json::json!([]), "{}", run.stdout);
    let run = stage.run(&["preview", "--base", "main", "--format", "json", named, named]);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(found["stacks"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["stacks"][0]["command"], format!("trunnion apply '{named}'"));
}
