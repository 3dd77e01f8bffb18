"""Whole lives of stacks, every call and answer of which AWS's own models judge. And a test of the judge."""

import base64
import dataclasses
import json
import re
import urllib.parse

import models
import pytest

from damages import DAMAGES
from stage import (
    ACCOUNT, REGION, Capture, Sandbox, Setup, called_by_the_provider, code_of, everywhere, group_id, make_network, settled, stack_file, until,
)  # fmt: skip

BUCKET = f"loadtest-{ACCOUNT}-{REGION}"
STATES = "acme-trunnion"
# What one life can suffer at once.
TOGETHER = [
    """
    terminated_host stopped_host removed_tag_of_a_host revoked_rule new_version_of_a_launch_template_made_default
    deleted_launch_template deleted_role_policy attached_foreign_policy additional_policy_and_missing_tag_of_a_role
    instance_profile_without_its_role service_scaled_to_nothing other_tags_on_the_cluster changed_retention
    deleted_bucket_policy
    """,
    """
    host_without_the_tags_that_name_the_stack foreign_rule trust_in_another_account deleted_role
    changed_tag_of_a_launch_template service_with_another_task_definition logs_without_a_retention opened_bucket
    object_with_another_content log_group_without_the_tags_that_name_the_stack bucket_without_tags
    """,
]


# Calls that the provider can make, and that no stack leads to: policies of AWS attached to a role, and logs kept for ever.
# The default of a quota is read only where the account has none of its own.
OF_NO_STACK = {"iam:AttachRolePolicy", "logs:DeleteRetentionPolicy"}
# Only if a group is still in use when it is deleted, which is a matter of time.
OF_SOME_LIVES = {"ec2:DescribeNetworkInterfaces"}


def provider_calls(setup) -> set[str]:
    """The operations that Trunnion asked for; others did things in between."""
    ours = [call for call in setup.capture.calls if "aws-sdk-rust" in call.header("user-agent")]
    return {models.operation(call) for call in ours}


def also_damage_its_tags(setup):
    """Takes a tag from what the other damages leave alone, and adds one."""
    iam, ec2, logs = setup.client("iam"), setup.client("ec2"), setup.client("logs")
    name = "loadtest.eu-west-3.generator"
    odd = {"Key": "odd", "Value": ""}
    iam.untag_instance_profile(InstanceProfileName=name, TagKeys=["team"])
    iam.tag_instance_profile(InstanceProfileName=name, Tags=[odd])
    iam.tag_role(RoleName=name, Tags=[odd])
    iam.update_role(RoleName=name, Description="another")
    ec2.create_tags(Resources=[group_id(ec2, "loadtest-load")], Tags=[odd])
    logs.tag_resource(
        resourceArn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/trunnion/loadtest/control-plane", tags={"odd": ""}
    )


def test_every_call_of_a_whole_life_is_as_the_models_have_it(fresh):
    stack = stack_file(
        "loadtest",
        ('account: "123456789012"', f'account: "123456789012"\nstate: s3://{STATES}/state\nnetwork: {{ vpc: {{ Name: own }} }}'),
        ("    zone: eu-west-3b\n    interfaces: 4", "    zone: eu-west-3b\n    public_ip: true\n    interfaces: 4"),
    )
    # Tasks stop so slowly that a change meets them.
    setup = fresh(stack_file("loadtest"), "--speed", "100")
    assert " 1 unknown" in setup.machine.run("doctor").stdout
    (setup.machine.folder / "stack.yaml").write_text(stack)
    make_network(setup.client("ec2"))
    s3 = setup.client("s3")
    for name in (STATES, BUCKET):
        # The second one is as an attempt leaves it that ended too early.
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    settled(s3.put_bucket_versioning, Bucket=STATES, VersioningConfiguration={"Status": "Enabled"})
    # It reads other things of a VPC with a DNS server of its own, and of a state in a bucket.
    assert " 1 unknown" in setup.machine.run("doctor").stdout
    setup.machine.converge()

    for edits in (
        [("log_retention_days: 30", "log_retention_days: 7"), ("team: performance", "team: another")],
        [("volume_gib: 100", "volume_gib: 120"), ("count: 4", "count: 3"), ("metrics_from: [10.30.0.0/16]", "metrics_from: []")],
        [("public_ip: true\n    interfaces", "interfaces"), ("public_ip: true\n", "public_ip: false\n  cpu: 2048\n  memory: 4096\n")],
        [],
    ):
        changed = stack
        for before, after in edits:
            changed = changed.replace(before, after)
        (setup.machine.folder / "stack.yaml").write_text(changed)
        setup.machine.converge()

    damages = {damage.name: damage for damage in DAMAGES}
    for names in TOGETHER:
        for name in names.split():
            damages[name].do(setup)
        also_damage_its_tags(setup)
        setup.machine.converge("--no-wait")
    setup.machine.succeed("destroy", "--yes")
    assert called_by_the_provider() - provider_calls(setup) - OF_SOME_LIVES == OF_NO_STACK


