"""What an operator types: each command does what it does on AWS, or says by name that it is not served here."""

import re
import time

import botocore.session
import jmespath
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from cli import Cli
from stage import REGION, answer_of, called_by_the_provider, code_of, everywhere, group_id, instances, settled, until

# Command, and what it must do: an error code, with or without its message, or paths in its answer with their values. Every
# answer is compared with botocore's models besides. Words in braces are things of the reference stack.
TABLE = """
ec2 describe-instance-status                                     | length(InstanceStatuses) = 5
ec2 describe-instance-status --instance-ids {host}               | InstanceStatuses[0].InstanceState.Name = running
ec2 describe-instance-status --instance-ids i-00000000000000000  ! InvalidInstanceID.NotFound
ec2 describe-instance-status --filters Name=instance-status.status,Values=ok,initializing | length(InstanceStatuses) = 5
ec2 wait instance-running --instance-ids {host}                  |
ec2 wait instance-status-ok --instance-ids {host}                |
ec2 wait system-status-ok --instance-ids {host}                  |
ec2 get-console-output --instance-id {host}                      | InstanceId = {host}
ec2 get-console-output --instance-id i-00000000000000000         ! InvalidInstanceID.NotFound
ec2 describe-instance-attribute --instance-id {host} --attribute instanceInitiatedShutdownBehavior | InstanceInitiatedShutdownBehavior.Value = stop
ec2 describe-instance-attribute --instance-id {host} --attribute disableApiStop | DisableApiStop.Value = False
ec2 describe-instance-attribute --instance-id {host} --attribute sourceDestCheck | SourceDestCheck.Value = True
ec2 describe-instance-attribute --instance-id {host} --attribute groupSet | length(Groups) = 1
ec2 describe-instance-attribute --instance-id {host} --attribute blockDeviceMapping | length(BlockDeviceMappings) = 1
ec2 describe-instance-attribute --instance-id {host} --attribute kernel | InstanceId = {host}
ec2 describe-network-interface-attribute --network-interface-id {interface} --attribute sourceDestCheck | SourceDestCheck.Value = True
ec2 describe-network-interface-attribute --network-interface-id {interface} --attribute attachment | Attachment.InstanceId = {host}
ec2 describe-network-interface-attribute --network-interface-id {interface} --attribute groupSet | NetworkInterfaceId = {interface}
ec2 describe-instances --filters Name=launch-time,Values=20*     | length(Reservations[].Instances[]) = 5
ec2 describe-instances --filters Name=launch-time,Values=19*     | length(Reservations[].Instances[]) = 0
ec2 describe-instances --filters Name=private-dns-name,Values={private_name} | Reservations[].Instances[].InstanceId | [0] = {host}
ec2 describe-instances --filters Name=dns-name,Values=*          | length(Reservations[].Instances[]) = 0
ec2 describe-instances --filters Name=key-name,Values=*          | length(Reservations[].Instances[]) = 0
ec2 describe-instances --filters Name=monitoring-state,Values=disabled | length(Reservations[].Instances[]) = 5
ec2 describe-instances --filters Name=root-device-type,Values=ebs | length(Reservations[].Instances[]) = 5
ec2 describe-instances --filters Name=state-reason-code,Values=Client.* | length(Reservations[].Instances[]) = 0
ec2 describe-instances --filters Name=hypervisor,Values=xen      | length(Reservations[].Instances[]) = 5
ec2 describe-instances --filters Name=no-such-filter,Values=x    ! InvalidParameterValue
ec2 describe-instances --instance-ids {host}                     | Reservations[0].Instances[0].Hypervisor = xen
ec2 describe-instances --instance-ids {host}                     | Reservations[0].Instances[0].CpuOptions.ThreadsPerCore = 2
ec2 describe-instances --instance-ids {host}                     | Reservations[0].Instances[0].PrivateDnsName = {private_name}
ec2 describe-network-interfaces --filters Name=requester-managed,Values=true | length(NetworkInterfaces) = 1
ec2 describe-network-interfaces --filters Name=requester-managed,Values=true | NetworkInterfaces[0].Association.IpOwnerId = amazon
ec2 describe-network-interfaces --filters Name=requester-managed,Values=false | length(NetworkInterfaces) = 36
ec2 describe-network-interfaces --filters Name=group-name,Values=loadtest-control-plane | length(NetworkInterfaces) = 1
ec2 describe-security-groups --filters Name=ip-permission.from-port,Values=22 | SecurityGroups[0].GroupName = loadtest-generator
ec2 describe-security-groups --filters Name=ip-permission.cidr,Values=10.30.0.0/16 | SecurityGroups[0].GroupName = loadtest-generator
ec2 describe-security-groups --filters Name=egress.ip-permission.protocol,Values=icmp | length(SecurityGroups) = 0
ec2 describe-internet-gateways                                   | InternetGateways[0].Attachments[0].VpcId = {vpc}
ec2 describe-internet-gateways --internet-gateway-ids igw-00000000000000000 ! InvalidInternetGatewayID.NotFound
ec2 describe-nat-gateways                                        | length(NatGateways) = 0
ec2 describe-nat-gateways --nat-gateway-ids nat-00000000000000000 ! NatGatewayNotFound
ec2 describe-vpc-attribute --vpc-id {vpc} --attribute enableDnsSupport | EnableDnsSupport.Value = True
ec2 describe-vpc-attribute --vpc-id {vpc} --attribute enableDnsHostnames | EnableDnsHostnames.Value = True
ec2 describe-network-acls                                        | NetworkAcls[0].IsDefault = True
ec2 describe-network-acls --filters Name=association.subnet-id,Values={subnet} | NetworkAcls[0].VpcId = {vpc}
ec2 describe-network-acls --network-acl-ids acl-00000000000000000 ! InvalidNetworkAclID.NotFound
ec2 describe-regions                                             | length(Regions) = 17
ec2 describe-regions --all-regions                               | length(Regions) = 34
ec2 describe-regions --region-names eu-west-3                    | Regions[0].OptInStatus = opt-in-not-required
ec2 describe-regions --region-names nowhere                      ! InvalidParameterValue
ec2 describe-addresses                                           | length(Addresses) = 0
ec2 describe-snapshots --owner-ids self                          | length(Snapshots) = 0
ec2 describe-snapshots --snapshot-ids snap-00000000000000000     ! InvalidSnapshot.NotFound
ec2 describe-vpc-endpoints                                       | length(VpcEndpoints) = 0
ec2 describe-flow-logs                                           | length(FlowLogs) = 0
ec2 describe-key-pairs                                           | length(KeyPairs) = 0
ec2 describe-key-pairs --key-names mine                          ! InvalidKeyPair.NotFound The key pair 'mine' does not exist
ec2 describe-key-pairs --filters Name=no-such-filter,Values=x    ! InvalidParameterValue
ec2 describe-spot-instance-requests                              | length(SpotInstanceRequests) = 0
ec2 describe-placement-groups                                    | length(PlacementGroups) = 0
ec2 describe-placement-groups --group-names x                    ! InvalidPlacementGroup.Unknown The Placement Group 'x' is unknown.
ec2 describe-transit-gateways --filters Name=options.dns-support,Values=enable | length(TransitGateways) = 0
ec2 describe-reserved-instances --filters Name=availability-zone-id,Values=x | length(ReservedInstances) = 0
ec2 describe-capacity-reservations                               | length(CapacityReservations) = 0
ec2 describe-vpc-peering-connections                             | length(VpcPeeringConnections) = 0
ec2 describe-transit-gateways                                    | length(TransitGateways) = 0
ec2 describe-hosts                                               | length(Hosts) = 0
ec2 get-ebs-encryption-by-default                                | EbsEncryptionByDefault = False
ec2 get-ebs-default-kms-key-id                                   | KmsKeyId = alias/aws/ebs
ec2 get-instance-metadata-defaults                               |
ec2 get-image-block-public-access-state                          | ImageBlockPublicAccessState = block-new-sharing
ec2 get-snapshot-block-public-access-state                       | State = unblocked
ec2 get-serial-console-access-status                             | SerialConsoleAccessEnabled = False
ec2 describe-spot-price-history                                  ! InvalidAction
ec2 create-image --instance-id {host} --name image                   ! InvalidAction
ec2 create-snapshot --volume-id vol-1                            ! InvalidAction
logs describe-log-streams --log-group-name {log_group}           | length(logStreams) = 2
logs describe-log-streams --log-group-name /no/such/group        ! ResourceNotFoundException
logs filter-log-events --log-group-name {log_group}              | length(events) = 0
logs filter-log-events --log-group-name {log_group} --filter-pattern '[a]' ! InvalidParameterException
logs get-log-events --log-group-name {log_group} --log-stream-name x ! ResourceNotFoundException
logs list-tags-log-group --log-group-name {log_group}            | tags."trunnion:stack" = loadtest
logs start-query --log-group-name {log_group} --start-time 1 --end-time 2 --query-string x ! UnknownOperationException
logs describe-metric-filters                                     | length(metricFilters) = 0
logs describe-metric-filters --log-group-name /no/such/group     ! ResourceNotFoundException
logs describe-resource-policies                                  | length(resourcePolicies) = 0
logs describe-subscription-filters --log-group-name {log_group}  | length(subscriptionFilters) = 0
ecs list-tasks --cluster loadtest                                | length(taskArns) = 1
ecs list-tasks --cluster loadtest --desired-status STOPPED       | length(taskArns) = 0
ecs describe-tasks --cluster loadtest --tasks {task}             | tasks[0].attachments[0].type = ElasticNetworkInterface
ecs describe-tasks --cluster loadtest --tasks {task}             | tasks[0].attachments[0].status = ATTACHED
ecs describe-tasks --cluster loadtest --tasks {task}             | tasks[0].healthStatus = HEALTHY
ecs describe-tasks --cluster loadtest --tasks {task}             | tasks[0].connectivity = CONNECTED
ecs describe-tasks --cluster loadtest --tasks {task} --include TAGS | tasks[0].tags[?key=='trunnion:stack'].value | [0] = loadtest
ecs describe-tasks --cluster loadtest --tasks 0                  | failures[0].reason = MISSING
ecs list-service-deployments --cluster loadtest --service loadtest-control-plane | serviceDeployments[0].status = SUCCESSFUL
ecs list-account-settings                                        | length(settings) = 0
ecs list-account-settings --effective-settings --name containerInsights | settings[0].value = disabled
ecs list-container-instances --cluster loadtest                  | length(containerInstanceArns) = 0
ecs list-service-deployments --cluster loadtest --service none   ! ServiceNotFoundException
ecs run-task --cluster loadtest --task-definition loadtest-control-plane ! InvalidParameterException No Container Instances were found in your cluster.
ecs put-account-setting --name containerInsights --value enabled ! UnknownOperationException
resourcegroupstaggingapi get-resources --tag-filters Key=trunnion:stack,Values=loadtest --resource-type-filters ec2:instance | length(ResourceTagMappingList) = 5
resourcegroupstaggingapi get-resources --resource-type-filters s3 | length(ResourceTagMappingList) = 1
resourcegroupstaggingapi get-resources --resource-type-filters ecs:service logs | length(ResourceTagMappingList) = 2
resourcegroupstaggingapi get-tag-keys                            | contains(TagKeys, 'trunnion:stack') = True
resourcegroupstaggingapi get-tag-values --key trunnion:stack     | TagValues[0] = loadtest
resourcegroupstaggingapi get-compliance-summary                  ! UnknownOperationException
iam get-user                                                     | User.UserName = sandbox
iam get-user --user-name nobody                                  ! NoSuchEntity
iam list-users                                                   | Users[0].UserName = sandbox
iam list-policies --scope Local                                  | length(Policies) = 0
iam list-policies                                                ! InvalidAction
iam get-policy --policy-arn arn:aws:iam::123456789012:policy/none ! NoSuchEntity
iam list-groups                                                  | length(Groups) = 0
iam list-entities-for-policy --policy-arn arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore | length(PolicyRoles) = 0
iam get-account-summary                                          | SummaryMap.AttachedPoliciesPerRoleQuota = 10
iam get-account-password-policy                                  ! NoSuchEntity
iam list-saml-providers                                          | length(SAMLProviderList) = 0
iam list-virtual-mfa-devices                                     | length(VirtualMFADevices) = 0
iam list-open-id-connect-providers                               | length(OpenIDConnectProviderList) = 0
iam list-account-aliases                                         | length(AccountAliases) = 0
iam list-server-certificates                                     | length(ServerCertificateMetadataList) = 0
iam generate-credential-report                                   ! InvalidAction
s3api get-bucket-acl --bucket {bucket}                           | Grants[0].Permission = FULL_CONTROL
s3api get-bucket-cors --bucket {bucket}                          ! NoSuchCORSConfiguration
s3api get-bucket-website --bucket {bucket}                       ! NoSuchWebsiteConfiguration
s3api get-bucket-accelerate-configuration --bucket {bucket}      |
s3api get-bucket-request-payment --bucket {bucket}               | Payer = BucketOwner
s3api get-bucket-logging --bucket {bucket}                       |
s3api get-bucket-lifecycle-configuration --bucket {bucket}       ! NoSuchLifecycleConfiguration
s3api get-bucket-replication --bucket {bucket}                   ! ReplicationConfigurationNotFoundError
s3api get-object-lock-configuration --bucket {bucket}            ! ObjectLockConfigurationNotFoundError
s3api get-bucket-notification-configuration --bucket {bucket}    |
s3api get-bucket-policy-status --bucket {bucket}                 | PolicyStatus.IsPublic = False
s3api list-bucket-inventory-configurations --bucket {bucket}     |
s3api get-bucket-acl --bucket no-such-bucket-here                ! NoSuchBucket
s3api put-bucket-accelerate-configuration --bucket {bucket} --accelerate-configuration Status=Enabled ! NotImplemented
secretsmanager get-resource-policy --secret-id gatling/token     | Name = gatling/token
secretsmanager get-resource-policy --secret-id none              ! ResourceNotFoundException
secretsmanager rotate-secret --secret-id gatling/token           ! UnknownOperationException
lambda list-functions                                            ! InvalidAction
batch describe-job-queues                                        ! InvalidAction
backup list-backup-vaults                                        ! InvalidAction
cloudwatch describe-alarms                                       ! InvalidAction
autoscaling describe-auto-scaling-groups                         ! InvalidAction
dynamodb list-tables                                             ! InvalidAction
route53 list-hosted-zones                                        ! InvalidAction
sns list-topics                                                  ! InvalidAction
eks list-clusters                                                ! InvalidAction
"""


