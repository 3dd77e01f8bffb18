"""The state: in a bucket, shared by several machines, locked, and never overwritten by who read an older one."""

import json

import pytest
from botocore.exceptions import ClientError

from stage import REGION, Machine, settled, stack_file, until

BUCKET, KEY, LOCK = "acme-trunnion", "state/minimal.json", "state/minimal.lock.json"
IN_S3 = stack_file("minimal", ('account: "123456789012"', f'account: "123456789012"\nstate: s3://{BUCKET}/state'))


@pytest.fixture
def shared(fresh):
    """A world with a bucket for states, and a stack that keeps its state there."""

    def make(*more):
        world = fresh(IN_S3, *more)
        s3 = world.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        settled(s3.put_bucket_versioning, Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        return world

    return make


def read(world, key=KEY) -> dict | None:
    try:
        return json.loads(world.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey", error
        return None


def write(world, document, key=KEY):
    world.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document).encode())


def test_two_machines_see_the_same(shared, tmp_path):
    world = shared()
    world.machine.converge("--no-wait")
    first = read(world)
    assert (first["format"], first["stack"]) == (1, "minimal")
    assert not (world.machine.folder / ".trunnion").exists()
    assert read(world, LOCK) is None, "the lock was given back"

    second = Machine(tmp_path / "second", world.capture.endpoint, IN_S3)
    assert not second.plan().changes
    shown = [json.loads(machine.succeed("show", "--json").stdout) for machine in (world.machine, second)]
    assert shown[0]["state"] == shown[1]["state"] == first

    (second.folder / "stack.yaml").write_text(IN_S3.replace("eu-west-3a }", "eu-west-3a, volume_gib: 50 }"))
    second.converge("--no-wait")
    after = read(world)
    assert after["lineage"] == first["lineage"] and after["serial"] > first["serial"]
    # The first machine still asks for the old one, and sees what the second did.
    assert "replace instance.small[0]" in world.machine.plan().changes


def test_deleted_state_is_no_loss(shared):
    world = shared()
    world.machine.converge("--no-wait")
    before = read(world)
    world.client("s3").delete_object(Bucket=BUCKET, Key=KEY)
    assert not world.machine.plan().changes
    world.machine.converge()
    ids = [{address: one["id"] for address, one in state["resources"].items()} for state in (before, read(world))]
    assert ids[0] == ids[1]


def test_lock_of_somebody_else_refuses_and_names_them(shared):
    world = shared("--latency", "40")
    with world.machine.start("apply", "--yes", "--no-wait") as killed:
        until(lambda: read(world, LOCK))
        killed.kill()
    left = read(world, LOCK)
    for command in ("apply", "destroy"):
        refused = world.machine.run(command, "--yes")
        assert refused.code == 1
        assert f"(process {killed.pid})" in refused.said and "`apply`" in refused.said
        assert "conformance@" in refused.said
    assert read(world, LOCK) == left, "the lock is still theirs"
    world.machine.plan()  # who only looks needs no lock

    world.client("s3").delete_object(Bucket=BUCKET, Key=LOCK)
    world.machine.converge("--no-wait")
    assert read(world, LOCK) is None


def test_written_plan_is_refused_once_the_state_went_on(shared):
    world = shared()
    world.machine.converge("--no-wait")
    (world.machine.folder / "stack.yaml").write_text(IN_S3.replace("eu-west-3a }", "eu-west-3a, count: 2 }"))
    world.machine.succeed("plan", "--out", "plan.json")
    state = read(world)
    write(world, {**state, "serial": state["serial"] + 1})
    refused = world.machine.run("apply", "plan.json", "--yes")
    assert refused.code == 1
    assert "is out of date" in refused.said and f"its serial is {state['serial'] + 1}" in refused.said
    assert "create instance.small[1]" in world.machine.plan().changes, "nothing was changed"


def test_update_of_somebody_else_is_not_lost(shared):
    world = shared("--latency", "40")
    world.machine.converge("--no-wait")
    theirs = {**read(world), "serial": 1000}
    (world.machine.folder / "stack.yaml").write_text(IN_S3.replace("eu-west-3a }", "eu-west-3a, count: 2 }"))
    with world.machine.start("apply", "--yes", "--no-wait") as process:
        # It has read the state and shown its plan; what it does now takes many calls, and then it saves.
        while line := process.stderr.readline():
            if "instance.small[1]: creating" in line or "created instance.small[1]" in line or "to create" in line:
                break
        assert line, "it ended before it began"
        write(world, theirs)
        said = process.communicate()[1]
    assert process.returncode == 1, said
    assert "was changed by somebody else since it was read" in " ".join(said.split()), said
    assert read(world) == theirs
    # What it created is not lost: it is found by its tags.
    world.machine.converge("--no-wait")
    assert read(world)["serial"] > 1000


def test_bucket_that_is_not_there_is_named(fresh):
    world = fresh(IN_S3)
    refused = world.machine.run("apply", "--yes")
    assert refused.code == 1
    assert f"s3://{BUCKET}/{KEY}" in refused.said and "create the bucket" in refused.said
    assert world.sandbox.calls().get("ec2:RunInstances", 0) == 0


@pytest.mark.parametrize("place", ["file", "bucket"])
def test_two_at_once_are_one_too_many(fresh, shared, place):
    world = fresh(stack_file("minimal"), "--latency", "60") if place == "file" else shared("--latency", "60")
    lock = world.machine.folder / ".trunnion" / "minimal.lock"
    with world.machine.start("apply", "--yes", "--no-wait") as first:
        if place == "file":
            until(lambda: lock.exists() and lock.read_text())
        else:
            until(lambda: read(world, LOCK))
        second = world.machine.run("apply", "--yes")
        assert first.poll() is None, "the first one was too quick for this test"
        said = first.communicate()[1]
    assert second.code == 1
    assert "locked by conformance@" in second.said and f"(process {first.pid})" in second.said
    assert first.returncode == 0, said
    assert not world.machine.plan().changes


def test_state_that_cannot_be_read_is_refused_and_stays(minimal):
    state = minimal.machine.state
    state.write_text(state.read_text()[:-20])
    damaged = state.read_text()
    for command in (["plan"], ["apply", "--yes"], ["destroy", "--yes"]):
        refused = minimal.machine.run(*command)
        assert refused.code == 1 and "damaged" in refused.said
    assert state.read_text() == damaged
