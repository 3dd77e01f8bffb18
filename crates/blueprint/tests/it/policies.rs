//! All policies, in a form for a security review.

use std::fmt::Write as _;

use trunnion_blueprint::{blueprint, policies};
use trunnion_engine::{Reference, Value};
use trunnion_stack::Stack;

use crate::common;

fn text(stack: &trunnion_stack::Stack) -> String {
    let mut text = String::new();
    for (name, policy) in policies(stack).unwrap() {
        writeln!(text, "{name}\n{policy}\n").unwrap();
    }
    text
}

#[test]
fn the_reference_stack() {
    insta::assert_snapshot!(text(&common::stack("loadtest.yaml", None)));
}

/// The result of a secret's lookup. The stack contains the full ARN.
#[expect(clippy::unnecessary_wraps, reason = "`resolve` needs an `Option`")]
fn arn(stack: &Stack, reference: &Reference) -> Option<Value> {
    let control_plane = &stack.control_plane;
    match format!("{}#{}", reference.address, reference.attribute).as_str() {
        "secret.token#arn" => Some(control_plane.token.arn.clone().into()),
        "secret.ssh_private_key#arn" => Some(control_plane.ssh.private_key.arn.clone().into()),
        other => panic!("{other}"),
    }
}

/// The policy of a role after the secrets were looked up.
fn looked_up(stack: &Stack, role: &str, secret: &str) -> String {
    let graph = blueprint(stack, &common::binaries()).unwrap();
    let role = &graph.resources()[&format!("iam_role.{role}").parse().unwrap()];
    let known = role.attributes["policy"].resolve(&|_| Some(secret.into()));
    known.as_text().unwrap().to_owned()
}

#[test]
fn policies_contain_the_arn_from_the_lookup() {
    let mut stack = common::stack("loadtest.yaml", None);
    let whole = stack.control_plane.token.arn.clone();
    let partial = whole.strip_suffix("-AbCdEf").unwrap().to_owned();
    stack.control_plane.token.arn.clone_from(&partial);
    let policy = looked_up(&stack, "execution", &whole);
    assert!(policy.contains(&format!("\"{whole}\"")) && !policy.contains(&format!("\"{partial}\"")), "{policy}");
    // Only an ARN that needs a lookup is shown as a placeholder.
    let shown = text(&stack);
    assert!(shown.contains(&format!("\"<the whole ARN of {partial}>\"")), "{shown}");
    assert!(shown.contains(&format!("\"{}\"", stack.control_plane.ssh.private_key.arn)), "{shown}");
}

#[test]
fn the_key_of_a_secret_appears_in_the_task_and_not_in_the_policy() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/loadtest.yaml")).unwrap();
    let text = text.replacen(
        "token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf",
        "token: \"arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token:cp_token::\"",
        1,
    );
    let stack = common::parse(&text, None);
    let whole = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf";
    assert!(looked_up(&stack, "execution", whole).contains(&format!("\"{whole}\"")));
    let graph = blueprint(&stack, &common::binaries()).unwrap();
    let definition = &graph.resources()[&"ecs_task_definition.control_plane".parse().unwrap()];
    let known = Value::Map(definition.attributes.clone()).resolve(&|_| Some(whole.into()));
    let known = serde_json::Value::from(known);
    assert_eq!(known["containers"]["control-plane"]["secrets"]["CONTROL_PLANE_TOKEN"], format!("{whole}:cp_token::"));
    let query = serde_json::Value::from(Value::Map(graph.lookups()[&"secret.token".parse().unwrap()].query.clone()));
    assert_eq!(query["arn"], whole.strip_suffix("-AbCdEf").unwrap());
}

