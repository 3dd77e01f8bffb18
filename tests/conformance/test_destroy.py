"""Destroy leaves nothing of ours, whatever was damaged before, and touches nothing that is not ours."""

import json
import random

import pytest

from damages import BUCKET, DAMAGES
from stage import ACCOUNT, REGION, group_id, instances, left_over, stack_file


# Without a state nothing tells any more whose something is whose tags were taken away.
ONLY_WITH_STATE = {damage.name for damage in DAMAGES if damage.name.endswith(("whose_it_is", "without_tags"))}


def some_damages(seed: int, count: int, out_of: list):
    """Damages in a random order that do not concern the same thing."""
    chosen, touched = [], set()
    for damage in random.Random(seed).sample(out_of, len(out_of)):
        if len(chosen) < count and not touched & damage.drift:
            chosen.append(damage)
            touched |= damage.drift
    return chosen


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("has_state", [True, False], ids=["with its state", "without its state"])
def test_nothing_is_left_after_damage(loadtest, seed, has_state):
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


def test_every_kind_is_created_anew_after_destroy(minimal):
    before = minimal.machine.plan("--destroy").changes
    minimal.machine.succeed("destroy", "--yes")
    assert left_over(minimal, "minimal") == []
    after = minimal.machine.plan().changes
    assert {change.replace("create", "delete") for change in after} == before
    minimal.machine.converge("--no-wait")


def test_bucket_with_a_foreign_object_stays_and_is_named(loadtest):
    s3 = loadtest.client("s3")
    s3.put_object(Bucket=BUCKET, Key="reports/friday.csv", Body=b"1,2,3\n")
    refused = loadtest.machine.run("destroy", "--yes")
    assert refused.code == 1
    assert "s3_bucket.artifacts: failed" in refused.said
    assert "has objects that do not belong to this stack: `reports/friday.csv`" in refused.said
    assert s3.get_object(Bucket=BUCKET, Key="reports/friday.csv")["Body"].read() == b"1,2,3\n"
    assert left_over(loadtest, "loadtest") == [BUCKET], "all the rest is gone"

    # A delete marker is not enough: the version under it is still somebody's.
    s3.delete_object(Bucket=BUCKET, Key="reports/friday.csv")
    assert loadtest.machine.run("destroy", "--yes").code == 1
    listed = s3.list_object_versions(Bucket=BUCKET)
    for version in listed["Versions"] + listed["DeleteMarkers"]:
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    loadtest.machine.succeed("destroy", "--yes")
    assert left_over(loadtest, "loadtest") == []


def test_what_is_not_ours_is_never_touched(minimal):
    ec2, iam, logs = minimal.client("ec2"), minimal.client("iam"), minimal.client("logs")
    ours = instances(ec2, "minimal")["instance.small[0]"]
    vpc, subnet, image = ours["VpcId"], ours["SubnetId"], ours["ImageId"]
    group = ec2.create_security_group(GroupName="minimal-foreign", Description="mine", VpcId=vpc)["GroupId"]
    # Somebody else's host, launched from our template: it lost our tags and is no host of ours any more.
    launched = ec2.run_instances(
        MinCount=1, MaxCount=1, ImageId=image, InstanceType="c7i.xlarge", SubnetId=subnet, SecurityGroupIds=[group]
    )
    foreign = launched["Instances"][0]["InstanceId"]
    other_stack = [{"ResourceType": "instance", "Tags": [{"Key": "trunnion:stack", "Value": "minimal-dr"}]}]
    neighbour = ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        ImageId=image,
        InstanceType="c7i.xlarge",
        SubnetId=subnet,
        SecurityGroupIds=[group],
        TagSpecifications=other_stack,
    )["Instances"][0]["InstanceId"]
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


def test_names_that_somebody_else_has_are_refused_and_stay(fresh):
    world = fresh(stack_file("minimal"))
    ec2, s3 = world.client("ec2"), world.client("s3")
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    group = ec2.create_security_group(GroupName="minimal-load", Description="mine", VpcId=vpc["VpcId"])["GroupId"]
    bucket = f"minimal-{ACCOUNT}-{REGION}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=bucket, Key="mine", Body=b"mine")

    ended = world.machine.run("apply", "--yes", "--no-wait")
    assert ended.code == 1
    for name in ["minimal-load", bucket]:
        assert f"`{name}`" in ended.said
    assert world.machine.run("plan").code == 1, "the plan tells it, before anything is made"
    assert not world.client("iam").list_roles(PathPrefix="/trunnion/")["Roles"]
    world.machine.succeed("destroy", "--yes")
    assert group_id(ec2, "minimal-load") == group
    assert s3.get_object(Bucket=bucket, Key="mine")["Body"].read() == b"mine"
