"""The sandbox answers any client like AWS: signatures, pages, client tokens, limits, and stored data."""

import subprocess
import urllib.error
import urllib.request

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from cli import Cli
from stage import PATIENCE, TRUNNION, Sandbox, code_of, everywhere, instances, settled, until

QUESTIONS = {
    "ec2": lambda client: client.describe_vpcs(),
    "iam": lambda client: client.list_roles(),
    "sts": lambda client: client.get_caller_identity(),
    "s3": lambda client: client.list_buckets(),
    "ecs": lambda client: client.list_clusters(),
    "ssm": lambda client: client.get_parameters(Names=["/aws/service/x"]),
    "logs": lambda client: client.describe_log_groups(),
    "secretsmanager": lambda client: client.list_secrets(),
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A sandbox without any resource, so slow that a test meets a host which does not run yet."""
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox") / "data", "--speed", "100")
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="module")
def ec2(sandbox):
    return sandbox.client("ec2")


@pytest.fixture(scope="module")
def image(ec2):
    filters = [{"Name": "architecture", "Values": ["x86_64"]}]
    (found,) = ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"]
    return found["ImageId"]


@pytest.fixture(scope="module")
def subnets(ec2):
    return {one["AvailabilityZone"][-1]: one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]}


@pytest.mark.parametrize("service", QUESTIONS)
def test_wrong_secret_key_is_refused(sandbox, service):
    ask = QUESTIONS[service]
    ask(sandbox.client(service))
    assert code_of(ask, sandbox.client(service, secret="guessed")) in {
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "AuthFailure",
    }
    assert code_of(ask, sandbox.client(service, key="AKIDGUESSED")) in {
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "UnrecognizedClientException",
        "AuthFailure",
    }
    assert code_of(ask, sandbox.client(service, signature_version=UNSIGNED)) in {
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AccessDenied",
    }


def test_changed_body_is_refused(sandbox):
    def swap(request, **_):
        request.body = request.body.replace("DescribeVpcs", "DescribeZzzz")

    client = sandbox.client("ec2")
    client.meta.events.register("before-send.ec2.DescribeVpcs", swap)
    assert code_of(client.describe_vpcs) in {"SignatureDoesNotMatch", "AuthFailure"}


@pytest.mark.parametrize("path", ["/", "/some-bucket/some-key", "/?Action=DescribeVpcs&Version=2016-11-15"])
def test_plain_requests_are_refused(sandbox, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(sandbox.endpoint + path)
    assert caught.value.code == 403


def test_web_pages_cannot_call_the_control_endpoints(sandbox):
    request = urllib.request.Request(f"{sandbox.endpoint}/_sandbox/calls", headers={"Origin": "https://example.com"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 403


def test_calls_are_counted(sandbox, ec2):
    before = sandbox.calls().get("ec2:DescribeAvailabilityZones", 0)
    for _ in range(3):
        ec2.describe_availability_zones()
    assert sandbox.calls()["ec2:DescribeAvailabilityZones"] == before + 3


def test_throttled_calls_are_repeated(fresh):
    ec2 = fresh(None, "--speed", "2").client("ec2")
    asked = dict(MinCount=1, MaxCount=1, ImageId="ami-1", InstanceType="c7i.99xlarge")
    assert {code_of(ec2.run_instances, **asked) for _ in range(10)} == {"InvalidParameterValue"}


PAGED = {
    "ec2:DescribeNetworkInterfaces": ("ec2 describe-network-interfaces", 7, "NetworkInterfaces"),
    "ec2:DescribeSecurityGroupRules": ("ec2 describe-security-group-rules", 5, "SecurityGroupRules"),
    "ec2:DescribeLaunchTemplates": ("ec2 describe-launch-templates", 1, "LaunchTemplates"),
    # The sandbox knows types that are newer than the models.
    "ec2:DescribeInstanceTypes": (
        "ec2 describe-instance-types --filters Name=instance-type,Values=c7i.*,c6in.*", 5, "InstanceTypes",
    ),  # fmt: skip
    "iam:ListRoles": ("iam list-roles", 1, "Roles"),
    "iam:GetAccountAuthorizationDetails": ("iam get-account-authorization-details", 1, "RoleDetailList"),
    "s3:ListObjectsV2": ("s3api list-objects-v2 --bucket pages", 2, "Contents"),
    "s3:ListObjectVersions": ("s3api list-object-versions --bucket pages", 2, "Versions"),
    "ecs:ListTaskDefinitions": ("ecs list-task-definitions", 1, "taskDefinitionArns"),
    "logs:DescribeLogGroups": ("logs describe-log-groups", 1, "logGroups"),
}


@pytest.fixture(scope="module")
def filled(applied_loadtest, tmp_path_factory):
    """The reference stack with more resources of kinds that are listed in pages."""
    setup = applied_loadtest.copy_to(tmp_path_factory.mktemp("filled"))
    s3 = setup.client("s3")
    s3.create_bucket(Bucket="pages", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    for number in range(5):
        s3.put_object(Bucket="pages", Key=f"folder/{number}", Body=b"x")
        setup.client("logs").create_log_group(logGroupName=f"/other/{number}")
        container = {"name": "only", "image": "busybox:1.37.0"}
        setup.client("ecs").register_task_definition(family="other", containerDefinitions=[{**container, "memory": 64}])
    yield setup
    setup.stop()


@pytest.mark.parametrize("operation", PAGED)
def test_all_pages_together_equal_the_full_list(filled, tmp_path, operation):
    command, size, key = PAGED[operation]
    sandbox = filled.sandbox
    aws = Cli(sandbox.endpoint, tmp_path)
    whole = aws(command)[key]
    before = sandbox.calls()[operation]
    paged = aws(f"{command} --page-size {size}")[key]
    assert paged == whole
    assert sandbox.calls()[operation] - before >= -(-len(whole) // size) > 1


def test_next_page_continues_after_max_results(filled):
    ec2 = filled.client("ec2")
    first = ec2.describe_instances(MaxResults=5)
    assert sum(len(one["Instances"]) for one in first["Reservations"]) == 5
    page = ec2.describe_network_interfaces(MaxResults=10)
    rest = ec2.describe_network_interfaces(MaxResults=10, NextToken=page["NextToken"])
    ids = [one["NetworkInterfaceId"] for one in page["NetworkInterfaces"] + rest["NetworkInterfaces"]]
    assert len(set(ids)) == 20
    unchecked = filled.sandbox.client("ec2", parameter_validation=False)
    assert code_of(unchecked.describe_network_interfaces, MaxResults=4) == "InvalidParameterValue"
    assert code_of(ec2.describe_network_interfaces, MaxResults=10, NextToken="no-token") == "InvalidNextToken"


def interfaces(subnet, count, card=0, first=0, secondary=0):
    """Interfaces on one network card."""
    return [
        {
            "NetworkCardIndex": card,
            "DeviceIndex": device,
            "SubnetId": subnet,
            "SecondaryPrivateIpAddressCount": secondary,
            "DeleteOnTermination": True,
        }
        for device in range(first, first + count)
    ]


def test_repeated_token_is_the_same_instance(ec2, image, subnets):
    asked = dict(MinCount=1, MaxCount=1, ImageId=image, InstanceType="c7i.xlarge", SubnetId=subnets["a"])
    ids = [
        ec2.run_instances(**asked, ClientToken="once-and-again")["Instances"][0]["InstanceId"] for _ in range(3)
    ]
    assert len(set(ids)) == 1
    filters = [{"Name": "client-token", "Values": ["once-and-again"]}]
    everywhere(lambda: len(ec2.describe_instances(Filters=filters)["Reservations"]) == 1)

    other = {**asked, "InstanceType": "c7i.8xlarge"}
    assert code_of(ec2.run_instances, **other, ClientToken="once-and-again") == "IdempotentParameterMismatch"
    ec2.terminate_instances(InstanceIds=ids[:1])
    # AWS does one or the other, and the sandbox decides by its seed.
    try:
        (again,) = ec2.run_instances(**asked, ClientToken="once-and-again")["Instances"]
        assert (again["InstanceId"], again["State"]["Name"]) == (ids[0], "shutting-down")
    except ClientError as refused:
        assert refused.response["Error"]["Code"] == "IdempotentInstanceTerminated"
    another = ec2.run_instances(**asked, ClientToken="once-more")["Instances"][0]["InstanceId"]
    assert another not in ids


def test_repeated_token_is_the_same_launch_template(ec2, image):
    asked = dict(LaunchTemplateName="once", LaunchTemplateData={"ImageId": image}, ClientToken="template")
    ids = {ec2.create_launch_template(**asked)["LaunchTemplate"]["LaunchTemplateId"] for _ in range(2)}
    assert len(ids) == 1
    again = {**asked, "ClientToken": "another"}
    assert code_of(ec2.create_launch_template, **again) == "InvalidLaunchTemplateName.AlreadyExistsException"


# Instance type, interfaces, and the error of AWS.
REFUSED = {
    "a fifth interface on four": ("c7i.xlarge", [(5, 0, 0, 0)], "AttachmentLimitExceeded"),
    "a ninth interface on a card of eight": ("c6in.32xlarge", [(9, 0, 0, 0)], "AttachmentLimitExceeded"),
    "a ninth on the second card": ("c6in.32xlarge", [(1, 0, 0, 0), (9, 1, 1, 0)], "AttachmentLimitExceeded"),
    "a card that does not exist": ("c7i.xlarge", [(1, 0, 0, 0), (1, 1, 1, 0)], "InvalidParameterValue"),
    "no primary interface": ("c7i.xlarge", [(1, 0, 1, 0)], "InvalidParameterCombination"),
    "a sixteenth address of fifteen": ("c7i.xlarge", [(1, 0, 0, 15)], "PrivateIpAddressLimitExceeded"),
    "a type that does not exist": ("c7i.99xlarge", [(1, 0, 0, 0)], "InvalidParameterValue"),
    "a type of another architecture": ("c7gn.4xlarge", [(1, 0, 0, 0)], "InvalidParameterValue"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_limits_of_types_and_cards_hold(ec2, image, subnets, what):
    instance_type, cards, code = REFUSED[what]
    asked = [
        one
        for count, card, first, secondary in cards
        for one in interfaces(subnets["b"], count, card, first, secondary)
    ]
    run = dict(MinCount=1, MaxCount=1, ImageId=image, InstanceType=instance_type, NetworkInterfaces=asked)
    assert code_of(ec2.run_instances, **run) == code
    if code == "AttachmentLimitExceeded":
        # One less on the same card is accepted.
        launched = ec2.run_instances(**{**run, "NetworkInterfaces": asked[:-1]})
        assert len(launched["Instances"][0]["NetworkInterfaces"]) == len(asked) - 1


def test_full_subnet_refuses_hosts(ec2, image):
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    zone = "eu-west-3c"
    small = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="172.31.200.0/28", AvailabilityZone=zone)["Subnet"]
    assert small["AvailableIpAddressCount"] == 11
    run = dict(MinCount=1, MaxCount=1, ImageId=image, InstanceType="c7i.xlarge")
    twelve = interfaces(small["SubnetId"], 1, secondary=11)
    until(lambda: code_of(ec2.run_instances, **run, NetworkInterfaces=twelve) == "InsufficientFreeAddressesInSubnet")
    eleven = interfaces(small["SubnetId"], 1, secondary=10)
    settled(ec2.run_instances, **run, NetworkInterfaces=eleven)
    (found,) = settled(ec2.describe_subnets, SubnetIds=[small["SubnetId"]])["Subnets"]
    assert found["AvailableIpAddressCount"] == 0


def test_user_data_is_limited(ec2, image, subnets):
    run = dict(MinCount=1, MaxCount=1, ImageId=image, InstanceType="c7i.xlarge", SubnetId=subnets["a"])
    assert code_of(ec2.run_instances, **run, UserData="x" * 16_385) == "InvalidParameterValue"
    ec2.run_instances(**run, UserData="x" * 16_384)


def test_s3_limits_the_characters_of_tags(sandbox):
    s3 = sandbox.client("s3")
    s3.create_bucket(Bucket="tagged", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    everywhere(lambda: code_of(s3.head_bucket, Bucket="tagged") is None)
    assert code_of(s3.put_object, Bucket="tagged", Key="x", Body=b"x", Tagging="address=host%5B0%5D") == "InvalidTag"
    s3.put_object(Bucket="tagged", Key="x", Body=b"x", Tagging="address=host%2F0%20%C3%BC+-%3D._%3A%40")
    bad = {"TagSet": [{"Key": "why?", "Value": "x"}]}
    assert code_of(s3.put_object_tagging, Bucket="tagged", Key="x", Tagging=bad) == "InvalidTag"
    assert code_of(s3.put_bucket_tagging, Bucket="tagged", Tagging=bad) == "InvalidTag"


def test_resources_in_use_cannot_be_deleted(loadtest):
    ec2, iam, ecs, s3 = (loadtest.client(service) for service in ("ec2", "iam", "ecs", "s3"))
    host = instances(ec2, "loadtest")["instance.heavy[0]"]
    group = host["NetworkInterfaces"][0]["Groups"][0]["GroupId"]
    assert code_of(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    assert code_of(ec2.delete_subnet, SubnetId=host["SubnetId"]) == "DependencyViolation"
    assert code_of(iam.delete_role, RoleName="loadtest.eu-west-3.generator") == "DeleteConflict"
    assert code_of(iam.delete_instance_profile, InstanceProfileName="loadtest.eu-west-3.generator") == "DeleteConflict"
    assert code_of(ecs.delete_cluster, cluster="loadtest") == "ClusterContainsServicesException"
    assert code_of(s3.delete_bucket, Bucket=f"loadtest-{host['NetworkInterfaces'][0]['OwnerId']}-eu-west-3") == (
        "BucketNotEmpty"
    )


def test_unknown_operations_and_parameters_are_refused(sandbox, ec2):
    assert code_of(ec2.describe_spot_price_history) == "InvalidAction"
    assert code_of(sandbox.client("dynamodb").list_tables) == "InvalidAction"


def test_data_outlives_the_process(applied_minimal, tmp_path):
    first = applied_minimal.copy_to(tmp_path)
    before = instances(first.client("ec2"), "minimal")
    roles = first.client("iam").list_roles()["Roles"]
    first.client("s3").put_object(Bucket="minimal-123456789012-eu-west-3", Key="kept", Body=b"kept" * 10_000)
    first.stop()

    second = Sandbox(first.sandbox.data)
    try:
        assert instances(second.client("ec2"), "minimal") == before
        assert second.client("iam").list_roles()["Roles"] == roles
        kept = second.client("s3").get_object(Bucket="minimal-123456789012-eu-west-3", Key="kept")
        assert kept["Body"].read() == b"kept" * 10_000
    finally:
        second.stop()


def test_data_outlives_a_kill(fresh):
    setup = fresh(None)
    ec2 = setup.client("ec2")
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    made = [
        ec2.create_security_group(GroupName=f"group-{number}", Description="x", VpcId=vpc["VpcId"])["GroupId"]
        for number in range(20)
    ]
    setup.sandbox.process.kill()
    setup.sandbox.process.wait(PATIENCE)
    second = Sandbox(setup.sandbox.data)
    try:
        found = second.client("ec2").describe_security_groups(GroupIds=made)["SecurityGroups"]
        assert {one["GroupId"] for one in found} == set(made)
    finally:
        second.stop()


def test_one_process_uses_the_data(fresh):
    setup = fresh(None)
    data = str(setup.sandbox.data)
    second = subprocess.run(
        [TRUNNION, "sandbox", "--listen", "127.0.0.1:0", "--data", data],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert second.returncode == 1
    assert "in use" in second.stderr


def test_states_change_after_a_delay(ec2, image, subnets):
    run = dict(MinCount=1, MaxCount=1, ImageId=image, InstanceType="c7i.xlarge", SubnetId=subnets["a"])
    launched = ec2.run_instances(**run)["Instances"][0]
    assert launched["State"]["Name"] == "pending"

    def state():
        shown = settled(ec2.describe_instances, InstanceIds=[launched["InstanceId"]])
        (found,) = shown["Reservations"][0]["Instances"]
        return found["State"]["Name"]

    until(lambda: state() == "running")
    stopping = ec2.terminate_instances(InstanceIds=[launched["InstanceId"]])["TerminatingInstances"][0]
    assert stopping["CurrentState"]["Name"] == "shutting-down"
    until(lambda: state() == "terminated")


def test_elastic_ips_need_a_running_host_and_outlive_it(ec2, image, subnets):
    address = ec2.allocate_address(
        Domain="vpc",
        TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": [{"Key": "team", "Value": "performance"}]}],
    )
    allocation = address["AllocationId"]
    everywhere(lambda: code_of(ec2.describe_addresses, AllocationIds=[allocation]) is None)
    asked = dict(MinCount=1, MaxCount=1, ImageId=image, InstanceType="c7i.xlarge")
    host = ec2.run_instances(**asked, NetworkInterfaces=interfaces(subnets["a"], 2))["Instances"][0]
    primary = host["NetworkInterfaces"][0]
    interface, private = primary["NetworkInterfaceId"], primary["PrivateIpAddress"]
    to_interface = dict(AllocationId=allocation, NetworkInterfaceId=interface)
    to_host = dict(AllocationId=allocation, InstanceId=host["InstanceId"])

    def refusal(asked):
        """The error code, as soon as the host is known."""
        code = code_of(ec2.associate_address, **asked)
        assert code, "it is accepted"
        return None if code.endswith(".NotFound") else code

    assert until(lambda: refusal(to_interface)) == "IncorrectInstanceState"
    assert until(lambda: refusal(to_host)) == "InvalidInstanceID"

    def shown():
        return settled(ec2.describe_instances, InstanceIds=[host["InstanceId"]])["Reservations"][0]["Instances"][0]

    until(lambda: shown()["State"]["Name"] == "running")
    # With two interfaces, the request must name one.
    assert code_of(ec2.associate_address, AllocationId=allocation, InstanceId=host["InstanceId"]) == "InvalidInstanceID"
    association = ec2.associate_address(**to_interface, PrivateIpAddress=private)["AssociationId"]
    filters = [{"Name": "tag:team", "Values": ["performance"]}]
    (found,) = ec2.describe_addresses(Filters=filters)["Addresses"]
    assert (found["InstanceId"], found["PrivateIpAddress"]) == (host["InstanceId"], private)
    assert (found["AssociationId"], found["PublicIp"]) == (association, address["PublicIp"])
    assert shown()["PublicIpAddress"] == address["PublicIp"]
    assert shown()["NetworkInterfaces"][0]["Association"]["PublicIp"] == address["PublicIp"]
    refused = code_of(ec2.associate_address, **to_interface, AllowReassociation=False)
    assert refused == "Resource.AlreadyAssociated"
    assert code_of(ec2.release_address, AllocationId=allocation) == "InvalidIPAddress.InUse"

    ec2.terminate_instances(InstanceIds=[host["InstanceId"]])
    until(lambda: "AssociationId" not in ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0])
    assert code_of(ec2.disassociate_address, AssociationId=association) == "InvalidAssociationID.NotFound"
    ec2.release_address(AllocationId=allocation)
    assert code_of(ec2.release_address, AllocationId=allocation) == "InvalidAllocationID.NotFound"


def test_elastic_ips_have_a_quota(ec2):
    (attribute,) = ec2.describe_account_attributes(AttributeNames=["vpc-max-elastic-ips"])["AccountAttributes"]
    most = int(attribute["AttributeValues"][0]["AttributeValue"])
    allocations = [ec2.allocate_address()["AllocationId"] for _ in range(most)]
    assert code_of(ec2.allocate_address) == "AddressLimitExceeded"
    for allocation in allocations:
        settled(ec2.release_address, AllocationId=allocation)
    assert ec2.describe_addresses()["Addresses"] == []
