//! One shared poll for everybody who waits for hosts: a single `DescribeInstances` per tick for any number of hosts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_ec2::Client;
use tokio::{sync::oneshot, time::sleep};

use crate::{
    error::{Class, Failure, OfCall as _},
    kinds::instance::Host,
    wait::pause,
};

/// The most ids that one call asks for. With interfaces and addresses the answer has some tens of megabytes.
pub(crate) const IDS_PER_CALL: usize = 500;

type Answer = Result<Option<Host>, Failure>;

/// The hosts that are waited for, with their waiters.
#[derive(Debug, Default)]
struct Waiting {
    by_id: BTreeMap<String, Vec<oneshot::Sender<Answer>>>,
    looking: bool,
}

/// The shared poll of hosts.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    ec2: Client,
    pace: Duration,
    waiting: Arc<Mutex<Waiting>>,
}

impl Hosts {
    pub fn new(ec2: Client, pace: Duration) -> Self {
        Self { ec2, pace, waiting: Arc::default() }
    }

    /// The host at the next tick; `None` if AWS does not show it.
    pub async fn next(&self, id: &str) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let begin = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.by_id.entry(id.to_owned()).or_default().push(sender);
            !std::mem::replace(&mut waiting.looking, true)
        };
        if begin {
            tokio::spawn(self.clone().poll());
        }
        receiver.await.unwrap_or_else(|_| Err(Failure::own(format!("the poll of `{id}` has stopped"), None)))
    }

    /// Polls once per tick until nobody waits; the first ticks are short.
    async fn poll(self) {
        for tick in 0.. {
            sleep(pause(tick, self.pace)).await;
            let mut asked = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.by_id.retain(|_, senders| senders.iter().any(|sender| !sender.is_closed()));
                waiting.looking = !waiting.by_id.is_empty();
                std::mem::take(&mut waiting.by_id)
            };
            if asked.is_empty() {
                return;
            }
            let ids: Vec<String> = asked.keys().cloned().collect();
            for ids in ids.chunks(IDS_PER_CALL) {
                let found = by_ids(&self.ec2, ids).await;
                for id in ids {
                    let answer = found.as_ref().map(|hosts| hosts.get(id).cloned()).map_err(Failure::clone);
                    for sender in asked.remove(id).unwrap_or_default() {
                        // The receiver may have stopped waiting.
                        let _ = sender.send(answer.clone());
                    }
                }
            }
        }
    }
}

/// The hosts with these ids that AWS shows.
pub(crate) async fn by_ids(ec2: &Client, ids: &[String]) -> Result<BTreeMap<String, Host>, Failure> {
    let mut ids = ids.to_vec();
    while !ids.is_empty() {
        let answer = ec2.describe_instances().set_instance_ids(Some(ids.clone())).send().await;
        match answer.of_call("ec2:DescribeInstances") {
            Ok(answer) => {
                let instances = answer.reservations.into_iter().flatten().filter_map(|found| found.instances).flatten();
                return Ok(instances.map(Host::from).map(|host| (host.id.clone(), host)).collect());
            }
            // AWS names the ids it does not know, so the others are asked for again.
            Err(failure) if failure.class == Class::NotFound => {
                let before = ids.len();
                ids.retain(|id| !failure.message.contains(id.as_str()));
                if ids.len() == before {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(BTreeMap::new())
}
