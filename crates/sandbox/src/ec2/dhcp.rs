//! DHCP options: the DNS servers that the hosts of a VPC use.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use trunnion_catalog::limits;

use super::{
    document, done,
    model::{DhcpOptions, Tags, Vpc},
    select::{self, Row, THOUSAND, find, find_mut, row_fields, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::{Cloud, id_of},
    xml::Xml,
};

/// The value of AWS's default options.
const AMAZON: &str = "AmazonProvidedDNS";

impl Row for DhcpOptions {
    const PREFIX: &'static str = "dopt-";
    const KIND: &'static str = "dhcp-options";
    const NOUN: &'static str = "dhcpOption ID";
    const NOT_FOUND: &'static str = "InvalidDhcpOptionID.NotFound";
    const MALFORMED: &'static str = "InvalidDhcpOptionsId.Malformed";
    const IDS: &'static str = "DhcpOptionsId";
    const FILTERS: &'static [&'static str] = &["dhcp-options-id", "key", "value", "owner-id"];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "key" => self.options.keys().map(Cow::from).collect(),
            "value" => self.options.values().flatten().map(Cow::from).collect(),
            "owner-id" => text(&cloud.account),
            _ => text(id),
        }
    }
}

/// The id of a VPC's options.
pub(super) fn of_vpc(vpc: &Vpc) -> String {
    vpc.dhcp_options.clone().unwrap_or_else(|| id_of(DhcpOptions::PREFIX, &vpc.region))
}

/// Creates the default options that every VPC of a region has at first.
pub(super) fn seed(cloud: &mut Cloud, region: &str, created: Timestamp) {
    let options = BTreeMap::from([
        ("domain-name".to_owned(), vec![format!("{region}.compute.internal")]),
        ("domain-name-servers".to_owned(), vec![AMAZON.to_owned()]),
    ]);
    let row = DhcpOptions { region: region.to_owned(), created, options, tags: Tags::new() };
    cloud.ec2.dhcp_options.insert(id_of(DhcpOptions::PREFIX, region), row);
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.dhcp_options, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("dhcpOptionsSet", "item", page, |xml, (id, row)| write(xml, cloud, id, row));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, row: &DhcpOptions) {
    xml.text("dhcpOptionsId", id).text("ownerId", &cloud.account).list(
        "dhcpConfigurationSet",
        "item",
        &row.options,
        |xml, (key, values)| {
            xml.text("key", key).list("valueSet", "item", values, |xml, value| {
                xml.text("value", value);
            });
        },
    );
    tag::write(xml, &row.tags);
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let mut options = BTreeMap::new();
    for option in params.items("DhcpConfiguration") {
        let key = option.require("Key")?;
        let values: Vec<String> = option.list("Value").into_iter().map(str::to_owned).collect();
        if key == "domain-name-servers" && values.len() > limits::DNS_SERVERS {
            return Err(Fault::new("InvalidParameterValue", "You can specify up to four domain name servers."));
        }
        options.insert(key.to_owned(), values);
    }
    let row = DhcpOptions {
        region: call.region.clone(),
        created: call.now,
        options,
        tags: tag::of_created::<DhcpOptions>(&params)?,
    };
    let id = cloud.new_id(DhcpOptions::PREFIX);
    let reply = document(call, |xml| {
        xml.element("dhcpOptions", |xml| write(xml, cloud, &id, &row));
    });
    cloud.ec2.dhcp_options.insert(id, row);
    Ok(reply)
}

/// The id `default` removes the options from the VPC.
pub(super) fn associate(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (options, vpc) = (params.require("DhcpOptionsId")?, params.require("VpcId")?);
    if options != "default" {
        find(&cloud.ec2.dhcp_options, &call.region, options)?;
    }
    find_mut(&mut cloud.ec2.vpcs, &call.region, vpc)?.dhcp_options = Some(options.to_owned());
    Ok(done(call))
}
