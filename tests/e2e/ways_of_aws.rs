//! What AWS does in its own way, and a stack that comes to terms with it.

use trunnion_tests::Stage;

const TOKEN: &str = "secret:gatling/token-AbCdEf";

#[test]
fn a_secret_without_its_last_characters_is_found_and_read() {
    let stage = Stage::with("minimal");
    stage.edit(TOKEN, "secret:gatling/token");
    // The service is waited for: it runs only where its role may read the secret by its whole ARN.
    stage.converge(&[]);
    let policy = stage.succeed(&["show", "--json"]).stdout;
    assert!(policy.contains(&format!("{TOKEN}\\\"")), "{policy}");
    stage.edit("secret:gatling/token", TOKEN);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "it is the same secret");
}

#[test]
fn a_key_of_a_secret_reaches_the_task_behind_the_whole_arn() {
    let stage = Stage::with("minimal");
    let arn = "arn:aws:secretsmanager:eu-west-3:123456789012";
    stage.edit(&format!("{arn}:{TOKEN}"), &format!("\"{arn}:secret:gatling/token:cp_token::\""));
    stage.succeed(&["validate"]);
    let plan = stage.succeed(&["plan", "--json"]).stdout;
    assert!(plan.contains(&format!("\"{arn}:{TOKEN}:cp_token::\"")), "{plan}");
}

#[test]
fn a_full_card_numbers_its_devices_from_zero() {
    let stage = Stage::with("minimal");
    stage.edit(
        "instance_type: c7i.xlarge, zone: eu-west-3a }",
        "instance_type: c6in.32xlarge, zone: eu-west-3a, interfaces: 16 }",
    );
    stage.converge(&[]);
}

#[test]
fn the_image_that_writes_the_conf_may_move_without_a_new_task() {
    let stage = Stage::with("minimal");
    stage.edit("control_plane:\n", "control_plane:\n  init_image: busybox:1.37.0\n");
    stage.converge(&[]);
    stage.edit("  init_image: busybox:1.37.0\n", "");
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    // Once the containers change otherwise, they take the default.
    stage.edit("{ pool: small }", "{ pool: small, description: moved }");
    stage.converge(&[]);
    assert!(stage.succeed(&["show", "--json"]).stdout.contains("public.ecr.aws/docker/library/busybox:1.37.0"));
}

#[test]
fn what_ecs_would_refuse_is_refused_before_anything_is_made() {
    let stage = Stage::with("minimal");
    let properties: Vec<String> = (0..1500).map(|number| format!("property-{number:04}: {}", "x".repeat(30))).collect();
    let properties = format!("{{ pool: small, system_properties: {{ {} }} }}", properties.join(", "));
    stage.edit("{ pool: small }", &properties);
    for arguments in [["validate"].as_slice(), &["plan"], &["apply", "--yes"]] {
        let ended = stage.run(arguments);
        assert_eq!(ended.code, 1);
        assert!(
            ended.stderr.contains("the control plane's task definition has ") && ended.stderr.len() < 8_000,
            "{}",
            ended.stderr
        );
    }
    assert!(!stage.path(".trunnion/minimal.json").exists());
}

#[test]
fn secrets_in_clear_are_named_by_validate_and_plan() {
    let stage = Stage::with("minimal");
    stage.edit("{ pool: small }", "{ pool: small, jvm_options: [-Dgithub=ghp_0123456789abcdefABCD] }");
    for arguments in [["validate"].as_slice(), &["plan"]] {
        let ended = stage.run(arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let all = ended.stdout + &ended.stderr;
        assert!(all.contains("may contain a secret"), "{all}");
    }
}