def rows():
    for line in TABLE.strip().splitlines():
        command, sign, expected = re.fullmatch(r"(.*?)\s+([|!])(?:\s+(.*))?", line).groups()
        yield pytest.param(command, sign, expected, id=command if sign == "!" else f"{command} | {expected}")


@pytest.fixture(scope="module")
def things(reference):
    """The names of the table."""
    ec2 = reference.client("ec2")
    host = instances(ec2, "loadtest")["instance.heavy[0]"]
    (task,) = reference.client("ecs").list_tasks(cluster="loadtest")["taskArns"]
    return {
        "host": host["InstanceId"],
        "private_name": host["PrivateDnsName"],
        "interface": host["NetworkInterfaces"][0]["NetworkInterfaceId"],
        "vpc": host["VpcId"],
        "subnet": host["SubnetId"],
        "task": task,
        "bucket": f"loadtest-{host['NetworkInterfaces'][0]['OwnerId']}-{REGION}",
        "log_group": "/trunnion/loadtest/control-plane",
    }


@pytest.mark.parametrize(("command", "sign", "expected"), rows())
def test_a_command_does_what_the_table_says(aws, things, command, sign, expected):
    for name, value in things.items():
        command, expected = command.replace(f"{{{name}}}", value), (expected or "").replace(f"{{{name}}}", value)
    ended = aws.run(command)
    if sign == "!":
        expected, _, message = expected.partition(" ")
        assert ended.code != 0 and ended.error == expected and message in ended.stderr, ended.stderr or ended.stdout
        if expected in ("InvalidAction", "UnknownOperationException"):
            service, operation, *_ = command.split()
            signing_name = botocore.session.get_session().get_service_model(service).signing_name
            message = ended.stderr.rsplit("operation:")[-1].lower()
            assert operation.replace("-", "") in message or signing_name in message, "it is named"
        return
    assert ended.code == 0, ended.stderr
    if expected:
        path, value = expected.rsplit(" = ", 1)
        assert str(jmespath.search(path, ended.answer)) == value, ended.stdout


