"""checkov, a scanner of configuration, reads what the reference stack creates. Each of its findings has an answer here."""

import json
import subprocess
import sys
from pathlib import Path

from stage import PATIENCE, environment
from template import template

# Its dependencies are pinned to other versions than those of the other tools. The kernel does not start a script whose
# interpreter has spaces in its path.
BIN = Path(sys.prefix) / "checkov" / "bin"
CHECKOV = [BIN / "python", BIN / "checkov"]
UNTRACKED = "AWS::EC2::SecurityGroup.GroupLoadtestUntracked"
ANSWERED = {
    # `tracking: untracked` asks for it: AWS tracks no connection only where all of TCP is let in. Nothing listens on these
    # interfaces, and the primary one, with sshd, has another group.
    ("CKV_AWS_24", UNTRACKED),
    ("CKV_AWS_25", UNTRACKED),
    ("CKV_AWS_260", UNTRACKED),
    # The bucket holds one program, which only the hosts read. Logging that is set by hand is left as it is.
    ("CKV_AWS_18", "AWS::S3::Bucket.BucketLoadtest123456789012EuWest3"),
    # CloudWatch Logs encrypts every group with a key of AWS's. A key that is set by hand is left as it is.
    ("CKV_AWS_158", "AWS::Logs::LogGroup.LogGroupTrunnionLoadtestControlPlane"),
    # It is billed by metric. The account's setting decides for new clusters, and what is set by hand is left as it is.
    ("CKV_AWS_65", "AWS::ECS::Cluster.Cluster"),
}


def scan(folder: Path, document: dict) -> tuple[int, set[tuple[str, str]]]:
    """How many checks passed, and what failed: the check and the resource."""
    path = folder / "template.json"
    path.write_text(json.dumps(document))
    ended = subprocess.run(
        [*CHECKOV, "--file", path, "--framework", "cloudformation", "--output", "json", "--compact", "--skip-download"],
        env=environment("http://127.0.0.1:9", folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.stdout, ended.stderr
    scanned = json.loads(ended.stdout)
    failed = scanned["results"]["failed_checks"]
    return scanned["summary"]["passed"], {(one["check_id"], one["resource"]) for one in failed}


def test_every_finding_is_answered(reference, tmp_path):
    document = template(reference)
    passed, found = scan(tmp_path, document)
    assert found == ANSWERED
    assert passed >= 60

    document["Resources"]["BucketLoadtest123456789012EuWest3"]["Properties"]["PublicAccessBlockConfiguration"] = {}
    _, worse = scan(tmp_path, document)
    assert worse > found, "it finds nothing in an open bucket"
