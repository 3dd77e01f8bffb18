"""Changes of an applied reference stack outside of trunnion, and what the next plan must show for each."""

import base64
import json
from dataclasses import dataclass
from typing import Callable

from stage import ACCOUNT, REGION, group_id, instances

BUCKET = f"loadtest-{ACCOUNT}-{REGION}"
LOG_GROUP = "/trunnion/loadtest/control-plane"
SERVICE = {"cluster": "loadtest", "service": "loadtest-control-plane"}
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
SSH_FROM_ANYWHERE = {
    "IpProtocol": "tcp",
    "FromPort": 22,
    "ToPort": 22,
    "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "just for now"}],
}

OURS = ["trunnion:stack", "trunnion:address"]
LOST = ['tags["trunnion:stack"]', 'tags["trunnion:address"]']
EVERY_TAG = [*LOST, 'tags["trunnion:home"]', "tags.team", "tags.cost-center"]

NEW_DEFINITION = {"replace ecs_task_definition.control_plane", "update ecs_service.control_plane"}


@dataclass(frozen=True)
class Damage:
    """A change outside of trunnion."""

    name: str
    do: Callable
    # The changes in the plan that undo it.
    repairs: frozenset
    # The attributes that the plan shows as changed, of the one address that drifted.
    paths: frozenset
    # Further changes that follow from the repair.
    follows: frozenset

    @property
    def drift(self):
        return {change.split()[1] for change in self.repairs}


DAMAGES = []


def damage(*repairs: str, paths=(), follows=()):
    def register(do):
        name = do.__name__
        DAMAGES.append(Damage(name, do, frozenset(repairs), frozenset(paths), frozenset(follows)))
        return do

    return register


def host(setup, number):
    return instances(setup.client("ec2"), "loadtest")[f"instance.heavy[{number}]"]["InstanceId"]


@damage("create instance.heavy[1]", follows=NEW_DEFINITION)
def terminated_host(setup):
    setup.client("ec2").terminate_instances(InstanceIds=[host(setup, 1)])


@damage("update instance.heavy[2]", paths=["state"])
def stopped_host(setup):
    setup.client("ec2").stop_instances(InstanceIds=[host(setup, 2)])


@damage("update instance.heavy[0]", paths=["tags.team"])
def removed_tag_of_a_host(setup):
    setup.client("ec2").delete_tags(Resources=[host(setup, 0)], Tags=[{"Key": "team"}])


@damage("update instance.heavy[3]", paths=LOST)
def host_without_the_tags_that_name_the_stack(setup):
    keys = [{"Key": "trunnion:stack"}, {"Key": "trunnion:address"}, {"Key": "trunnion:launch"}]
    setup.client("ec2").delete_tags(Resources=[host(setup, 3)], Tags=keys)


@damage("update instance.heavy[1]", paths=[*EVERY_TAG, "tags.Name"])
def host_without_tags(setup):
    setup.client("ec2").delete_tags(Resources=[host(setup, 1)])


@damage("replace instance.heavy[0]", paths=["addresses"], follows=NEW_DEFINITION)
def host_with_one_address_less(setup):
    interface = instances(setup.client("ec2"), "loadtest")["instance.heavy[0]"]["NetworkInterfaces"][1]
    taken = next(one["PrivateIpAddress"] for one in interface["PrivateIpAddresses"] if not one["Primary"])
    setup.client("ec2").unassign_private_ip_addresses(
        NetworkInterfaceId=interface["NetworkInterfaceId"], PrivateIpAddresses=[taken]
    )


@damage("update security_group.generator", paths=["ingress"])
def revoked_rule(setup):
    ec2 = setup.client("ec2")
    group = group_id(ec2, "loadtest-generator")
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])


@damage("update security_group.load", paths=["ingress"])
def foreign_rule(setup):
    ec2 = setup.client("ec2")
    group = group_id(ec2, "loadtest-load")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[SSH_FROM_ANYWHERE])