# The services that the sandbox serves, and what it calls them where that is not the name of their model.
SERVICES = ["ec2", "ecs", "iam", "logs", "resourcegroupstaggingapi", "s3", "secretsmanager", "ssm", "sts"]
NAMED_AS = {"resourcegroupstaggingapi": "tagging"}
NOT_SERVED = {"InvalidAction", "UnknownOperationException", "NotImplemented"}
# What a client cannot send without more: a part that it signs itself, a host of the answer before, or another endpoint.
CANNOT_BE_SENT = {"ec2:CopySnapshot", "s3:WriteGetObjectResponse", "s3:ListDirectoryBuckets"}
# On the wire, these are the same as the operation beside them.
SAME_AS = {
    "s3:GetBucketLifecycle": "s3:GetBucketLifecycleConfiguration",
    "s3:GetBucketNotification": "s3:GetBucketNotificationConfiguration",
    "s3:PutBucketLifecycle": "s3:PutBucketLifecycleConfiguration",
    "s3:PutBucketNotification": "s3:PutBucketNotificationConfiguration",
}


def least(operation) -> dict:
    """The parameters without which a client cannot write a request, or would write that of another operation."""
    shape = operation.input_shape
    if shape is None:
        return {}
    needed = {name: shape.members[name] for name in shape.required_members if "location" in shape.members[name].serialization}
    return {name: some(one) for name, one in needed.items()} | ({"DryRun": True} if "DryRun" in shape.members else {})


