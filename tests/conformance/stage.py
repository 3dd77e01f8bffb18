"""Runs the sandbox in its own process, and `trunnion` on machines that use it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import boto3
import models
from botocore.config import Config
from botocore.exceptions import ClientError
from capture import Capture

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
TRUNNION = BINARIES / "trunnion"
GENERATOR = BINARIES / "trunnion-generator"
REGION = "eu-west-3"
ACCOUNT = "123456789012"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
# Seconds. Longer than any step of the tests takes, so that a hang fails one test and does not block
# the run.
PATIENCE = 120


def environment(endpoint: str, home: Path, credentials: dict[str, str] = CREDENTIALS) -> dict[str, str]:
    """The environment of a command, without variables of this process that could change its behaviour."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "USER": "conformance",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": REGION,
        **credentials,
    }


def needed(program: str) -> str:
    """The path of a program that is no part of this project."""
    found = shutil.which(program)
    assert found, f"`{program}` is needed: `.ci/run` installs it"
    return found


def until(condition, patience: float = 30, what: str = "it did not come about"):
    """Repeats the question until the answer is true, and returns it."""
    end = time.monotonic() + patience
    while not (answer := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return answer


# What AWS answers while it does not know yet everywhere what was made a moment ago.
NOT_YET = re.compile(r"OperationAborted|NoSuch(Bucket|Entity)|\w+NotFound\w*|\w+\.NotFound\w*|InvalidClientTokenId")


def settled(call, **parameters):
    """Repeats a call while AWS does not know everywhere what it needs, and returns its response."""

    def answer():
        try:
            return call(**parameters)
        except ClientError as error:
            if not NOT_YET.fullmatch(error.response["Error"]["Code"]):
                raise
            return None

    return until(answer)


def everywhere(condition):
    """Repeats a question until the answer is true wherever it is asked: one read can hide what the one before showed."""

    def answer():
        return all(condition() for _ in range(READS))

    return until(answer)


# One of three replicas answers each read: of this many in a row, all are asked but for one time in a million.
READS = 40


# Each sandbox is strict, in an account whose quota of vCPUs has been raised. Printed, so that a failing test shows it.
SEED = os.environ.get("TRUNNION_SEED", "1")
STRICT = ("--strict", "--seed", SEED, "--vcpus", "100000")
# Besides, for clients of others that cannot wait: all reads show all changes at once.
CONSISTENT = ("--consistency-lag", "0")


def answer_of(call, *arguments, **parameters) -> dict:
    """The answer of a call, which may be an error."""
    try:
        return call(*arguments, **parameters)
    except ClientError as error:
        return error.response


def code_of(call, *arguments, **parameters) -> str | None:
    """The error code of a call, or nothing if it succeeds."""
    return answer_of(call, *arguments, **parameters).get("Error", {}).get("Code")


# The codes with which a service refuses calls that come too fast.
THROTTLED = {"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException"}


def pause_if_throttled(response, attempts: int, **_) -> float | None:
    """How many seconds botocore waits before it repeats a call, or nothing if the call is not repeated."""
    code = response and response[1].get("Error", {}).get("Code")
    return 0.1 if code in THROTTLED and attempts < 100 else None


class Sandbox:
    """`trunnion sandbox` on a free port, with its data in a folder."""

    def __init__(self, data: Path, *more: str):
        self.data = data
        print(f"the sandbox is strict: TRUNNION_SEED={SEED}")
        command = [TRUNNION, "sandbox", "--listen", "127.0.0.1:0", "--data", data, "--quiet", *STRICT, *more]
        if "--speed" not in more:
            command += ["--speed", "500"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline().strip()
        assert first.startswith("export AWS_ENDPOINT_URL="), first
        self.endpoint = first.split("=", 1)[1]

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def client(
        self,
        service: str,
        region: str = REGION,
        secret: str = "sandbox",
        key: str = "sandbox",
        endpoint=None,
        token: str | None = None,
        **config,
    ):
        """A boto3 client that repeats only what is throttled, which depends on how fast the machine is."""
        client = boto3.session.Session().client(
            service,
            region_name=region,
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **config),
        )
        client.meta.events.register_first("needs-retry", pause_if_throttled)
        return client

    def out_of_band(self, what: str, body=None):
        """What the sandbox says of itself, or of a body."""
        body = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.endpoint}/_sandbox/{what}", body) as answer:
            return json.load(answer)

    def calls(self) -> dict[str, int]:
        """The number of calls so far, by operation such as `ec2:RunInstances`."""
        with urllib.request.urlopen(f"{self.endpoint}/_sandbox/calls") as answer:
            return {name: call["count"] for name, call in json.load(answer).items()}


