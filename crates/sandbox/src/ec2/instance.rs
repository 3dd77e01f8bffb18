//! State changes of instances: by time, by termination, by stop and start.

use jiff::Timestamp;
use trunnion_catalog::VcpuQuota;

use super::{
    document, elastic_ip, launch,
    model::{Instance, InstanceState, Interface},
    select::{Row, find},
    spot,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
    query::Params,
};

/// Updates the state of every instance to the time `now`.
pub(super) fn settle(cloud: &mut Cloud, now: Timestamp) {
    let due: Vec<String> = cloud
        .ec2
        .instances
        .iter()
        .filter(|(_, instance)| match instance.state {
            InstanceState::Running | InstanceState::Stopped => false,
            InstanceState::Terminated => cloud.settled(Delay::InstanceForgotten, instance.since, now),
            InstanceState::Pending => cloud.settled(Delay::InstanceStart, instance.since, now),
            InstanceState::ShuttingDown => cloud.settled(Delay::InstanceEnd, instance.since, now),
            InstanceState::Stopping => cloud.settled(Delay::InstanceStop, instance.since, now),
        })
        .map(|(id, _)| id.to_owned())
        .collect();
    for id in due {
        let Some(instance) = cloud.ec2.instances.get_mut(&id) else { continue };
        match instance.state {
            InstanceState::Pending if instance.ends_after_launch => {
                instance.state = InstanceState::ShuttingDown;
                instance.since = now;
            }
            InstanceState::Pending => instance.state = InstanceState::Running,
            InstanceState::Stopping => instance.state = InstanceState::Stopped,
            InstanceState::ShuttingDown => {
                instance.state = InstanceState::Terminated;
                let interfaces = std::mem::take(&mut instance.interfaces);
                let volumes = std::mem::take(&mut instance.volumes);
                unplug(cloud, interfaces);
                for volume in volumes.into_values() {
                    let Some(row) = cloud.ec2.volumes.get_mut(&volume) else { continue };
                    row.instance = None;
                    if row.delete_on_termination {
                        cloud.ec2.volumes.remove(&volume);
                    }
                }
            }
            InstanceState::Terminated => forget(cloud, &id),
            InstanceState::Running | InstanceState::Stopped => {}
        }
    }
}

/// Detaches the interfaces of an instance: those to delete on termination are deleted, the others become available.
fn unplug(cloud: &mut Cloud, interfaces: Vec<String>) {
    for id in interfaces {
        let Some(Interface { attachment, .. }) = cloud.ec2.interfaces.get_mut(&id) else { continue };
        if attachment.take().is_some_and(|attachment| attachment.delete_on_termination) {
            cloud.ec2.interfaces.remove(&id);
            elastic_ip::unplug(cloud, &id);
        }
    }
}

fn forget(cloud: &mut Cloud, id: &str) {
    cloud.ec2.spot_requests.remove(&spot::request_of(id));
    let Some(Instance { user_data: Some(digest), .. }) = cloud.ec2.instances.remove(id) else { return };
    if !cloud.ec2.instances.values().any(|other| other.user_data.as_ref() == Some(&digest)) {
        cloud.ec2.user_data.remove(&digest);
    }
}

/// The ids of a call; an error if one is unknown.
pub(super) fn ids(cloud: &Cloud, call: &Call, params: &Params<'_>) -> Result<Vec<String>, Fault> {
    let mut ids: Vec<String> = params.list(Instance::IDS).into_iter().map(str::to_owned).collect();
    if ids.is_empty() {
        return Err(Fault::new("MissingParameter", "The request must contain the parameter InstanceId"));
    }
    ids.sort_unstable();
    ids.dedup();
    for id in &ids {
        find(&cloud.ec2.instances, &call.region, id)?;
    }
    Ok(ids)
}

/// The only interface of an instance.
pub(super) fn only_interface(cloud: &Cloud, call: &Call, id: &str) -> Result<String, Fault> {
    if let [only] = find(&cloud.ec2.instances, &call.region, id)?.interfaces.as_slice() {
        return Ok(only.clone());
    }
    let message = format!(
        "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation \
         instead."
    );
    Err(Fault::new("InvalidInstanceID", message))
}

pub(super) fn terminate(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let ids = ids(cloud, call, &call.params())?;
    for id in &ids {
        if find(&cloud.ec2.instances, &call.region, id)?.termination_protected {
            return Err(Fault::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute \
                     and try again."
                ),
            ));
        }
    }
    Ok(change(cloud, call, &ids, |state| match state {
        InstanceState::ShuttingDown | InstanceState::Terminated => None,
        _ => Some(InstanceState::ShuttingDown),
    }))
}

pub(super) fn stop(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let ids = ids(cloud, call, &call.params())?;
    for id in &ids {
        let instance = find(&cloud.ec2.instances, &call.region, id)?;
        if Params::new(&instance.options).get("DisableApiStop") == Some("true") {
            return Err(Fault::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try \
                     again."
                ),
            ));
        }
        if instance.spot {
            let message = format!("You can't stop the Spot Instance '{id}' because it is of a one-time request.");
            return Err(Fault::new("UnsupportedOperation", message));
        }
        if !matches!(instance.state, InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped) {
            return Err(wrong_state(id, "stopped"));
        }
    }
    Ok(change(cloud, call, &ids, |state| (state == InstanceState::Running).then_some(InstanceState::Stopping)))
}

pub(super) fn start(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let ids = ids(cloud, call, &call.params())?;
    for id in &ids {
        let state = find(&cloud.ec2.instances, &call.region, id)?.state;
        if !matches!(state, InstanceState::Stopped | InstanceState::Pending | InstanceState::Running) {
            return Err(wrong_state(id, "started"));
        }
    }
    for (quota, is_spot) in VcpuQuota::ALL.iter().flat_map(|quota| [(quota, false), (quota, true)]) {
        let asked = ids.iter().filter_map(|id| cloud.ec2.instances.get(id));
        let stopped = asked.filter(|row| row.spot == is_spot && row.state == InstanceState::Stopped);
        let stopped = stopped.filter(|row| VcpuQuota::of(&row.kind) == Some(quota));
        let wanted = stopped.map(|row| launch::vcpus(&row.kind)).sum();
        if wanted > 0 {
            launch::check_vcpus(cloud, &call.region, quota, is_spot, wanted)?;
        }
    }
    Ok(change(cloud, call, &ids, |state| (state == InstanceState::Stopped).then_some(InstanceState::Pending)))
}

pub(super) fn wrong_state(id: &str, what: &str) -> Fault {
    let message = format!("The instance '{id}' is not in a state from which it can be {what}.");
    Fault::new("IncorrectInstanceState", message)
}

/// Changes the states of the instances as `next` decides, and answers with the previous and the new state of each.
fn change(
    cloud: &mut Cloud,
    call: &Call,
    ids: &[String],
    next: impl Fn(InstanceState) -> Option<InstanceState>,
) -> Reply {
    let mut changes = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(before) = cloud.ec2.instances.get(id).map(|instance| instance.state) else { continue };
        let after = next(before);
        if let Some(after) = after
            && let Some(instance) = cloud.ec2.instances.get_mut(id)
        {
            instance.state = after;
            instance.since = call.now;
        }
        changes.push((id, before, after.unwrap_or(before)));
    }
    document(call, |xml| {
        xml.list("instancesSet", "item", changes, |xml, (id, before, after)| {
            xml.text("instanceId", id);
            for (name, state) in [("currentState", after), ("previousState", before)] {
                xml.element(name, |xml| {
                    xml.plain("code", state.code()).text("name", state.name());
                });
            }
        });
    })
}
