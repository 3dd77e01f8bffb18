"""Each command works with the policy that `trunnion permissions` prints for it, and `plan`'s policy allows no change."""

import json

from damages import DAMAGES
from stage import ROOT, instances, stack_file
from test_authorization import variables

CALLS = json.loads((ROOT / "tests" / "conformance" / "authorization" / "calls.json").read_text())
CHANGES = {row["operation"] for row in CALLS if row["changes"]}
COMMANDS = ["plan", "apply", "destroy"]

# Repairs that the tag condition forbids, and damages that exclude others.
APART = {"host_without_the_tags_that_name_the_stack", "deleted_bucket_with_all_objects", "deleted_role", "deleted_log_group"}
# They need a VPC with DNS servers of its own, and a security group that stays in use.
UNUSED = {"ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces"}


def policies(setup, command: str) -> list[dict]:
    printed = json.loads(setup.machine.succeed("permissions", "--for", command).stdout)
    return printed if isinstance(printed, list) else [printed]


def actions(documents) -> set[str]:
    return {action for one in documents for statement in one["Statement"] for action in statement["Action"]}


def users(setup) -> dict[str, dict]:
    """A user for each command, who has exactly the command's policy."""
    iam, keys = setup.client("iam"), {}
    for command in COMMANDS:
        iam.create_user(UserName=command)
        for number, document in enumerate(policies(setup, command), 1):
            name = f"{command}-{number}"
            arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))["Policy"]["Arn"]
            iam.attach_user_policy(UserName=command, PolicyArn=arn)
        keys[command] = variables(iam.create_access_key(UserName=command)["AccessKey"])
    return keys


def used(record, command: str) -> tuple[set[str], list[dict]]:
    """The actions that the user of a command was allowed, and what it was denied."""
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    own = [line for line in lines if f":user/{command}" in json.dumps(line["caller"])]
    allowed = [line for line in own if "allowed" in line["verdict"]]
    return {line["action"] for line in allowed}, [line for line in own if "allowed" not in line["verdict"]]


STATE = ("stack: loadtest\n", "stack: loadtest\nstate: s3://states-of-the-team/load/\n")


def edit(setup, *edits):
    (setup.machine.folder / "stack.yaml").write_text(stack_file("loadtest", STATE, *edits))


def move_address(setup):
    """Gives the Elastic IP of a probe to another host."""
    ec2 = setup.client("ec2")
    (address,) = ec2.describe_addresses()["Addresses"]
    ec2.disassociate_address(AssociationId=address["AssociationId"])
    other = instances(ec2, "loadtest")["instance.heavy[0]"]["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=other)


def test_commands_work_with_their_policies_and_use_them(fresh, tmp_path):
    record = tmp_path / "authorizations.jsonl"
    setup = fresh(stack_file("loadtest", STATE), "--authorizations", str(record))
    setup.client("s3").create_bucket(
        Bucket="states-of-the-team", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
    )
    machine, keys = setup.machine, users(setup)

    def run(command, *arguments):
        machine.credentials = keys[command]
        ended = machine.run(*arguments)
        assert ended.code == 0, f"{arguments}\n{ended.stdout}\n{ended.stderr}"

    run("plan", "plan")
    run("apply", "apply", "--yes")
    run("plan", "plan", "--detailed-exitcode")
    edit(
        setup,
        ("count: 4", "count: 5"),
        ("interfaces: 4\n", "interfaces: 4\n    public_ip: true\n"),
        ("team: performance", "team: performance, owner: me"),
    )
    run("apply", "apply", "--yes")
    move_address(setup)
    run("apply", "apply", "--yes")
    edit(setup)
    run("apply", "apply", "--yes")
    setup.client("iam").update_role(RoleName="loadtest.eu-west-3.execution", Description="something else")
    for damage in (damage for damage in DAMAGES if damage.name not in APART):
        damage.do(setup)
        run("apply", "apply", "--yes")
    run("plan", "plan", "--detailed-exitcode")
    run("destroy", "destroy", "--yes")

    allowed = set()
    for command in COMMANDS:
        actions_used, denied = used(record, command)
        assert not denied, denied[0]
        allowed |= actions_used
    written = set().union(*(actions(policies(setup, command)) for command in COMMANDS))
    assert written - allowed == UNUSED, sorted(written - allowed ^ UNUSED)


def test_the_policy_of_plan_allows_no_change(fresh, tmp_path):
    record = tmp_path / "authorizations.jsonl"
    setup = fresh(stack_file("loadtest"), "--authorizations", str(record))
    setup.machine.credentials = users(setup)["plan"]
    refused = setup.machine.run("apply", "--yes")
    assert refused.code == 1 and "0 of 21 steps done" in refused.said, refused.stderr
    assert "`trunnion permissions` prints the whole policy" in refused.said
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    own = [line for line in lines if ":user/plan" in json.dumps(line["caller"])]
    changing = [line for line in own if line["call"] in CHANGES]
    assert changing and not [line for line in changing if "allowed" in line["verdict"]]


def test_a_lost_stack_tag_is_out_of_reach_and_the_help_says_so(loadtest):
    """Whoever may tag what has no tag could take over the hosts of others."""
    keys = users(loadtest)
    (damage,) = [one for one in DAMAGES if one.name == "host_without_the_tags_that_name_the_stack"]
    damage.do(loadtest)
    loadtest.machine.credentials = keys["apply"]
    refused = loadtest.machine.run("apply", "--yes")
    assert refused.code == 1 and "--tags Key=trunnion:stack,Value=loadtest" in refused.said, refused.stderr
    ec2 = loadtest.client("ec2")
    pages = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])["Reservations"]
    (lost,) = [
        host["InstanceId"]
        for page in pages
        for host in page["Instances"]
        if not any(tag["Key"] == "trunnion:stack" for tag in host["Tags"])
    ]
    ec2.create_tags(Resources=[lost], Tags=[{"Key": "trunnion:stack", "Value": "loadtest"}])
    loadtest.machine.converge()
    assert "instance.heavy[3]" in instances(ec2, "loadtest")
