"""The applied reference stack, read with the AWS CLI and boto3: everything matches the stack file."""

import base64
import hashlib
import ipaddress
import json

import pytest
from pyhocon import ConfigFactory

from stage import ACCOUNT, GENERATOR, HOME, REGION, group_id, instances, tags

BUCKET = f"loadtest-{ACCOUNT}-{REGION}"
PATH = f"/trunnion/loadtest/{REGION}/"
NAME = f"loadtest.{REGION}."
ROLE = f"arn:aws:iam::{ACCOUNT}:role{PATH}{NAME}"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:gatling"
LOG_GROUP = "/trunnion/loadtest/control-plane"


@pytest.fixture(scope="module")
def hosts(reference):
    return instances(reference.client("ec2"), "loadtest")


@pytest.fixture(scope="module")
def heavy(hosts):
    return [hosts[f"instance.heavy[{number}]"] for number in range(4)]


@pytest.fixture(scope="module")
def definition(aws):
    (arn,) = aws("ecs list-task-definitions --family-prefix loadtest-control-plane")["taskDefinitionArns"]
    return aws(f"ecs describe-task-definition --task-definition {arn} --include TAGS")


@pytest.fixture(scope="module")
def containers(definition):
    return {one["name"]: one for one in definition["taskDefinition"]["containerDefinitions"]}


def sha256() -> str:
    return hashlib.sha256(GENERATOR.read_bytes()).hexdigest()


def our_tags(address, **more):
    ours = {"trunnion:stack": "loadtest", "trunnion:address": address, "trunnion:home": HOME}
    return {"team": "performance", "cost-center": "quality", **ours, **more}


def test_only_the_hosts_of_the_stack_run(aws):
    query = "Reservations[].Instances[].[Tags[?Key=='Name'].Value | [0], InstanceType, State.Name]"
    listed = aws(f'ec2 describe-instances --filters Name=tag:trunnion:stack,Values=loadtest --query "{query}"')
    heavy = [["loadtest-heavy", "c6in.32xlarge", "running"]] * 4
    assert sorted(listed) == [*heavy, ["loadtest-probe", "c7i.xlarge", "running"]]


def test_every_interface_has_its_addresses(aws, heavy):
    subnet_id = heavy[0]["SubnetId"]
    (subnet,) = aws(f"ec2 describe-subnets --subnet-ids {subnet_id}")["Subnets"]
    assert subnet["AvailabilityZone"] == "eu-west-3a"
    addresses = []
    for host in heavy:
        interfaces = host["NetworkInterfaces"]
        places = [(one["Attachment"]["NetworkCardIndex"], one["Attachment"]["DeviceIndex"]) for one in interfaces]
        assert sorted(places) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
        assert {one["SubnetId"] for one in interfaces} == {subnet_id}
        assert all(one["Attachment"]["DeleteOnTermination"] for one in interfaces)
        for interface in interfaces:
            own = [one["PrivateIpAddress"] for one in interface["PrivateIpAddresses"]]
            primary = [one["PrivateIpAddress"] for one in interface["PrivateIpAddresses"] if one["Primary"]]
            assert len(own) == 30 and primary == [interface["PrivateIpAddress"]]
            addresses += own
    assert len(addresses) == len(set(addresses)) == 4 * 8 * 30
    network = ipaddress.ip_network(subnet["CidrBlock"])
    assert all(ipaddress.ip_address(address) in network for address in addresses)
    # AWS reserves five addresses in every subnet.
    taken_by_tasks = network.num_addresses - 5 - len(addresses) - subnet["AvailableIpAddressCount"]
    assert 0 <= taken_by_tasks <= 1


