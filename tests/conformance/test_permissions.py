"""Each command works with the policy that `trunnion permissions` prints for it, and `plan`'s policy allows no change."""

import json

from damages import DAMAGES
from stage import ROOT, code_of, everywhere, instances, make_network, route_through_nat, settled, stack_file, variables

CALLS = json.loads((ROOT / "tests" / "conformance" / "authorization" / "calls.json").read_text())
CHANGES = {row["operation"] for row in CALLS if row["changes"]}
COMMANDS = ["plan", "apply", "destroy"]

# Repairs that the tag condition forbids, and damages that exclude others.
APART = {
    "host_without_tags",
    "host_without_the_tags_that_name_the_stack",
    "deleted_bucket_with_all_objects",
    "deleted_role",
    "deleted_log_group",
}


def policies(setup, command: str) -> list[dict]:
    printed = json.loads(setup.machine.succeed("permissions", "--for", command).stdout)
    return printed if isinstance(printed, list) else [printed]


def actions(documents) -> set[str]:
    return {action for one in documents for statement in one["Statement"] for action in statement["Action"]}


def users(setup, commands=(*COMMANDS, "doctor")) -> dict[str, dict]:
    """A user for each command, who has exactly the command's policy, known everywhere. The one of doctor has all of them."""
    written = {command: policies(setup, command) for command in commands}
    if "doctor" in written:
        written["doctor"] = [document for documents in written.values() for document in documents]
    return users_with(setup, written, lambda client: code_of(client("ec2").describe_instances) is None)


def users_with(setup, written: dict[str, list[dict]], is_known) -> dict[str, dict]:
    """Users with these policies. `is_known` makes a call that the last policy of each one allows."""
    iam, keys = setup.client("iam"), {}
    for command, documents in written.items():
        iam.create_user(UserName=command)
        for number, document in enumerate(documents, 1):
            name = f"{command}-{number}"
            arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))["Policy"]["Arn"]
            everywhere(lambda: code_of(iam.get_policy, PolicyArn=arn) is None)
            settled(iam.attach_user_policy, UserName=command, PolicyArn=arn)
        key = settled(iam.create_access_key, UserName=command)["AccessKey"]


        def client(service, key=key):
            return setup.sandbox.client(service, key=key["AccessKeyId"], secret=key["SecretAccessKey"])

        # Changes of one user are known in their order, so the last policy is known where this call is allowed.
        everywhere(lambda: is_known(client))
        keys[command] = variables(key)
    return keys


def asked(record, command: str, since: int = 0) -> list[dict]:
    """What the user of a command asked for, with the verdicts, from this line of the record on."""
    lines = [json.loads(line) for line in record.read_text().splitlines()[since:]]
    return [line for line in lines if f":user/{command}" in json.dumps(line["caller"])]


def is_allowed(line: dict) -> bool:
    return "allowed" in line["verdict"]


