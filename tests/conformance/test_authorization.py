"""A whole lifecycle with a role that may do only what a policy lists, and the verdicts judged by tools of others."""

import json
import os
import subprocess

import pytest
from botocore.exceptions import ClientError

from stage import ACCOUNT, BINARIES, ROOT, answer_of, code_of, everywhere, settled, stack_file, until, variables

HERE = ROOT / "tests" / "conformance" / "authorization"
MODULES = BINARIES.parent / "authorization" / "node_modules"
POLICY = json.loads((HERE / "operator.json").read_text())
ROLE = f"arn:aws:iam::{ACCOUNT}:role/operator"
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def statement(action, resource="*", effect="Allow", **more):
    return {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource, **more}]}


def trusting(principal, **more):
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}],
    }


def client(setup, service, key):
    token = key.get("SessionToken")
    return setup.sandbox.client(service, key=key["AccessKeyId"], secret=key["SecretAccessKey"], token=token)


def new_user(setup, name, policy=None):
    """The key of a new user, which is known everywhere."""
    key = new_key(setup, name, policy)
    allowed(client(setup, "sts", key).get_caller_identity)
    return key


def new_key(setup, name, policy=None):
    iam = setup.client("iam")
    iam.create_user(UserName=name)
    if policy:
        settled(iam.put_user_policy, UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
    return settled(iam.create_access_key, UserName=name)["AccessKey"]


def allowed(call, **parameters):
    """Waits until a call is allowed wherever it is asked: IAM's changes are known everywhere only later."""
    everywhere(lambda: code_of(call, **parameters) is None)


def session(setup, policy, name="me", **more):
    """A session of the role `operator`, which has exactly this policy, of a user who may do nothing but assume it."""
    key = new_user(setup, "ci", statement("sts:AssumeRole", ROLE))
    iam = setup.client("iam")
    iam.create_role(RoleName="operator", AssumeRolePolicyDocument=json.dumps(trusting({"AWS": ACCOUNT})))
    settled(iam.put_role_policy, RoleName="operator", PolicyName="own", PolicyDocument=json.dumps(policy))
    given = assumed(client(setup, "sts", key), RoleArn=ROLE, RoleSessionName=name, **more)
    allowed(client(setup, "ec2", given).describe_vpcs)
    return given


def assumed(sts, **parameters):
    """The credentials of a role, as soon as the role, its trust policy and the caller's policy are known."""
    return until(lambda: answer_of(sts.assume_role, **parameters).get("Credentials"))


def refused(call, **parameters):
    with pytest.raises(ClientError) as failed:
        call(**parameters)
    return failed.value.response["Error"]


def becomes_refused(call, text, **parameters):
    """Waits until a call is refused with this text in the message wherever it is asked."""
    everywhere(lambda: text in answer_of(call, **parameters).get("Error", {}).get("Message", ""))


def judge(setup, record):
    command = ["node", HERE / "judge.mjs", MODULES, record, setup.sandbox.endpoint, os.environ.get("SEED", "84")]
    ended = subprocess.run(command, capture_output=True, text=True)
    print(ended.stdout)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


def assumes_an_unknown_role(setup, record):
    """A user whose policy is known tries to assume a role that is not: nothing says whom it trusts."""
    role = f"{ROLE}-of-nobody"
    sts = client(setup, "sts", new_user(setup, "early", statement("sts:AssumeRole", role)))

    def is_denied_by_trust():
        assert "Error" in answer_of(sts.assume_role, RoleArn=role, RoleSessionName="me")
        last = json.loads(record.read_text().splitlines()[-1])
        return last["resource"] == role and last["verdict"]["denied"]["basis"] == "trust"

    until(is_denied_by_trust)


def test_a_lifecycle_of_exactly_one_policy_is_judged(fresh, tmp_path):
    record = tmp_path / "authorizations.jsonl"
    setup = fresh(stack_file("loadtest"), "--authorizations", str(record))
    setup.machine.credentials = variables(session(setup, POLICY))
    setup.machine.converge()
    stack = (setup.machine.folder / "stack.yaml").read_text()
    (setup.machine.folder / "stack.yaml").write_text(stack.replace("count: 4", "count: 5"))
    setup.machine.converge()
    setup.machine.succeed("destroy", "--yes")
    assumes_an_unknown_role(setup, record)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    denied = [line for line in lines if "allowed" not in line["verdict"] and "session" in line["caller"]]
    assert not denied, denied[0]
    assert {line["call"] for line in lines} >= {"ec2:RunInstances", "ecs:CreateService", "s3:PutObject", "iam:CreateRole"}
    judge(setup, record)


def test_the_reference_of_the_sandbox_is_that_of_iam_data():
    command = ["node", HERE / "reference.mjs", ROOT, MODULES / "@cloud-copilot" / "iam-data", "--check"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_table_of_calls_is_that_of_iam_data():
    ended = subprocess.run(["node", HERE / "calls.mjs", MODULES], capture_output=True, text=True)
    print(ended.stdout)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


def test_each_service_refuses_in_its_own_words(fresh):
    setup = fresh(stack_file("minimal"))
    key = new_user(setup, "nobody")
    who = f"User: arn:aws:iam::{ACCOUNT}:user/nobody is not authorized to perform: "

    def because(action):
        return f"because no identity-based policy allows the {action} action"

    error = refused(client(setup, "ec2", key).describe_vpcs)
    text = f"You are not authorized to perform this operation. {who}ec2:DescribeVpcs {because('ec2:DescribeVpcs')}"
    assert error == {"Code": "UnauthorizedOperation", "Message": text}
    error = refused(client(setup, "ec2", key).terminate_instances, InstanceIds=["i-1"], DryRun=True)
    assert error["Code"] == "UnauthorizedOperation" and "on resource: arn:aws:ec2:eu-west-3:" in error["Message"]
    error = refused(client(setup, "ecs", key).describe_clusters, clusters=["x"])
    arn = f"arn:aws:ecs:eu-west-3:{ACCOUNT}:cluster/x"
    assert error["Code"] == "AccessDeniedException"
    assert error["Message"] == f"{who}ecs:DescribeClusters on resource: {arn} {because('ecs:DescribeClusters')}"
    error = refused(client(setup, "iam", key).get_role, RoleName="x")
    assert error["Code"] == "AccessDenied"
    assert error["Message"] == f"{who}iam:GetRole on resource: role x {because('iam:GetRole')}"
    error = refused(client(setup, "logs", key).describe_log_groups)
    assert error["Code"] == "AccessDeniedException"
    assert f"arn:aws:logs:eu-west-3:{ACCOUNT}:log-group::log-stream: because" in error["Message"]
    error = refused(client(setup, "s3", key).get_bucket_location, Bucket="some-bucket")
    assert error["Code"] == "AccessDenied"
    assert f'{who}s3:GetBucketLocation on resource: "arn:aws:s3:::some-bucket" because' in error["Message"]
    error = refused(client(setup, "sts", key).assume_role, RoleArn=ROLE, RoleSessionName="me")
    assert error["Code"] == "AccessDenied"
    assert error["Message"] == f"{who}sts:AssumeRole on resource: {ROLE}"


def test_callers_have_their_own_arns(fresh):
    setup = fresh(stack_file("minimal"))
    assert setup.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/sandbox"
    given = session(setup, ALL)
    identity = client(setup, "sts", given).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/operator/me"
    assert identity["UserId"].endswith(":me")
    key = new_user(setup, "someone", ALL)
    assert client(setup, "sts", key).get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/someone"
    allowed(client(setup, "ec2", key).describe_vpcs)
    bare = client(setup, "sts", key).get_session_token()["Credentials"]
    assert client(setup, "sts", bare).get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/someone"
    client(setup, "ec2", bare).describe_vpcs()
    assert refused(client(setup, "iam", bare).list_roles)["Code"] == "InvalidClientTokenId"


def test_a_token_belongs_to_its_key(fresh):
    setup = fresh(stack_file("minimal"))
    given = session(setup, ALL)
    client(setup, "s3", given).list_buckets()
    other = {**given, "SessionToken": given["SessionToken"][:-1] + "x"}
    for service, call, code in [
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("ecs", "list_clusters", "UnrecognizedClientException"),
        ("s3", "list_buckets", "InvalidToken"),
    ]:
        assert refused(getattr(client(setup, service, other), call))["Code"] == code
        without = {name: value for name, value in given.items() if name != "SessionToken"}
        assert refused(getattr(client(setup, service, without), call))["Code"] == code


def test_a_deactivated_key_opens_nothing(fresh):
    setup = fresh(stack_file("minimal"))
    key = new_user(setup, "someone", ALL)
    iam = setup.client("iam")
    allowed(client(setup, "ecs", key).list_clusters)
    iam.update_access_key(UserName="someone", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    assert refused(client(setup, "ecs", key).list_clusters)["Code"] == "UnrecognizedClientException"
    assert refused(iam.delete_user, UserName="someone")["Code"] == "DeleteConflict"
    iam.delete_access_key(UserName="someone", AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName="someone", PolicyName="own")
    iam.delete_user(UserName="someone")


def test_boundaries_and_session_policies_limit(fresh):
    setup = fresh(stack_file("minimal"))
    iam = setup.client("iam")
    key = new_user(setup, "someone", ALL)
    document = json.dumps(statement("ec2:*"))
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=document)["Policy"]["Arn"]
    allowed(client(setup, "ecs", key).list_clusters)
    everywhere(lambda: code_of(iam.get_policy, PolicyArn=boundary) is None)
    iam.put_user_permissions_boundary(UserName="someone", PermissionsBoundary=boundary)
    text = "because no permissions boundary allows the ecs:ListClusters action"
    becomes_refused(client(setup, "ecs", key).list_clusters, text)
    client(setup, "ec2", key).describe_vpcs()
    iam.delete_user_permissions_boundary(UserName="someone")
    allowed(client(setup, "ecs", key).list_clusters)

    given = session(setup, ALL, Policy=document)
    message = refused(client(setup, "ecs", given).list_clusters)["Message"]
    assert "because no session policy allows the ecs:ListClusters action" in message
    iam.put_role_permissions_boundary(RoleName="operator", PermissionsBoundary=boundary)
    assert refused(iam.delete_policy, PolicyArn=boundary)["Code"] == "DeleteConflict"
    denied = json.dumps(statement("ec2:DescribeVpcs", effect="Deny"))
    iam.put_role_policy(RoleName="operator", PolicyName="no", PolicyDocument=denied)
    becomes_refused(client(setup, "ec2", given).describe_vpcs, "with an explicit deny in an identity-based policy")


def test_a_trust_policy_has_conditions(fresh):
    setup = fresh(stack_file("minimal"))
    key = new_user(setup, "ci", statement("sts:AssumeRole", ROLE))
    iam, sts = setup.client("iam"), client(setup, "sts", key)
    condition = {"StringEquals": {"sts:ExternalId": "42"}, "StringLike": {"sts:RoleSessionName": "ci-*"}}
    trust = json.dumps(trusting({"AWS": ACCOUNT}, Condition=condition))
    iam.create_role(RoleName="operator", AssumeRolePolicyDocument=trust)
    allowed(sts.assume_role, RoleArn=ROLE, RoleSessionName="ci-1", ExternalId="42")
    assert refused(sts.assume_role, RoleArn=ROLE, RoleSessionName="ci-1")["Code"] == "AccessDenied"
    assert refused(sts.assume_role, RoleArn=ROLE, RoleSessionName="me", ExternalId="42")["Code"] == "AccessDenied"


def test_what_is_not_known_is_never_allowed(fresh):
    setup = fresh(stack_file("minimal"))
    iam = setup.client("iam")
    condition = {"StringEquals": {"ec2:Unheard": "x"}}
    key = new_user(setup, "someone", statement("ec2:*", Condition=condition))
    ec2 = client(setup, "ec2", key)
    everywhere(lambda: code_of(ec2.describe_vpcs) == "SandboxCannotEvaluate")
    assert "`ec2:Unheard`" in refused(ec2.describe_vpcs)["Message"]
    condition = {"StringMatches": {"aws:username": "x"}}
    error = refused(
        iam.put_user_policy, UserName="someone", PolicyName="p", PolicyDocument=json.dumps(statement("*", Condition=condition))
    )
    assert error["Code"] == "MalformedPolicyDocument" and "`StringMatches`" in error["Message"]
    other = new_user(setup, "other")
    settled(iam.attach_user_policy, UserName="other", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    ec2 = client(setup, "ec2", other)
    everywhere(lambda: code_of(ec2.describe_vpcs) == "SandboxCannotEvaluate")
    assert "ReadOnlyAccess" in refused(ec2.describe_vpcs)["Message"]


def test_the_bucket_of_a_stack_denies_what_comes_without_tls(minimal):
    """An explicit deny holds for the administrator, too. What a proxy says it received without TLS counts so."""
    s3 = minimal.client("s3")
    (bucket,) = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    s3.list_objects_v2(Bucket=bucket)
    s3.meta.events.register("before-send.s3", lambda request, **_: request.headers.update({"X-Forwarded-Proto": "http"}))
    error = refused(s3.list_objects_v2, Bucket=bucket)
    assert error["Code"] == "AccessDenied"
    assert error["Message"].endswith("with an explicit deny in a resource-based policy")


def test_new_keys_and_policies_are_not_known_at_once(fresh):
    """With a lag of minutes, nothing of this run is known yet, however slow the machine is."""
    setup = fresh(stack_file("minimal"), "--consistency-lag", "600000")
    key = new_key(setup, "someone", ALL)
    assert refused(client(setup, "ecs", key).list_clusters)["Code"] == "UnrecognizedClientException"
    iam = setup.client("iam")
    assert iam.get_user_policy(UserName="someone", PolicyName="own")["PolicyDocument"] == ALL
    arn = f"arn:aws:iam::{ACCOUNT}:user/someone"
    (result,) = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=["ecs:ListClusters"])["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"


def test_new_keys_and_changed_policies_are_known_later(fresh):
    setup = fresh(stack_file("minimal"), "--consistency-lag", "200")
    key = new_key(setup, "someone", ALL)
    ecs = client(setup, "ecs", key)

    def works():
        try:
            return ecs.list_clusters()
        except ClientError:
            return None

    until(works)
    iam = setup.client("iam")
    iam.delete_user_policy(UserName="someone", PolicyName="own")
    until(lambda: not works())


def test_a_missing_object_is_forbidden_to_who_may_not_list(minimal):
    """`HeadObject` of a role that may only read answers 403 for what is not there, and 404 to who may list."""
    s3 = minimal.client("s3")
    iam, sts = minimal.client("iam"), minimal.client("sts")
    (bucket,) = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    trust = trusting({"AWS": ACCOUNT})
    arn = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    generator = s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"]
    reader = client(minimal, "s3", assumed(sts, RoleArn=arn, RoleSessionName="me"))

    def status():
        return answer_of(reader.head_object, Bucket=bucket, Key="nothing")["ResponseMetadata"]["HTTPStatusCode"]

    for statements, expected in [([read], 403), ([read, listing], 404)]:
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        settled(iam.put_role_policy, RoleName="reader", PolicyName="p", PolicyDocument=policy)
        allowed(reader.head_object, Bucket=bucket, Key=generator)
        everywhere(lambda: status() == expected)
