"""From a new account to the applied reference stack and back in each partition, with what docs/getting-started.md asks for."""

import json
import re

import pytest

from stage import code_of, everywhere, left_over, make_subnets_behind_nat, stack_file, until, variables

# A region of each partition.
PARTITIONS = {"aws": "eu-west-3", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1", "aws-eusc": "eusc-de-east-1"}
COMMANDS = ["plan", "apply", "destroy", "doctor"]


def secrets(setup) -> dict[str, str]:
    """The control plane's token and its SSH key, in Secrets Manager."""
    manager = setup.client("secretsmanager")
    return {
        name: manager.create_secret(Name=f"load-test/{name}", SecretString="never read by trunnion")["ARN"]
        for name in ("token", "ssh")
    }


def operator(setup) -> dict[str, str]:
    """The keys of a user who has the policies that `trunnion permissions` prints, and no other."""
    iam = setup.client("iam")
    iam.create_user(UserName="operator")
    for command in COMMANDS:
        printed = setup.machine.succeed("permissions", "--for", command)
        count = len(json.loads(printed.stdout)) if printed.stdout.startswith("[") else 1
        for part in range(1, count + 1):
            more = ["--part", str(part)] if count > 1 else []
            document = setup.machine.succeed("permissions", "--for", command, *more).stdout
            arn = iam.create_policy(PolicyName=f"{command}-{part}", PolicyDocument=document)["Policy"]["Arn"]
            everywhere(lambda: code_of(iam.get_policy, PolicyArn=arn) is None)
            iam.attach_user_policy(UserName="operator", PolicyArn=arn)
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    sts = setup.sandbox.client("sts", setup.region, key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    everywhere(lambda: code_of(sts.get_caller_identity) is None)
    return variables(key)


def not_ok(setup) -> dict[str, str]:
    """What doctor does not find, with its verdict."""
    found = json.loads(setup.machine.run("doctor", "--json").stdout)["findings"]
    return {one["subject"]: one["verdict"] for one in found if one["verdict"] != "ok"}


def tagged(setup) -> list[str]:
    asked = [{"Key": "trunnion:stack", "Values": ["loadtest"]}]
    pages = setup.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(TagFilters=asked)
    return [one["ResourceARN"] for page in pages for one in page["ResourceTagMappingList"]]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_the_documents_lead_from_a_new_account_to_a_stack_and_back(fresh, partition):
    region = PARTITIONS[partition]
    setup = fresh(None, region=region)
    machine = setup.machine
    arns = secrets(setup)
    stack = re.sub(r"arn:aws:secretsmanager:eu-west-3:\d+:secret:gatling/(token|ssh)-AbCdEf", lambda it: arns[it[1]], stack_file("loadtest"))
    stack = stack.split("\nenvironments:")[0].replace("eu-west-3", region)
    (machine.folder / "stack.yaml").write_text(stack)

    # Doctor names what is missing in a VPC without a NAT gateway.
    machine.credentials = operator(setup)
    routes = {"route of pools.heavy": "missing", "route of pools.probe": "missing"}
    # Of other tasks' vCPUs there is no list, and EC2 is not asked about a launch without a group of the stack.
    routes |= {"quota of vCPUs of Fargate tasks": "unknown", "2 permissions": "unknown"}
    until(lambda: not_ok(setup) == routes, what=f"{not_ok(setup)}")
    for zone, subnet in make_subnets_behind_nat(setup.client("ec2"), region).items():
        stack = stack.replace(f"    zone: {zone}\n", f"    subnet: {subnet}\n")
    (machine.folder / "stack.yaml").write_text(stack)
    doctor = machine.run("doctor")
    assert doctor.code == 0 and " 0 missing, 2 unknown" in doctor.stdout, doctor.stdout
    assert not {name for name, call in setup.sandbox.calls().items() if "RunInstances" in name and "dry run" not in name}

    machine.succeed("validate")
    assert len(machine.plan().changes) == 21
    machine.converge()
    assert len([one for one in tagged(setup) if ":instance/" in one]) == 5
    (machine.folder / "stack.yaml").write_text(stack.replace("volume_gib: 100", "volume_gib: 120"))
    machine.converge()
    machine.succeed("destroy", "--yes")
    assert left_over(setup, "loadtest") == []
    # Terminated hosts are shown for an hour of AWS's time.
    everywhere(lambda: not tagged(setup))
    for arn in arns.values():
        setup.client("secretsmanager").get_secret_value(SecretId=arn)

    assert {call.scope[0] for call in setup.capture.calls} == {region}
    named = set(re.findall(rb"arn:(aws[a-z-]*):(?!iam::aws)", b"".join(call.answer for call in setup.capture.calls)))
    assert named == {partition.encode()}
