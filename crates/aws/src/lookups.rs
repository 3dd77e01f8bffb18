//! What a stack reads and never changes: the network, images, instance types, secrets.
//!
//! A lookup that finds nothing does not stop the others: the plan reports all of them with their reasons.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use aws_sdk_ec2::types::{
    Filter, Image as Ec2Image, ImageState, Route, RouteState, RouteTable, Subnet as Ec2Subnet, Vpc as Ec2Vpc,
    VpcCidrBlockStateCode, VpcIpv6CidrBlockAssociation,
};
use trunnion_engine::{Address, Graph, Map, Value};
use trunnion_kinds::lookup::{ElasticIpQuota, Image, InstanceType, Secret, Subnet, Vpc};

use crate::{
    Aws,
    convert::{text, typed},
    error::{Class, Failure, OfCall as _},
    kinds::tagging::filter,
};

/// What each lookup found, or why it found nothing.
pub(crate) type Answers = Vec<(Address, Result<Map, Failure>)>;

/// The lookups of a stack by kind.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    vpcs: Vec<(Address, Vpc)>,
    /// They need the id of the VPC, which is known after the first round.
    subnets: Vec<(Address, Map)>,
    images: Vec<(Address, Image)>,
    types: Vec<(Address, InstanceType)>,
    secrets: Vec<(Address, Secret)>,
    quotas: Vec<Address>,
}

impl Queries {
    /// The lookups of a graph.
    pub fn of(graph: &Graph) -> Result<Self, Failure> {
        let mut queries = Self::default();
        for lookup in graph.lookups().values() {
            let (address, query) = (lookup.address.clone(), &lookup.query);
            match address.kind.as_str() {
                Vpc::KIND => queries.vpcs.push((address, typed(query)?)),
                Subnet::KIND => queries.subnets.push((address, query.clone())),
                Image::KIND => queries.images.push((address, typed(query)?)),
                InstanceType::KIND => queries.types.push((address, typed(query)?)),
                Secret::KIND => queries.secrets.push((address, typed(query)?)),
                ElasticIpQuota::KIND => queries.quotas.push(address),
                kind => return Err(Failure::own(format!("`{kind}` is not a kind of lookup"), None)),
            }
        }
        Ok(queries)
    }

    /// Whether a second round of calls is needed.
    pub fn has_second(&self) -> bool {
        !self.subnets.is_empty() || !self.images.is_empty()
    }
}