class Ended:
    """The result of a command: of `trunnion`, or of the AWS CLI."""

    def __init__(self, code: int, stdout: str, stderr: str):
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def said(self) -> str:
        """The messages in one line, because long ones are wrapped."""
        return " ".join(self.stderr.replace("│", " ").split())

    @property
    def answer(self):
        """The JSON document that the AWS CLI printed."""
        return json.loads(self.stdout) if self.stdout.strip() else None

    @property
    def error(self) -> str | None:
        """AWS's error code, or what the AWS CLI itself says."""
        found = re.search(r"An error occurred \(([\w.]+)\)", self.stderr)
        return found[1] if found else self.said or None


HOME = "github.com/acme/infra"


class Machine:
    """A folder with a stack file, in which `trunnion` runs."""

    def __init__(self, folder: Path, endpoint: str, stack: str | None = None):
        self.folder, self.endpoint, self.credentials = folder, endpoint, CREDENTIALS
        (folder / ".git").mkdir(parents=True, exist_ok=True)
        # All machines are clones of one repository, so they work on the same stack.
        (folder / ".git" / "config").write_text(f'[remote "origin"]\n\turl = git@{HOME.replace("/", ":", 1)}.git\n')
        if stack is not None:
            (folder / "stack.yaml").write_text(stack)

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [TRUNNION, *arguments],
            cwd=self.folder,
            env=environment(self.endpoint, self.folder, self.credentials),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Ended:
        with self.start(*arguments) as process:
            try:
                stdout, stderr = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{arguments} hangs:\n{process.communicate()[1]}") from None
        return Ended(process.returncode, stdout, stderr)

    def succeed(self, *arguments: str) -> Ended:
        ended = self.run(*arguments)
        assert ended.code == 0, f"{arguments}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def plan(self, *more: str) -> Plan:
        ended = self.run("plan", "--json", "--detailed-exitcode", *more)
        assert ended.code in (0, 2), ended.stderr
        plan = Plan(json.loads(ended.stdout))
        assert ended.code == (2 if plan.changes else 0), plan
        return plan

    def converge(self, *more: str) -> Ended:
        """Applies, and checks that the next plan is empty."""
        ended = self.succeed("apply", "--yes", *more)
        again = self.plan()
        assert not again.changes, f"{again}\nafter\n{ended.stderr}"
        return ended

    @property
    def state(self) -> Path:
        states = list((self.folder / ".trunnion").glob("*.json"))
        assert len(states) == 1, states
        return states[0]


class Plan:
    """A plan document."""

    def __init__(self, document: dict):
        self.document = document["compared"]
        self.notes = {note["code"]: note["message"] for note in document["remarks"]["notes"]}

    def _pending(self):
        return [change for change in self.document["changes"] if change["action"] != "none"]

    @property
    def changes(self) -> set[str]:
        """The changes, such as `replace instance.heavy[0]`."""
        return {f"{change['action']} {change['address']}" for change in self._pending()}

    @property
    def drift(self) -> set[str]:
        """The addresses that were changed or deleted outside of trunnion since the last apply."""

        def is_drift(change):
            causes = [difference["cause"] for difference in change.get("differences", [])]
            return "gone" in change["reason"] or any("outside" in cause for cause in causes)

        return {change["address"] for change in self._pending() if is_drift(change)}

    def paths(self, address: str) -> set[str]:
        """The paths of the attributes that differ."""
        changes = [change for change in self._pending() if change["address"] == address]
        return {difference["path"] for change in changes for difference in change.get("differences", [])}

    def __str__(self):
        lines = []
        for change in self._pending():
            lines.append(f"{change['action']} {change['address']}: {change['reason']}")
            lines.extend(f"    {difference}"[:400] for difference in change.get("differences", []))
        return "\n".join(lines)


