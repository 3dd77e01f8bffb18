"""The state in a bucket: shared by machines, locked, and never overwritten by a machine that read an older one."""

import json

import pytest
from botocore.exceptions import ClientError

from stage import REGION, Machine, settled, stack_file, until

BUCKET, KEY, LOCK = "acme-trunnion", "state/minimal.json", "state/minimal.lock.json"
IN_S3 = stack_file("minimal", ('account: "123456789012"', f'account: "123456789012"\nstate: s3://{BUCKET}/state'))


@pytest.fixture
def shared(fresh):
    """A setup with a bucket, and a stack that keeps its state there."""

    def make(*more):
        setup = fresh(IN_S3, *more)
        s3 = setup.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        settled(s3.put_bucket_versioning, Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        return setup

    return make


def read(setup, key=KEY) -> dict | None:
    try:
        return json.loads(setup.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey", error
        return None


def at_once(machines):
    """Applies the stack on all machines at the same time, each with another number of hosts than the one before."""
    for number, machine in enumerate(machines):
        file = machine.folder / "stack.yaml"
        file.write_text(file.read_text().replace("zone: eu-west-3a", f"zone: eu-west-3a, count: {number % 3 + 1}"))
    command = ("apply", "--yes", "--no-wait", "--lock-timeout", "10m")
    running = [machine.start(*command) for machine in machines]
    for process in running:
        said = process.communicate()[1]
        assert process.returncode == 0, said
    machines[0].converge("--no-wait")


def one_line_of_states(s3):
    """Each document of the state follows the one before it: none was lost."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=KEY)
    ids = [version["VersionId"] for page in pages for version in page["Versions"]]
    documents = [json.loads(s3.get_object(Bucket=BUCKET, Key=KEY, VersionId=one)["Body"].read()) for one in ids]
    assert {document["lineage"] for document in documents} == {documents[0]["lineage"]}
    serials = sorted(document["serial"] for document in documents)
    assert serials == list(range(1, len(serials) + 1))
    locks = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [entry["Key"] for entry in locks] == [KEY]


def hosts(ec2) -> list[dict]:
    found = ec2.describe_instances(Filters=[{"Name": "tag:trunnion:stack", "Values": ["minimal"]}])
    found = [instance for group in found["Reservations"] for instance in group["Instances"]]
    return [host for host in found if host["State"]["Name"] in ("pending", "running")]


def write(setup, document, key=KEY):
    setup.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document).encode())


def test_two_machines_see_the_same(shared, tmp_path):
    setup = shared()
    setup.machine.converge("--no-wait")
    first = read(setup)
    assert (first["format"], first["stack"]) == (1, "minimal")
    assert not (setup.machine.folder / ".trunnion").exists()
    assert read(setup, LOCK) is None, "the lock was released"

    second = Machine(tmp_path / "second", setup.capture.endpoint, IN_S3)
    assert not second.plan().changes
    shown = [json.loads(machine.succeed("show", "--json").stdout) for machine in (setup.machine, second)]
    assert shown[0]["state"] == shown[1]["state"] == first

    (second.folder / "stack.yaml").write_text(IN_S3.replace("eu-west-3a }", "eu-west-3a, volume_gib: 50 }"))
    second.converge("--no-wait")
    after = read(setup)
    assert after["lineage"] == first["lineage"] and after["serial"] > first["serial"]
    # The first machine still has the old stack, and sees the change of the second.
    assert "replace instance.small[0]" in setup.machine.plan().changes


def test_deleted_state_is_no_loss(shared):
    setup = shared()
    setup.machine.converge("--no-wait")
    before = read(setup)
    setup.client("s3").delete_object(Bucket=BUCKET, Key=KEY)
    assert not setup.machine.plan().changes
    setup.machine.converge()
    ids = [{address: one["id"] for address, one in state["resources"].items()} for state in (before, read(setup))]
    assert ids[0] == ids[1]


def test_lock_of_another_process_names_its_holder(shared):
    setup = shared("--latency", "40")
    with setup.machine.start("apply", "--yes", "--no-wait") as killed:
        until(lambda: read(setup, LOCK))
        killed.kill()
    # The process ran on another machine.
    left = read(setup, LOCK)
    left["life"]["boot"] = "1b2f9f9c-2f5e-4f0e-8a53-0a8f1f3d7c11"
    write(setup, left, LOCK)
    for command in ("apply", "destroy"):
        refused = setup.machine.run(command, "--yes")
        assert refused.code == 1
        assert f"(process {killed.pid})" in refused.said and "`apply`" in refused.said
        assert "conformance@" in refused.said
    assert read(setup, LOCK) == left, "the lock is unchanged"
    setup.machine.plan()  # a plan needs no lock

    unlocked = setup.machine.succeed("unlock", "--yes")
    assert f"(process {killed.pid})" in unlocked.said
    setup.machine.converge("--no-wait")
    assert read(setup, LOCK) is None


def test_lock_of_a_killed_process_of_this_machine_is_taken_over_at_once(shared):
    setup = shared("--latency", "40")
    with setup.machine.start("apply", "--yes", "--no-wait") as killed:
        until(lambda: read(setup, LOCK))
        killed.kill()
    assert read(setup, LOCK)["process"] == killed.pid
    setup.machine.converge("--no-wait")
    assert read(setup, LOCK) is None


def test_ten_applies_at_once_work_one_after_the_other(shared, tmp_path):
    setup = shared()
    machines = [Machine(tmp_path / f"machine-{n}", setup.capture.endpoint, IN_S3) for n in range(10)]
    at_once(machines)
    one_line_of_states(setup.client("s3"))
    assert not machines[0].plan().changes
    assert len(hosts(setup.client("ec2"))) == 1


def test_saved_plan_is_applied_with_another_state(shared):
    setup = shared()
    setup.machine.converge("--no-wait")
    (setup.machine.folder / "stack.yaml").write_text(IN_S3.replace("eu-west-3a }", "eu-west-3a, count: 2 }"))
    setup.machine.succeed("plan", "--out", "plan.json")
    state = read(setup)
    write(setup, {**state, "serial": state["serial"] + 1})
    setup.machine.succeed("apply", "plan.json", "--yes", "--no-wait")
    assert not setup.machine.plan().changes


def test_change_of_another_process_is_not_overwritten(shared):
    setup = shared("--latency", "40")
    setup.machine.converge("--no-wait")
    theirs = {**read(setup), "serial": 1000}
    (setup.machine.folder / "stack.yaml").write_text(IN_S3.replace("eu-west-3a }", "eu-west-3a, count: 2 }"))
    with setup.machine.start("apply", "--yes", "--no-wait") as process:
        # The process has read the state and shown its plan. Now it makes many calls and then saves the
        # state.
        while line := process.stderr.readline():
            if "instance.small[1]: creating" in line or "created instance.small[1]" in line or "to create" in line:
                break
        assert line, "the apply ended before its first step"
        write(setup, theirs)
        said = process.communicate()[1]
    assert process.returncode == 1, said
    assert "was changed by somebody else since it was read" in " ".join(said.split()), said
    assert read(setup) == theirs
    # The next plan finds the created resources by their tags.
    setup.machine.converge("--no-wait")
    assert read(setup)["serial"] > 1000


def test_missing_bucket_is_reported(fresh):
    setup = fresh(IN_S3)
    refused = setup.machine.run("apply", "--yes")
    assert refused.code == 1
    assert f"s3://{BUCKET}/{KEY}" in refused.said and "create the bucket" in refused.said
    assert setup.sandbox.calls().get("ec2:RunInstances", 0) == 0


@pytest.mark.parametrize("place", ["file", "bucket"])
def test_only_one_apply_runs_at_a_time(fresh, shared, place):
    setup = fresh(stack_file("minimal"), "--latency", "60") if place == "file" else shared("--latency", "60")
    lock = setup.machine.folder / ".trunnion" / "minimal.lock"
    with setup.machine.start("apply", "--yes", "--no-wait") as first:
        if place == "file":
            until(lambda: lock.exists() and lock.read_text())
        else:
            until(lambda: read(setup, LOCK))
        second = setup.machine.run("apply", "--yes")
        assert first.poll() is None, "the first apply ended too early for this test"
        said = first.communicate()[1]
    assert second.code == 1
    assert "locked by conformance@" in second.said and f"(process {first.pid})" in second.said
    assert first.returncode == 0, said
    assert not setup.machine.plan().changes


def test_state_that_cannot_be_read_is_refused_and_stays(minimal):
    state = minimal.machine.state
    state.write_text(state.read_text()[:-20])
    damaged = state.read_text()
    for command in (["plan"], ["apply", "--yes"], ["destroy", "--yes"]):
        refused = minimal.machine.run(*command)
        assert refused.code == 1 and "damaged" in refused.said
    assert state.read_text() == damaged