def test_every_known_difference_is_still_there(fresh):
    """An exception that nothing needs any more would hide a mistake: each has a call here that needs it."""
    setup = fresh(None)
    ec2, s3 = setup.client("ec2"), setup.client("s3")
    ec2.describe_internet_gateways()
    subnet = ec2.describe_subnets()["Subnets"][0]
    ec2.create_security_group(GroupName="some", Description="some", VpcId=subnet["VpcId"])
    (image,) = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    run = dict(MinCount=1, MaxCount=1, ImageId=image["ImageId"], InstanceType="c7i.xlarge", SubnetId=subnet["SubnetId"])
    host = ec2.run_instances(**run)["Instances"][0]
    interface = host["NetworkInterfaces"][0]["NetworkInterfaceId"]
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    until(lambda: ec2.describe_instances(Filters=running)["Reservations"])
    everywhere(lambda: code_of(ec2.describe_network_interfaces, NetworkInterfaceIds=[interface]) is None)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1)
    first, second = (ec2.allocate_address()["AllocationId"] for _ in range(2))
    settled(ec2.associate_address, AllocationId=first, NetworkInterfaceId=interface)
    settled(ec2.create_nat_gateway, SubnetId=subnet["SubnetId"], AllocationId=second)
    nat = [{"Name": "interface-type", "Values": ["nat_gateway"]}]
    until(lambda: ec2.describe_network_interfaces(Filters=nat)["NetworkInterfaces"])
    ec2.describe_network_interfaces()
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    settled(s3.put_bucket_policy, Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    region = "eusc-de-east-1"
    sovereign = setup.sandbox.client("s3", region=region, endpoint=setup.capture.endpoint)
    sovereign.create_bucket(Bucket=STATES, CreateBucketConfiguration={"LocationConstraint": region})
    met = {one for call in setup.capture.calls for one in models.differences(call)}
    assert models.AWS_DIFFERS <= met, models.AWS_DIFFERS - met


# The judge is judged: calls that are right, changed in one place each.


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """A call of each operation, all right."""
    setup = Setup(tmp_path_factory.mktemp("judged"), stack_file("minimal"))
    try:
        setup.machine.succeed("apply", "--yes", "--no-wait")
        setup.machine.plan()
        setup.client("s3").put_object(Bucket=f"minimal-{ACCOUNT}-{REGION}", Key="one", Body=b"a body")
    finally:
        setup.stop()
    return {models.operation(call): call for call in setup.capture.calls}


def form(call, **changes):
    """The call with other parameters; `None` takes one away."""
    changed = {key: value for key, value in (call.form | changes).items() if value is not None}
    return dataclasses.replace(call, body=urllib.parse.urlencode(changed).encode())


def sent(call, change):
    """The call with a changed JSON body."""
    return dataclasses.replace(call, body=json.dumps(change(json.loads(call.body))).encode())


def answered(call, before, after):
    assert before in call.answer
    return dataclasses.replace(call, answer=call.answer.replace(before, after))


def header(call, name, value):
    return dataclasses.replace(call, headers=(*((key, one) for key, one in call.headers if key != name), (name, value)))


PLANTED = {
    "an unknown parameter": ("ec2:RunInstances", lambda call: form(call, InstanceTypo="c7i.xlarge"), "InstanceTypo: not in the model"),
    "a parameter less": ("iam:CreateRole", lambda call: form(call, RoleName=None), "RoleName: required"),
    "a name that is too long": ("iam:CreateRole", lambda call: form(call, RoleName="x" * 65), "65 characters"),
    "a character that a pattern forbids": ("iam:CreateRole", lambda call: form(call, RoleName="a b"), "does not match"),
    "a number out of its range": ("iam:CreateRole", lambda call: form(call, MaxSessionDuration="60"), "60, the model says 3600"),
    "another version of the API": ("ec2:RunInstances", lambda call: form(call, Version="2015-01-01"), "form.Version"),
    "a policy that is no JSON": ("iam:PutRolePolicy", lambda call: form(call, PolicyDocument="{"), "no JSON"),
    "an unknown member": ("ecs:CreateCluster", lambda call: sent(call, lambda body: body | {"clusterNamed": "a"}), "clusterNamed: not in the model"),
    "a member of another type": ("logs:PutRetentionPolicy", lambda call: sent(call, lambda body: body | {"retentionInDays": "30"}), "body.retentionInDays"),
    "a value that the enum does not have": ("ecs:CreateService", lambda call: sent(call, lambda body: body | {"launchType": "MOON"}), "'MOON' is not one of the enum"),
    "another target": ("ecs:CreateCluster", lambda call: header(call, "x-amz-target", "AmazonEC2.CreateCluster"), "header X-Amz-Target"),
    "another media type": ("ecs:CreateCluster", lambda call: header(call, "content-type", "text/plain"), "header Content-Type"),
    "a checksum of something else": ("s3:PutBucketPolicy", lambda call: header(call, "x-amz-checksum-crc32", "AAAAAA=="), "is not that of the body"),
    "no checksum": ("s3:PutBucketTagging", lambda call: dataclasses.replace(call, headers=tuple(one for one in call.headers if "checksum" not in one[0])), "the model requires one"),
    "a checksum by what S3 does not know": ("s3:PutBucketTagging", lambda call: header(call, "x-amz-checksum-crc16", "AAAA"), "x-amz-checksum-crc16: not in the model"),
    "a digest of something else": ("s3:PutObject", lambda call: header(call, "x-amz-checksum-sha256", base64.b64encode(bytes(32)).decode()), "is not that of the body"),
    "an unknown header": ("s3:PutObject", lambda call: header(call, "x-amz-storage-klass", "GLACIER"), "storage-klass: not in the model"),
    "a header that the enum does not have": ("s3:PutObject", lambda call: header(call, "x-amz-storage-class", "ICE"), "'ICE' is not one of the enum"),
    "a bucket policy without statements": ("s3:PutBucketPolicy", lambda call: dataclasses.replace(call, body=b"{}"), "has no statement"),
    "an unknown element": ("s3:PutBucketVersioning", lambda call: dataclasses.replace(call, body=call.body.replace(b"Status", b"State")), "State: not in the model"),
    "an unknown query": ("s3:PutBucketVersioning", lambda call: dataclasses.replace(call, target=f"{call.target}&versionID=1"), "versionID: not in the model"),
    "no signature": ("ec2:RunInstances", lambda call: header(call, "authorization", ""), "not signed"),
    "an answer with an unknown element": ("ec2:RunInstances", lambda call: answered(call, b"<imageId>", b"<imageID/><imageId>"), "imageID: not in the model"),
    "an answer without a request id": ("iam:CreateRole", lambda call: answered(call, b"RequestId>", b"RequestID>"), "no request id"),
    "an answer with another value than the enum has": ("ec2:RunInstances", lambda call: answered(call, b"<hypervisor>xen<", b"<hypervisor>nitro<"), "'nitro' is not one of the enum"),
    "an answer with another type": ("ec2:RunInstances", lambda call: answered(call, b"<ebsOptimized>", b"<ebsOptimized>maybe"), "is no boolean"),
    "an answer without what it needs": ("iam:CreateRole", lambda call: answered(call, b"RoleId>", b"RoleID>"), "RoleId: required"),
    "an answer with an unknown member": ("ecs:CreateCluster", lambda call: answered(call, b'"clusterName"', b'"ClusterName"'), "ClusterName: not in the model"),
    "an answer with a number as text": ("logs:DescribeLogGroups", lambda call: answered(call, b'"storedBytes":0', b'"storedBytes":"0"'), "is no long"),
    "an answer of another status": ("s3:PutBucketVersioning", lambda call: dataclasses.replace(call, status=202), "status 202"),
    "an error that the model does not list": ("ecs:CreateCluster", lambda call: dataclasses.replace(call, status=400, answer=b'{"__type":"ClusterTiredException","message":"no"}'), "ClusterTiredException"),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_mistake_is_found(calls, planted):
    operation, change, expected = PLANTED[planted]
    right = calls[operation]
    assert models.violations(right) == []
    found = models.violations(change(right))
    assert any(expected in one for one in found), found


def test_mistake_of_a_real_client_is_found(tmp_path):
    """The whole way: a client that knows nothing of the model, a capture, and its judgement."""
    sandbox = Sandbox(tmp_path / "data")
    capture = Capture(sandbox.endpoint)
    try:
        ec2 = sandbox.client("ec2", endpoint=capture.endpoint)
        ec2.meta.events.register("before-call.ec2", lambda params, **_: params["body"].update({"Tpyo": "1"}))
        code_of(ec2.describe_vpcs)
    finally:
        capture.stop()
        sandbox.stop()
    (call,) = capture.calls
    assert models.violations(call) == ["ec2:DescribeVpcs: request: form.Tpyo: not in the model"]
