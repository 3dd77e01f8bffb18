//! The calls of EC2.
//!
//! `RunInstances` touches every resource that a host consists of, and each of them must be allowed (EC2 User Guide,
//! "Example policies to control access: launch instances", read November 2026). EC2 checks `CreateTags` as well if a call
//! creates something with tags, and `PassRole` if a launch template names an instance profile.

use super::table::calls;

calls! {
    /// The calls of EC2.
    CALLS:
    read "ec2:DescribeAccountAttributes" EC2_READ { "ec2:DescribeAccountAttributes" READ LOOKUP }
    read "ec2:DescribeAddresses" EC2_READ { "ec2:DescribeAddresses" READ ALL }
    read "ec2:DescribeDhcpOptions" EC2_READ { "ec2:DescribeDhcpOptions" READ LOOKUP }
    read "ec2:DescribeImages" EC2_READ { "ec2:DescribeImages" READ LOOKUP }
    read "ec2:DescribeInstances" EC2_LARGE_READ { "ec2:DescribeInstances" READ ALL }
    read "ec2:DescribeInstanceTypeOfferings" EC2_READ { "ec2:DescribeInstanceTypeOfferings" READ DOCTOR }
    read "ec2:DescribeInstanceTypes" EC2_READ { "ec2:DescribeInstanceTypes" READ LOOKUP }
    read "ec2:DescribeLaunchTemplates" EC2_READ { "ec2:DescribeLaunchTemplates" READ ALL }
    read "ec2:DescribeLaunchTemplateVersions" EC2_READ { "ec2:DescribeLaunchTemplateVersions" READ ALL }
    read "ec2:DescribeNatGateways" EC2_READ { "ec2:DescribeNatGateways" READ LOOKUP }
    read "ec2:DescribeNetworkInterfaces" EC2_LARGE_READ { "ec2:DescribeNetworkInterfaces" READ ALL_OR_DOCTOR }
    read "ec2:DescribeRouteTables" EC2_READ { "ec2:DescribeRouteTables" READ LOOKUP }
    read "ec2:DescribeSecurityGroups" EC2_LARGE_READ { "ec2:DescribeSecurityGroups" READ ALL }
    read "ec2:DescribeSubnets" EC2_READ { "ec2:DescribeSubnets" READ LOOKUP }
    read "ec2:DescribeVpcAttribute" EC2_READ { "ec2:DescribeVpcAttribute" READ_VPC DOCTOR }
    read "ec2:DescribeVpcs" EC2_READ { "ec2:DescribeVpcs" READ LOOKUP }

    change "ec2:CreateSecurityGroup" EC2_CHANGE {
        "ec2:CreateSecurityGroup" CREATE APPLY
        "ec2:CreateSecurityGroup" USE APPLY
        "ec2:CreateTags" TAG_NEW APPLY
    }
    change "ec2:AuthorizeSecurityGroupEgress" EC2_CHANGE { "ec2:AuthorizeSecurityGroupEgress" CHANGE UPDATE }
    change "ec2:AuthorizeSecurityGroupIngress" EC2_CHANGE { "ec2:AuthorizeSecurityGroupIngress" CHANGE UPDATE }
    change "ec2:RevokeSecurityGroupEgress" EC2_CHANGE { "ec2:RevokeSecurityGroupEgress" CHANGE CHANGE_OR_IMPORT }
    change "ec2:RevokeSecurityGroupIngress" EC2_CHANGE { "ec2:RevokeSecurityGroupIngress" CHANGE CHANGE_OR_IMPORT }
    change "ec2:DeleteSecurityGroup" EC2_CHANGE { "ec2:DeleteSecurityGroup" CHANGE CHANGE }

    change "ec2:CreateLaunchTemplate" EC2_CHANGE {
        "ec2:CreateLaunchTemplate" CREATE APPLY
        "ec2:CreateTags" TAG_NEW APPLY
    }
    change "ec2:CreateLaunchTemplateVersion" EC2_FREQUENT { "ec2:CreateLaunchTemplateVersion" CHANGE UPDATE }
    change "ec2:ModifyLaunchTemplate" EC2_CHANGE { "ec2:ModifyLaunchTemplate" CHANGE UPDATE }
    change "ec2:DeleteLaunchTemplate" EC2_CHANGE { "ec2:DeleteLaunchTemplate" CHANGE CHANGE }

    change "ec2:RunInstances" EC2_RUN {
        "ec2:RunInstances" LAUNCH APPLY
        "ec2:RunInstances" CHANGE APPLY
        "ec2:RunInstances" USE APPLY
        "ec2:CreateTags" TAG_NEW APPLY
        "iam:PassRole" PASS_TO_HOSTS APPLY
        "iam:CreateServiceLinkedRole" SERVICE_ROLES APPLY
    }
    change "ec2:StartInstances" EC2_CHANGE { "ec2:StartInstances" CHANGE UPDATE }
    change "ec2:TerminateInstances" EC2_FREQUENT { "ec2:TerminateInstances" CHANGE CHANGE }

    change "ec2:AllocateAddress" EC2_CHANGE {
        "ec2:AllocateAddress" CREATE APPLY
        "ec2:CreateTags" TAG_NEW APPLY
    }
    change "ec2:AssociateAddress" EC2_CHANGE { "ec2:AssociateAddress" CHANGE UPDATE }
    change "ec2:DisassociateAddress" EC2_CHANGE { "ec2:DisassociateAddress" CHANGE CHANGE_OR_IMPORT }
    change "ec2:ReleaseAddress" EC2_CHANGE { "ec2:ReleaseAddress" CHANGE CHANGE }

    change "ec2:CreateTags" EC2_TAG {
        "ec2:CreateTags" TAG UPDATE
        "ec2:CreateTags" TAKE_IN IMPORT
    }
    change "ec2:DeleteTags" EC2_CHANGE {
        "ec2:DeleteTags" UNTAG UPDATE
        "ec2:DeleteTags" GIVE_AWAY FORGET
    }
}
