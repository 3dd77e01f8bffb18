//! Gives the sandbox what the account had before: the network, secrets and images that the first reads show.

use serde_json::{Value, json};

use super::{client::Client, ids::Ids, tree};
use crate::{Failure, transcript::Call};

/// Amazon's images in the sandbox, by architecture.
const IMAGES: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-";

/// Creates what is missing. Later calls use the sandbox's ids.
pub(super) fn prepare(calls: &[Call], client: &Client, ids: &mut Ids) -> Result<(), Failure> {
    let reads = calls.iter().take_while(|call| call.is_read() || !call.is_success());
    for call in reads.filter(|call| call.is_success()) {
        let answer = call.answer.as_ref().map_or(Value::Null, tree::of_body);
        match call.operation.as_str() {
            "ec2:DescribeVpcs" => vpcs(call, &answer, client, ids)?,
            "ec2:DescribeSubnets" => subnets(call, &answer, client, ids)?,
            "ec2:DescribeImages" => images(call, &answer, client, ids)?,
            "secretsmanager:DescribeSecret" => secret(call, &answer, client, ids)?,
            _ => {}
        }
    }
    Ok(())
}

fn items<'t>(tree: &'t Value, set: &str) -> &'t [Value] {
    tree.get(set).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'t>(tree: &'t Value, name: &str) -> &'t str {
    tree.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The parameters that give a new resource the tags of one in the transcript.
fn tags(item: &Value, kind: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (number, tag) in
        items(item, "tagSet").iter().enumerate().filter(|(_, tag)| !text(tag, "key").starts_with("aws:"))
    {
        let prefix = format!("TagSpecification.1.Tag.{}", number + 1);
        pairs.push((format!("{prefix}.Key"), text(tag, "key").to_owned()));
        pairs.push((format!("{prefix}.Value"), text(tag, "value").to_owned()));
    }
    if !pairs.is_empty() {
        pairs.push(("TagSpecification.1.ResourceType".to_owned(), kind.to_owned()));
    }
    pairs
}

fn create(client: &Client, region: &str, pairs: &[(&str, &str)], more: &[(String, String)]) -> Result<Value, Failure> {
    let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all: Vec<(&str, &str)> = pairs.iter().copied().chain(more).collect();
    let answer = client.ec2(region, &all)?;
    if answer.is_success() {
        return Ok(answer.tree);
    }
    let action = all.first().map(|(_, action)| *action).unwrap_or_default();
    Err(format!("the sandbox cannot be prepared: {action} answers {}", answer.tree).into())
}

/// Networks other than the default one, each with a way to the internet.
fn vpcs(call: &Call, answer: &Value, client: &Client, ids: &mut Ids) -> Result<(), Failure> {
    let region = &call.region;
    for vpc in items(answer, "vpcSet").iter().filter(|vpc| text(vpc, "isDefault") == "false") {
        let id = text(vpc, "vpcId");
        if ids.text(id) != id {
            continue;
        }
        let pairs = [("Action", "CreateVpc"), ("CidrBlock", text(vpc, "cidrBlock"))];
        let created = create(client, region, &pairs, &tags(vpc, "vpc"))?;
        let made = created.get("vpc").map(|vpc| text(vpc, "vpcId")).unwrap_or_default().to_owned();
        ids.learn(id, &made);
        let created = create(client, region, &[("Action", "CreateInternetGateway")], &[])?;
        let gateway = created.get("internetGateway").map(|made| text(made, "internetGatewayId")).unwrap_or_default();
        let attach = [("Action", "AttachInternetGateway"), ("InternetGatewayId", gateway), ("VpcId", made.as_str())];
        create(client, region, &attach, &[])?;
        let filter =
            [("Action", "DescribeRouteTables"), ("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", made.as_str())];
        let tables = create(client, region, &filter, &[])?;
        let table =
            items(&tables, "routeTableSet").first().map(|table| text(table, "routeTableId")).unwrap_or_default();
        let route = [
            ("Action", "CreateRoute"),
            ("RouteTableId", table),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", gateway),
        ];
        create(client, region, &route, &[])?;
    }
    Ok(())
}

/// The subnets of those networks.
fn subnets(call: &Call, answer: &Value, client: &Client, ids: &mut Ids) -> Result<(), Failure> {
    for subnet in items(answer, "subnetSet") {
        let (id, vpc) = (text(subnet, "subnetId"), text(subnet, "vpcId"));
        let network = ids.text(vpc);
        if network == vpc || ids.text(id) != id {
            continue;
        }
        let pairs = [
            ("Action", "CreateSubnet"),
            ("VpcId", network.as_str()),
            ("CidrBlock", text(subnet, "cidrBlock")),
            ("AvailabilityZone", text(subnet, "availabilityZone")),
        ];
        let created = create(client, &call.region, &pairs, &tags(subnet, "subnet"))?;
        ids.learn(id, created.get("subnet").map(|made| text(made, "subnetId")).unwrap_or_default());
    }
    Ok(())
}

/// Every image becomes the sandbox's image of the same architecture.
fn images(call: &Call, answer: &Value, client: &Client, ids: &mut Ids) -> Result<(), Failure> {
    for image in items(answer, "imagesSet") {
        let names = json!({"Names": [format!("{IMAGES}{}", text(image, "architecture"))]});
        let found = client.json("ssm", &call.region, "AmazonSSM.GetParameters", &names)?;
        if let Some(parameter) = items(&found.tree, "Parameters").first() {
            ids.learn(text(image, "imageId"), text(parameter, "Value"));
        }
    }
    Ok(())
}

/// A secret whose value nobody needs.
fn secret(call: &Call, answer: &Value, client: &Client, ids: &mut Ids) -> Result<(), Failure> {
    let (arn, name) = (text(answer, "ARN"), text(answer, "Name"));
    let known =
        client.json("secretsmanager", &call.region, "secretsmanager.DescribeSecret", &json!({"SecretId": arn}))?;
    if known.is_success() || ids.text(arn) != arn {
        return Ok(());
    }
    let secret =
        json!({"Name": name, "SecretString": "{}", "ClientRequestToken": "00000000-0000-4000-8000-000000000000"});
    let created = client.json("secretsmanager", &call.region, "secretsmanager.CreateSecret", &secret)?;
    ids.learn(arn, text(&created.tree, "ARN"));
    Ok(())
}
