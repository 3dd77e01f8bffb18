"""What `protect`, `moved`, `forget` and `import` do, seen by boto3."""

import json
import re

import pytest
from test_permissions import policies, users

from stage import code_of, everywhere, instances, settled, stack_file, tags

PUBLIC = ("zone: eu-west-3a }", "zone: eu-west-3a, count: 2, public_ip: true }")
STACK = stack_file("minimal", PUBLIC)


def parts(host) -> list[str]:
    """The ids that have a host's tags."""
    volumes = [one["Ebs"]["VolumeId"] for one in host["BlockDeviceMappings"]]
    return [host["InstanceId"], *volumes, *(one["NetworkInterfaceId"] for one in host["NetworkInterfaces"])]


def tags_of(ec2, ids) -> dict[str, dict[str, str]]:
    found = {id: {} for id in ids}
    for one in ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": ids}])["Tags"]:
        found[one["ResourceId"]][one["Key"]] = one["Value"]
    return found


def edit(setup, *edits):
    text = STACK
    for before, after in edits:
        assert before in text, before
        text = text.replace(before, after)
    (setup.machine.folder / "stack.yaml").write_text(text)


def test_renamed_pool_keeps_its_hosts(fresh):
    setup = fresh(STACK)
    ec2 = setup.client("ec2")
    setup.machine.converge()
    before = instances(ec2, "minimal")
    addresses = {one["AllocationId"]: one["AssociationId"] for one in ec2.describe_addresses()["Addresses"]}
    edit(setup, ("  small: {", "  large: {"), ("pool: small }", "pool: large }\nmoved: [{ from: small, to: large }]"))
    setup.machine.converge()

    everywhere(lambda: set(instances(ec2, "minimal")) == {"instance.large[0]", "instance.large[1]"})
    for number in range(2):
        was, now = before[f"instance.small[{number}]"], instances(ec2, "minimal")[f"instance.large[{number}]"]
        assert (now["InstanceId"], now["LaunchTime"]) == (was["InstanceId"], was["LaunchTime"])
        wanted = {"Name": "minimal-large", "trunnion:address": f"instance.large[{number}]"}
        everywhere(lambda: all(one.items() >= wanted.items() for one in tags_of(ec2, parts(now)).values()))
    after = ec2.describe_addresses()["Addresses"]
    assert {one["AllocationId"]: one["AssociationId"] for one in after} == addresses
    assert {tags(one["Tags"])["trunnion:address"] for one in after} == {f"elastic_ip.large[{n}]" for n in range(2)}
    everywhere(
        lambda: [one["LaunchTemplateName"] for one in ec2.describe_launch_templates()["LaunchTemplates"]] == ["minimal.large"]
    )


def test_protected_resources_have_a_tag_that_is_obeyed(fresh):
    setup = fresh(STACK.replace("stack: minimal\n", "stack: minimal\nprotect: true\n"))
    ec2 = setup.client("ec2")
    setup.machine.converge()
    host = instances(ec2, "minimal")["instance.small[1]"]
    assert all(one["trunnion:protect"] == "true" for one in tags_of(ec2, parts(host)).values())
    (template,) = ec2.describe_launch_templates()["LaunchTemplates"]
    assert tags(template["Tags"])["trunnion:protect"] == "true"
    before = setup.sandbox.calls()
    refused = setup.machine.run("destroy", "--yes")
    assert refused.code == 1 and "`instance.small[0]`" in refused.said and "protected" in refused.said, refused.stderr
    new = {name for name, count in setup.sandbox.calls().items() if count != before.get(name)}
    assert all(name.split(":")[1].startswith(("Describe", "Get", "List", "Head")) for name in new), new
    edit(setup)
    setup.machine.converge()
    assert all("trunnion:protect" not in one for one in tags_of(ec2, parts(host)).values())


def test_forgotten_host_keeps_running_without_our_tags(fresh):
    setup = fresh(STACK)
    ec2 = setup.client("ec2")
    setup.machine.converge()
    host = instances(ec2, "minimal")["instance.small[1]"]
    edit(setup, ("count: 2", "count: 1"))
    setup.machine.succeed("forget", "instance.small[1]", "--yes")
    ours = lambda: [key for one in tags_of(ec2, parts(host)).values() for key in one if key.startswith("trunnion:")]
    everywhere(lambda: not ours())
    assert all(one["Name"] == "minimal-small" for one in tags_of(ec2, parts(host)).values())
    for state in (setup.machine.folder / ".trunnion").glob("*.json"):
        assert host["InstanceId"] not in json.dumps(json.loads(state.read_text())["resources"].get("instance.small[1]", {}))
    setup.machine.succeed("forget", "elastic_ip.small[1]", "--yes")
    setup.machine.converge()
    (found,) = ec2.describe_instances(InstanceIds=[host["InstanceId"]])["Reservations"][0]["Instances"]
    assert found["State"]["Name"] == "running"
    assert {one.get("InstanceId") for one in ec2.describe_addresses()["Addresses"]} >= {host["InstanceId"]}


