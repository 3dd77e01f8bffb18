"""The roles of an applied stack: without any one of their statements, a task does not start or a host does not boot."""

import json

import pytest

from stage import REGION, Setup, code_of, settled, stack_file, until

PATH = f"/trunnion/loadtest/{REGION}/"
REGISTRY = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/docker-hub"


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """An applied stack whose image comes from a pull-through cache of ECR, so that the roles have all their statements."""
    stack = stack_file("loadtest", ("image: gatlingcorp/", f"image: {REGISTRY}/gatlingcorp/"))
    setup = Setup(tmp_path_factory.mktemp("roles"), stack)
    setup.machine.converge()
    yield setup
    setup.stop()


def roles(setup):
    pages = setup.client("iam").get_paginator("get_account_authorization_details").paginate(Filter=["Role"])
    return [role for page in pages for role in page["RoleDetailList"] if role["Path"] == PATH]


def statements(setup):
    """Each statement of each role: the role, the kind of the policy, its name, and the statement's place."""
    for role in roles(setup):
        trust = role["AssumeRolePolicyDocument"]
        yield from ((role["RoleName"], None, trust, place) for place in range(len(trust["Statement"])))
        for policy in role["RolePolicyList"]:
            document = policy["PolicyDocument"]
            yield from ((role["RoleName"], policy["PolicyName"], document, place) for place in range(len(document["Statement"])))


def without(document, place):
    changed = json.loads(json.dumps(document))
    del changed["Statement"][place]
    return changed


class Removed:
    """A role without one statement. A policy has at least one, so the last one goes with its policy or denies."""

    def __init__(self, setup, role, policy, document, place):
        self.iam, self.role, self.policy, self.document = setup.client("iam"), role, policy, document
        self.rest = without(document, place)

    def put(self, document):
        text = json.dumps(document)
        if self.policy is None:
            self.iam.update_assume_role_policy(RoleName=self.role, PolicyDocument=text)
        else:
            self.iam.put_role_policy(RoleName=self.role, PolicyName=self.policy, PolicyDocument=text)

    def __enter__(self):
        if self.rest["Statement"]:
            self.put(self.rest)
        elif self.policy is None:
            denying = [{**statement, "Effect": "Deny"} for statement in self.document["Statement"]]
            self.put({**self.document, "Statement": denying})
        else:
            self.iam.delete_role_policy(RoleName=self.role, PolicyName=self.policy)

    def __exit__(self, *_):
        self.put(self.document)


def restart(setup):
    """Starts the control plane's task again, and says what stopped it."""
    ecs, service = setup.client("ecs"), "loadtest-control-plane"

    def events():
        (shown,) = ecs.describe_services(cluster="loadtest", services=[service])["services"]
        return shown["deployments"][0]["rolloutState"], {one["id"]: one["message"] for one in shown["events"]}

    def stopped():
        arns = ecs.list_tasks(cluster="loadtest", desiredStatus="STOPPED")["taskArns"]
        tasks = ecs.describe_tasks(cluster="loadtest", tasks=arns)["tasks"] if arns else []
        failed = [task for task in tasks if task.get("stopCode") == "TaskFailedToStart"]
        return {task["taskArn"]: task["stoppedReason"] for task in failed}

    before = events()[1].keys() | stopped().keys()
    ecs.update_service(cluster="loadtest", service=service, forceNewDeployment=True)

    def outcome():
        state, texts = events()
        if state == "COMPLETED":
            return ["started"]
        reasons = [text for arn, text in stopped().items() if arn not in before]
        return reasons or [text for id, text in texts.items() if id not in before and "unable to assume the role" in text]

    return until(outcome)


def boot(setup):
    """Launches a host from the template of a pool, and says what its console shows."""
    ec2 = setup.client("ec2")
    wanted = [{"Name": "tag:trunnion:address", "Values": ["launch_template.probe"]}]
    (template,) = ec2.describe_launch_templates(Filters=wanted)["LaunchTemplates"]
    template = {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "$Default"}
    launched = ec2.run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1)
    (instance,) = launched["Instances"]

    def console():
        code_of(ec2.describe_instances, InstanceIds=[instance["InstanceId"]])
        return setup.sandbox.out_of_band("consoles").get(instance["InstanceId"])

    shown = until(console)
    settled(ec2.terminate_instances, InstanceIds=[instance["InstanceId"]])
    return shown


# What AWS says where a statement is missing (public reports, named where the sandbox says it).
SAID = {
    "Assume": ["unable to assume the role", "fatal error: Unable to locate credentials"],
    "FillCache": ["CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref"],
    "LogInToRegistry": ["unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDenied"],
    "PullImage": ["CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref"],
    "ReadGenerator": ["fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden"],
    "ReadSecrets": ["unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve"],
    "WriteLog": ["failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch"],
}


def shown(setup):
    """What a start of the control plane and a boot of a host show."""
    return "\n".join([*restart(setup), boot(setup)])


def is_right(text):
    return text.startswith("started\n") and "fatal error" not in text


# A changed role is known everywhere only later, so each test starts and boots until that shows.


def test_each_statement_of_each_role_is_needed(setup):
    tried = []
    for role, policy, document, place in statements(setup):
        until(lambda: is_right(shown(setup)))
        sid = document["Statement"][place]["Sid"]
        with Removed(setup, role, policy, document, place):
            until(lambda: any(said in shown(setup) for said in SAID[sid]), what=f"nothing needs {sid} of {role}")
        tried.append(sid)
    assert set(tried) == set(SAID) and len(tried) == 9, tried
    until(lambda: is_right(shown(setup)))


def test_each_action_of_the_execution_role_is_needed(setup):
    (role,) = [role for role in roles(setup) if "execution" in role["RoleName"]]
    (policy,) = role["RolePolicyList"]
    document = policy["PolicyDocument"]
    for place, statement in enumerate(document["Statement"]):
        for action in statement["Action"] if isinstance(statement["Action"], list) else []:
            changed = json.loads(json.dumps(document))
            changed["Statement"][place]["Action"].remove(action)
            if not changed["Statement"][place]["Action"]:
                continue
            removed = Removed(setup, role["RoleName"], policy["PolicyName"], document, place)
            removed.rest = changed
            until(lambda: restart(setup) == ["started"])
            with removed:
                until(lambda: restart(setup) != ["started"], what=f"nothing needs {action}")


def test_a_role_that_trusts_other_tasks_alone_is_not_assumed(setup):
    """The conditions of the trust policies are evaluated with what ECS sends."""
    trusts = [(name, trust) for name, policy, trust, _ in statements(setup) if policy is None and "generator" not in name]
    assert len(trusts) == 2
    for name, trust in trusts:
        other = json.loads(json.dumps(trust).replace("123456789012", "210987654321"))
        removed = Removed(setup, name, None, trust, 0)
        removed.rest = other
        with removed:
            refused = f"unable to assume the role 'arn:aws:iam::123456789012:role{PATH}{name}'"
            until(lambda: any(refused in event for event in restart(setup)), what=refused)
