//! What AWS's own answers in the transcript must show after an apply.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::{
    Failure, replay,
    transcript::{self, Call},
};

/// Checks the calls after this position of the file: every host of the outputs runs with its address, the service is
/// stable, and the configuration of the control plane names the hosts.
pub(super) fn complete(transcript: &Path, from: u64, outputs: &Value, hosts: usize) -> Result<(), Failure> {
    let answers = answers(transcript, from)?;
    let of =
        |operation: &'static str| answers.iter().filter(move |(name, _)| name == operation).map(|(_, answer)| answer);
    let listed = items(&outputs["hosts"]);
    if listed.len() != hosts {
        return Err(format!("`trunnion show` lists {} hosts instead of {hosts}", listed.len()).into());
    }
    let instances: Vec<&Value> = of("ec2:DescribeInstances")
        .flat_map(|answer| items(&answer["reservationSet"]))
        .flat_map(|reservation| items(&reservation["instancesSet"]))
        .collect();
    let confs: String = of("ecs:DescribeTaskDefinition").map(Value::to_string).collect();
    for host in listed {
        let id = host["id"].as_str().unwrap_or_default();
        let instance = instances.iter().rev().find(|instance| instance["instanceId"] == id);
        runs(instance.ok_or_else(|| format!("AWS does not list the host {id}"))?, host)?;
        let text = |name: &str| host[name].as_str().unwrap_or_default();
        let (address, location) = (text("private_ip"), text("location"));
        // The configuration is a text in JSON: its quotes are escaped.
        let is_named = confs.contains(&format!("\\\"{address}\\\"")) && confs.contains(&format!("\\\"{location}\\\""));
        if !location.is_empty() && !is_named {
            return Err(format!("the configuration of the control plane does not name {address} in {location}").into());
        }
    }
    service(of("ecs:DescribeServices").next_back(), outputs)
}

/// Operations and answers of the successful calls after a position of the file.
fn answers(transcript: &Path, from: u64) -> Result<Vec<(String, Value)>, Failure> {
    let calls = transcript::read_from(transcript, from)?.into_iter().filter(Call::is_success);
    Ok(calls.map(|call| (call.operation, call.answer.as_ref().map_or(Value::Null, replay::tree_of))).collect())
}

fn runs(instance: &Value, host: &Value) -> Result<(), Failure> {
    let text = |name: &str| host[name].as_str().unwrap_or_default();
    let (id, address) = (text("id"), text("private_ip"));
    let state = instance["instanceState"]["name"].as_str().unwrap_or("without a state");
    if state != "running" {
        return Err(format!("the host {id} is {state}").into());
    }
    let addresses: BTreeSet<&str> = items(&instance["networkInterfaceSet"])
        .iter()
        .flat_map(|interface| items(&interface["privateIpAddressesSet"]))
        .filter_map(|address| address["privateIpAddress"].as_str())
        .collect();
    let planned = host["addresses"].as_u64().unwrap_or_default();
    if !addresses.contains(address) || addresses.len() as u64 != planned {
        let all: Vec<&str> = addresses.into_iter().collect();
        let all = all.join(", ");
        return Err(format!("the host {id} has the addresses {all} instead of {planned} with {address}").into());
    }
    Ok(())
}

fn service(answer: Option<&Value>, outputs: &Value) -> Result<(), Failure> {
    if outputs["control_plane"].is_null() {
        return Ok(());
    }
    let service =
        answer.and_then(|answer| items(&answer["services"]).first()).ok_or("AWS does not list the service")?;
    let number = |name: &str| service[name].as_u64();
    let deployments = items(&service["deployments"]);
    let is_done = deployments.iter().all(|one| one["rolloutState"].as_str().is_none_or(|state| state == "COMPLETED"));
    let is_running = number("runningCount").is_some_and(|running| Some(running) == number("desiredCount"));
    if is_running && is_done && deployments.len() == 1 {
        return Ok(());
    }
    let (running, desired) = (&service["runningCount"], &service["desiredCount"]);
    let count = deployments.len();
    Err(format!("the service is not stable: {running} of {desired} tasks run, in {count} deployments").into())
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
