"""What somebody may do to an applied reference stack behind its back, and what the next plan must say to it."""

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

NEW_DEFINITION = {"replace ecs_task_definition.control_plane", "update ecs_service.control_plane"}


@dataclass(frozen=True)
class Damage:
    """Something done outside of trunnion."""

    name: str
    do: Callable
    # The changes that undo it.
    heals: frozenset
    # The attributes named as changed, of the one address that drifted.
    paths: frozenset
    # The changes that follow from those.
    follows: frozenset

    @property
    def drift(self):
        return {change.split()[1] for change in self.heals}


DAMAGES = []


def damage(*heals: str, paths=(), follows=()):
    def register(do):
        name = do.__name__
        DAMAGES.append(Damage(name, do, frozenset(heals), frozenset(paths), frozenset(follows)))
        return do

    return register


def host(world, number):
    return instances(world.client("ec2"), "loadtest")[f"instance.heavy[{number}]"]["InstanceId"]


@damage("create instance.heavy[1]", follows=NEW_DEFINITION)
def terminated_host(world):
    world.client("ec2").terminate_instances(InstanceIds=[host(world, 1)])


@damage("update instance.heavy[2]", paths=["state"])
def stopped_host(world):
    world.client("ec2").stop_instances(InstanceIds=[host(world, 2)])


@damage("update instance.heavy[0]", paths=["tags.team"])
def removed_tag_of_a_host(world):
    world.client("ec2").delete_tags(Resources=[host(world, 0)], Tags=[{"Key": "team"}])


@damage("update instance.heavy[3]", paths=['tags["trunnion:stack"]', 'tags["trunnion:address"]'])
def host_without_the_tags_that_say_whose_it_is(world):
    keys = [{"Key": "trunnion:stack"}, {"Key": "trunnion:address"}]
    world.client("ec2").delete_tags(Resources=[host(world, 3)], Tags=keys)


@damage("replace instance.heavy[0]", paths=["addresses"], follows=NEW_DEFINITION)
def host_with_an_address_less(world):
    interface = instances(world.client("ec2"), "loadtest")["instance.heavy[0]"]["NetworkInterfaces"][1]
    taken = next(one["PrivateIpAddress"] for one in interface["PrivateIpAddresses"] if not one["Primary"])
    world.client("ec2").unassign_private_ip_addresses(
        NetworkInterfaceId=interface["NetworkInterfaceId"], PrivateIpAddresses=[taken]
    )


@damage("update security_group.generator", paths=["ingress"])
def revoked_rule(world):
    ec2 = world.client("ec2")
    group = group_id(ec2, "loadtest-generator")
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])


@damage("update security_group.load", paths=["ingress"])
def foreign_rule(world):
    ec2 = world.client("ec2")
    group = group_id(ec2, "loadtest-load")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[SSH_FROM_ANYWHERE])


@damage("update security_group.untracked", paths=["ingress"])
def narrowed_rule(world):
    ec2 = world.client("ec2")
    group = group_id(ec2, "loadtest-untracked")
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[SSH_FROM_ANYWHERE])


@damage("update launch_template.heavy", paths=["data.user_data", "data.image_source", "default_version"])
def new_version_of_a_launch_template(world):
    name, user_data = "loadtest.heavy", base64.b64encode(b"#!/bin/sh\n# nothing\n").decode()
    world.client("ec2").create_launch_template_version(
        LaunchTemplateName=name, SourceVersion="1", LaunchTemplateData={"UserData": user_data}
    )


@damage("update launch_template.probe", paths=["data.user_data", "data.image_source"])
def new_version_of_a_launch_template_made_default(world):
    name, user_data = "loadtest.probe", base64.b64encode(b"#!/bin/sh\n# nothing\n").decode()
    ec2 = world.client("ec2")
    ec2.create_launch_template_version(
        LaunchTemplateName=name, SourceVersion="1", LaunchTemplateData={"UserData": user_data}
    )
    ec2.modify_launch_template(LaunchTemplateName=name, DefaultVersion="2")


@damage("create launch_template.heavy")
def deleted_launch_template(world):
    world.client("ec2").delete_launch_template(LaunchTemplateName="loadtest.heavy")


@damage("update launch_template.probe", paths=["tags.team"])
def changed_tag_of_a_launch_template(world):
    ec2 = world.client("ec2")
    (found,) = ec2.describe_launch_templates(LaunchTemplateNames=["loadtest.probe"])["LaunchTemplates"]
    ec2.create_tags(Resources=[found["LaunchTemplateId"]], Tags=[{"Key": "team", "Value": "another"}])


@damage("update iam_role.generator", paths=["policy"])
def deleted_role_policy(world):
    world.client("iam").delete_role_policy(RoleName="loadtest.eu-west-3.generator", PolicyName="trunnion")


@damage("update iam_role.control_plane", paths=["attached_policies"])
def attached_foreign_policy(world):
    world.client("iam").attach_role_policy(RoleName="loadtest.eu-west-3.control-plane", PolicyArn=ADMINISTRATOR)


