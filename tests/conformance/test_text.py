"""Generated scripts and documents are valid for their readers: bash, cloud-init and JSON Schema."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from stage import ROOT, Machine, needed, stack_file

POOLS = [("loadtest", "heavy"), ("loadtest", "probe"), ("minimal", "small")]
STACKS = sorted(path.stem for path in (ROOT / "stacks").glob("*.yaml"))

# Asks the installed cloud-init for the type of user data, and for what it would run.
ASK_CLOUD_INIT = """
import json, sys
from cloudinit.user_data import UserDataProcessor
parts = [part for part in UserDataProcessor(None).process(sys.stdin.buffer.read()).walk() if not part.is_multipart()]
print(json.dumps([[part.get_content_type(), part.get_payload(decode=True).decode()] for part in parts]))
"""


@pytest.fixture
def machine(tmp_path):
    """Makes machines without a cloud."""
    return lambda stack: Machine(tmp_path / "machine", "http://127.0.0.1:9", stack)


@pytest.mark.parametrize(("stack", "pool"), POOLS)
def test_boot_script_passes_shellcheck(machine, tmp_path, stack, pool):
    script = tmp_path / "boot.sh"
    script.write_text(machine(stack_file(stack)).succeed("render", "boot", "--pool", pool).stdout)
    checked = subprocess.run([needed("shellcheck"), script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_boot_script_of_javascript_passes_shellcheck(machine, tmp_path):
    text = stack_file("minimal", ("{ pool: small }", "{ pool: small, engine: javascript }"))
    text += "\ngenerator: { java: 25, variables: { packages: \"htop it's-odd\" } }\n"
    script = tmp_path / "boot.sh"
    script.write_text(machine(text).succeed("render", "boot").stdout)
    checked = subprocess.run([needed("shellcheck"), script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(("stack", "pool"), POOLS)
def test_cloud_init_recognises_user_data_as_a_script(machine, stack, pool):
    user_data = machine(stack_file(stack)).succeed("render", "boot", "--pool", pool).stdout
    # Only cloud-init's own interpreter has its modules.
    interpreter = Path(needed("cloud-init")).read_text().splitlines()[0].removeprefix("#!").split()[0]
    asked = subprocess.run([interpreter, "-c", ASK_CLOUD_INIT], input=user_data, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == [["text/x-shellscript", user_data]]


@pytest.mark.parametrize("stack", STACKS)
def test_stacks_follow_the_published_schema(stack):
    schema = json.loads((ROOT / "schemas" / "stack.schema.json").read_text())
    jsonschema.validators.validator_for(schema).check_schema(schema)
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = yaml.safe_load((ROOT / "stacks" / f"{stack}.yaml").read_text())
    assert list(validator.iter_errors(document)) == []
    document["pools"]["surplus"] = {"instance_typ": "c7i.xlarge"}
    assert list(validator.iter_errors(document)), "the schema refuses nothing"


# Rules that JSON Schema cannot express: files beside the stack, instance types, and dependencies between keys.
ONLY_THE_READER_REFUSES = """
account-as-a-number
binary-for-one-architecture-of-two
binary-that-is-a-directory
binary-that-is-no-program
control-character-in-a-description
control-plane-that-is-too-old
control-plane-zone-of-another-region
duplicate-key
environment-that-moves-the-region-alone
environment-that-takes-a-needed-key-away
javascript-on-an-old-java
location-without-its-pool
memory-that-fargate-does-not-have
missing-template
mistake-inside-an-environment
more-interfaces-than-any-type-has
more-public-addresses-than-addresses
more-subnets-than-a-group-has-rules
more-subnets-than-a-service-takes
moved-in-a-circle
moved-one-pool-to-two
moved-pool-that-is-still-there
moved-to-no-pool
moved-two-pools-to-one
no-environments
number-with-a-leading-zero
pool-in-two-locations
prices-with-a-rate-and-no-currency
prices-without-an-exchange-rate
public-addresses-without-public-ip
public-key-cut-short
range-with-bits-behind-its-prefix
rate-with-many-places
region-of-an-isolated-partition
secret-of-another-account
secret-of-another-partition
secret-of-another-region
secret-that-none-can-be
secret-with-a-stage-and-a-version
secret-with-half-a-part
several-public-keys
stack-name-that-s3-keeps-with-a-hyphen
stack-name-that-s3-keeps
stack-name-that-security-groups-cannot-have
stack-name-too-long-with-its-environment
state-in-an-arn
state-in-another-cloud
state-in-no-bucket
state-that-is-a-file
state-with-a-colon
state-with-dots
state-with-one-slash
tag-with-a-character-aws-does-not-take
tag-with-a-combining-mark
tags-that-differ-in-case
too-many-addresses
too-many-interfaces
too-many-tags-beside-protect
unknown-environment
unknown-instance-type
untracked-with-one-interface
yes-for-true
zone-of-another-region
zone-with-a-cyrillic-letter
"""


def test_schema_refuses_invalid_stacks():
    schema = json.loads((ROOT / "schemas" / "stack.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    accepted = []
    for path in sorted((ROOT / "tests" / "invalid").glob("*.yaml")):
        try:
            document = yaml.safe_load(path.read_text())
        except yaml.YAMLError:
            continue
        if validator.is_valid(document):
            accepted.append(path.stem)
    assert accepted == ONLY_THE_READER_REFUSES.split()


@pytest.mark.parametrize("kind", ["stack", "plan", "outcome", "event"])
def test_published_schemas_are_those_of_the_command(machine, kind):
    published = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text())
    assert json.loads(machine(None).succeed("schema", kind).stdout) == published


def test_plans_follow_the_published_schema(minimal):
    schema = json.loads((ROOT / "schemas" / "plan.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    machine = minimal.machine
    (machine.folder / "stack.yaml").write_text(
        stack_file("minimal", ("zone: eu-west-3a }", "zone: eu-west-3a, count: 2, volume_gib: 60 }"))
    )
    minimal.client("iam").delete_role_policy(RoleName="minimal.eu-west-3.generator", PolicyName="trunnion")
    minimal.client("logs").delete_log_group(logGroupName="/trunnion/minimal/control-plane")
    for name, more in [("plan.json", []), ("destroy.json", ["--destroy"])]:
        machine.succeed("plan", "--out", name, *more)
        document = json.loads((machine.folder / name).read_text())
        assert list(validator.iter_errors(document)) == []
        assert document["compared"]["steps"]
    del document["compared"]["changes"][0]["action"]
    assert list(validator.iter_errors(document)), "the schema refuses nothing"


def test_events_and_the_outcome_follow_the_published_schemas(machine):
    def validator(kind):
        schema = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text())
        return jsonschema.validators.validator_for(schema)(schema)

    ended = machine(stack_file("minimal")).succeed("apply", "--yes", "--json", "--sandbox")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {event["event"] for event in events} >= {"begun", "started", "finished", "ended"}
    assert [error for event in events for error in validator("event").iter_errors(event)] == []
    assert list(validator("outcome").iter_errors(events[-1]["outcome"])) == []
    del events[-1]["outcome"]["result"]
    assert list(validator("event").iter_errors(events[-1])), "the schema refuses nothing"