@damage("update security_group.untracked", paths=["ingress"])
def narrowed_rule(setup):
    ec2 = setup.client("ec2")
    group = group_id(ec2, "loadtest-untracked")
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[SSH_FROM_ANYWHERE])


@damage("update launch_template.heavy", paths=["data.user_data", "data.image_source", "default_version"])
def new_version_of_a_launch_template(setup):
    name, user_data = "loadtest.heavy", base64.b64encode(b"#!/bin/sh\n# nothing\n").decode()
    setup.client("ec2").create_launch_template_version(
        LaunchTemplateName=name, SourceVersion="1", LaunchTemplateData={"UserData": user_data}
    )


@damage("update launch_template.probe", paths=["data.user_data", "data.image_source"])
def new_version_of_a_launch_template_made_default(setup):
    name, user_data = "loadtest.probe", base64.b64encode(b"#!/bin/sh\n# nothing\n").decode()
    ec2 = setup.client("ec2")
    ec2.create_launch_template_version(
        LaunchTemplateName=name, SourceVersion="1", LaunchTemplateData={"UserData": user_data}
    )
    ec2.modify_launch_template(LaunchTemplateName=name, DefaultVersion="2")


@damage("create launch_template.heavy")
def deleted_launch_template(setup):
    setup.client("ec2").delete_launch_template(LaunchTemplateName="loadtest.heavy")


@damage("update launch_template.probe", paths=["tags.team"])
def changed_tag_of_a_launch_template(setup):
    ec2 = setup.client("ec2")
    (found,) = ec2.describe_launch_templates(LaunchTemplateNames=["loadtest.probe"])["LaunchTemplates"]
    ec2.create_tags(Resources=[found["LaunchTemplateId"]], Tags=[{"Key": "team", "Value": "another"}])


@damage("update iam_role.generator", paths=["policy"])
def deleted_role_policy(setup):
    setup.client("iam").delete_role_policy(RoleName="loadtest.eu-west-3.generator", PolicyName="trunnion")


@damage("update iam_role.control_plane", paths=["attached_policies"])
def attached_foreign_policy(setup):
    setup.client("iam").attach_role_policy(RoleName="loadtest.eu-west-3.control-plane", PolicyArn=ADMINISTRATOR)


@damage("update iam_role.execution", paths=["other_policies", "tags.team"])
def additional_policy_and_missing_tag_of_a_role(setup):
    iam = setup.client("iam")
    everything = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
    iam.put_role_policy(RoleName="loadtest.eu-west-3.execution", PolicyName="more", PolicyDocument=everything)
    iam.untag_role(RoleName="loadtest.eu-west-3.execution", TagKeys=["team"])


@damage("update iam_role.execution", paths=["trust_policy"])
def trust_in_another_account(setup):
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    setup.client("iam").update_assume_role_policy(RoleName="loadtest.eu-west-3.execution", PolicyDocument=trust)


@damage("create iam_role.control_plane", follows=NEW_DEFINITION)
def deleted_role(setup):
    setup.client("iam").delete_role(RoleName="loadtest.eu-west-3.control-plane")


@damage("update iam_instance_profile.generator", paths=["roles"])
def instance_profile_without_its_role(setup):
    name = "loadtest.eu-west-3.generator"
    setup.client("iam").remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)


@damage("update ecs_service.control_plane", paths=["desired_count"])
def service_scaled_to_nothing(setup):
    setup.client("ecs").update_service(**SERVICE, desiredCount=0)


@damage("update ecs_service.control_plane", paths=["task_definition"])
def service_with_another_task_definition(setup):
    ecs = setup.client("ecs")
    other = ecs.register_task_definition(
        family="another",
        cpu="256",
        memory="512",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        containerDefinitions=[{"name": "only", "image": "busybox:1.37.0"}],
    )
    ecs.update_service(**SERVICE, taskDefinition=other["taskDefinition"]["taskDefinitionArn"])


