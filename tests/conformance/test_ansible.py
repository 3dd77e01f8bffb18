"""Ansible's modules against the sandbox: they make the platform, agree with what Trunnion made, and operate it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from stage import CONSISTENT, environment, stack_file

HERE = Path(__file__).parent
COLLECTIONS = Path(sys.prefix) / "collections"


class Played(NamedTuple):
    """How many tasks of a playbook were right, how many of those changed something, and what it printed."""

    ok: int
    changed: int
    text: str


def play(setup, name: str) -> Played:
    """Runs a playbook, and fails where it does, or where it writes beside the playbooks."""
    before = sorted(HERE.rglob("*"))
    ended = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--inventory", "localhost,", "--connection", "local", "--diff",
         HERE / "ansible" / name],
        env=environment(setup.capture.endpoint, setup.folder) | {
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_HOME": str(setup.folder / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            # By default both are in the home of `USER`. Ansible makes a folder beside the playbook if there is no such user.
            "ANSIBLE_REMOTE_TEMP": str(setup.folder / "ansible" / "tmp"),
            "ANSIBLE_ASYNC_DIR": str(setup.folder / "ansible" / "async"),
            "ANSIBLE_NOCOLOR": "True",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "LC_ALL": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert sorted(HERE.rglob("*")) == before, "the folder of the tests stays as it is"
    recap = re.search(r"ok=(\d+) +changed=(\d+)", ended.stdout)
    return Played(int(recap[1]), int(recap[2]), ended.stdout)


def test_modules_make_the_platform_once_and_operate_it(fresh):
    # These modules take a first 404 of a new bucket as final, and fail on a role that the read after its creation does not show.
    setup = fresh(stack_file("minimal"), *CONSISTENT)
    made = play(setup, "site.yml")
    assert made.changed == 16, made.text
    again = play(setup, "site.yml")
    assert (again.ok, again.changed) == (made.ok, 0), again.text
    operated = play(setup, "ops.yml")
    assert (operated.ok, operated.changed) == (58, 19), operated.text


def test_modules_agree_with_what_trunnion_made(loadtest):
    played = play(loadtest, "adopt.yml")
    assert (played.ok, played.changed) == (12, 0), played.text
    # A module that agrees with everything would prove nothing.
    loadtest.client("iam").delete_role_policy(RoleName="loadtest.eu-west-3.generator", PolicyName="trunnion")
    loadtest.client("logs").put_retention_policy(logGroupName="/trunnion/loadtest/control-plane", retentionInDays=7)
    assert play(loadtest, "adopt.yml").changed == 2
