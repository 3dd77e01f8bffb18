//! What an instance type allows of network interfaces.

use trunnion_catalog::InstanceType;

use crate::call::Fault;

/// The place of an interface: its card, its device index, and how many addresses and prefixes it has.
pub(super) type Slot = (u32, u32, usize);

/// Whether an instance type allows these interfaces, which are sorted.
pub(super) fn check_cards(instance_type: &InstanceType, slots: &[Slot]) -> Result<(), Fault> {
    let name = instance_type.name;
    if !slots.iter().any(|(card, device, _)| (*card, *device) == (0, 0)) {
        let message = "The primary network interface must have device index 0 on network card 0";
        return Err(Fault::new("InvalidParameterCombination", message));
    }
    let mut counts = vec![0_u32; instance_type.cards.len()];
    let mut earlier = None;
    for (card, device, addresses) in slots {
        let place = (card, device);
        if earlier == Some(place) {
            let message = format!("Duplicate device index {device} on network card {card} specified");
            return Err(Fault::new("InvalidParameterValue", message));
        }
        earlier = Some(place);
        let count = usize::try_from(*card).ok().and_then(|card| counts.get_mut(card));
        let Some(count) = count else {
            let message = format!("Network card index {card} exceeds the limit for {name}");
            return Err(Fault::new("InvalidParameterValue", message));
        };
        *count += 1;
        if *addresses > usize::try_from(instance_type.ipv4_per_interface).unwrap_or(usize::MAX) {
            let message = "Number of private addresses will exceed limit.";
            return Err(Fault::new("PrivateIpAddressLimitExceeded", message));
        }
    }
    for (card, (count, limit)) in counts.iter().zip(&instance_type.cards).enumerate() {
        if count > limit {
            let message = format!("Interface count {count} on network card {card} exceeds the limit for {name}");
            return Err(Fault::new("AttachmentLimitExceeded", message));
        }
    }
    Ok(())
}

/// Whether a device index is as high as the number of interfaces that its card allows. EC2 terminates such an instance
/// after it has answered that it was launched (aws/aws-parallelcluster#4278; Karpenter's `compatibility.go`
/// refuses the same).
pub(super) fn is_beyond_card(instance_type: &InstanceType, slots: &[Slot]) -> bool {
    slots.iter().any(|(card, device, _)| {
        let card = usize::try_from(*card).ok().and_then(|card| instance_type.cards.get(card));
        card.is_none_or(|most| device >= most)
    })
}