fn attributes<const N: usize>(pairs: [(&str, Value); N]) -> Map {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The VPCs.
pub(crate) async fn vpcs(aws: &Aws, queries: &Queries) -> Result<Answers, Failure> {
    let mut answers = Answers::new();
    for (address, query) in &queries.vpcs {
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

fn found_vpc(vpc: Ec2Vpc) -> Map {
    let is_associated = |block: &VpcIpv6CidrBlockAssociation| {
        let state = block.ipv6_cidr_block_state.as_ref().and_then(|state| state.state.as_ref());
        state
            .is_none_or(|state| matches!(state, VpcCidrBlockStateCode::Associated | VpcCidrBlockStateCode::Associating))
    };
    let has_ipv6 = vpc.ipv6_cidr_block_association_set().iter().any(is_associated);
    let mut found = attributes([
        ("id", vpc.vpc_id.unwrap_or_default().into()),
        ("cidr", vpc.cidr_block.unwrap_or_default().into()),
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

/// The DNS servers of VPCs that do not use Amazon's. Without the permission to read them, they must be in the stack file.
pub(crate) async fn dns_servers(aws: &Aws, known: &BTreeMap<Address, Map>) -> Result<Answers, Failure> {
    let mut answers = Answers::new();
    for (address, found) in known.iter().filter(|(address, _)| address.kind.as_str() == Vpc::KIND) {
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

/// The values of all SSM parameters that name images.
pub(crate) async fn parameters(aws: &Aws, queries: &Queries) -> Result<HashMap<String, String>, Failure> {
    let names: BTreeSet<String> = queries.images.iter().filter_map(|(_, image)| image.parameter.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let asked = names.chunks(10).map(|names| {
        let call = aws.clients.ssm.get_parameters().set_names(Some(names.to_vec()));
        Box::pin(async { call.send().await.of_call("ssm:GetParameters") })
    });
    let answers = futures::future::try_join_all(asked).await?;
    let parameters = answers.into_iter().flat_map(|answer| answer.parameters.into_iter().flatten());
    Ok(parameters.filter_map(|parameter| Some((parameter.name?, parameter.value?))).collect())
}

/// The instance types.
pub(crate) async fn types(aws: &Aws, queries: &Queries) -> Result<Answers, Failure> {
    if queries.types.is_empty() {
        return Ok(Answers::new());
    }
    let names: BTreeSet<String> = queries.types.iter().map(|(_, query)| query.name.clone()).collect();
    let call = aws.clients.ec2.describe_instance_types().filters(filter("instance-type", names.into_iter().collect()));
    let mut pages = call.into_paginator().send();
    let mut found = HashMap::new();
    while let Some(page) = pages.next().await {
        for info in page.of_call("ec2:DescribeInstanceTypes")?.instance_types.into_iter().flatten() {
            let Some(network) = info.network_info else { continue };
            let name = info.instance_type.map(|name| name.as_str().to_owned()).unwrap_or_default();
            // The sum over the cards; in older answers, the total is the number of a single card.
            let cards = network.network_cards.iter().flatten();
            let on_cards: i32 = cards.filter_map(|card| card.maximum_network_interfaces).sum();
            let interfaces = on_cards.max(network.maximum_network_interfaces.unwrap_or(0));
            found.insert(name, (interfaces, network.ipv4_addresses_per_interface.unwrap_or(0)));
        }
    }
    let answer = |query: &InstanceType| match found.get(&query.name) {
        Some(&(interfaces, addresses)) => Ok(attributes([
            ("name", query.name.as_str().into()),
            ("interfaces", Value::Number(interfaces.into())),
            ("addresses", Value::Number(addresses.into())),
        ])),
        None => Err(Failure::own(
            format!("the instance type `{}` is not offered in {}", query.name, aws.connection.region),
            "use another `instance_type` or another region".to_owned(),
        )),
    };
    Ok(queries.types.iter().map(|(address, query)| (address.clone(), answer(query))).collect())
}

/// The secrets; their values are never read.
pub(crate) async fn secrets(aws: &Aws, queries: &Queries) -> Result<Answers, Failure> {
    let asked = queries.secrets.iter().map(|(address, query)| {
        Box::pin(async move {
            let call = aws.clients.secrets.describe_secret().secret_id(&query.arn);
            let answer = match call.send().await.of_call("secretsmanager:DescribeSecret") {
                Ok(answer) if answer.deleted_date.is_some() => Err(Failure::own(
                    format!("the secret `{}` is being deleted", query.arn),
                    "restore it, or name another one".to_owned(),
                )),
                Ok(answer) => {
                    // The complete ARN, which policies need.
                    let arn = answer.arn.unwrap_or_else(|| query.arn.clone());
                    let mut found = attributes([("arn", arn.into())]);
                    // The default key `aws/secretsmanager` needs no permission, so it is left out.
                    if let Some(key) = answer.kms_key_id.filter(|key| !key.ends_with("alias/aws/secretsmanager")) {
                        found.insert("kms_key".to_owned(), key.into());
                    }
                    Ok(found)
                }
                Err(failure) if failure.class == Class::NotFound => Err(Failure {
                    help: Some("create it, or correct the ARN".to_owned()),
                    message: format!("the secret `{}` does not exist", query.arn),
                    ..failure
                }),
                Err(failure)
                    if matches!(failure.class, Class::Credentials | Class::ExpiredCredentials | Class::Unreachable) =>
                {
                    return Err(failure);
                }
                Err(failure) => Err(failure),
            };
            Ok((address.clone(), answer))
        })
    });
    futures::future::try_join_all(asked).await
}

/// How many Elastic IPs the region allows and how many it has. AWS's default counts if the identity may not read the
/// quota.
pub(crate) async fn quotas(aws: &Aws, queries: &Queries) -> Result<Answers, Failure> {
    if queries.quotas.is_empty() {
        return Ok(Answers::new());
    }
    let ec2 = &aws.clients.ec2;
    let most = async {
        match ec2.describe_account_attributes().send().await.of_call("ec2:DescribeAccountAttributes") {
            Ok(answer) => {
                let named = answer.account_attributes.into_iter().flatten();
                let quota = named.filter(|one| one.attribute_name.as_deref() == Some(MOST_ELASTIC_IPS));
                let values = quota.filter_map(|one| one.attribute_values);
                let mut numbers = values.flatten().filter_map(|one| one.attribute_value?.parse::<i64>().ok());
                Ok(numbers.next().unwrap_or(ElasticIpQuota::DEFAULT))
            }
            Err(failure) if failure.class == Class::Denied => Ok(ElasticIpQuota::DEFAULT),
            Err(failure) => Err(failure),
        }
    };
    let used = async { ec2.describe_addresses().send().await.of_call("ec2:DescribeAddresses") };
    let (most, used) = futures::try_join!(Box::pin(most), Box::pin(used))?;
    let used = i64::try_from(used.addresses().len()).unwrap_or(i64::MAX);
    let found = || attributes([("most", Value::Number(most)), ("used", Value::Number(used))]);
    Ok(queries.quotas.iter().map(|address| (address.clone(), Ok(found()))).collect())
}

/// The account attribute with the quota of Elastic IPs. Its name is not in the enum of names that can be asked for, so all
/// attributes are.
const MOST_ELASTIC_IPS: &str = "vpc-max-elastic-ips";

/// The subnets with their default routes. A subnet whose VPC was not found is left out.
pub(crate) async fn subnets(aws: &Aws, queries: &Queries, known: &BTreeMap<Address, Map>) -> Result<Answers, Failure> {
    let mut asked = Vec::new();
    for (address, query) in &queries.subnets {
        let resolved = Value::Map(query.clone())
            .resolve(&|reference| known.get(&reference.address)?.get(&reference.attribute).cloned());
        if let (Value::Map(query), true) = (&resolved, resolved.is_known()) {
            asked.push((address, typed::<Subnet>(query)?));
        }
    }
    if asked.is_empty() {
        return Ok(Answers::new());
    }
    let vpcs: BTreeSet<String> =
        asked.iter().map(|(_, query)| text(&query.vpc).map(str::to_owned)).collect::<Result<_, _>>()?;
    let vpcs = filter("vpc-id", vpcs.into_iter().collect());
    let (subnets, tables) =
        futures::try_join!(Box::pin(all_subnets(aws, vpcs.clone())), Box::pin(all_tables(aws, vpcs)))?;
    asked.into_iter().map(|(address, query)| Ok((address.clone(), subnet(&query, &subnets, &tables)?))).collect()
}

async fn all_subnets(aws: &Aws, vpcs: Filter) -> Result<Vec<Ec2Subnet>, Failure> {
    let mut pages = aws.clients.ec2.describe_subnets().filters(vpcs).into_paginator().page_size(1000).send();
    let mut subnets = Vec::new();
    while let Some(page) = pages.next().await {
        subnets.extend(page.of_call("ec2:DescribeSubnets")?.subnets.into_iter().flatten());
    }
    Ok(subnets)
}

async fn all_tables(aws: &Aws, vpcs: Filter) -> Result<Vec<RouteTable>, Failure> {
    let mut pages = aws.clients.ec2.describe_route_tables().filters(vpcs).into_paginator().page_size(100).send();
    let mut tables = Vec::new();
    while let Some(page) = pages.next().await {
        tables.extend(page.of_call("ec2:DescribeRouteTables")?.route_tables.into_iter().flatten());
    }
    Ok(tables)
}

fn subnet(query: &Subnet, subnets: &[Ec2Subnet], tables: &[RouteTable]) -> Result<Result<Map, Failure>, Failure> {
    let vpc = text(&query.vpc)?;
    let mut fit: Vec<&Ec2Subnet> = subnets
        .iter()
        .filter(|subnet| subnet.vpc_id.as_deref() == Some(vpc))
        .filter(|subnet| query.id.is_none() || subnet.subnet_id == query.id)
        .filter(|subnet| query.zone.is_none() || subnet.availability_zone == query.zone)
        .collect();
    if fit.len() > 1 {
        let defaults = fit.iter().copied().filter(|subnet| subnet.default_for_az == Some(true));
        fit = Some(defaults.collect::<Vec<_>>()).filter(|defaults| !defaults.is_empty()).unwrap_or(fit);
    }
    let place = match (&query.id, &query.zone) {
        (Some(id), _) => format!("`{id}`"),
        (None, Some(zone)) => format!("a subnet in {zone}"),
        (None, None) => "a subnet".to_owned(),
    };
    Ok(match fit.as_slice() {
        [found] => Ok(attributes([
            ("id", found.subnet_id.clone().unwrap_or_default().into()),
            ("zone", found.availability_zone.clone().unwrap_or_default().into()),
            ("cidr", found.cidr_block.clone().unwrap_or_default().into()),
            ("free_addresses", Value::Number(found.available_ip_address_count.unwrap_or(0).into())),
            ("default_route", default_route(vpc, found.subnet_id.as_deref(), tables).into()),
        ])),
        [] => Err(Failure::own(
            format!("`{vpc}` has no such subnet: {place}"),
            "use another `zone`, or set `subnet` to one of that VPC".to_owned(),
        )),
        several => {
            let mut ids: Vec<&str> = several.iter().filter_map(|subnet| subnet.subnet_id.as_deref()).collect();
            ids.sort_unstable();
            Err(Failure::own(
                format!("`{vpc}` has several of {place}: {}", ids.join(", ")),
                "set the pool's `subnet` to one of them; without `zones`, the control plane uses the pools' subnets"
                    .to_owned(),
            ))
        }
    })
}

/// The target of a subnet's default route.
fn default_route(vpc: &str, subnet: Option<&str>, tables: &[RouteTable]) -> &'static str {
    let of_vpc = || tables.iter().filter(|table| table.vpc_id.as_deref() == Some(vpc));
    let own = of_vpc().find(|table| {
        table.associations().iter().any(|association| subnet.is_some() && association.subnet_id.as_deref() == subnet)
    });
    let main = || of_vpc().find(|table| table.associations().iter().any(|association| association.main == Some(true)));
    let Some(table) = own.or_else(main) else { return "none" };
    let default = |route: &&Route| {
        route.destination_cidr_block.as_deref() == Some("0.0.0.0/0") && route.state != Some(RouteState::Blackhole)
    };
    match table.routes().iter().find(default) {
        None => "none",
        Some(route) if route.gateway_id.as_deref().is_some_and(|id| id.starts_with("igw-")) => "internet_gateway",
        Some(route) if route.nat_gateway_id.is_some() => "nat",
        Some(_) => "other",
    }
}

/// The images, by the ids in the parameters or in the stack.
pub(crate) async fn images(
    aws: &Aws,
    queries: &Queries,
    parameters: &HashMap<String, String>,
) -> Result<Answers, Failure> {
    let id_of = |image: &Image| match &image.parameter {
        Some(parameter) => parameters.get(parameter).cloned(),
        None => image.id.clone(),
    };
    let ids: BTreeSet<String> = queries.images.iter().filter_map(|(_, image)| id_of(image)).collect();
    let found = images_by_id(aws, ids.into_iter().collect()).await?;
    let answer = |query: &Image| {
        let Some(id) = id_of(query) else {
            let parameter = query.parameter.as_deref().unwrap_or_default();
            return Err(Failure::own(
                format!("the SSM parameter `{parameter}` does not exist in {}", aws.connection.region),
                "correct `image`".to_owned(),
            ));
        };
        let Some(image) = found.get(&id) else {
            return Err(Failure::own(
                format!(
                    "the image `{id}` does not exist in {}, or it is not shared with this account",
                    aws.connection.region
                ),
                "correct `image`: ids differ from region to region".to_owned(),
            ));
        };
        let architecture = image.architecture.as_ref().map_or("", |architecture| architecture.as_str());
        if architecture != query.architecture {
            return Err(Failure::own(
                format!("the image `{id}` is for {architecture}, but the pool's hosts are {}", query.architecture),
                format!("name an image for {}", query.architecture),
            ));
        }
        // EC2 launches hosts only from an available image.
        if let Some(state) = image.state.as_ref().filter(|state| **state != ImageState::Available) {
            return Err(Failure::own(
                format!("the image `{id}` is in the state `{}`, not `available`", state.as_str()),
                "wait until it is available, or use another image".to_owned(),
            ));
        }
        let mut found = attributes([
            ("id", id.into()),
            ("name", image.name.clone().unwrap_or_default().into()),
            ("architecture", architecture.into()),
            ("root_device", image.root_device_name.clone().unwrap_or_default().into()),
        ]);
        let root = image.block_device_mappings().iter().find(|device| device.device_name == image.root_device_name);
        if let Some(size) = root.and_then(|device| device.ebs.as_ref()?.volume_size) {
            found.insert("root_size_gib".to_owned(), Value::Number(size.into()));
        }
        Ok(found)
    };
    Ok(queries.images.iter().map(|(address, query)| (address.clone(), answer(query))).collect())
}

async fn images_by_id(aws: &Aws, mut ids: Vec<String>) -> Result<HashMap<String, Ec2Image>, Failure> {
    while !ids.is_empty() {
        let call = aws.clients.ec2.describe_images().set_image_ids(Some(ids.clone()));
        match call.send().await.of_call("ec2:DescribeImages") {
            Ok(answer) => {
                let images = answer.images.into_iter().flatten();
                return Ok(images.filter_map(|image| Some((image.image_id.clone()?, image))).collect());
            }
            // EC2 names the ids it does not know, so the others are asked for again.
            Err(failure) if failure.code.starts_with("InvalidAMIID") => {
                let before = ids.len();
                ids.retain(|id| !failure.message.contains(id.as_str()));
                if ids.len() == before {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(HashMap::new())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::RouteTableAssociation;

    use super::*;

    fn table(association: RouteTableAssociation, route: Option<Route>) -> RouteTable {
        let table = RouteTable::builder().vpc_id("vpc-1").associations(association);
        table.set_routes(route.map(|route| vec![route])).build()
    }

    #[test]
    fn a_subnet_without_its_own_route_table_uses_the_main_one() {
        let route = || Route::builder().destination_cidr_block("0.0.0.0/0");
        let main =
            table(RouteTableAssociation::builder().main(true).build(), Some(route().gateway_id("igw-1").build()));
        let private = table(
            RouteTableAssociation::builder().subnet_id("subnet-1").build(),
            Some(route().nat_gateway_id("nat-1").build()),
        );
        let closed = table(RouteTableAssociation::builder().subnet_id("subnet-2").build(), None);
        let tables = [main, private, closed];
        assert_eq!(default_route("vpc-1", Some("subnet-1"), &tables), "nat");
        assert_eq!(default_route("vpc-1", Some("subnet-2"), &tables), "none");
        assert_eq!(default_route("vpc-1", Some("subnet-3"), &tables), "internet_gateway");
        assert_eq!(default_route("vpc-2", Some("subnet-3"), &tables), "none");
    }

    #[test]
    fn the_default_subnet_of_a_zone_is_preferred() {
        let of = |id: &str, default: bool| {
            let subnet = Ec2Subnet::builder().subnet_id(id).vpc_id("vpc-1").availability_zone("eu-west-3a");
            subnet.default_for_az(default).build()
        };
        let query = Subnet { vpc: "vpc-1".into(), zone: Some("eu-west-3a".into()), id: None };
        let found = subnet(&query, &[of("subnet-1", false), of("subnet-2", true)], &[]).unwrap().unwrap();
        assert_eq!(found["id"].as_text(), Some("subnet-2"));
        let several = subnet(&query, &[of("subnet-2", false), of("subnet-1", false)], &[]).unwrap().unwrap_err();
        assert!(several.message.ends_with("subnet-1, subnet-2"), "{}", several.message);
    }
}