def test_forgotten_host_is_imported_once_it_has_the_tag_of_its_template(fresh):
    setup = fresh(STACK.replace(", public_ip: true", ""))
    ec2, machine = setup.client("ec2"), setup.machine
    machine.converge()
    host = instances(ec2, "minimal")["instance.small[1]"]["InstanceId"]
    with_two = (machine.folder / "stack.yaml").read_text()
    (machine.folder / "stack.yaml").write_text(with_two.replace("count: 2", "count: 1"))
    machine.succeed("forget", "instance.small[1]", "--yes")
    machine.converge()
    (machine.folder / "stack.yaml").write_text(with_two)
    refused = machine.run("import", "instance.small[1]", host, "--yes")
    (digest,) = re.findall(r"tag `trunnion:template` with the value `([0-9a-f]+)`", refused.said)
    assert refused.code == 1
    ec2.create_tags(Resources=[host], Tags=[{"Key": "trunnion:template", "Value": digest}])
    everywhere(lambda: tags_of(ec2, [host])[host].get("trunnion:template") == digest)
    machine.succeed("import", "instance.small[1]", host, "--yes")
    machine.converge()
    assert instances(ec2, "minimal")["instance.small[1]"]["InstanceId"] == host


def test_resources_made_by_hand_are_imported(fresh):
    setup = fresh(stack_file("minimal"))
    ec2, logs, machine = setup.client("ec2"), setup.client("logs"), setup.machine
    group = "/trunnion/minimal/control-plane"
    logs.create_log_group(logGroupName=group, tags={"owner": "me"})
    made = {"InstanceType": "t3.micro"}
    template = ec2.create_launch_template(LaunchTemplateName="minimal.small", LaunchTemplateData=made)
    id = template["LaunchTemplate"]["LaunchTemplateId"]
    everywhere(lambda: code_of(ec2.describe_launch_templates, LaunchTemplateIds=[id]) is None)
    everywhere(lambda: logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"])
    taken = machine.run("plan")
    assert taken.code == 1 and "minimal.small" in taken.said and group in taken.said, taken.stderr

    missing = machine.run("import", "launch_template.small", id, "--yes")
    assert missing.code == 1 and "which does not exist yet" in missing.said, missing.stderr
    machine.succeed("apply", "--yes", "--exclude", "launch_template.small", "--exclude", "log_group.control_plane")
    shown = machine.run("import", "launch_template.small", id)
    assert shown.code == 1 and "t3.micro" in shown.said and "no terminal" in shown.said, shown.stderr
    assert not ec2.describe_launch_templates(LaunchTemplateIds=[id])["LaunchTemplates"][0].get("Tags")
    machine.succeed("import", "launch_template.small", id, "--yes")
    machine.succeed("import", "log_group.control_plane", group, "--yes")
    machine.converge()
    everywhere(lambda: [one["LaunchTemplateId"] for one in ec2.describe_launch_templates()["LaunchTemplates"]] == [id])
    (data,) = ec2.describe_launch_template_versions(LaunchTemplateId=id, Versions=["$Default"])["LaunchTemplateVersions"]
    assert data["LaunchTemplateData"]["InstanceType"] == "c7i.xlarge"
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["retentionInDays"] == 30


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("trunnion:stack", "other", "the stack `other`"), ("trunnion:home", "elsewhere", "another home, `elsewhere`")],
)
def test_resources_of_others_are_not_imported(fresh, key, value, said):
    setup = fresh(STACK)
    ec2 = setup.client("ec2")
    setup.machine.succeed("apply", "--yes", "--exclude", "elastic_ip.small[1]")
    specification = {"ResourceType": "elastic-ip", "Tags": [{"Key": key, "Value": value}]}
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=[specification])["AllocationId"]
    everywhere(lambda: code_of(ec2.describe_addresses, AllocationIds=[address]) is None)
    refused = setup.machine.run("import", "elastic_ip.small[1]", address, "--yes")
    assert refused.code == 1 and said in refused.said, refused.stderr
    (found,) = ec2.describe_addresses(AllocationIds=[address])["Addresses"]
    assert tags(found["Tags"]) == {key: value} and "InstanceId" not in found


def test_policies_of_forget_and_import_are_enough_and_that_of_apply_is_not(fresh):
    setup = fresh(STACK)
    ec2, machine = setup.client("ec2"), setup.machine
    machine.converge()
    administrator, keys = machine.credentials, users(setup, ["apply", "forget", "import"])
    address = next(
        one for one in ec2.describe_addresses()["Addresses"] if tags(one["Tags"])["trunnion:address"] == "elastic_ip.small[1]"
    )
    edit(setup, ("count: 2, public_ip: true", "count: 2"))
    for command, code in [("apply", 1), ("forget", 0)]:
        machine.credentials = keys[command]
        ended = machine.run("forget", "elastic_ip.small[1]", "--yes")
        assert ended.code == code, ended.stderr
    assert "sts:" not in json.dumps(policies(setup, "forget"))
    edit(setup)
    for command, code in [("apply", 1), ("import", 0)]:
        machine.credentials = keys[command]
        ended = machine.run("import", "elastic_ip.small[1]", address["AllocationId"], "--yes")
        assert ended.code == code, ended.stderr
    machine.credentials = administrator
    settled(ec2.describe_addresses, AllocationIds=[address["AllocationId"]])
    machine.converge()