class Setup:
    """An applied stack: its sandbox, the machine it was applied from, and all calls between the two."""

    def __init__(self, folder: Path, stack: str | None = None, *more: str, region: str = REGION):
        self.folder, self.region = folder, region
        self.sandbox = Sandbox(folder / "sandbox", *more)
        self.capture = Capture(self.sandbox.endpoint)
        self.machine = Machine(folder / "machine", self.capture.endpoint, stack)
        self._clients = {}

    def client(self, service: str):
        if service not in self._clients:
            self._clients[service] = self.sandbox.client(service, self.region, endpoint=self.capture.endpoint)
        return self._clients[service]

    def copy_to(self, folder: Path, *more: str) -> Setup:
        """A copy with its own sandbox. This one must be stopped first."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Setup(folder, None, *more)

    def stop(self):
        """Ends it, and fails if any call or answer was not as the models of AWS's services have it."""
        self.capture.stop()
        self.sandbox.stop()
        found = Counter(one for call in self.capture.calls for one in models.violations_of_a_test(call))
        assert not found, "\n".join(f"{count} × {one}" for one, count in sorted(found.items()))


def stack_file(name: str, *edits: tuple[str, str]) -> str:
    """A stack of the repository with edits. Each old text must occur exactly once."""
    text = (ROOT / "stacks" / f"{name}.yaml").read_text()
    for before, after in edits:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def called_by_the_provider() -> set[str]:
    """Every call that the source of Trunnion's provider names, such as `ec2:RunInstances`."""
    sources = [path.read_text() for path in (ROOT / "crates" / "aws" / "src").rglob("*.rs")]
    names = [name.split(":") for text in sources for name in re.findall(r'of_call\(\s*"([a-z0-9]+:[A-Za-z0-9]+)"', text)]
    return {f"{models.SIGNED_AS.get(service, service)}:{operation}" for service, operation in names}


def tags(pairs) -> dict[str, str]:
    """Tags by key, from the format of any service."""
    spelled = [{key.lower(): value for key, value in pair.items()} for pair in pairs]
    return {pair["key"]: pair["value"] for pair in spelled}


def instances(ec2, stack: str) -> dict[str, dict]:
    """The live instances of a stack by their address."""
    filters = [
        {"Name": "tag:trunnion:stack", "Values": [stack]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
    return {address_of(one): one for one in found}


def address_of(instance) -> str:
    """The address of an instance: its own tag, or the first number of its launch plus its launch index."""
    own = tags(instance["Tags"])
    if "trunnion:address" in own:
        return own["trunnion:address"]
    pool, first = re.fullmatch(r"(.+)\[(\d+)-\d+\]", own["trunnion:launch"]).groups()
    return f"{pool}[{int(first) + instance['AmiLaunchIndex']}]"


def group_id(ec2, name: str) -> str:
    """The id of a security group by its name."""
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
    return group["GroupId"]


def variables(key: dict) -> dict[str, str]:
    """An access key as IAM and STS give it, as variables of the environment."""
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        **({"AWS_SESSION_TOKEN": key["SessionToken"]} if "SessionToken" in key else {}),
    }


def make_network(ec2):
    """A network with a DNS server of its own, and a subnet in each of two zones."""
    named = [{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "own"}]}]
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16", TagSpecifications=named)["Vpc"]["VpcId"]
    servers = [{"Key": "domain-name-servers", "Values": ["10.7.0.53"]}]
    options = ec2.create_dhcp_options(DhcpConfigurations=servers)["DhcpOptions"]["DhcpOptionsId"]
    settled(ec2.associate_dhcp_options, DhcpOptionsId=options, VpcId=vpc)
    for number, zone in enumerate("ab"):
        subnet = {"CidrBlock": f"10.7.{16 * number}.0/20", "AvailabilityZone": f"{REGION}{zone}"}
        made = settled(ec2.create_subnet, VpcId=vpc, **subnet)["Subnet"]["SubnetId"]
        everywhere(lambda: code_of(ec2.describe_subnets, SubnetIds=[made]) is None)
    named = [{"Name": "tag:Name", "Values": ["own"]}]
    everywhere(lambda: ec2.describe_vpcs(Filters=named)["Vpcs"])


