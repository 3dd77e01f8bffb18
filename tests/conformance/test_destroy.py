"""Destroy deletes everything of the stack, even after damage, and nothing else."""

import json
import random

import pytest

from damages import BUCKET, DAMAGES
from stage import ACCOUNT, REGION, code_of, everywhere, group_id, instances, left_over, settled, stack_file


# After these damages, only the state shows that a resource belongs to the stack.
ONLY_WITH_STATE = {damage.name for damage in DAMAGES if damage.name.endswith(("name_the_stack", "without_tags"))}


def some_damages(seed: int, count: int, out_of: list):
    """A random list of damages that concern different resources."""
    chosen, touched = [], set()
    for damage in random.Random(seed).sample(out_of, len(out_of)):
        if len(chosen) < count and not touched & damage.drift:
            chosen.append(damage)
            touched |= damage.drift
    return chosen


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("has_state", [True, False], ids=["with its state", "without its state"])
def test_destroy_leaves_nothing_after_damage(loadtest, seed, has_state):
    damages = some_damages(
        seed, 7, [damage for damage in DAMAGES if has_state or damage.name not in ONLY_WITH_STATE]
    )
    for damage in damages:
        damage.do(loadtest)
    if not has_state:
        loadtest.machine.state.unlink()
    ended = loadtest.machine.succeed("destroy", "--yes")
    assert left_over(loadtest, "loadtest") == [], f"{[damage.name for damage in damages]}\n{ended.stderr}"
    assert not loadtest.machine.plan("--destroy").changes


def test_apply_after_destroy_creates_every_kind_again(minimal):
    before = minimal.machine.plan("--destroy").changes
    minimal.machine.succeed("destroy", "--yes")
    assert left_over(minimal, "minimal") == []
    after = minimal.machine.plan().changes
    assert {change.replace("create", "delete") for change in after} == before
    minimal.machine.converge("--no-wait")


def test_bucket_with_a_foreign_object_stays_and_is_reported(loadtest):
    s3 = loadtest.client("s3")
    s3.put_object(Bucket=BUCKET, Key="reports/friday.csv", Body=b"1,2,3\n")
    refused = loadtest.machine.run("destroy", "--yes")
    assert refused.code == 1
    assert "s3_bucket.artifacts: failed" in refused.said
    assert "has objects that do not belong to this stack: `reports/friday.csv`" in refused.said
    assert s3.get_object(Bucket=BUCKET, Key="reports/friday.csv")["Body"].read() == b"1,2,3\n"
    assert left_over(loadtest, "loadtest", [BUCKET]) == [BUCKET], "everything else is deleted"

    # A delete marker is not enough: the older version still belongs to somebody else.
    s3.delete_object(Bucket=BUCKET, Key="reports/friday.csv")
    assert loadtest.machine.run("destroy", "--yes").code == 1
    listed = s3.list_object_versions(Bucket=BUCKET)
    for version in listed["Versions"] + listed["DeleteMarkers"]:
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    loadtest.machine.succeed("destroy", "--yes")
    assert left_over(loadtest, "loadtest") == []


def test_foreign_resources_are_never_changed(minimal):
    ec2, iam, logs = minimal.client("ec2"), minimal.client("iam"), minimal.client("logs")
    ours = instances(ec2, "minimal")["instance.small[0]"]
    vpc, subnet, image = ours["VpcId"], ours["SubnetId"], ours["ImageId"]
    group = ec2.create_security_group(GroupName="minimal-foreign", Description="mine", VpcId=vpc)["GroupId"]
    # A host that somebody else launched from the stack's template. Its stack tags were removed, so it is
    # not the stack's.
    run = dict(MinCount=1, MaxCount=1, ImageId=image, InstanceType="c7i.xlarge", SubnetId=subnet, SecurityGroupIds=[group])
    launched = settled(ec2.run_instances, **run)
    foreign = launched["Instances"][0]["InstanceId"]
    other_stack = [{"ResourceType": "instance", "Tags": [{"Key": "trunnion:stack", "Value": "minimal-dr"}]}]
    neighbour = settled(ec2.run_instances, **run, TagSpecifications=other_stack)["Instances"][0]["InstanceId"]
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_role(RoleName="minimal-foreign", AssumeRolePolicyDocument=trust)
    logs.create_log_group(logGroupName="/trunnion/minimal-dr/control-plane")

    assert not minimal.machine.plan().changes
    minimal.machine.succeed("destroy", "--yes")
    assert left_over(minimal, "minimal") == []
    described = ec2.describe_instances(InstanceIds=[foreign, neighbour])["Reservations"]
    states = [one["State"]["Name"] for reservation in described for one in reservation["Instances"]]
    assert states == ["running", "running"]
    assert group_id(ec2, "minimal-foreign") == group
    assert iam.get_role(RoleName="minimal-foreign")["Role"]["Path"] == "/"
    names = [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]]
    assert names == ["/trunnion/minimal-dr/control-plane"]


def test_names_in_use_by_foreign_resources_are_refused(fresh):
    setup = fresh(stack_file("minimal"))
    ec2, s3 = setup.client("ec2"), setup.client("s3")
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    group = ec2.create_security_group(GroupName="minimal-load", Description="mine", VpcId=vpc["VpcId"])["GroupId"]
    bucket = f"minimal-{ACCOUNT}-{REGION}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    settled(s3.put_object, Bucket=bucket, Key="mine", Body=b"mine")
    everywhere(lambda: code_of(ec2.describe_security_groups, GroupIds=[group]) is None)
    everywhere(lambda: code_of(s3.head_bucket, Bucket=bucket) is None)

    ended = setup.machine.run("apply", "--yes", "--no-wait")
    assert ended.code == 1
    for name in ["minimal-load", bucket]:
        assert f"`{name}`" in ended.said
    assert setup.machine.run("plan").code == 1, "the plan already reports it"
    assert not setup.client("iam").list_roles(PathPrefix="/trunnion/")["Roles"]
    setup.machine.succeed("destroy", "--yes")
    assert group_id(ec2, "minimal-load") == group
    assert s3.get_object(Bucket=bucket, Key="mine")["Body"].read() == b"mine"
