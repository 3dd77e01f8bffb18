"""What a sandbox holds of the reference stack, as a CloudFormation template: scanners of configuration read that."""

from __future__ import annotations

import json

from stage import ACCOUNT, REGION, instances

BUCKET = f"loadtest-{ACCOUNT}-{REGION}"
OURS = [{"Name": "tag:trunnion:stack", "Values": ["loadtest"]}]


def template(setup) -> dict:
    """The template. Names of resources are what they are called in AWS, without other characters than letters and digits."""
    resources = [
        *groups(setup.client("ec2")),
        *roles(setup.client("iam")),
        *bucket(setup.client("s3")),
        *hosts(setup.client("ec2")),
        *control_plane(setup.client("ecs"), setup.client("logs")),
    ]
    named = {name_of(name): {"Type": kind, "Properties": properties} for kind, name, properties in resources}
    assert len(named) == len(resources), "two resources of one name"
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": json.loads(json.dumps(named, default=str))}


def name_of(name: str) -> str:
    return "".join(character for character in name.title() if character.isalnum())


def groups(ec2):
    for group in ec2.describe_security_groups(Filters=OURS)["SecurityGroups"]:
        yield "AWS::EC2::SecurityGroup", f"group {group['GroupName']}", {
            "GroupName": group["GroupName"],
            "GroupDescription": group["Description"],
            "VpcId": group["VpcId"],
            "SecurityGroupIngress": [rule for permission in group["IpPermissions"] for rule in rules(permission)],
            "SecurityGroupEgress": [rule for permission in group["IpPermissionsEgress"] for rule in rules(permission)],
            "Tags": group["Tags"],
        }  # fmt: skip


def rules(permission):
    ports = {key: permission[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in permission}
    for peer in permission["IpRanges"]:
        yield ports | {"CidrIp": peer["CidrIp"], "Description": peer.get("Description", "")}
    for peer in permission["UserIdGroupPairs"]:
        yield ports | {"SourceSecurityGroupId": peer["GroupId"], "Description": peer.get("Description", "")}


def roles(iam):
    for role in iam.list_roles(PathPrefix="/trunnion/loadtest/")["Roles"]:
        name = role["RoleName"]
        policies = [
            {"PolicyName": policy, "PolicyDocument": iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]}
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
        ]
        yield "AWS::IAM::Role", f"role {name}", {
            "RoleName": name,
            "Path": role["Path"],
            "AssumeRolePolicyDocument": role["AssumeRolePolicyDocument"],
            "Policies": policies,
        }  # fmt: skip
    for profile in iam.list_instance_profiles(PathPrefix="/trunnion/loadtest/")["InstanceProfiles"]:
        name = profile["InstanceProfileName"]
        yield "AWS::IAM::InstanceProfile", f"profile {name}", {
            "InstanceProfileName": name,
            "Path": profile["Path"],
            "Roles": [role["RoleName"] for role in profile["Roles"]],
        }  # fmt: skip


def bucket(s3):
    (encryption,) = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    yield "AWS::S3::Bucket", f"bucket {BUCKET}", {
        "BucketName": BUCKET,
        "VersioningConfiguration": {"Status": s3.get_bucket_versioning(Bucket=BUCKET)["Status"]},
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                {"ServerSideEncryptionByDefault": encryption["ApplyServerSideEncryptionByDefault"]}
            ]
        },
        "PublicAccessBlockConfiguration": s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"],
        "OwnershipControls": s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"],
    }  # fmt: skip
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    yield "AWS::S3::BucketPolicy", f"policy {BUCKET}", {"Bucket": BUCKET, "PolicyDocument": policy}


def hosts(ec2):
    for found in ec2.describe_launch_templates(Filters=OURS)["LaunchTemplates"]:
        (version,) = ec2.describe_launch_template_versions(
            LaunchTemplateId=found["LaunchTemplateId"], Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        yield "AWS::EC2::LaunchTemplate", f"template {found['LaunchTemplateName']}", {
            "LaunchTemplateName": found["LaunchTemplateName"],
            "LaunchTemplateData": version["LaunchTemplateData"],
        }  # fmt: skip
    volumes = {volume["VolumeId"]: volume for volume in ec2.describe_volumes(Filters=OURS)["Volumes"]}
    for address, host in instances(ec2, "loadtest").items():
        disks = [
            (mapping["DeviceName"], volumes[mapping["Ebs"]["VolumeId"]]) for mapping in host["BlockDeviceMappings"]
        ]
        yield "AWS::EC2::Instance", address, {
            "InstanceType": host["InstanceType"],
            "ImageId": host["ImageId"],
            "EbsOptimized": host["EbsOptimized"],
            "Monitoring": host["Monitoring"]["State"] == "enabled",
            "IamInstanceProfile": host["IamInstanceProfile"]["Arn"].rpartition("/")[2],
            "LaunchTemplate": {"LaunchTemplateName": f"loadtest.{address.split('.')[1].split('[')[0]}", "Version": "1"},
            "BlockDeviceMappings": [
                {"DeviceName": device, "Ebs": {key: disk[key] for key in ("Encrypted", "Size", "VolumeType")}}
                for device, disk in disks
            ],
        }  # fmt: skip


def control_plane(ecs, logs):
    for group in logs.describe_log_groups(logGroupNamePrefix="/trunnion/loadtest/")["logGroups"]:
        yield "AWS::Logs::LogGroup", f"log group {group['logGroupName']}", {
            "LogGroupName": group["logGroupName"],
            "RetentionInDays": group["retentionInDays"],
        }  # fmt: skip
    (cluster,) = ecs.describe_clusters(clusters=["loadtest"], include=["SETTINGS"])["clusters"]
    yield "AWS::ECS::Cluster", "cluster", upper({"clusterName": "loadtest", "clusterSettings": cluster["settings"]})
    wanted = "family networkMode cpu memory requiresCompatibilities executionRoleArn taskRoleArn containerDefinitions volumes"
    task = ecs.describe_task_definition(taskDefinition="loadtest-control-plane")["taskDefinition"]
    yield "AWS::ECS::TaskDefinition", "task definition", upper({key: task[key] for key in wanted.split()})
    wanted = "serviceName launchType desiredCount networkConfiguration deploymentConfiguration"
    (service,) = ecs.describe_services(cluster="loadtest", services=["loadtest-control-plane"])["services"]
    yield "AWS::ECS::Service", "service", upper({key: service[key] for key in wanted.split()} | {"cluster": "loadtest"})


def upper(value):
    """ECS's own names, as CloudFormation spells them."""
    if isinstance(value, dict):
        return {key[0].upper() + key[1:]: upper(one) for key, one in value.items() if one not in (None, "", [])}
    return [upper(one) for one in value] if isinstance(value, list) else value
