//! The network: a VPC, and the DNS servers that its hosts use.

use std::{collections::BTreeSet, net::IpAddr};

use aws_sdk_ec2::types::{
    Vpc as Ec2Vpc, VpcCidrBlockAssociation, VpcCidrBlockState, VpcCidrBlockStateCode, VpcIpv6CidrBlockAssociation,
};
use trunnion_engine::{Map, Value};
use trunnion_kinds::lookup::Vpc;

use super::{Answers, Asked, Known, Lookup, attributes};
use crate::{
    Aws,
    error::{Class, Failure, OfCall as _},
    kinds::tagging::filter,
};

pub(crate) struct Vpcs;

impl Lookup for Vpcs {
    type Query = Vpc;
    const KIND: &'static str = Vpc::KIND;

    async fn read(&self, aws: &Aws, asked: &Asked<Vpc>) -> Result<Answers, Failure> {
        let mut answers = Answers::new();
        for (address, query) in asked {
            let (filter, named) = match query {
                Vpc::Default => (filter("is-default", vec!["true".into()]), "default VPC".to_owned()),
                Vpc::Id(id) => (filter("vpc-id", vec![id.clone()]), format!("VPC `{id}`")),
                Vpc::Tag { key, value } => {
                    (filter(format!("tag:{key}"), vec![value.clone()]), format!("VPC with the tag `{key}` = `{value}`"))
                }
            };
            let call = aws.clients.ec2.describe_vpcs().filters(filter);
            let mut found = call.send().await.of_call("ec2:DescribeVpcs")?.vpcs.unwrap_or_default();
            let region = &aws.connection.region;
            let answer = match (found.pop(), found.len()) {
                (Some(vpc), 0) => Ok(found_vpc(vpc)),
                (None, _) => Err(Failure::own(
                    format!("there is no {named} in {region}"),
                    "set `network.vpc` to another one".to_owned(),
                )),
                (Some(_), others) => Err(Failure::own(
                    format!("there are {} of the {named} in {region}", others + 1),
                    "set `network.vpc` to the id of one of them".to_owned(),
                )),
            };
            answers.push((address.clone(), answer));
        }
        Ok(answers)
    }

    /// Adds the DNS servers of VPCs that do not use Amazon's. Without the permission to read them, they must be in the stack
    /// file.
    async fn complete(&self, aws: &Aws, asked: &Asked<Vpc>, known: &Known) -> Result<Answers, Failure> {
        let mut answers = Answers::new();
        for (address, _) in asked {
            let Some(found) = known.get(address) else { continue };
            let Some(options) = found.get(DHCP_OPTIONS).and_then(Value::as_text) else { continue };
            let call = aws.clients.ec2.describe_dhcp_options().dhcp_options_ids(options);
            let answer = match call.send().await.of_call("ec2:DescribeDhcpOptions") {
                Ok(answer) => answer,
                Err(failure) if matches!(failure.class, Class::Denied | Class::NotFound) => continue,
                Err(failure) => return Err(failure),
            };
            let configurations =
                answer.dhcp_options.into_iter().flatten().flat_map(|one| one.dhcp_configurations.unwrap_or_default());
            let named = configurations.filter(|one| one.key.as_deref() == Some("domain-name-servers"));
            let servers: BTreeSet<IpAddr> = named
                .flat_map(|one| one.values.unwrap_or_default())
                .filter_map(|value| value.value?.parse().ok())
                .collect();
            if !servers.is_empty() {
                let servers = servers.iter().map(|server| Value::from(server.to_string())).collect();
                let mut found = found.clone();
                found.insert("dns_servers".to_owned(), Value::List(servers));
                answers.push((address.clone(), Ok(found)));
            }
        }
        Ok(answers)
    }
}

fn found_vpc(vpc: Ec2Vpc) -> Map {
    let is_associated = |state: Option<&VpcCidrBlockState>| {
        let state = state.and_then(|state| state.state.as_ref());
        state
            .is_none_or(|state| matches!(state, VpcCidrBlockStateCode::Associated | VpcCidrBlockStateCode::Associating))
    };
    let ipv4 = vpc.cidr_block_association_set().iter();
    let ipv4 = ipv4.filter(|block: &&VpcCidrBlockAssociation| is_associated(block.cidr_block_state.as_ref()));
    let ipv6 = vpc.ipv6_cidr_block_association_set().iter();
    let ipv6 = ipv6.filter(|block: &&VpcIpv6CidrBlockAssociation| is_associated(block.ipv6_cidr_block_state.as_ref()));
    let has_ipv6 = ipv6.clone().next().is_some();
    let ranges: BTreeSet<&str> = ipv4
        .filter_map(|block| block.cidr_block.as_deref())
        .chain(ipv6.filter_map(|block| block.ipv6_cidr_block.as_deref()))
        .chain(vpc.cidr_block.as_deref())
        .collect();
    let ranges = Value::List(ranges.into_iter().map(Value::from).collect());
    let mut found = attributes([
        ("id", vpc.vpc_id.unwrap_or_default().into()),
        ("cidr", vpc.cidr_block.unwrap_or_default().into()),
        ("ranges", ranges),
    ]);
    if has_ipv6 {
        found.insert("ipv6".to_owned(), Value::Bool(true));
    }
    // A region's default VPC uses Amazon's DNS servers unless somebody changed that, so this call is left out for it.
    if vpc.is_default != Some(true)
        && let Some(options) = vpc.dhcp_options_id.filter(|options| options != "default")
    {
        found.insert(DHCP_OPTIONS.to_owned(), options.into());
    }
    found
}

/// The attribute of a VPC with the id of its DHCP options, if they must be read.
const DHCP_OPTIONS: &str = "dhcp_options";
