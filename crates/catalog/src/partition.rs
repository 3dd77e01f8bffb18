//! AWS's partitions: which one a region belongs to, and which domains and principals it uses.
//!
//! Ids, domains and region prefixes come from `partitions.json`, which every AWS SDK contains (read November 2026).

/// A partition: a group of regions with its own accounts, ARNs and domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// As ARNs spell it, such as `aws-cn`.
    pub id: &'static str,
    /// AWS's name for it.
    pub name: &'static str,
    /// The domain of its service endpoints, and of ECR's registries.
    pub domain: &'static str,
    /// The domain of dual-stack endpoints, such as those of ECR's registries.
    pub dual_stack_domain: &'static str,
    /// Whether its regions have no connection to the internet.
    pub is_isolated: bool,
    /// The prefix of its regions' names.
    prefix: &'static str,
}

/// The partition of every region that no other partition's prefix matches.
pub const COMMERCIAL: Partition = Partition {
    id: "aws",
    name: "AWS",
    domain: "amazonaws.com",
    dual_stack_domain: "on.aws",
    is_isolated: false,
    prefix: "",
};

const CHINA: Partition = Partition {
    id: "aws-cn",
    name: "AWS China",
    domain: "amazonaws.com.cn",
    dual_stack_domain: "on.amazonwebservices.com.cn",
    is_isolated: false,
    prefix: "cn-",
};

const GOV_CLOUD: Partition = Partition {
    id: "aws-us-gov",
    name: "AWS GovCloud (US)",
    domain: "amazonaws.com",
    dual_stack_domain: "on.aws",
    is_isolated: false,
    prefix: "us-gov-",
};

const EUROPEAN_SOVEREIGN: Partition = Partition {
    id: "aws-eusc",
    name: "AWS European Sovereign Cloud",
    domain: "amazonaws.eu",
    dual_stack_domain: "on.amazonwebservices.eu",
    is_isolated: false,
    prefix: "eusc-",
};

const fn isolated(id: &'static str, prefix: &'static str, domain: &'static str) -> Partition {
    Partition { id, name: "an isolated AWS partition", domain, dual_stack_domain: domain, is_isolated: true, prefix }
}

/// Every partition. The commercial one is last because its empty prefix matches every region.
pub const PARTITIONS: [Partition; 8] = [
    CHINA,
    GOV_CLOUD,
    EUROPEAN_SOVEREIGN,
    isolated("aws-iso", "us-iso-", "c2s.ic.gov"),
    isolated("aws-iso-b", "us-isob-", "sc2s.sgov.gov"),
    isolated("aws-iso-e", "eu-isoe-", "cloud.adc-e.uk"),
    isolated("aws-iso-f", "us-isof-", "csp.hci.ic.gov"),
    COMMERCIAL,
];

impl Partition {
    /// The partition that a region belongs to.
    pub fn of(region: &str) -> Self {
        PARTITIONS.into_iter().find(|partition| region.starts_with(partition.prefix)).unwrap_or(COMMERCIAL)
    }

    /// The service principal that a trust policy names, such as `ecs-tasks.amazonaws.com`.
    ///
    /// It ends in `amazonaws.com` in every partition. This includes the European Sovereign Cloud: IAM there refuses
    /// `ec2.amazonaws.eu` as an "Invalid principal in policy" (pulumi/pulumi-eks#2341). The only exception is EC2 in
    /// China, whose principal ends in China's own domain.
    pub fn service_principal(self, service: &str) -> String {
        let domain = if self.id == CHINA.id && service == "ec2" { self.domain } else { COMMERCIAL.domain };
        format!("{service}.{domain}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_belongs_to_one_partition() {
        for (region, id, domain) in [
            ("eu-west-3", "aws", "amazonaws.com"),
            ("us-east-1", "aws", "amazonaws.com"),
            ("cn-northwest-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
            ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
            ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
        ] {
            let partition = Partition::of(region);
            assert_eq!((partition.id, partition.domain), (id, domain), "{region}");
            assert_eq!(partition.is_isolated, id.starts_with("aws-iso"), "{region}");
        }
    }

    #[test]
    fn service_principals_use_the_commercial_domain_except_ec2_in_china() {
        let of = |region| ["ec2", "ecs-tasks"].map(|service| Partition::of(region).service_principal(service));
        for region in ["eu-west-3", "us-gov-west-1", "eusc-de-east-1"] {
            assert_eq!(of(region), ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"], "{region}");
        }
        assert_eq!(of("cn-north-1"), ["ec2.amazonaws.com.cn", "ecs-tasks.amazonaws.com"]);
    }
}
