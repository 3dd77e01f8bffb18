"""Creates, repairs and destroys a stack in moto, an AWS mock that is independent of the sandbox.

Where moto differs from AWS, these workarounds apply. The tests themselves stay the same:

- It gives every instance one interface: the stack here has one interface with one address.
- It ignores the conditions of a bucket policy, so that "only over TLS" forbids everything: it keeps policies and does
  not enforce them here.
- It answers `GetBucketVersioning` with a wrong root element.
- It stores the checksum of an object only if the request also names the algorithm.
- It compares an object's version and writes the object in two steps, so that two clients can both win.
- It never starts a service's tasks: apply does not wait for them.
- It ends every secret's ARN with random letters: the test creates the secrets first and puts their ARNs in the stack.
"""

import re
import subprocess
import sys
import threading

import boto3
import pytest

from test_state import BUCKET, at_once, hosts, one_line_of_states

from stage import ACCOUNT, CREDENTIALS, REGION, Machine, left_over, stack_file, tags

ONE_INTERFACE = ("zone: eu-west-3a }", "zone: eu-west-3a, interfaces: 1, addresses: 1 }")

# `moto_server` with the second to fifth of these differences corrected.
SERVER = """
import threading

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response
from moto.server import main
from werkzeug.datastructures import Headers

FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL

answer = S3Response.get_bucket_versioning
def get_bucket_versioning(self):
    status, headers, body = answer(self)
    return status, headers, body.replace("GetBucketVersioningResponse", "VersioningConfiguration")
S3Response.get_bucket_versioning = get_bucket_versioning

keep = S3Response._get_checksum
def get_checksum(self, response_headers):
    if "x-amz-checksum-sha256" in self.headers:
        self.headers = Headers(self.headers)
        self.headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
    return keep(self, response_headers)
S3Response._get_checksum = get_checksum

one_at_a_time = threading.Lock()
def whole(answer):
    def respond(self):
        with one_at_a_time:
            return answer(self)
    return respond
S3Response.put_object = whole(S3Response.put_object)
S3Response.delete_object = whole(S3Response.delete_object)
main()
"""


class Moto:
    """A `moto_server` on a free port."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", "0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.requests = []
        for line in self.process.stderr:
            if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                self.endpoint = found[1]
                break
        # A full pipe would stop the server, so its log is read and dropped.
        threading.Thread(target=lambda: self.requests.extend(self.process.stderr), daemon=True).start()

    def client(self, service):
        session = boto3.session.Session(*CREDENTIALS.values())
        return session.client(service, region_name=REGION, endpoint_url=self.endpoint)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def moto():
    moto = Moto()
    yield moto
    moto.stop()


def stack(moto) -> str:
    """The minimal stack, with existing secrets."""
    secrets = moto.client("secretsmanager")
    edits = [ONE_INTERFACE]
    for name in ("token", "ssh"):
        arn = secrets.create_secret(Name=f"gatling/{name}", SecretString="conformance")["ARN"]
        edits.append((f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:gatling/{name}-AbCdEf", arn))
    return stack_file("minimal", *edits)


def test_a_stack_is_applied_and_destroyed(moto, tmp_path):
    machine = Machine(tmp_path, moto.endpoint, stack(moto))
    machine.converge("--no-wait")

    ec2, ecs = moto.client("ec2"), moto.client("ecs")
    ours = [{"Name": "tag:trunnion:stack", "Values": ["minimal"]}]
    (reservation,) = ec2.describe_instances(Filters=ours)["Reservations"]
    (host,) = reservation["Instances"]
    assert tags(host["Tags"])["trunnion:launch"] == "instance.small[0-0]" and host["AmiLaunchIndex"] == 0
    (service,) = ecs.describe_services(cluster="minimal", services=["minimal-control-plane"])["services"]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    conf = definition["containerDefinitions"][0]["environment"][0]["value"]
    assert host["PrivateIpAddress"] in conf

    machine.state.unlink()
    assert not machine.plan().changes, "all resources are found without the state"
    machine.succeed("destroy", "--yes")
    assert left_over(moto, "minimal") == []


def test_ten_applies_at_once_work_one_after_the_other(moto, tmp_path):
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    text = stack(moto).replace("\npools:", f"\nstate: s3://{BUCKET}/state\n\npools:")
    machines = [Machine(tmp_path / f"machine-{n}", moto.endpoint, text) for n in range(10)]
    at_once(machines)
    one_line_of_states(s3)
    assert not machines[0].plan().changes
    assert len(hosts(moto.client("ec2"))) == 1


def test_drift_is_repaired(moto, tmp_path):
    machine = Machine(tmp_path, moto.endpoint, stack(moto))
    machine.converge("--no-wait")
    moto.client("iam").delete_role_policy(RoleName="minimal.eu-west-3.generator", PolicyName="trunnion")
    moto.client("logs").delete_log_group(logGroupName="/trunnion/minimal/control-plane")
    plan = machine.plan()
    assert plan.changes == {"update iam_role.generator", "create log_group.control_plane"}
    assert plan.drift == {"iam_role.generator", "log_group.control_plane"}
    machine.converge("--no-wait")