def test_security_groups_allow_only_the_needed_connections(reference, heavy, hosts):
    ec2 = reference.client("ec2")
    generator, load = group_id(ec2, "loadtest-generator"), group_id(ec2, "loadtest-load")
    untracked, control_plane = group_id(ec2, "loadtest-untracked"), group_id(ec2, "loadtest-control-plane")
    for host in [*heavy, hosts["instance.probe[0]"]]:
        of_load = untracked if host in heavy else load
        for interface in host["NetworkInterfaces"]:
            attachment = interface["Attachment"]
            is_primary = (attachment["NetworkCardIndex"], attachment["DeviceIndex"]) == (0, 0)
            assert [group["GroupId"] for group in interface["Groups"]] == [generator if is_primary else of_load]
    found = ec2.describe_security_groups(GroupIds=[generator, load, untracked, control_plane])["SecurityGroups"]
    groups = {group["GroupId"]: group for group in found}
    ssh, metrics = sorted(groups[generator]["IpPermissions"], key=lambda rule: rule["FromPort"])
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"], ssh["IpRanges"]) == ("tcp", 22, 22, [])
    assert [pair["GroupId"] for pair in ssh["UserIdGroupPairs"]] == [control_plane]
    assert (metrics["IpProtocol"], metrics["FromPort"], metrics["ToPort"]) == ("tcp", 9464, 9464)
    assert [cidr["CidrIp"] for cidr in metrics["IpRanges"]] == ["10.30.0.0/16"]
    assert metrics["UserIdGroupPairs"] == metrics["Ipv6Ranges"] == metrics["PrefixListIds"] == []
    assert groups[load]["IpPermissions"] == groups[control_plane]["IpPermissions"] == []
    # AWS tracks no TCP flow with these rules: all outbound traffic, and all inbound TCP.
    (answers,) = groups[untracked]["IpPermissions"]
    assert (answers["IpProtocol"], answers["FromPort"], answers["ToPort"]) == ("tcp", 0, 65535)
    (everything,) = groups[untracked]["IpPermissionsEgress"]
    assert everything["IpProtocol"] == "-1"
    for rule in (answers, everything):
        assert [cidr["CidrIp"] for cidr in rule["IpRanges"]] == ["0.0.0.0/0"]
    assert "routes and network ACLs alone keep others out" in answers["IpRanges"][0]["Description"]
    out = {
        (rule["FromPort"], cidr["CidrIp"])
        for rule in groups[control_plane]["IpPermissionsEgress"]
        for cidr in rule["IpRanges"]
    }
    assert out == {(443, "0.0.0.0/0"), (22, "172.31.0.0/20"), (22, "172.31.16.0/20")}
    for name in ["generator", "load", "untracked", "control-plane"]:
        group = group_id(ec2, f"loadtest-{name}")
        address = f"security_group.{name.replace('-', '_')}"
        assert tags(groups[group]["Tags"]) == our_tags(address, Name=f"loadtest-{name}")


def test_instances_volumes_and_interfaces_have_the_stack_tag(reference, heavy):
    expected = our_tags("", Name="loadtest-heavy", **{"trunnion:launch": "instance.heavy[0-3]"})
    del expected["trunnion:address"]
    for host in heavy:
        own = tags(host["Tags"])
        assert own.pop("trunnion:template")
        assert {key: value for key, value in own.items() if not key.startswith("aws:")} == expected
        attached = [{"Name": "attachment.instance-id", "Values": [host["InstanceId"]]}]
        volumes = reference.client("ec2").describe_volumes(Filters=attached)["Volumes"]
        assert [(one["Size"], one["VolumeType"], one["Encrypted"]) for one in volumes] == [(100, "gp3", True)]
        interfaces = reference.client("ec2").describe_network_interfaces(Filters=attached)["NetworkInterfaces"]
        assert len(interfaces) == 8
        assert all(tags(one["Tags"]) == expected for one in volumes)
        assert all(tags(one["TagSet"]) == expected for one in interfaces)


def test_launch_template_matches_the_stack(aws, heavy):
    described = aws("ec2 describe-launch-template-versions --launch-template-name loadtest.heavy --versions '$Latest'")
    (version,) = described["LaunchTemplateVersions"]
    assert version["VersionNumber"] == 1 and version["DefaultVersion"]
    data = version["LaunchTemplateData"]
    assert data["InstanceType"] == "c6in.32xlarge"
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert data["IamInstanceProfile"]["Arn"].endswith(f":instance-profile{PATH}{NAME}generator")
    assert [one["SecondaryPrivateIpAddressCount"] for one in data["NetworkInterfaces"]] == [29] * 8
    assert not any(one.get("AssociatePublicIpAddress") for one in data["NetworkInterfaces"])
    for host in heavy:
        assert host["MetadataOptions"]["HttpTokens"] == "required"
        assert host["IamInstanceProfile"]["Arn"] == data["IamInstanceProfile"]["Arn"]
        assert host["ImageId"] == data["ImageId"]


def test_user_data_checks_the_digest_of_the_generator(reference, heavy):
    described = reference.client("ec2").describe_instance_attribute(
        InstanceId=heavy[0]["InstanceId"], Attribute="userData"
    )
    user_data = base64.b64decode(described["UserData"]["Value"])
    assert len(user_data) < 16 * 1024
    text = user_data.decode()
    assert text.startswith("#!/bin/bash\n")
    assert f"s3://{BUCKET}/generator/{sha256()}" in text
    assert f"sha256={sha256()}" in text


