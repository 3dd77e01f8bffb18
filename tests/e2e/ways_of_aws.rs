//! Special behaviour of AWS, and how a stack handles it.

use trunnion_tests::Stage;

const TOKEN: &str = "secret:gatling/token-AbCdEf";

#[test]
fn a_secret_without_its_last_characters_is_found_and_read() {
    let stage = Stage::with("minimal");
    stage.edit(TOKEN, "secret:gatling/token");
    // Apply waits for the service, which runs only if its role can read the secret by its full ARN.
    stage.converge(&[]);
    let policy = stage.succeed(&["show", "--json"]).stdout;
    assert!(policy.contains(&format!("{TOKEN}\\\"")), "{policy}");
    stage.edit("secret:gatling/token", TOKEN);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "both ARNs name the same secret");
}

#[test]
fn the_key_of_a_secret_follows_the_full_arn_in_the_task() {
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
fn a_new_default_of_the_init_image_starts_no_new_task() {
    let stage = Stage::with("minimal");
    stage.edit("control_plane:\n", "control_plane:\n  init_image: busybox:1.37.0\n");
    stage.converge(&[]);
    stage.edit("  init_image: busybox:1.37.0\n", "");
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    // With the next change of the containers, the default is used.
    stage.edit("{ pool: small }", "{ pool: small, description: moved }");
    stage.converge(&[]);
    assert!(stage.succeed(&["show", "--json"]).stdout.contains("public.ecr.aws/docker/library/busybox:1.37.0"));
}

#[test]
fn a_too_long_task_definition_is_refused_before_any_change() {
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
fn validate_and_plan_warn_about_secrets_in_plain_text() {
    let stage = Stage::with("minimal");
    stage.edit("{ pool: small }", "{ pool: small, jvm_options: [-Dgithub=ghp_0123456789abcdefABCD] }");
    for arguments in [["validate"].as_slice(), &["plan"]] {
        let ended = stage.run(arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let all = ended.stdout + &ended.stderr;
        assert!(all.contains("may contain a secret"), "{all}");
    }
}
