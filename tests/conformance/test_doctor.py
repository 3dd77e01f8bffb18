"""`trunnion doctor`, judged by botocore's models: every call of it and every answer to it, before and after an apply."""

import json

import pytest
from botocore.exceptions import ClientError

from stage import Setup, everywhere, settled, stack_file

USER = "arn:aws:iam::123456789012:user/judged"


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    setup = Setup(tmp_path_factory.mktemp("doctor"), stack_file("minimal"))
    yield setup
    setup.stop()


def verdicts(setup):
    ended = setup.machine.run("doctor", "--json")
    return {finding["subject"]: finding["verdict"] for finding in json.loads(ended.stdout)["findings"]}


def test_each_call_of_doctor_is_as_the_models_have_it(setup):
    before = verdicts(setup)
    setup.machine.converge()
    after = verdicts(setup)
    assert before["permissions"] == after["permissions"] == "ok"
    assert before["quota of vCPUs of On-Demand Standard instances"] == "ok"
    asked = [call.body + call.header("x-amz-target").encode() for call in setup.capture.calls]
    for operation in (b"SimulatePrincipalPolicy", b"DescribeVpcAttribute", b"GetServiceQuota"):
        assert any(operation in call for call in asked), operation


def test_a_simulation_says_what_is_allowed_and_what_it_lacks(setup):
    iam = setup.client("iam")
    iam.create_user(UserName="judged")
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::mine/*"},
        {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"},
        {"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    settled(iam.put_user_policy, UserName="judged", PolicyName="judged", PolicyDocument=document)
    objects = ["arn:aws:s3:::mine/one", "arn:aws:s3:::other/one"]
    expected = {
        ("s3:GetObject", objects[0]): "allowed",
        ("s3:GetObject", objects[1]): "implicitDeny",
        ("s3:DeleteObject", objects[0]): "explicitDeny",
        ("s3:DeleteObject", objects[1]): "explicitDeny",
    }

    def decided():
        answer = settled(
            iam.simulate_principal_policy,
            PolicySourceArn=USER, ActionNames=["s3:GetObject", "s3:DeleteObject"], ResourceArns=objects,
        )  # fmt: skip
        return {(one["EvalActionName"], one["EvalResourceName"]): one["EvalDecision"] for one in answer["EvaluationResults"]}

    everywhere(lambda: decided() == expected)
    (one,) = iam.simulate_principal_policy(PolicySourceArn=USER, ActionNames=["ec2:DescribeVpcs"])["EvaluationResults"]
    assert (one["EvalDecision"], one["MissingContextValues"]) == ("implicitDeny", ["aws:SourceVpc"])
    entry = {"ContextKeyName": "aws:SourceVpc", "ContextKeyType": "string", "ContextKeyValues": ["vpc-1"]}
    (one,) = iam.simulate_principal_policy(
        PolicySourceArn=USER, ActionNames=["ec2:DescribeVpcs"], ContextEntries=[entry]
    )["EvaluationResults"]
    assert (one["EvalDecision"], one["MissingContextValues"]) == ("allowed", [])


def test_quotas_are_listed_and_unknown_ones_refused(setup):
    quotas = setup.client("service-quotas")
    listed = quotas.list_service_quotas(ServiceCode="ec2", MaxResults=2)
    rest = quotas.list_service_quotas(ServiceCode="ec2", NextToken=listed["NextToken"])
    names = {quota["QuotaCode"]: quota["QuotaName"] for quota in listed["Quotas"] + rest["Quotas"]}
    assert len(names) == 19
    assert names["L-1216C47A"] == "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
    assert names["L-3819A6DF"] == "All G and VT Spot Instance Requests"
    assert quotas.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]["Value"] == 5
    # Fargate's has only its default in this account.
    fargate = {"ServiceCode": "fargate", "QuotaCode": "L-3032A538"}
    assert quotas.get_aws_default_service_quota(**fargate)["Quota"]["Value"] == 6
    assert quotas.list_service_quotas(ServiceCode="fargate")["Quotas"] == []
    for unknown in (fargate, {"ServiceCode": "ec2", "QuotaCode": "L-00000000"}):
        with pytest.raises(ClientError) as caught:
            quotas.get_service_quota(**unknown)
        assert caught.value.response["Error"]["Code"] == "NoSuchResourceException"
