"""The control plane's conf, read by the library that the authors of HOCON wrote: every type and value is the stack's."""

import json
import os
import subprocess

import pytest
import yaml

from stage import BINARIES, Machine, stack_file

READER = BINARIES.parent / "conf"
# Gatling does not start without it.
OPENS = "--add-opens=java.base/java.lang=ALL-UNNAMED"

HOSTILE = [
    '"', '""', '"""', '\\', '\\"', '\\\\"', '\\n', '\\u0022', "'", "`", '" } include "x" {', '"""" x',
    "${?PATH}", "${CONTROL_PLANE_TOKEN}", "${control-plane.token}", "$", "${", "}", "{", "[", "]", ",", ":", "=", "+=", "a += b",
    "a = b", "# no comment", "// no comment", "/* no comment */", "x # y", "include", 'include "/etc/passwd"', "include file(\"/etc/passwd\")",
    "include url(\"http://localhost/\")", "true", "false", "null", "yes", "~", "1", "-1", "007", "1.10", "1e3", "0x10", "1_000", ".5", "10 seconds",
    "512 MiB", "", " ", "  two  spaces  ", "\ta\t", "\n", "a\nb", "a\r\nb", "\u0000", "\u001b[31m", "\u0085", "\u00a0", "\u200b", "\u2028", "\u202e", "\ufeff",
    "ü", "é" * 40, "日本語", "🦀", "\U0010ffff", "%p", "%s", "$(id)", "`id`", "; rm -rf /", "&& x", "| x", "<x>", "*", "?", "!", "@", "^", "a.b.c",
    "kill -9 %p", "--", "-", "key: value", "- item", "&anchor", "*alias", "!!str", "|", ">", "%", "x" * 200,
]  # fmt: skip
KEYS = ["load.profile", "a", "a.b.c", "include", "true", "null", "a-b", "_a", "include.file", "x" * 60]


def text(value: str) -> dict:
    return {"STRING": value}


def expected(stack: dict, hosts: dict[str, list[str]], image_key="executable-dir") -> dict:
    """What the conf must contain, from the YAML alone."""

    def location(name: str, one: dict) -> dict:
        ssh = {"user": text("gatling"), "private-key": {"path": text("/app/conf/ssh-private-key")}}
        fields = {
            "id": text(name),
            "description": text(one.get("description", f"pool {one['pool']}")),
            "type": text("dedicated"),
            "engine": text(one.get("engine", "classic")),
            "ssh": ssh,
            "hosts": [text(host) for host in hosts[one["pool"]]],
            image_key: text("/var/lib/gatling"),
        }
        if options := one.get("jvm_options"):
            fields["jvm-options"] = [text(option) for option in ([] if OPENS in options else [OPENS]) + options]
        if properties := one.get("system_properties"):
            fields["system-properties"] = {key: text(value) for key, value in properties.items()}
        return fields

    return {
        "control-plane": {
            "token": text("cpt_1"),
            "description": text(f"Trunnion stack {stack['stack']}"),
            "server": {"port": {"NUMBER": "8080"}, "bind-address": text("0.0.0.0")},
            "locations": [location(name, one) for name, one in stack["locations"].items()],
        }
    }


def hosts_of(stack: dict) -> dict[str, list[str]]:
    """The places of the hosts' addresses, which only AWS knows."""
    pools = stack["pools"].items()
    return {name: [f"<instance.{name}[{at}].private_ip>" for at in range(pool.get("count", 1))] for name, pool in pools}


@pytest.fixture
def read(tmp_path):
    """Reads many confs with one JVM."""

    def read(confs: list[str]) -> list:
        files = [tmp_path / f"{number}.conf" for number in range(len(confs))]
        for file, conf in zip(files, confs, strict=True):
            file.write_text(conf, newline="")
        classes = f"{READER}/jars/*:{READER}/classes"
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "CONTROL_PLANE_TOKEN": "cpt_1"}
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", classes, "Conf", *files]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return [json.loads(line) for line in said.splitlines()]

    return read


@pytest.mark.parametrize("name", ["loadtest", "minimal"])
def test_the_reference_stacks(tmp_path, read, name):
    whole = stack_file(name)
    stack = yaml.safe_load(whole)
    machine = Machine(tmp_path / "machine", "http://127.0.0.1:9", whole)
    assert read([machine.succeed("render", "conf").stdout]) == [expected(stack, hosts_of(stack))]


def test_hostile_text(tmp_path, read):
    """Each text in each place where the stack takes text. A stack that is refused says which value is wrong."""
    minimal = yaml.safe_load(stack_file("minimal"))
    machine = Machine(tmp_path / "machine", "http://127.0.0.1:9", "")
    # A text in YAML's folded form would be another text: JSON is YAML, too.
    places = [{"description": each} for each in HOSTILE]
    places += [{"jvm_options": ["-Xmx1g", f"-Dx={each}", OPENS][: 2 + at % 2]} for at, each in enumerate(HOSTILE)]
    places += [{"jvm_options": [f"-XX:OnOutOfMemoryError={each}"]} for each in ("kill -9 %p", "x # ${y}", 'say "no"')]
    places += [{"system_properties": {KEYS[at % len(KEYS)]: each}} for at, each in enumerate(HOSTILE)]
    places += [{"system_properties": dict.fromkeys(KEYS[at:], KEYS[at])} for at in range(len(KEYS))]
    confs, wanted = [], []
    for place in places:
        stack = {**minimal, "locations": {"prl_small": {"pool": "small", **place}}}
        (machine.folder / "stack.yaml").write_text(json.dumps(stack))
        ended = machine.run("render", "conf")
        if ended.code == 0:
            confs.append(ended.stdout)
            wanted.append(expected(stack, hosts_of(stack)))
        else:
            (at,) = place
            assert ended.code == 1 and f"locations.prl_small.{at}" in ended.stderr, (place, ended.stderr)
    differences = [(conf, seen) for conf, seen, right in zip(confs, read(confs), wanted, strict=True) if seen != right]
    assert not differences
    assert len(confs) > 0.7 * len(places), f"only {len(confs)} of {len(places)} stacks are accepted"


def test_a_command_is_one_option(tmp_path, read):
    """A command in a JVM option has spaces."""
    kill = "-XX:OnOutOfMemoryError=kill -9 %p"
    whole = stack_file("minimal", ("{ pool: small }", f'{{ pool: small, jvm_options: ["{kill}"] }}'))
    machine = Machine(tmp_path / "machine", "http://127.0.0.1:9", whole)
    (conf,) = read([machine.succeed("render", "conf").stdout])
    assert conf["control-plane"]["locations"][0]["jvm-options"] == [text(OPENS), text(kill)]
