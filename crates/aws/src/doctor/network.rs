//! DNS: without the VPC's resolver or servers of its own, hosts find no name.

use aws_sdk_ec2::types::VpcAttributeName;
use trunnion_engine::{Finding, Value};
use trunnion_kinds::lookup::Vpc;

use super::{Examination, failed};
use crate::{convert::attribute, error::OfCall as _};

pub(super) async fn examine(examination: &Examination<'_>) -> Vec<Finding> {
    let vpcs = examination.known.iter().filter(|(address, _)| address.kind.as_str() == Vpc::KIND);
    let mut findings = Vec::new();
    for (_, found) in vpcs {
        let id = attribute(found, "id");
        let subject = format!("DNS of {id}");
        if let Some(servers) = found.get("dns_servers").and_then(Value::as_list) {
            let servers: Vec<&str> = servers.iter().filter_map(Value::as_text).collect();
            findings.push(Finding::ok(subject, format!("its own servers: {}", servers.join(", "))));
            continue;
        }
        let call = examination.aws.clients.ec2.describe_vpc_attribute();
        let call = call.vpc_id(id).attribute(VpcAttributeName::EnableDnsSupport);
        findings.push(match call.send().await.of_call("ec2:DescribeVpcAttribute") {
            Err(failure) => failed(subject, failure),
            Ok(answer) if answer.enable_dns_support.as_ref().and_then(|on| on.value) == Some(false) => {
                let help = format!("aws ec2 modify-vpc-attribute --vpc-id {id} --enable-dns-support Value=true");
                let detail = "Amazon's DNS server is off, so hosts find neither api.gatling.io nor S3";
                Finding::missing(subject, detail, Some(format!("switch it on: `{help}`")))
            }
            Ok(_) => Finding::ok(subject, "Amazon's DNS server is on"),
        });
    }
    findings
}
