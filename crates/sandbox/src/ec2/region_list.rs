//! The regions of each partition.

use trunnion_catalog::Partition;

use super::{
    document,
    model::Tags,
    select::{Filters, text},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

/// Regions that every account can use (AWS account management guide, "Enable or disable AWS Regions", read November
/// 2026). The regions of other partitions are of this kind, too.
const DEFAULT: &[&str] = &[
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Regions that an account must enable. Here, the first call in a region enables it.
const OPT_IN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
];

fn status(cloud: &Cloud, region: &str) -> &'static str {
    if DEFAULT.contains(&region) {
        "opt-in-not-required"
    } else if cloud.has_used(region) {
        "opted-in"
    } else {
        "not-opted-in"
    }
}

/// Without `AllRegions` and names, only the regions that the account can use.
pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let filters = Filters::of(&params, &["endpoint", "opt-in-status", "region-name"])?;
    let all = params.bool("AllRegions")? == Some(true);
    let partition = Partition::of(&call.region);
    let here = DEFAULT.iter().chain(OPT_IN).copied().filter(|region| Partition::of(region) == partition);
    let mut here: Vec<&str> = here.collect();
    here.sort_unstable();
    let names = params.list("RegionName");
    if let Some(unknown) = names.iter().find(|name| !here.contains(name)) {
        return Err(Fault::new("InvalidParameterValue", format!("Invalid region names: [{unknown}]")));
    }
    let endpoint = |region: &str| format!("ec2.{region}.{}", partition.domain);
    let none = Tags::new();
    let listed = here.into_iter().filter(|region| {
        let wanted =
            if names.is_empty() { all || status(cloud, region) != "not-opted-in" } else { names.contains(region) };
        wanted
            && filters.accept(&none, |filter| match filter {
                "endpoint" => vec![endpoint(region).into()],
                "opt-in-status" => text(status(cloud, region)),
                _ => text(region),
            })
    });
    Ok(document(call, |xml| {
        xml.list("regionInfo", "item", listed, |xml, region| {
            xml.text("regionName", region)
                .text("regionEndpoint", endpoint(region))
                .text("optInStatus", status(cloud, region));
        });
    }))
}
