//! The calls of CloudWatch Logs, Secrets Manager, Service Quotas, Systems Manager and STS.
//!
//! A log group with tags needs `TagResource` (CloudWatch Logs API reference, `CreateLogGroup`, read November 2026). Nobody
//! can be denied `GetCallerIdentity`.

use super::table::calls;

calls! {
    /// The calls of the other services.
    CALLS:
    read "logs:DescribeLogGroups" LOGS { "logs:DescribeLogGroups" READ ALL }
    read "logs:ListTagsForResource" LOGS { "logs:ListTagsForResource" LOGS ALL }
    change "logs:CreateLogGroup" LOGS {
        "logs:CreateLogGroup" LOGS APPLY
        "logs:TagResource" LOGS APPLY
    }
    change "logs:DeleteLogGroup" LOGS { "logs:DeleteLogGroup" LOGS DESTROY }
    change "logs:DeleteRetentionPolicy" LOGS { "logs:DeleteRetentionPolicy" LOGS NONE }
    change "logs:PutRetentionPolicy" LOGS { "logs:PutRetentionPolicy" LOGS UPDATE }
    change "logs:TagResource" LOGS { "logs:TagResource" LOGS UPDATE }
    change "logs:UntagResource" LOGS { "logs:UntagResource" LOGS SIGN }

    read "secretsmanager:DescribeSecret" SECRETS { "secretsmanager:DescribeSecret" SECRETS LOOKUP }
    read "servicequotas:GetAWSDefaultServiceQuota" QUOTAS {
        "servicequotas:GetAWSDefaultServiceQuota" READ LOOKUP_OR_DOCTOR
    }
    read "servicequotas:GetServiceQuota" QUOTAS { "servicequotas:GetServiceQuota" READ LOOKUP_OR_DOCTOR }
    read "ssm:GetParameters" SSM { "ssm:GetParameters" PARAMETERS LOOKUP }
    read "sts:GetCallerIdentity" STS {}
}
