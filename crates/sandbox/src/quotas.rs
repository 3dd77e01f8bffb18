//! The quotas of a new account, and their checks; those of addresses and vCPUs are checked where these are used. They can
//! be raised on AWS; here, options raise those that a stack reaches first.

use trunnion_catalog::limits;

use crate::{
    call::{Call, Fault},
    cloud::Cloud,
};

/// A quota: the operation it limits, the number and the error.
struct Quota {
    operation: &'static str,
    most: usize,
    code: &'static str,
    message: &'static str,
    /// Resources that count: those of the call's region, or of its account if the service is global.
    count: fn(&Cloud, &Call) -> usize,
}

const TABLE: &[Quota] = &[
    Quota {
        operation: "ec2:CreateVpc",
        most: limits::VPCS,
        code: "VpcLimitExceeded",
        message: "The maximum number of VPCs has been reached.",
        count: |cloud, call| cloud.ec2.counts(&call.region).vpcs,
    },
    Quota {
        operation: "ec2:CreateSubnet",
        most: limits::SUBNETS,
        code: "SubnetLimitExceeded",
        message: "The maximum number of subnets has been reached.",
        count: |cloud, call| cloud.ec2.subnets_of(call.params().get("VpcId").unwrap_or_default()),
    },
    Quota {
        operation: "ec2:CreateSecurityGroup",
        most: limits::SECURITY_GROUPS,
        code: "SecurityGroupLimitExceeded",
        message: "The maximum number of security groups has been reached.",
        count: |cloud, call| cloud.ec2.counts(&call.region).groups,
    },
    Quota {
        operation: "ec2:CreateLaunchTemplate",
        most: limits::LAUNCH_TEMPLATES,
        code: "LaunchTemplateLimitExceeded",
        message: "You have reached the maximum number of launch templates.",
        count: |cloud, call| cloud.ec2.counts(&call.region).templates,
    },
    Quota {
        operation: "ec2:RunInstances",
        most: limits::NETWORK_INTERFACES,
        code: "NetworkInterfaceLimitExceeded",
        message: "The maximum number of network interfaces has been reached.",
        count: |cloud, call| cloud.ec2.counts(&call.region).interfaces,
    },
    Quota {
        operation: "ecs:CreateCluster",
        most: limits::CLUSTERS,
        code: "LimitExceededException",
        message: "The limit for the number of clusters has been exceeded.",
        count: |cloud, call| cloud.ecs.clusters_in(&call.region),
    },
    Quota {
        operation: "iam:CreateRole",
        most: limits::ROLES,
        code: "LimitExceeded",
        message: "Cannot exceed quota for RolesPerAccount: 1000",
        count: |cloud, _| cloud.iam.counts().0,
    },
    Quota {
        operation: "iam:CreateInstanceProfile",
        most: limits::INSTANCE_PROFILES,
        code: "LimitExceeded",
        message: "Cannot exceed quota for InstanceProfilesPerAccount: 1000",
        count: |cloud, _| cloud.iam.counts().1,
    },
];

/// Refuses a call that would exceed a quota.
pub(crate) fn check(cloud: &Cloud, call: &Call) -> Result<(), Fault> {
    let operation = format!("{}:{}", call.service, call.action);
    match TABLE.iter().find(|quota| quota.operation == operation) {
        Some(quota) if (quota.count)(cloud, call) >= quota.most => {
            let status = if call.service == "iam" { 409 } else { 400 };
            Err(Fault::new(quota.code, quota.message).with_status(status))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, ec2, iam, json::testing::query_call};

    fn attempt(cloud: &mut Cloud, service: &str, action: &str, parameters: &[(&str, &str)]) -> Result<(), Fault> {
        let call = Call { service: service.to_owned(), ..query_call(action, parameters) };
        check(cloud, &call)?;
        let answer = if service == "iam" { iam::handle(cloud, &call) } else { ec2::handle(cloud, &call) };
        answer.map(drop)
    }

    #[test]
    fn a_region_has_five_vpcs_with_the_default_one() {
        let mut cloud = Cloud::open(&Options::new()).unwrap();
        let call = query_call("CreateVpc", &[]);
        cloud.enter(&call.region, call.now);
        for _ in 0..4 {
            attempt(&mut cloud, "ec2", "CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).unwrap();
        }
        let fault = attempt(&mut cloud, "ec2", "CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.status), ("VpcLimitExceeded", 400));
    }

    #[test]
    fn an_account_has_a_thousand_instance_profiles() {
        let mut cloud = Cloud::open(&Options::new()).unwrap();
        for number in 0..1_000 {
            let name = format!("profile-{number}");
            attempt(&mut cloud, "iam", "CreateInstanceProfile", &[("InstanceProfileName", &name)]).unwrap();
        }
        let fault = attempt(&mut cloud, "iam", "CreateInstanceProfile", &[("InstanceProfileName", "x")]).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.status), ("LimitExceeded", 409));
    }
}
