"""What operators do to a running stack with the AWS CLI, and what the next plan says of it."""

import pytest

from cli import Cli
from stage import everywhere, group_id, instances

# What was done, and the changes that the plan has for it. Words in braces are things of the stack.
TABLE = """
ecs update-service --cluster minimal --service minimal-control-plane --force-new-deployment
ecs stop-task --cluster minimal --task {task}
ec2 reboot-instances --instance-ids {host}
ec2 monitor-instances --instance-ids {host}
ec2 create-tags --resources {host} --tags Key=owner,Value=me | update instance.small[0]
ec2 update-security-group-rule-descriptions-egress --group-id {group} --security-group-rule-descriptions SecurityGroupRuleId={rule},Description=mine | update security_group.generator
ec2 modify-security-group-rules --group-id {group} --security-group-rules SecurityGroupRuleId={rule},SecurityGroupRule={{IpProtocol=tcp,FromPort=443,ToPort=443,CidrIpv4=0.0.0.0/0}} | update security_group.generator
ec2 update-security-group-rule-descriptions-ingress --group-id {group} --security-group-rule-descriptions SecurityGroupRuleId={ingress},Description=mine | update security_group.generator
ec2 modify-security-group-rules --group-id {group} --security-group-rules SecurityGroupRuleId={ingress},SecurityGroupRule={{IpProtocol=tcp,FromPort=23,ToPort=23,ReferencedGroupId={peer}}} | update security_group.generator
ec2 stop-instances --instance-ids {host}                        | update instance.small[0]
logs put-retention-policy --log-group-name {log_group} --retention-in-days 1 | update log_group.control_plane
""".strip().splitlines()


def things(setup) -> dict[str, str]:
    ec2, ecs = setup.client("ec2"), setup.client("ecs")
    group = group_id(ec2, "minimal-generator")
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    ssh = next(rule for rule in rules if not rule["IsEgress"] and rule["FromPort"] == 22)
    return {
        "host": instances(ec2, "minimal")["instance.small[0]"]["InstanceId"],
        "group": group,
        "rule": next(rule["SecurityGroupRuleId"] for rule in rules if rule["IsEgress"]),
        "ingress": ssh["SecurityGroupRuleId"],
        "peer": ssh["ReferencedGroupInfo"]["GroupId"],
        "task": ecs.list_tasks(cluster="minimal")["taskArns"][0],
        "log_group": "/trunnion/minimal/control-plane",
    }


@pytest.mark.parametrize("row", TABLE, ids=lambda row: " ".join(row.split()[:2]))
def test_plan_says_what_was_done(minimal, tmp_path, row):
    command, _, expected = row.partition("|")
    cli = Cli(minimal.capture.endpoint, tmp_path)
    cli(command.strip().format(**things(minimal)))
    plan = minimal.machine.plan()
    assert plan.changes == ({expected.strip()} if expected else set()), plan
    if expected:
        assert plan.drift == {expected.split()[1]}, plan
        minimal.machine.converge("--no-wait")


def test_host_that_is_launched_by_hand_is_deleted(minimal, tmp_path):
    cli = Cli(minimal.capture.endpoint, tmp_path)
    launched = cli("ec2 run-instances --launch-template LaunchTemplateName=minimal.small --count 1")["Instances"]
    ec2 = minimal.client("ec2")
    filters = [{"Name": "tag:trunnion:stack", "Values": ["minimal"]}, {"Name": "instance-id", "Values": [launched[0]["InstanceId"]]}]
    everywhere(lambda: ec2.describe_instances(Filters=filters)["Reservations"])
    plan = minimal.machine.plan()
    assert plan.changes == {f"delete instance.unaddressed[{launched[0]['InstanceId']}]"}, plan
