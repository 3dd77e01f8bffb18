//! Service Quotas: quotas that a stack can reach, with their values in this account. None can be raised by a call. That of
//! Fargate is shown, and not applied.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};
use trunnion_catalog::{VcpuQuota, limits};

use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::Cloud,
    json::{input, page},
};

/// A quota of a service.
#[derive(Clone)]
struct Quota {
    service: &'static str,
    code: &'static str,
    name: Cow<'static, str>,
    /// That of a new account.
    default: usize,
    /// That of this account; nothing where it has only the default.
    value: fn(&Cloud) -> Option<usize>,
}

/// The value of each quota of vCPUs where none is set: more than any stack reaches.
const UNLIMITED: usize = 100_000;

/// Services by their codes (`ListServices`, read November 2026).
const SERVICES: [(&str, &str); 3] = [
    ("ec2", "Amazon Elastic Compute Cloud (Amazon EC2)"),
    ("fargate", "AWS Fargate"),
    ("vpc", "Amazon Virtual Private Cloud (Amazon VPC)"),
];

/// Those besides vCPUs: Amazon EC2 service quotas, AWS Fargate service quotas and Amazon VPC quotas, read November 2026.
const OTHERS: [Quota; 4] = [
    Quota {
        service: "ec2",
        code: "L-0263D0A3",
        name: Cow::Borrowed("EC2-VPC Elastic IPs"),
        default: limits::ELASTIC_IPS,
        value: |cloud| Some(cloud.most_elastic_ips),
    },
    Quota {
        service: "fargate",
        code: "L-3032A538",
        name: Cow::Borrowed("Fargate On-Demand vCPU resource count"),
        default: 6,
        value: |_| None,
    },
    Quota {
        service: "vpc",
        code: "L-DF5E4CA3",
        name: Cow::Borrowed("Network interfaces per Region"),
        default: limits::NETWORK_INTERFACES,
        value: |_| None,
    },
    Quota {
        service: "vpc",
        code: "L-F678F1CE",
        name: Cow::Borrowed("VPCs per Region"),
        default: limits::VPCS,
        value: |_| None,
    },
];

/// Every quota. The group of standard instances has its letters in its name. In a new account, others have none.
fn quotas() -> impl Iterator<Item = Quota> {
    let vcpus = VcpuQuota::ALL.into_iter().flat_map(|of| {
        let is_standard = of.group == "Standard";
        let group = if is_standard { "Standard (A, C, D, H, I, M, R, T, Z)" } else { of.group };
        let row = |code, name: String| Quota {
            service: "ec2",
            code,
            name: name.into(),
            default: if is_standard { limits::VCPUS as usize } else { 0 },
            value: |cloud| Some(cloud.most_vcpus.map_or(UNLIMITED, |most| most as usize)),
        };
        let spot = of.spot.map(|code| row(code, format!("All {group} Spot Instance Requests")));
        [Some(row(of.on_demand, format!("Running On-Demand {group} instances"))), spot]
    });
    OTHERS.into_iter().chain(vcpus.flatten())
}

/// Answers one call.
pub fn handle(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    match call.action.as_str() {
        "GetServiceQuota" => get(cloud, call, true),
        "GetAWSDefaultServiceQuota" => get(cloud, call, false),
        "ListServiceQuotas" => list(cloud, call),
        other => Err(Fault::new("UnknownOperationException", format!("The operation {other} is not served here."))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    service_code: String,
    quota_code: String,
}

fn get(cloud: &Cloud, call: &Call, is_applied: bool) -> Result<Reply, Fault> {
    let Asked { service_code, quota_code } = input(call)?;
    is_known(&service_code)?;
    let found = quotas().find(|quota| quota.service == service_code && quota.code == quota_code);
    let Some(quota) = found else {
        return Err(Fault::new(
            "NoSuchResourceException",
            "The request failed because the specified quota does not exist.",
        ));
    };
    if is_applied && (quota.value)(cloud).is_none() {
        // As the API reference has it: "the quota is not retrieved".
        return Err(Fault::new(
            "NoSuchResourceException",
            "The request failed because the specified resource does not exist.",
        ));
    }
    Ok(Reply::Json(json!({ "Quota": shown(cloud, call, &quota, is_applied) })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    service_code: String,
    quota_code: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

fn list(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let Listed { service_code, quota_code, next_token, max_results } = input(call)?;
    is_known(&service_code)?;
    let limit = max_results.unwrap_or(100);
    if !(1..=100).contains(&limit) {
        return Err(Fault::new("IllegalArgumentException", "MaxResults must be between 1 and 100."));
    }
    let is_asked = |quota: &Quota| {
        quota.service == service_code
            && (quota.value)(cloud).is_some()
            && quota_code.as_ref().is_none_or(|code| quota.code == code)
    };
    let rows = quotas().filter(is_asked).map(|one| (one.code.to_owned(), shown(cloud, call, &one, true))).collect();
    let (quotas, next) = page(rows, limit, next_token.as_deref(), false)
        .ok_or_else(|| Fault::new("InvalidPaginationTokenException", "Invalid input was provided."))?;
    let mut answer = json!({ "Quotas": quotas });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(Reply::Json(answer))
}

fn is_known(service: &str) -> Result<(), Fault> {
    if SERVICES.iter().any(|(code, _)| *code == service) {
        return Ok(());
    }
    Err(Fault::new("NoSuchResourceException", "The request failed because the specified service does not exist."))
}

/// An account's own quota has the account in its ARN, and a default has none (Service Quotas API reference,
/// `ServiceQuota`, read November 2026).
fn shown(cloud: &Cloud, call: &Call, quota: &Quota, is_applied: bool) -> Value {
    let service = SERVICES.iter().find(|(code, _)| *code == quota.service).map_or("", |(_, name)| *name);
    let account = if is_applied { cloud.account.as_str() } else { "" };
    let value = if is_applied { (quota.value)(cloud).unwrap_or(quota.default) } else { quota.default };
    json!({
        "ServiceCode": quota.service,
        "ServiceName": service,
        "QuotaArn": format!("{}:servicequotas:{}:{account}:{}/{}", arn_of(&call.region), call.region, quota.service, quota.code),
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Value": u32::try_from(value).map_or(f64::MAX, f64::from),
        "Unit": "None",
        "Adjustable": true,
        "GlobalQuota": false,
        "QuotaAppliedAtLevel": "ACCOUNT",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::testing::{cloud, json_call};

    #[test]
    fn a_quota_has_the_accounts_value_and_aws_s_default() {
        let mut cloud = cloud();
        cloud.most_vcpus = Some(64);
        let ask = |action: &str, code: &str| {
            let asked = json!({ "ServiceCode": "ec2", "QuotaCode": code });
            match handle(&cloud, &json_call(action, 0, asked)) {
                Ok(Reply::Json(answer)) => Ok(answer["Quota"]["Value"].as_f64()),
                other => Err(other.map(|_| ()).unwrap_err().code),
            }
        };
        assert_eq!(ask("GetServiceQuota", "L-1216C47A"), Ok(Some(64.0)));
        assert_eq!(ask("GetAWSDefaultServiceQuota", "L-1216C47A"), Ok(Some(5.0)));
        assert_eq!(ask("GetServiceQuota", "L-00000000"), Err("NoSuchResourceException".to_owned()));
    }
}