def some(shape):
    """A value of a number, a text or a list of them."""
    if shape.type_name == "list":
        return [some(shape.member)]
    return 1 if shape.type_name == "integer" else (shape.enum or ["some"])[0]


@pytest.mark.parametrize("service", SERVICES)
def test_operation_is_served_or_refused_by_its_name(fresh, service):
    """All operations of a service, most of them without what they need: each is recognised, none fails inside the sandbox,
    what is not served is refused by its name, and what Trunnion calls is served."""
    setup = fresh(None)
    config = {"parameter_validation": False, "inject_host_prefix": False}
    client = setup.sandbox.client(service, endpoint=setup.capture.endpoint, **config)
    asked, served = set(), set()
    for name in client.meta.service_model.operation_names:
        operation = client.meta.service_model.operation_model(name)
        if f"{service}:{name}" in CANNOT_BE_SENT or operation.auth_type == "none":
            continue
        asked.add(f"{service}:{name}")
        parameters = least(operation)
        answer = answer_of(getattr(client, xform_name(name)), **parameters)
        error = answer.get("Error")
        if error and error["Code"] in NOT_SERVED:
            assert name in error["Message"], error
            continue
        assert answer["ResponseMetadata"]["HTTPStatusCode"] < 500, (name, error)
        assert error or "DryRun" not in parameters, f"{name} ignores DryRun"
        served.add(f"{service}:{name}")
    assert served >= {name for name in called_by_the_provider() if name.startswith(f"{service}:")}
    counted = {name.removesuffix(" (dry run)") for name in setup.sandbox.calls()}
    understood = {name.replace(f"{NAMED_AS.get(service)}:", f"{service}:") for name in counted}
    assert understood == {SAME_AS.get(name, name) for name in asked}