#[test]
fn the_roles_have_these_policies_and_no_others() {
    let stack = common::stack("loadtest.yaml", None);
    let graph = blueprint(&stack, &common::binaries()).unwrap();
    let shown = policies(&stack).unwrap();
    let mut seen = 0;
    for resource in graph.resources().values() {
        for name in ["policy", "trust_policy"] {
            let found = resource.attributes.get(name).map(|value| value.resolve(&|reference| arn(&stack, reference)));
            let Some(text) = found.as_ref().and_then(Value::as_text) else { continue };
            let one: serde_json::Value = serde_json::from_str(text).unwrap();
            let other: serde_json::Value =
                serde_json::from_str(&shown[&format!("{}.{name}", resource.address)]).unwrap();
            assert_eq!(one, other, "{}", resource.address);
            seen += 1;
        }
    }
    assert_eq!(seen, shown.len());
}

#[test]
fn arns_and_service_principals_follow_the_partition() {
    let mut stack = common::stack("loadtest.yaml", None);
    stack.region = "cn-north-1".to_owned();
    let china = text(&stack);
    assert!(china.contains("arn:aws-cn:s3:::loadtest-123456789012-cn-north-1"));
    assert!(china.contains("\"ec2.amazonaws.com.cn\"") && china.contains("\"ecs-tasks.amazonaws.com\""));
    assert!(!china.contains("arn:aws:s3") && !china.contains("arn:aws:logs"));
    stack.region = "us-gov-west-1".to_owned();
    assert!(text(&stack).contains("arn:aws-us-gov:logs:us-gov-west-1:123456789012:log-group:"));
    stack.region = "eusc-de-east-1".to_owned();
    let sovereign = text(&stack);
    assert!(sovereign.contains("arn:aws-eusc:s3:::loadtest-123456789012-eusc-de-east-1"));
    assert!(sovereign.contains("\"ec2.amazonaws.com\"") && !sovereign.contains("amazonaws.eu"));
}

#[test]
fn an_ecr_image_adds_permissions_for_its_repository_only() {
    let mut stack = common::stack("loadtest.yaml", None);
    assert!(!text(&stack).contains("ecr:"));
    stack.control_plane.image = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/team/control-plane:2026.42.2".to_owned();
    assert!(text(&stack).contains("\"arn:aws:ecr:eu-west-1:210987654321:repository/team/control-plane\""));
    assert!(!text(&stack).contains("ecr:CreateRepository"), "it is not a cache");
    for (image, arn) in [
        ("210987654321.dkr-ecr.eu-west-1.on.aws/a/b:1", "arn:aws:ecr:eu-west-1:210987654321:repository/a/b"),
        (
            "210987654321.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a:1",
            "arn:aws-us-gov:ecr:us-gov-west-1:210987654321:repository/a",
        ),
        ("210987654321.dkr.ecr.cn-north-1.amazonaws.com.cn/a:1", "arn:aws-cn:ecr:cn-north-1:210987654321:repository/a"),
        (
            "210987654321.dkr.ecr.eusc-de-east-1.amazonaws.eu/a:1",
            "arn:aws-eusc:ecr:eusc-de-east-1:210987654321:repository/a",
        ),
    ] {
        stack.control_plane.image = image.to_owned();
        assert!(text(&stack).contains(&format!("\"{arn}\"")), "{image}");
    }
    for other in ["210987654321.dkr.ecr.eu-west-1.amazonaws.com.evil.org/a:1", "x.dkr.ecr.eu-west-1.amazonaws.com/a:1"]
    {
        stack.control_plane.image = other.to_owned();
        assert!(!text(&stack).contains("ecr:"), "{other}");
    }
    // The image of the first container counts too, and the first pull fills a cache.
    stack.control_plane.init_image =
        "210987654321.dkr.ecr.eu-west-1.amazonaws.com/docker-hub/library/busybox:1.37.0".to_owned();
    let shown = text(&stack);
    let repository = "\"arn:aws:ecr:eu-west-1:210987654321:repository/docker-hub/library/busybox\"";
    assert_eq!(shown.matches(repository).count(), 2, "{shown}");
    assert!(shown.contains("ecr:CreateRepository") && shown.contains("ecr:BatchImportUpstreamImage"), "{shown}");
}
