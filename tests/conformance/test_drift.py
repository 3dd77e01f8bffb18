"""A plan shows each change made outside of trunnion, and the next apply repairs it."""

import pytest

from damages import DAMAGES
from stage import group_id, instances, stack_file


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_shown_and_repaired(loadtest, damage):
    hosts_before = instances(loadtest.client("ec2"), "loadtest")
    damage.do(loadtest)

    plan = loadtest.machine.plan()
    assert plan.changes == damage.repairs | damage.follows, plan
    assert plan.drift == damage.drift, plan
    for address in damage.drift:
        assert plan.paths(address) == damage.paths, plan

    loadtest.machine.converge("--no-wait")
    # What was repaired is whole: also without the state, there is nothing to do.
    state, document = loadtest.machine.state, loadtest.machine.state.read_bytes()
    state.unlink()
    assert not loadtest.machine.plan().changes
    state.write_bytes(document)
    hosts_after = instances(loadtest.client("ec2"), "loadtest")
    assert hosts_after.keys() == hosts_before.keys()
    replaced = {name for name in hosts_after if hosts_after[name]["InstanceId"] != hosts_before[name]["InstanceId"]}
    repairs = {change for change in damage.repairs if " instance." in change and not change.startswith("update")}
    assert replaced == {change.split()[1] for change in repairs}


def test_repair_removes_a_foreign_rule(loadtest):
    ec2 = loadtest.client("ec2")
    group = group_id(ec2, "loadtest-load")
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[everything])
    loadtest.machine.converge()
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert found["IpPermissions"] == []
    assert [len(rule["IpRanges"]) for rule in found["IpPermissionsEgress"]] == [1]


def test_stopped_host_runs_again(loadtest):
    ec2 = loadtest.client("ec2")
    stopped = instances(ec2, "loadtest")["instance.probe[0]"]["InstanceId"]
    ec2.stop_instances(InstanceIds=[stopped])
    loadtest.machine.converge()
    running = instances(ec2, "loadtest")["instance.probe[0]"]
    assert (running["InstanceId"], running["State"]["Name"]) == (stopped, "running")


def test_one_plan_shows_several_damages(loadtest):
    chosen = {damage.name: damage for damage in DAMAGES}
    names = ["stopped_host", "revoked_rule", "deleted_role_policy", "deleted_log_group", "deleted_bucket_policy"]
    for name in names:
        chosen[name].do(loadtest)
    plan = loadtest.machine.plan()
    assert plan.changes == set().union(*(chosen[name].repairs for name in names)), plan
    assert plan.drift == set().union(*(chosen[name].drift for name in names)), plan
    loadtest.machine.converge()


def test_deleted_secret_is_an_error_of_the_plan(loadtest):
    loadtest.client("secretsmanager").delete_secret(SecretId="gatling/token", RecoveryWindowInDays=7)
    refused = loadtest.machine.run("apply", "--yes")
    assert refused.code == 1
    assert "secret.token" in refused.said and "is being deleted" in refused.said


def newer_image(setup) -> str:
    """Registers an image, and makes it the newest one in the public parameter."""
    root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
    image = setup.client("ec2").register_image(
        Name="al2023-newer", Architecture="x86_64", RootDeviceName="/dev/xvda", BlockDeviceMappings=[root]
    )["ImageId"]
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    setup.client("ssm").put_parameter(Name=name, Value=image, Type="String", Overwrite=True)
    return image


def test_newer_image_is_a_note_until_it_is_requested(minimal):
    image = newer_image(minimal)
    plan = minimal.machine.plan()
    assert not plan.changes, plan
    assert image in plan.notes["plan::pinned"]

    asked = {
        "update launch_template.small",
        "replace instance.small[0]",
        "replace ecs_task_definition.control_plane",
        "update ecs_service.control_plane",
    }
    assert minimal.machine.plan("--update-images").changes == asked
    minimal.machine.converge("--update-images")
    assert instances(minimal.client("ec2"), "minimal")["instance.small[0]"]["ImageId"] == image
    assert "plan::pinned" not in minimal.machine.plan().notes


def test_only_a_new_pool_uses_a_newer_image(minimal):
    old = instances(minimal.client("ec2"), "minimal")["instance.small[0]"]["ImageId"]
    new = newer_image(minimal)
    (minimal.machine.folder / "stack.yaml").write_text(
        stack_file(
            "minimal",
            ("\ncontrol_plane:", "  other: { instance_type: c7i.xlarge, zone: eu-west-3a }\n\ncontrol_plane:"),
            ("\nlocations:\n", "\nlocations:\n  prl_other: { pool: other }\n"),
        )
    )
    minimal.machine.converge("--no-wait")
    hosts = instances(minimal.client("ec2"), "minimal")
    images = {address: host["ImageId"] for address, host in hosts.items()}
    assert images == {"instance.small[0]": old, "instance.other[0]": new}