def test_a_dry_run_tells_what_the_call_would_do(reference):
    ec2 = reference.client("ec2")
    before = ec2.describe_instances()["Reservations"], ec2.describe_security_groups()["SecurityGroups"]
    counted = reference.sandbox.calls()
    host = instances(ec2, "loadtest")["instance.probe[0]"]["InstanceId"]
    group = group_id(ec2, "loadtest-generator")
    (image,) = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    run = dict(MinCount=1, MaxCount=1, ImageId=image["ImageId"], InstanceType="c7i.xlarge")
    for operation, parameters, code in [
        ("RunInstances", run, "DryRunOperation"),
        ("RunInstances", {**run, "ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        ("RunInstances", {**run, "InstanceType": "c7i.99xlarge"}, "InvalidParameterValue"),
        ("TerminateInstances", {"InstanceIds": [host]}, "DryRunOperation"),
        ("TerminateInstances", {"InstanceIds": ["i-00000000000000000"]}, "InvalidInstanceID.NotFound"),
        ("DescribeInstances", {"InstanceIds": ["i-00000000000000000"]}, "InvalidInstanceID.NotFound"),
        ("DescribeInstances", {}, "DryRunOperation"),
        ("CreateSecurityGroup", {"GroupName": "dry", "Description": "dry"}, "DryRunOperation"),
        ("CreateSecurityGroup", {"GroupName": "sg-dry", "Description": "dry"}, "InvalidParameterValue"),
        ("DeleteSecurityGroup", {"GroupId": group}, "DependencyViolation"),
        ("CreateTags", {"Resources": [host], "Tags": [{"Key": "dry", "Value": "run"}]}, "DryRunOperation"),
        ("GetConsoleOutput", {"InstanceId": host}, "DryRunOperation"),
        ("CreateVolume", {"AvailabilityZone": "eu-west-3a"}, "InvalidAction"),
    ]:
        found = code_of(getattr(ec2, xform_name(operation)), DryRun=True, **parameters)
        assert found == code, (operation, parameters)
    assert (ec2.describe_instances()["Reservations"], ec2.describe_security_groups()["SecurityGroups"]) == before
    calls = reference.sandbox.calls()
    assert calls.get("ec2:RunInstances") == counted.get("ec2:RunInstances"), "a dry run is counted apart"
    assert calls["ec2:RunInstances (dry run)"] >= 3


@pytest.fixture
def empty(fresh, tmp_path):
    """An account with nothing in it."""
    setup = fresh(None)
    return setup, Cli(setup.sandbox.endpoint, tmp_path)


def test_a_private_subnet_is_made_and_removed(empty):
    _, aws = empty
    vpc = aws("ec2 create-vpc --cidr-block 10.0.0.0/16")["Vpc"]["VpcId"]
    aws(f"ec2 modify-vpc-attribute --vpc-id {vpc} --enable-dns-hostnames")
    names = aws(f"ec2 describe-vpc-attribute --vpc-id {vpc} --attribute enableDnsHostnames")
    assert names["EnableDnsHostnames"]["Value"] is True
    subnet = aws(f"ec2 create-subnet --vpc-id {vpc} --cidr-block 10.0.1.0/24")["Subnet"]["SubnetId"]
    gateway = aws("ec2 create-internet-gateway")["InternetGateway"]["InternetGatewayId"]
    aws(f"ec2 attach-internet-gateway --internet-gateway-id {gateway} --vpc-id {vpc}")
    aws.refused(f"ec2 attach-internet-gateway --internet-gateway-id {gateway} --vpc-id {vpc}", "Resource.AlreadyAssociated")
    allocation = aws("ec2 allocate-address --domain vpc")["AllocationId"]
    create = f"ec2 create-nat-gateway --subnet-id {subnet} --allocation-id"
    aws.refused(f"{create} eipalloc-00000000000000000", "InvalidAllocationID.NotFound")
    nat = aws(f"{create} {allocation}")["NatGateway"]
    assert nat["State"] == "pending"
    aws.refused(f"{create} {allocation}", "Resource.AlreadyAssociated")
    aws(f"ec2 wait nat-gateway-available --nat-gateway-ids {nat['NatGatewayId']}")
    (shown,) = aws(f"ec2 describe-nat-gateways --filter Name=state,Values=available")["NatGateways"]
    address = shown["NatGatewayAddresses"][0]
    assert (address["AllocationId"], address["Status"]) == (allocation, "succeeded")
    (found,) = aws("ec2 describe-addresses")["Addresses"]
    assert (found["PublicIp"], found["NetworkInterfaceId"]) == (address["PublicIp"], address["NetworkInterfaceId"])
    (interface,) = aws("ec2 describe-network-interfaces --filters Name=requester-managed,Values=true")["NetworkInterfaces"]
    assert (interface["InterfaceType"], interface["Status"]) == ("nat_gateway", "in-use")

    table = aws(f"ec2 create-route-table --vpc-id {vpc}")["RouteTable"]["RouteTableId"]
    route = f"--route-table-id {table} --destination-cidr-block 0.0.0.0/0"
    aws(f"ec2 create-route {route} --nat-gateway-id {nat['NatGatewayId']}")
    association = aws(f"ec2 associate-route-table --route-table-id {table} --subnet-id {subnet}")["AssociationId"]
    aws.refused(f"ec2 delete-route-table --route-table-id {table}", "DependencyViolation")
    aws.refused(f"ec2 detach-internet-gateway --internet-gateway-id {gateway} --vpc-id {vpc}", "DependencyViolation")
    aws(f"ec2 delete-nat-gateway --nat-gateway-id {nat['NatGatewayId']}")
    aws(f"ec2 wait nat-gateway-deleted --nat-gateway-ids {nat['NatGatewayId']}")
    (shown,) = aws(f"ec2 describe-route-tables --route-table-ids {table}")["RouteTables"]
    assert {one["State"] for one in shown["Routes"]} == {"active", "blackhole"}
    aws(f"ec2 delete-route {route}")
    aws.refused(f"ec2 delete-route {route}", "InvalidRoute.NotFound")
    aws(f"ec2 disassociate-route-table --association-id {association}")
    aws(f"ec2 delete-route-table --route-table-id {table}")
    aws(f"ec2 release-address --allocation-id {allocation}")
    aws(f"ec2 detach-internet-gateway --internet-gateway-id {gateway} --vpc-id {vpc}")
    aws(f"ec2 delete-internet-gateway --internet-gateway-id {gateway}")
    aws(f"ec2 delete-subnet --subnet-id {subnet}")
    aws(f"ec2 delete-vpc --vpc-id {vpc}")


def test_logs_are_written_and_read(empty):
    setup, aws = empty
    group = "--log-group-name /some/group"
    stream = f"{group} --log-stream-name one"
    aws(f"logs create-log-group {group}")
    aws.refused(f"logs put-log-events {stream} --log-events timestamp=1,message=x", "ResourceNotFoundException")
    aws(f"logs create-log-stream {stream}")
    aws.refused(f"logs create-log-stream {stream}", "ResourceAlreadyExistsException")
    logs = setup.client("logs")
    now = int(time.time() * 1000)
    events = [{"timestamp": now + number, "message": f"{'ERROR' if number % 2 else 'INFO'} {number}"} for number in range(5)]
    logs.put_log_events(logGroupName="/some/group", logStreamName="one", logEvents=events)
    late = logs.put_log_events(
        logGroupName="/some/group", logStreamName="one", logEvents=[{"timestamp": 1, "message": "too old"}, *events[:1]]
    )
    assert late["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    unordered = events[::-1]
    with pytest.raises(ClientError, match="chronological"):
        logs.put_log_events(logGroupName="/some/group", logStreamName="one", logEvents=unordered)

    (shown,) = aws(f"logs describe-log-streams {group}")["logStreams"]
    assert (shown["firstEventTimestamp"], shown["lastEventTimestamp"]) == (now, now + 4)
    read = aws(f"logs get-log-events {stream} --start-from-head --limit 4")
    assert [one["message"] for one in read["events"]] == ["INFO 0", "INFO 0", "ERROR 1", "INFO 2"]
    rest = aws(f"logs get-log-events {stream} --next-token {read['nextForwardToken']}")
    assert [one["message"] for one in rest["events"]] == ["ERROR 3", "INFO 4"]
    assert rest["nextForwardToken"] == aws(f"logs get-log-events {stream} --next-token {rest['nextForwardToken']}")["nextForwardToken"]
    assert [one["message"] for one in aws(f"logs get-log-events {stream} --limit 1")["events"]] == ["INFO 4"]
    found = aws(f"logs filter-log-events {group} --filter-pattern ERROR")["events"]
    assert [one["message"] for one in found] == ["ERROR 1", "ERROR 3"]
    aws(f"logs tag-log-group {group} --tags team=load")
    assert aws(f"logs list-tags-log-group {group}")["tags"] == {"team": "load"}
    aws(f"logs untag-log-group {group} --tags team")
    aws(f"logs delete-log-stream {stream}")
    assert aws(f"logs describe-log-streams {group}")["logStreams"] == []
    aws(f"logs delete-log-group {group}")


@pytest.fixture
def slow(applied_loadtest, tmp_path):
    """A copy in which an hour takes longer than the CLI waits between two questions: then ended tasks are forgotten."""
    setup = applied_loadtest.copy_to(tmp_path, "--speed", "100")
    yield setup
    setup.stop()


def test_tasks_are_stopped_replaced_and_started(slow, tmp_path):
    aws = Cli(slow.sandbox.endpoint, tmp_path)
    service = aws("ecs describe-services --cluster loadtest --services loadtest-control-plane --include TAGS")["services"][0]
    (old,) = aws("ecs list-tasks --cluster loadtest --service-name loadtest-control-plane")["taskArns"]
    (shown,) = aws(f"ecs describe-tasks --cluster loadtest --tasks {old}")["tasks"]
    details = {one["name"]: one["value"] for one in shown["attachments"][0]["details"]}
    find = f"ec2 describe-network-interfaces --network-interface-ids {details['networkInterfaceId']}"
    (interface,) = aws(find)["NetworkInterfaces"]
    assert interface["PrivateIpAddress"] == details["privateIPv4Address"]
    assert interface["Description"].endswith(f":attachment/{shown['attachments'][0]['id']}")
    assert interface["RequesterManaged"] and interface["Groups"][0]["GroupName"] == "loadtest-control-plane"
    assert interface["AvailabilityZone"] == shown["availabilityZone"]
    assert shown["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] == interface["PrivateIpAddress"]
    change = f"ec2 modify-network-interface-attribute --network-interface-id {interface['NetworkInterfaceId']}"
    aws.refused(f"{change} --description x", "AuthFailure")

    stopped = aws(f"ecs stop-task --cluster loadtest --task {old} --reason because")["task"]
    assert (stopped["desiredStatus"], stopped["stopCode"], stopped["stoppedReason"]) == (
        "STOPPED", "UserInitiated", "because",
    )  # fmt: skip
    (new,) = until(lambda: aws("ecs list-tasks --cluster loadtest")["taskArns"])
    assert new != old
    aws("ecs wait services-stable --cluster loadtest --services loadtest-control-plane")
    aws(f"ecs wait tasks-stopped --cluster loadtest --tasks {old}")
    assert aws("ecs list-tasks --cluster loadtest --desired-status STOPPED")["taskArns"] == [old]
    aws.refused(find, "InvalidNetworkInterfaceID.NotFound")

    network = slow.client("ecs").describe_services(cluster="loadtest", services=[service["serviceName"]])
    run = dict(
        cluster="loadtest",
        taskDefinition=service["taskDefinition"],
        launchType="FARGATE",
        networkConfiguration=network["services"][0]["networkConfiguration"],
        startedBy="somebody",
        tags=[{"key": "alone", "value": "yes"}],
    )
    (task,) = slow.client("ecs").run_task(**run)["tasks"]
    # A waiter takes a task that is not shown for one that ended long ago.
    everywhere(lambda: slow.client("ecs").describe_tasks(cluster="loadtest", tasks=[task["taskArn"]])["tasks"])
    aws(f"ecs wait tasks-running --cluster loadtest --tasks {task['taskArn']}")
    assert aws("ecs list-tasks --cluster loadtest --started-by somebody")["taskArns"] == [task["taskArn"]]
    (shown,) = aws(f"ecs describe-tasks --cluster loadtest --tasks {task['taskArn']} --include TAGS")["tasks"]
    assert shown["tags"] == [{"key": "alone", "value": "yes"}] and shown["group"] == "family:loadtest-control-plane"
    aws.refused("ecs delete-cluster --cluster loadtest", "ClusterContainsServicesException")
    aws(f"ecs stop-task --cluster loadtest --task {task['taskArn']}")
    aws(f"ecs wait tasks-stopped --cluster loadtest --tasks {task['taskArn']}")

    aws("ecs update-service --cluster loadtest --service loadtest-control-plane --force-new-deployment")
    aws("ecs wait services-stable --cluster loadtest --services loadtest-control-plane")
    deployments = aws("ecs list-service-deployments --cluster loadtest --service loadtest-control-plane")
    newest, oldest = deployments["serviceDeployments"]
    (detail,) = aws(
        f"ecs describe-service-deployments --service-deployment-arns {newest['serviceDeploymentArn']}"
    )["serviceDeployments"]
    assert detail["sourceServiceRevisions"] == [{"arn": oldest["targetServiceRevisionArn"]}]
    (revision,) = aws(
        f"ecs describe-service-revisions --service-revision-arns {newest['targetServiceRevisionArn']}"
    )["serviceRevisions"]
    assert revision["taskDefinition"] == service["taskDefinition"]
    assert not slow.machine.plan().changes


def test_hosts_are_changed_by_hand(minimal, tmp_path):
    aws = Cli(minimal.sandbox.endpoint, tmp_path)
    host = instances(minimal.client("ec2"), "minimal")["instance.small[0]"]["InstanceId"]
    modify = f"ec2 modify-instance-attribute --instance-id {host}"
    assert aws(f"ec2 monitor-instances --instance-ids {host}")["InstanceMonitorings"][0]["Monitoring"]["State"] == "pending"
    aws(f"ec2 unmonitor-instances --instance-ids {host}")
    aws(f"ec2 reboot-instances --instance-ids {host}")
    aws(f"{modify} --disable-api-termination")
    aws.refused(f"ec2 terminate-instances --instance-ids {host}", "OperationNotPermitted")
    aws(f"{modify} --no-disable-api-termination")
    aws(f"{modify} --disable-api-stop")
    aws.refused(f"ec2 stop-instances --instance-ids {host}", "OperationNotPermitted")
    aws(f"{modify} --no-disable-api-stop")
    aws.refused(f"{modify} --instance-type Value=c7i.2xlarge", "IncorrectInstanceState")
    aws.refused(f"{modify}", "InvalidParameterCombination")
    aws(f"ec2 stop-instances --instance-ids {host}")
    aws(f"ec2 wait instance-stopped --instance-ids {host}")
    (shown,) = aws(f"ec2 describe-instances --filters Name=state-reason-code,Values=Client.UserInitiatedShutdown")[
        "Reservations"
    ][0]["Instances"]
    assert shown["InstanceId"] == host
    assert aws("ec2 describe-instance-status")["InstanceStatuses"] == []
    (status,) = aws("ec2 describe-instance-status --include-all-instances")["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "not-applicable"
    aws(f"{modify} --instance-type Value=c7i.2xlarge")
    aws(f"ec2 start-instances --instance-ids {host}")
    aws(f"ec2 wait instance-status-ok --instance-ids {host}")
    options = aws(f"ec2 modify-instance-metadata-options --instance-id {host} --http-tokens optional")
    assert options["InstanceMetadataOptions"]["HttpTokens"] == "optional"
    (shown,) = aws("ec2 describe-instances --filters Name=metadata-options.http-tokens,Values=optional")["Reservations"]
    interface = shown["Instances"][0]["NetworkInterfaces"][0]["NetworkInterfaceId"]
    change = f"ec2 modify-network-interface-attribute --network-interface-id {interface}"
    default = group_id(minimal.client("ec2"), "default")
    show = f"ec2 describe-network-interface-attribute --network-interface-id {interface} --attribute"
    aws(f"{change} --groups {default}")
    assert aws(f"{show} groupSet")["Groups"][0]["GroupId"] == default
    aws(f"{change} --description changed")
    assert aws(f"{show} description")["Description"] == {"Value": "changed"}
    aws(f"{change} --no-source-dest-check")
    assert aws(f"{show} sourceDestCheck")["SourceDestCheck"] == {"Value": False}
    aws.refused(change, "InvalidParameterCombination")
    output = aws(f"ec2 get-console-output --instance-id {host}")["Output"]
    assert "c7i.2xlarge" in output and "boots no kernel" in output


def versions(ec2, id: str) -> list[int]:
    """The versions of a launch template that are known, which can be none."""
    shown = answer_of(ec2.describe_launch_template_versions, LaunchTemplateId=id).get("LaunchTemplateVersions", [])
    return sorted(one["VersionNumber"] for one in shown)


def test_versions_of_launch_templates_are_deleted(empty):
    setup, aws = empty
    ec2 = setup.client("ec2")
    template = ec2.create_launch_template(LaunchTemplateName="some", LaunchTemplateData={"InstanceType": "c7i.xlarge"})
    id = template["LaunchTemplate"]["LaunchTemplateId"]
    for _ in range(2):
        settled(ec2.create_launch_template_version, LaunchTemplateId=id, LaunchTemplateData={"InstanceType": "c7i.xlarge"})
    everywhere(lambda: versions(ec2, id) == [1, 2, 3])
    deleted = aws(f"ec2 delete-launch-template-versions --launch-template-id {id} --versions 1 3 9")
    assert [one["VersionNumber"] for one in deleted["SuccessfullyDeletedLaunchTemplateVersions"]] == [3]
    assert {one["VersionNumber"] for one in deleted["UnsuccessfullyDeletedLaunchTemplateVersions"]} == {1, 9}
    (left,) = aws(f"ec2 describe-launch-templates --launch-template-ids {id}")["LaunchTemplates"]
    assert left["LatestVersionNumber"] == 2
    made = ec2.create_launch_template_version(LaunchTemplateId=id, LaunchTemplateData={"InstanceType": "c7i.xlarge"})
    assert made["LaunchTemplateVersion"]["VersionNumber"] == 4, "no number is used twice"


def test_spot_instances_have_requests(empty):
    setup, aws = empty
    ec2 = setup.client("ec2")
    (image,) = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    launched = ec2.run_instances(
        MinCount=1, MaxCount=1, ImageId=image["ImageId"], InstanceType="c7i.xlarge",
        InstanceMarketOptions={"MarketType": "spot"},
    )["Instances"][0]  # fmt: skip
    (request,) = until(lambda: aws("ec2 describe-spot-instance-requests")["SpotInstanceRequests"])
    assert (request["InstanceId"], request["State"]) == (launched["InstanceId"], "active")
    assert request["SpotInstanceRequestId"] == launched["SpotInstanceRequestId"]
    aws(f"ec2 terminate-instances --instance-ids {launched['InstanceId']}")
    (request,) = aws("ec2 describe-spot-instance-requests")["SpotInstanceRequests"]
    assert request["State"] == "closed"
