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
fn a_key_that_a_secret_does_not_have_is_said_by_the_service() {
    let stage = Stage::with("minimal");
    stage.edit(
        &format!("arn:aws:secretsmanager:eu-west-3:123456789012:{TOKEN}"),
        &format!("\"arn:aws:secretsmanager:eu-west-3:123456789012:{TOKEN}:cp_token::\""),
    );
    stage.succeed(&["validate"]);
    let ended = stage.run(&["apply", "--yes"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("did not contain json key cp_token"), "{}", ended.stderr);
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
    // Once it is registered for another reason, it takes the default.
    stage.edit("control_plane:\n", "control_plane:\n  cpu: 2048\n  memory: 4096\n");
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
        assert!(ended.stderr.contains("ECS takes 65536") && ended.stderr.len() < 8_000, "{}", ended.stderr);
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
        assert!(all.contains("may hold a secret"), "{all}");
    }
}