STATE = ("stack: loadtest\n", "stack: loadtest\nstate: s3://states-of-the-team/load/\nnetwork: { vpc: { Name: own } }\n")


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
    s3 = setup.client("s3")
    s3.create_bucket(Bucket="states-of-the-team", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    make_network(setup.client("ec2"))
    everywhere(lambda: code_of(s3.head_bucket, Bucket="states-of-the-team") is None)
    machine, keys = setup.machine, users(setup)

    def run(command, *arguments):
        machine.credentials = keys[command]
        ended = machine.run(*arguments)
        assert ended.code == 0, f"{arguments}\n{ended.stdout}\n{ended.stderr}"

    # The record has the calls that waited for the users, too.
    since = len(record.read_text().splitlines())
    machine.credentials = keys["doctor"]
    assert " 2 unknown" in machine.run("doctor").stdout
    route_through_nat(setup.client("ec2"))
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
    # The state is a cache. Where none is, S3 says so only to who may list the bucket.
    s3.delete_object(Bucket="states-of-the-team", Key="load/loadtest.json")
    # Somebody's own host keeps a group of the stack.
    ec2 = setup.client("ec2")
    host = instances(ec2, "loadtest")["instance.heavy[0]"]
    group = host["SecurityGroups"][0]["GroupId"]
    own = {"ImageId": host["ImageId"], "InstanceType": "c7i.large", "SubnetId": host["SubnetId"]}
    (own,) = ec2.run_instances(**own, SecurityGroupIds=[group], MinCount=1, MaxCount=1)["Instances"]
    machine.credentials = keys["destroy"]
    refused = machine.run("destroy", "--yes")
    assert refused.code == 1 and f"other users outside this stack: `{own['InstanceId']}`" in refused.said, refused.stderr
    settled(ec2.terminate_instances, InstanceIds=[own["InstanceId"]])
    run("destroy", "destroy", "--yes")

    made = {command: asked(record, command, since) for command in COMMANDS}
    denied = [line for lines in made.values() for line in lines if not is_allowed(line)]
    assert not denied, denied[0]
    allowed = {line["action"] for lines in made.values() for line in lines}
    written = {command: policies(setup, command) for command in COMMANDS}
    assert set().union(*map(actions, written.values())) <= allowed
    for command in COMMANDS:
        each_statement_is_needed(setup, written[command], made[command], command)


def test_versions_of_the_state_need_the_policy_of_state(fresh, tmp_path):
    record = tmp_path / "authorizations.jsonl"
    text = stack_file("minimal", ("stack: minimal\n", "stack: minimal\nstate: s3://states-of-the-team/load/\n"))
    setup = fresh(text, "--authorizations", str(record))
    s3, machine = setup.client("s3"), setup.machine
    s3.create_bucket(Bucket="states-of-the-team", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    settled(s3.put_bucket_versioning, Bucket="states-of-the-team", VersioningConfiguration={"Status": "Enabled"})
    machine.succeed("apply", "--yes", "--no-wait")
    written = policies(setup, "state")
    known = {"Bucket": "states-of-the-team"}
    keys = users_with(setup, {"state": written}, lambda client: code_of(client("s3").list_object_versions, **known) is None)
    since = len(record.read_text().splitlines())
    machine.credentials = keys["state"]
    newest, *_ = json.loads(machine.succeed("state", "list", "--json").stdout)
    shown = json.loads(machine.succeed("state", "show", newest["version"]).stdout)
    assert shown["serial"] == newest["serial"]
    machine.succeed("state", "restore", newest["version"], "--yes")
    s3.delete_object(Bucket="states-of-the-team", Key="load/minimal.json")
    machine.succeed("state", "restore", newest["version"], "--yes")
    made = asked(record, "state", since)
    assert made and all(map(is_allowed, made))
    assert actions(written) == {line["action"] for line in made}
    each_statement_is_needed(setup, written, made, "state")


def each_statement_is_needed(setup, documents, lines, command):
    """Without any one statement of its policy, a command is denied something that it asked for."""
    statements = [statement for document in documents for statement in document["Statement"]]
    for statement in statements:
        decided = [line for line in lines if (line["verdict"]["allowed"]["by"] or {}).get("statement") == statement["Sid"]]
        rest = {"Version": "2012-10-17", "Statement": [one for one in statements if one is not statement]}
        changed = [
            {key: line[key] for key in ("action", "resource", "caller", "context")}
            | {"policies": line["policies"] | {"identity": [{"name": "rest", "document": json.dumps(rest)}]}}
            for line in decided
        ]
        verdicts = setup.sandbox.out_of_band("evaluate", changed)
        assert any("denied" in verdict for verdict in verdicts), f"{command} does not need {statement['Sid']}"


def test_the_policy_of_plan_allows_no_change(fresh, tmp_path):
    record = tmp_path / "authorizations.jsonl"
    setup = fresh(stack_file("loadtest"), "--authorizations", str(record))
    setup.machine.credentials = users(setup)["plan"]
    refused = setup.machine.run("apply", "--yes")
    assert refused.code == 1 and "0 of 21 steps done" in refused.said, refused.stderr
    assert "`trunnion permissions` prints the whole policy" in refused.said
    changing = [line for line in asked(record, "plan") if line["call"] in CHANGES]
    assert changing and not [line for line in changing if is_allowed(line)]


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