@damage("update iam_role.execution", paths=["other_policies", "tags.team"])
def further_policy_and_a_tag_less_on_a_role(world):
    iam = world.client("iam")
    everything = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
    iam.put_role_policy(RoleName="loadtest.eu-west-3.execution", PolicyName="more", PolicyDocument=everything)
    iam.untag_role(RoleName="loadtest.eu-west-3.execution", TagKeys=["team"])


@damage("update iam_role.execution", paths=["trust_policy"])
def trust_in_somebody_else(world):
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    world.client("iam").update_assume_role_policy(RoleName="loadtest.eu-west-3.execution", PolicyDocument=trust)


@damage("create iam_role.control_plane", follows=NEW_DEFINITION)
def deleted_role(world):
    world.client("iam").delete_role(RoleName="loadtest.eu-west-3.control-plane")


@damage("update iam_instance_profile.generator", paths=["roles"])
def instance_profile_without_its_role(world):
    name = "loadtest.eu-west-3.generator"
    world.client("iam").remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)


@damage("update ecs_service.control_plane", paths=["desired_count"])
def service_scaled_to_nothing(world):
    world.client("ecs").update_service(**SERVICE, desiredCount=0)


@damage("update ecs_service.control_plane", paths=["task_definition"])
def service_with_another_task_definition(world):
    ecs = world.client("ecs")
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
def deleted_service(world):
    world.client("ecs").delete_service(**SERVICE, force=True)


@damage(
    "create ecs_task_definition.control_plane",
    follows=["delete ecs_task_definition.control_plane", "update ecs_service.control_plane"],
)
def deregistered_task_definition(world):
    ecs = world.client("ecs")
    (arn,) = ecs.list_task_definitions(familyPrefix="loadtest-control-plane")["taskDefinitionArns"]
    ecs.deregister_task_definition(taskDefinition=arn)


@damage("update ecs_cluster.main", paths=["tags.team", "tags.owner"])
def other_tags_on_the_cluster(world):
    ecs = world.client("ecs")
    (cluster,) = ecs.describe_clusters(clusters=["loadtest"])["clusters"]
    ecs.untag_resource(resourceArn=cluster["clusterArn"], tagKeys=["team"])
    ecs.tag_resource(resourceArn=cluster["clusterArn"], tags=[{"key": "owner", "value": "me"}])


@damage("create log_group.control_plane")
def deleted_log_group(world):
    world.client("logs").delete_log_group(logGroupName=LOG_GROUP)


@damage("update log_group.control_plane", paths=["retention_days"])
def changed_retention(world):
    world.client("logs").put_retention_policy(logGroupName=LOG_GROUP, retentionInDays=7)


@damage("update log_group.control_plane", paths=["retention_days"])
def logs_kept_for_ever(world):
    world.client("logs").delete_retention_policy(logGroupName=LOG_GROUP)


@damage("update s3_bucket.artifacts", paths=["policy"])
def deleted_bucket_policy(world):
    world.client("s3").delete_bucket_policy(Bucket=BUCKET)


@damage("update s3_bucket.artifacts", paths=["versioning", "public_access_blocked"])
def opened_bucket(world):
    s3 = world.client("s3")
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})


@damage("create s3_object.generator[x86_64]")
def deleted_object(world):
    s3 = world.client("s3")
    (found,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    s3.delete_object(Bucket=BUCKET, Key=found["Key"])


@damage("update s3_object.generator[x86_64]", paths=["sha256"])
def object_with_another_content(world):
    s3 = world.client("s3")
    (found,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    kept = s3.head_object(Bucket=BUCKET, Key=found["Key"])["Metadata"]
    s3.put_object(Bucket=BUCKET, Key=found["Key"], Metadata=kept, Body=b"#!/bin/sh\nexec something-else\n")


@damage("create s3_bucket.artifacts", "create s3_object.generator[x86_64]")
def deleted_bucket_with_all_in_it(world):
    s3 = world.client("s3")
    for version in s3.list_object_versions(Bucket=BUCKET)["Versions"]:
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=BUCKET)


OURS = ["trunnion:stack", "trunnion:address"]
LOST = ['tags["trunnion:stack"]', 'tags["trunnion:address"]']


@damage("update ecs_cluster.main", paths=LOST)
def cluster_without_the_tags_that_say_whose_it_is(world):
    ecs = world.client("ecs")
    (cluster,) = ecs.describe_clusters(clusters=["loadtest"])["clusters"]
    ecs.untag_resource(resourceArn=cluster["clusterArn"], tagKeys=OURS)


@damage("update ecs_service.control_plane", paths=LOST)
def service_without_the_tags_that_say_whose_it_is(world):
    ecs = world.client("ecs")
    (service,) = ecs.describe_services(cluster="loadtest", services=[SERVICE["service"]])["services"]
    ecs.untag_resource(resourceArn=service["serviceArn"], tagKeys=OURS)


@damage("update log_group.control_plane", paths=LOST)
def log_group_without_the_tags_that_say_whose_it_is(world):
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{LOG_GROUP}"
    world.client("logs").untag_resource(resourceArn=arn, tagKeys=OURS)


@damage("update s3_bucket.artifacts", paths=[*LOST, 'tags["trunnion:home"]', "tags.team", "tags.cost-center"])
def bucket_without_tags(world):
    world.client("s3").delete_bucket_tagging(Bucket=BUCKET)
