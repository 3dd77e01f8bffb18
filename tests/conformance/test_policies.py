"""Every policy that Trunnion creates, judged by parliament, cloudsplaining, policy_sentry and moto."""

import json

import boto3
import models
import parliament
import pytest
from cloudsplaining.scan.policy_document import PolicyDocument
from moto.iam.policy_validation import IAMTrustPolicyDocumentValidator
from policy_sentry.querying.actions import get_action_data

from stage import ACCOUNT, REGION, Machine, stack_file

ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
IMAGE = "image: gatlingcorp/control-plane:2026.42.2"
STACKS = {
    "reference": stack_file("loadtest"),
    "images-in-ecr": stack_file(
        "minimal", (IMAGE, f"image: {ECR}/control-plane:2026.42.2\n  init_image: {ECR}/busybox:1.37.0")
    ),
    "elastic-ips": stack_file("minimal", ("zone: eu-west-3a }", "zone: eu-west-3a, public_ip: true }")),
    "json-key-of-a-secret": stack_file("minimal", ("gatling/token-AbCdEf", 'gatling/token-AbCdEf:token::"'), ("token: arn", 'token: "arn')),
}
# What the findings of cloudsplaining are called.
RISKS = [
    "all_allowed_unrestricted_actions",
    "allows_data_exfiltration_actions",
    "allows_privilege_escalation",
    "contains_statement_using_not_action",
    "credentials_exposure",
    "infrastructure_modification",
    "permissions_management_without_constraints",
    "service_wildcard",
    "write_actions_without_constraints",
]
# Its answer is a token for ECR, and it takes no other resource than `*`.
NEEDED = {("credentials_exposure", "ecr:GetAuthorizationToken")}


# What parliament finds in the policies for the commands, by actions.
ANSWERED = {
    # A launch needs several types of resources. Each has a statement with conditions of its own; the judge looks at one alone.
    ("RESOURCE_MISMATCH", "ec2:RunInstances"),
    ("RESOURCE_MISMATCH", "ec2:CreateSecurityGroup ec2:RunInstances"),
    # A public parameter belongs to no account ("Calling AMI public parameters" in the guide of Systems Manager, read November
    # 2026), for which the judge has no form.
    ("RESOURCE_MISMATCH", "ssm:GetParameters"),
    # The condition `ecs:cluster` limits it: tasks are listed by their service, not by a container instance.
    ("RESOURCE_STAR", "ecs:ListTasks"),
    # ECS checks a revision against its family or against nothing. A condition asks for the tag of the stack.
    ("RESOURCE_STAR", "ecs:RegisterTaskDefinition"),
    # The ARN of a session does not have the path of its role.
    ("RESOURCE_STAR", "iam:GetRole"),
    # Apply sets the policy of the stack's own bucket, and may use only the objects of the generator in it.
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", ""),
}


def created(setup) -> dict[str, list[dict]]:
    """The documents that a setup was given so far, by the operation that brought them."""
    found = {}
    for call in setup.capture.calls:
        operation = models.operation(call)
        if operation == "iam:CreateRole":
            text = call.form["AssumeRolePolicyDocument"]
        elif operation == "iam:PutRolePolicy":
            text = call.form["PolicyDocument"]
        elif operation == "s3:PutBucketPolicy":
            text = call.body
        else:
            continue
        found.setdefault(operation, []).append(json.loads(text))
    return found


def by_parliament(document) -> list[str]:
    judged = parliament.analyze_policy_string(json.dumps(document))
    return [f"{finding.issue} {finding.detail}" for finding in judged.findings]


def by_cloudsplaining(document) -> set[tuple[str, str]]:
    judged = PolicyDocument(document)
    found = {(risk, str(one)) for risk in RISKS for one in getattr(judged, risk)}
    return found - NEEDED


def by_policy_sentry(document) -> list[str]:
    """Actions that AWS does not have, and those that manage permissions."""
    found = []
    for action in (action for statement in document["Statement"] for action in statement["Action"]):
        service, _, name = action.partition(":")
        known = get_action_data(service, name)
        if not known:
            found.append(f"{action}: no such action")
        elif any(one["access_level"] == "Permissions management" for one in known[service]):
            found.append(f"{action}: manages permissions")
    return found


@pytest.mark.parametrize("name", STACKS)
def test_policies_are_right_and_least(fresh, name):
    setup = fresh(STACKS[name])
    setup.machine.succeed("apply", "--yes", "--no-wait")
    documents = created(setup)
    assert {operation: len(found) for operation, found in documents.items()} == {
        "iam:CreateRole": 3,
        "iam:PutRolePolicy": 2,
        "s3:PutBucketPolicy": 1,
    }
    for document in documents["iam:CreateRole"]:
        IAMTrustPolicyDocumentValidator(json.dumps(document)).validate()
    for document in [*documents["iam:PutRolePolicy"], *documents["s3:PutBucketPolicy"]]:
        assert by_parliament(document) == []
    for document in documents["iam:PutRolePolicy"]:
        assert by_cloudsplaining(document) == set()
        assert by_policy_sentry(document) == []


@pytest.mark.parametrize("region", ["eu-west-3", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"])
def test_policies_for_the_commands_are_right(tmp_path, region):
    partition = boto3.session.Session().get_partition_for_region(region)
    text = STACKS["reference"].split("\nenvironments:")[0]
    text = text.replace("arn:aws:", f"arn:{partition}:").replace("eu-west-3", region)
    machine = Machine(tmp_path, "http://127.0.0.1:9", text)
    for command in ("plan", "apply", "destroy", "doctor"):
        printed = json.loads(machine.succeed("permissions", "--for", command).stdout)
        for document in printed if isinstance(printed, list) else [printed]:
            arns = [arn for statement in document["Statement"] for arn in statement["Resource"] if arn != "*"]
            assert {arn.split(":")[1] for arn in arns} <= {partition}
            assert findings(document) <= ANSWERED


def findings(document) -> set[tuple[str, str]]:
    """The issues that parliament finds, each with its actions."""
    # It does not know this partition, and reads lists of one value in conditions with errors.
    judged = json.loads(json.dumps(document).replace("arn:aws-eusc:", "arn:aws:").replace("eusc-de-east-1", "eu-central-1"))
    for statement in judged["Statement"]:
        for keys in statement.get("Condition", {}).values():
            keys.update({key: values[0] for key, values in keys.items() if len(values) == 1})
    found = parliament.analyze_policy_string(json.dumps(judged)).findings
    of = lambda detail: {one["action"] if isinstance(one, dict) else one for one in detail} if isinstance(detail, list) else ()
    return {(one.issue, " ".join(sorted(of(one.detail)))) for one in found}


def test_judges_find_what_is_wrong():
    def policy(action, resource="arn:aws:s3:::bucket/*"):
        statement = {"Effect": "Allow", "Action": [action], "Resource": [resource]}
        return {"Version": "2012-10-17", "Statement": [statement]}

    assert by_parliament(policy("s3:GetObjekt"))
    assert by_parliament(policy("s3:GetObject", "arn:aws:s3:::bucket"))
    assert by_policy_sentry(policy("s3:GetObjekt"))
    assert by_policy_sentry(policy("s3:PutBucketPolicy"))
    assert by_cloudsplaining(policy("s3:GetObject", "*"))
    assert by_cloudsplaining(policy("iam:PassRole", "*"))
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}
    with pytest.raises(Exception, match="MalformedPolicyDocument|prohibited"):
        IAMTrustPolicyDocumentValidator(json.dumps(trust)).validate()