def test_user_data_contains_the_promised_capacity(reference, heavy, hosts):
    def config(host):
        described = reference.client("ec2").describe_instance_attribute(
            InstanceId=host["InstanceId"], Attribute="userData"
        )
        text = base64.b64decode(described["UserData"]["Value"]).decode()
        return json.loads(text[text.index("\n{\n") : text.index("\n}\nEND\n") + 2])

    of_heavy, of_probe = config(heavy[0]), config(hosts["instance.probe[0]"])
    assert (of_heavy["format"], of_heavy["pool"], of_probe["pool"]) == (2, "heavy", "probe")
    assert of_heavy["connections"]["per_destination"] == 7 * 30 * 64_511
    assert of_probe["connections"]["per_destination"] == 4 * 15 * 64_511
    assert of_probe["connections"]["total"] < of_probe["connections"]["per_destination"], "limited by EC2"
    for one in (of_heavy, of_probe):
        assert one["spread"] == {"mode": "kernel", "except": ["10.20.0.0/16", "18.98.64.240/29"]}
        assert (one["metrics_port"], one["executable_dir"]) == (9464, "/var/lib/gatling")


def test_object_is_the_generator(reference, aws):
    listed = aws(f"s3api list-objects-v2 --bucket {BUCKET}")
    assert [one["Key"] for one in listed["Contents"]] == [f"generator/{sha256()}"]
    s3 = reference.client("s3")
    body = s3.get_object(Bucket=BUCKET, Key=f"generator/{sha256()}")["Body"].read()
    assert hashlib.sha256(body).hexdigest() == sha256()
    tagged = s3.get_object_tagging(Bucket=BUCKET, Key=f"generator/{sha256()}")["TagSet"]
    # S3 allows no brackets in tags, and at most ten tags.
    ours = {"trunnion:stack": "loadtest", "trunnion:home": HOME}
    assert tags(tagged) == {"trunnion:address": "s3_object.generator/x86_64", **ours}
    metadata = s3.head_object(Bucket=BUCKET, Key=f"generator/{sha256()}")["Metadata"]
    assert metadata == {
        "trunnion-stack": "loadtest",
        "trunnion-address": "s3_object.generator[x86_64]",
        "trunnion-home": HOME,
    }


def test_bucket_is_private(reference, aws):
    assert aws(f"s3api get-bucket-versioning --bucket {BUCKET}") == {"Status": "Enabled"}
    blocked = aws(f"s3api get-public-access-block --bucket {BUCKET}")["PublicAccessBlockConfiguration"]
    assert len(blocked) == 4 and all(blocked.values())
    (rule,) = aws(f"s3api get-bucket-encryption --bucket {BUCKET}")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    policy = json.loads(aws(f"s3api get-bucket-policy --bucket {BUCKET}")["Policy"])
    (statement,) = policy["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    s3 = reference.client("s3")
    assert tags(s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]) == our_tags("s3_bucket.artifacts")
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION


def test_roles_allow_only_what_is_needed(reference):
    iam = reference.client("iam")
    found = iam.list_roles(PathPrefix=PATH)["Roles"]
    roles = {role["RoleName"].removeprefix(NAME): role for role in found}
    assert roles.keys() == {"generator", "control-plane", "execution"}
    trusted = {name: role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] for name, role in roles.items()}
    tasks = {"Service": "ecs-tasks.amazonaws.com"}
    assert trusted == {
        "generator": {"Service": "ec2.amazonaws.com"},
        "control-plane": tasks,
        "execution": tasks,
    }
    allowed = {}
    for name in roles:
        attached = iam.list_attached_role_policies(RoleName=f"{NAME}{name}")["AttachedPolicies"]
        assert attached == []
        for policy in iam.list_role_policies(RoleName=f"{NAME}{name}")["PolicyNames"]:
            document = iam.get_role_policy(RoleName=f"{NAME}{name}", PolicyName=policy)["PolicyDocument"]
            for statement in document["Statement"]:
                allowed.setdefault(name, {}).update({tuple(statement["Action"]): statement["Resource"]})
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{LOG_GROUP}:*"
    assert allowed == {
        "generator": {("s3:GetObject",): [f"arn:aws:s3:::{BUCKET}/generator/*"]},
        "execution": {
            ("secretsmanager:GetSecretValue",): [f"{SECRET}/token-AbCdEf", f"{SECRET}/ssh-AbCdEf"],
            ("logs:CreateLogStream", "logs:PutLogEvents"): [group],
        },
    }
    for name in roles:
        address = f"iam_role.{name.replace('-', '_')}"
        assert tags(iam.list_role_tags(RoleName=f"{NAME}{name}")["Tags"]) == our_tags(address)


def test_instance_profile_has_its_role(aws):
    (profile,) = aws(f"iam list-instance-profiles --path-prefix {PATH}")["InstanceProfiles"]
    assert profile["InstanceProfileName"] == f"{NAME}generator"
    assert [role["Arn"] for role in profile["Roles"]] == [f"{ROLE}generator"]