@damage("create ecs_service.control_plane")
def deleted_service(setup):
    setup.client("ecs").delete_service(**SERVICE, force=True)


@damage(
    "create ecs_task_definition.control_plane",
    follows=["delete ecs_task_definition.control_plane", "update ecs_service.control_plane"],
)
def deregistered_task_definition(setup):
    ecs = setup.client("ecs")
    (arn,) = ecs.list_task_definitions(familyPrefix="loadtest-control-plane")["taskDefinitionArns"]
    ecs.deregister_task_definition(taskDefinition=arn)


@damage("update ecs_cluster.main", paths=["tags.team", "tags.owner"])
def other_tags_on_the_cluster(setup):
    ecs = setup.client("ecs")
    (cluster,) = ecs.describe_clusters(clusters=["loadtest"])["clusters"]
    ecs.untag_resource(resourceArn=cluster["clusterArn"], tagKeys=["team"])
    ecs.tag_resource(resourceArn=cluster["clusterArn"], tags=[{"key": "owner", "value": "me"}])


@damage("create log_group.control_plane")
def deleted_log_group(setup):
    setup.client("logs").delete_log_group(logGroupName=LOG_GROUP)


@damage("update log_group.control_plane", paths=["retention_days"])
def changed_retention(setup):
    setup.client("logs").put_retention_policy(logGroupName=LOG_GROUP, retentionInDays=7)


@damage("update log_group.control_plane", paths=["retention_days"])
def logs_without_a_retention(setup):
    setup.client("logs").delete_retention_policy(logGroupName=LOG_GROUP)


@damage("update s3_bucket.artifacts", paths=["policy"])
def deleted_bucket_policy(setup):
    setup.client("s3").delete_bucket_policy(Bucket=BUCKET)


@damage("update s3_bucket.artifacts", paths=["versioning", "public_access_blocked"])
def opened_bucket(setup):
    s3 = setup.client("s3")
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})


@damage("create s3_object.generator[x86_64]")
def deleted_object(setup):
    s3 = setup.client("s3")
    (found,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    s3.delete_object(Bucket=BUCKET, Key=found["Key"])


@damage("update s3_object.generator[x86_64]", paths=["sha256"])
def object_with_another_content(setup):
    s3 = setup.client("s3")
    (found,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    kept = s3.head_object(Bucket=BUCKET, Key=found["Key"])["Metadata"]
    s3.put_object(Bucket=BUCKET, Key=found["Key"], Metadata=kept, Body=b"#!/bin/sh\nexec something-else\n")


@damage("create s3_bucket.artifacts", "create s3_object.generator[x86_64]")
def deleted_bucket_with_all_objects(setup):
    s3 = setup.client("s3")
    for version in s3.list_object_versions(Bucket=BUCKET)["Versions"]:
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=BUCKET)


@damage("update ecs_cluster.main", paths=LOST)
def cluster_without_the_tags_that_name_the_stack(setup):
    ecs = setup.client("ecs")
    (cluster,) = ecs.describe_clusters(clusters=["loadtest"])["clusters"]
    ecs.untag_resource(resourceArn=cluster["clusterArn"], tagKeys=OURS)


@damage("update ecs_service.control_plane", paths=LOST)
def service_without_the_tags_that_name_the_stack(setup):
    ecs = setup.client("ecs")
    (service,) = ecs.describe_services(cluster="loadtest", services=[SERVICE["service"]])["services"]
    ecs.untag_resource(resourceArn=service["serviceArn"], tagKeys=OURS)


@damage("update log_group.control_plane", paths=LOST)
def log_group_without_the_tags_that_name_the_stack(setup):
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{LOG_GROUP}"
    setup.client("logs").untag_resource(resourceArn=arn, tagKeys=OURS)


@damage("update s3_bucket.artifacts", paths=EVERY_TAG)
def bucket_without_tags(setup):
    setup.client("s3").delete_bucket_tagging(Bucket=BUCKET)