def route_through_nat(ec2):
    """The default route of the network leads to a NAT gateway."""
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["own"]}])["Vpcs"]
    of_vpc = {"Name": "vpc-id", "Values": [vpc["VpcId"]]}
    subnet = ec2.describe_subnets(Filters=[of_vpc])["Subnets"][0]["SubnetId"]
    made = settled(ec2.create_nat_gateway, SubnetId=subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    (table,) = ec2.describe_route_tables(Filters=[of_vpc, {"Name": "association.main", "Values": ["true"]}])["RouteTables"]
    route = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0"}
    settled(ec2.create_route, **route, NatGatewayId=made)


def make_subnets_behind_nat(ec2, region: str) -> dict[str, str]:
    """In the default VPC, a subnet with a NAT gateway as its default route in each of two zones."""
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    public = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = settled(ec2.create_nat_gateway, SubnetId=public, AllocationId=address)["NatGateway"]["NatGatewayId"]
    table = ec2.create_route_table(VpcId=vpc["VpcId"])["RouteTable"]["RouteTableId"]
    subnets = {}
    for number, zone in enumerate("ab"):
        block = {"CidrBlock": f"172.31.{128 + 16 * number}.0/20", "AvailabilityZone": f"{region}{zone}"}
        subnet = ec2.create_subnet(VpcId=vpc["VpcId"], **block)["Subnet"]["SubnetId"]
        settled(ec2.associate_route_table, RouteTableId=table, SubnetId=subnet)
        everywhere(lambda: code_of(ec2.describe_subnets, SubnetIds=[subnet]) is None)
        subnets[f"{region}{zone}"] = subnet

    def state():
        shown = answer_of(ec2.describe_nat_gateways, NatGatewayIds=[gateway]).get("NatGateways", [])
        return [one["State"] for one in shown]

    until(lambda: state() == ["available"])
    settled(ec2.create_route, RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
    return subnets


def left_over(setup, stack: str, expected: Sequence[str] = ()) -> list[str]:
    """All resources that still have the stack's tags, path or names, without terminated instances. For a while, AWS also
    shows what is deleted, so this asks until only what is expected is left."""
    end = time.monotonic() + 30
    while (found := _left_over(setup, stack)) != list(expected) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def _left_over(setup, stack: str) -> list[str]:
    ec2, iam, ecs = setup.client("ec2"), setup.client("iam"), setup.client("ecs")
    ours = [{"Name": "tag:trunnion:stack", "Values": [stack]}]
    path, name = f"/trunnion/{stack}/", f"{stack}-control-plane"
    found = [one["InstanceId"] for one in instances(ec2, stack).values()]
    found += [one["VolumeId"] for one in ec2.describe_volumes(Filters=ours)["Volumes"]]
    found += [one["NetworkInterfaceId"] for one in ec2.describe_network_interfaces(Filters=ours)["NetworkInterfaces"]]
    found += [one["GroupId"] for one in ec2.describe_security_groups(Filters=ours)["SecurityGroups"]]
    found += [one["LaunchTemplateId"] for one in ec2.describe_launch_templates(Filters=ours)["LaunchTemplates"]]
    found += [one["Arn"] for one in iam.list_roles(PathPrefix=path)["Roles"]]
    found += [one["Arn"] for one in iam.list_instance_profiles(PathPrefix=path)["InstanceProfiles"]]
    clusters = [one for one in ecs.describe_clusters(clusters=[stack])["clusters"] if one["status"] != "INACTIVE"]
    found += [one["clusterArn"] for one in clusters]
    for _ in clusters:
        services = ecs.describe_services(cluster=stack, services=[name])["services"]
        found += [one["serviceArn"] for one in services if one["status"] != "INACTIVE"]
    for status in ["ACTIVE", "INACTIVE"]:
        found += ecs.list_task_definitions(familyPrefix=name, status=status)["taskDefinitionArns"]
    found += [one["arn"] for one in setup.client("logs").describe_log_groups(logGroupNamePrefix=path)["logGroups"]]
    found += [one["Name"] for one in setup.client("s3").list_buckets()["Buckets"] if one["Name"].startswith(stack)]
    return found