def test_conf_lists_every_host(containers, hosts, monkeypatch):
    pairs = {pair["name"]: pair["value"] for pair in containers["conf"]["environment"]}
    text = pairs["CONTROL_PLANE_CONF"]
    monkeypatch.setenv("CONTROL_PLANE_TOKEN", "what the task is given")
    conf = ConfigFactory.parse_string(text)["control-plane"]
    # A quoted substitution would stay literal text.
    assert conf["token"] == "what the task is given"
    locations = {location["id"]: location for location in conf["locations"]}
    for pool, name in [("heavy", "prl_heavy_paris"), ("probe", "prl_probe_paris")]:
        ours = [host["PrivateIpAddress"] for address, host in sorted(hosts.items()) if f".{pool}[" in address]
        assert locations[name]["hosts"] == ours
        assert locations[name]["type"] == "dedicated"
        assert locations[name]["ssh"]["user"] == "gatling"
    assert len(locations["prl_heavy_paris"]["hosts"]) == 4
    assert locations["prl_heavy_paris"]["jvm-options"][-1] == "-Xmx128g"
    assert dict(locations["prl_heavy_paris"]["system-properties"]) == {'"load.profile"': "heavy"}
    key = locations["prl_heavy_paris"]["ssh"]["private-key"]["path"]
    assert key in containers["conf"]["command"][0]


def test_task_definition_refers_to_secrets_by_arn(definition, containers):
    task = definition["taskDefinition"]
    assert (task["networkMode"], task["requiresCompatibilities"]) == ("awsvpc", ["FARGATE"])
    assert (task["cpu"], task["memory"]) == ("1024", "3072")
    assert task["executionRoleArn"] == f"{ROLE}execution"
    assert task["taskRoleArn"] == f"{ROLE}control-plane"
    assert tags(definition["tags"]) == our_tags("ecs_task_definition.control_plane")
    main, writer = containers["control-plane"], containers["conf"]
    assert main["image"] == "gatlingcorp/control-plane:2026.42.2"
    assert main["secrets"] == [{"name": "CONTROL_PLANE_TOKEN", "valueFrom": f"{SECRET}/token-AbCdEf"}]
    assert writer["secrets"] == [{"name": "SSH_PRIVATE_KEY", "valueFrom": f"{SECRET}/ssh-AbCdEf"}]
    assert main["dependsOn"] == [{"containerName": "conf", "condition": "SUCCESS"}]
    assert main["stopTimeout"] == 120
    assert "http://127.0.0.1:8080/info" in main["healthCheck"]["command"][1]
    for container in (main, writer):
        options = container["logConfiguration"]["options"]
        assert (options["awslogs-group"], options["awslogs-region"]) == (LOG_GROUP, REGION)


def test_service_never_runs_two_tasks(reference, aws, definition):
    described = aws("ecs describe-services --cluster loadtest --services loadtest-control-plane --include TAGS")
    (service,) = described["services"]
    assert (service["status"], service["desiredCount"], service["runningCount"]) == ("ACTIVE", 1, 1)
    assert service["taskDefinition"] == definition["taskDefinition"]["taskDefinitionArn"]
    deployment = service["deploymentConfiguration"]
    assert (deployment["minimumHealthyPercent"], deployment["maximumPercent"]) == (0, 100)
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "ENABLED" and len(network["subnets"]) == 2
    assert network["securityGroups"] == [group_id(reference.client("ec2"), "loadtest-control-plane")]
    assert tags(service["tags"]) == our_tags("ecs_service.control_plane")


def test_log_group_has_the_retention_of_the_stack(reference, aws):
    described = aws("logs describe-log-groups --log-group-name-prefix /trunnion/")
    assert [(one["logGroupName"], one["retentionInDays"]) for one in described["logGroups"]] == [(LOG_GROUP, 30)]
    listed = reference.client("logs").list_tags_for_resource(
        resourceArn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{LOG_GROUP}"
    )
    assert listed["tags"] == our_tags("log_group.control_plane")


def test_show_agrees_with_aws(reference, hosts):
    shown = json.loads(reference.machine.succeed("show", "--json").stdout)["outputs"]["hosts"]
    shown = {host["address"]: (host["id"], host["private_ip"], host["addresses"]) for host in shown}
    expected = {
        address: (
            host["InstanceId"],
            host["PrivateIpAddress"],
            sum(len(one["PrivateIpAddresses"]) for one in host["NetworkInterfaces"]),
        )
        for address, host in hosts.items()
    }
    assert shown == expected
