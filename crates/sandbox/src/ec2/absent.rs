//! Resources that an account here never has, because nothing creates them: their Describe calls answer an empty list.

use super::{
    document,
    select::{Filters, Pager, THOUSAND},
};
use crate::call::{Call, Fault, Reply};

/// A Describe call for such a resource.
#[derive(Debug)]
pub(super) struct Absent {
    action: &'static str,
    /// The element of the list in the answer.
    list: &'static str,
    /// The parameters that name resources.
    names: &'static [&'static str],
    /// The error code if one is named.
    not_found: &'static str,
    /// The message, with `{}` for what was named.
    message: &'static str,
    /// The filters besides those for tags, as botocore's model lists them (version 1.43.11, read 26 November 2026).
    filters: &'static [&'static str],
}

const ABSENT: [Absent; 16] = [
    Absent {
        action: "DescribeCapacityReservations",
        list: "capacityReservationSet",
        names: &["CapacityReservationId"],
        not_found: "InvalidCapacityReservationId.NotFound",
        message: "The capacity reservation '{}' does not exist",
        filters: &[
            "availability-zone",
            "end-date",
            "end-date-type",
            "instance-match-criteria",
            "instance-platform",
            "instance-type",
            "outpost-arn",
            "owner-id",
            "placement-group-arn",
            "start-date",
            "state",
            "tenancy",
        ],
    },
    Absent {
        action: "DescribeCustomerGateways",
        list: "customerGatewaySet",
        names: &["CustomerGatewayId"],
        not_found: "InvalidCustomerGatewayID.NotFound",
        message: "The customerGateway ID '{}' does not exist",
        filters: &["bgp-asn", "customer-gateway-id", "ip-address", "state", "type"],
    },
    Absent {
        action: "DescribeEgressOnlyInternetGateways",
        list: "egressOnlyInternetGatewaySet",
        names: &["EgressOnlyInternetGatewayId"],
        not_found: "InvalidGatewayID.NotFound",
        message: "The egress-only internet gateway ID '{}' does not exist",
        filters: &[],
    },
    Absent {
        action: "DescribeFleets",
        list: "fleetSet",
        names: &["FleetId"],
        not_found: "InvalidFleetId.NotFound",
        message: "The fleet ID '{}' does not exist",
        filters: &[
            "activity-status",
            "excess-capacity-termination-policy",
            "fleet-state",
            "replace-unhealthy-instances",
            "type",
        ],
    },
    Absent {
        action: "DescribeFlowLogs",
        list: "flowLogSet",
        names: &["FlowLogId"],
        not_found: "InvalidFlowLogId.NotFound",
        message: "The flow log ID '{}' does not exist",
        filters: &[
            "deliver-log-status",
            "flow-log-id",
            "log-destination-type",
            "log-group-name",
            "resource-id",
            "traffic-type",
        ],
    },
    Absent {
        action: "DescribeHosts",
        list: "hostSet",
        names: &["HostId"],
        not_found: "InvalidHostID.NotFound",
        message: "The host ID '{}' does not exist",
        filters: &[
            "auto-placement",
            "availability-zone",
            "client-token",
            "host-reservation-id",
            "instance-type",
            "state",
        ],
    },
    Absent {
        action: "DescribeInstanceConnectEndpoints",
        list: "instanceConnectEndpointSet",
        names: &["InstanceConnectEndpointId"],
        not_found: "InvalidInstanceConnectEndpointId.NotFound",
        message: "The instance connect endpoint ID '{}' does not exist",
        filters: &["instance-connect-endpoint-id", "state", "subnet-id", "tag-value", "vpc-id"],
    },
    Absent {
        action: "DescribeKeyPairs",
        list: "keySet",
        names: &["KeyName", "KeyPairId"],
        not_found: "InvalidKeyPair.NotFound",
        message: "The key pair '{}' does not exist",
        filters: &["fingerprint", "key-name", "key-pair-id"],
    },
    Absent {
        action: "DescribePlacementGroups",
        list: "placementGroupSet",
        names: &["GroupName", "GroupId"],
        not_found: "InvalidPlacementGroup.Unknown",
        message: "The Placement Group '{}' is unknown.",
        filters: &["group-arn", "group-name", "spread-level", "state", "strategy"],
    },
    Absent {
        action: "DescribeReservedInstances",
        list: "reservedInstancesSet",
        names: &["ReservedInstancesId"],
        not_found: "InvalidReservedInstancesId",
        message: "The reserved instances ID '{}' does not exist",
        filters: &[
            "availability-zone",
            "availability-zone-id",
            "duration",
            "end",
            "fixed-price",
            "instance-type",
            "product-description",
            "reserved-instances-id",
            "scope",
            "start",
            "state",
            "usage-price",
        ],
    },
    Absent {
        action: "DescribeTransitGatewayVpcAttachments",
        list: "transitGatewayVpcAttachments",
        names: &["TransitGatewayAttachmentIds"],
        not_found: "InvalidTransitGatewayAttachmentID.NotFound",
        message: "Transit Gateway Attachment {} was deleted or does not exist.",
        filters: &["state", "transit-gateway-attachment-id", "transit-gateway-id", "vpc-id"],
    },
    Absent {
        action: "DescribeTransitGateways",
        list: "transitGatewaySet",
        names: &["TransitGatewayIds"],
        not_found: "InvalidTransitGatewayID.NotFound",
        message: "Transit Gateway {} was deleted or does not exist.",
        filters: &[
            "options.amazon-side-asn",
            "options.association-default-route-table-id",
            "options.auto-accept-shared-attachments",
            "options.default-route-table-association",
            "options.default-route-table-propagation",
            "options.dns-support",
            "options.propagation-default-route-table-id",
            "options.vpn-ecmp-support",
            "owner-id",
            "state",
            "transit-gateway-id",
        ],
    },
    Absent {
        action: "DescribeVpcEndpoints",
        list: "vpcEndpointSet",
        names: &["VpcEndpointId"],
        not_found: "InvalidVpcEndpointId.NotFound",
        message: "The Vpc Endpoint Id '{}' does not exist",
        filters: &[
            "ip-address-type",
            "service-name",
            "service-region",
            "vpc-endpoint-id",
            "vpc-endpoint-state",
            "vpc-endpoint-type",
            "vpc-id",
        ],
    },
    Absent {
        action: "DescribeVpcPeeringConnections",
        list: "vpcPeeringConnectionSet",
        names: &["VpcPeeringConnectionId"],
        not_found: "InvalidVpcPeeringConnectionID.NotFound",
        message: "The vpcPeeringConnection ID '{}' does not exist",
        filters: &[
            "accepter-vpc-info.cidr-block",
            "accepter-vpc-info.owner-id",
            "accepter-vpc-info.vpc-id",
            "expiration-time",
            "requester-vpc-info.cidr-block",
            "requester-vpc-info.owner-id",
            "requester-vpc-info.vpc-id",
            "status-code",
            "status-message",
            "vpc-peering-connection-id",
        ],
    },
    Absent {
        action: "DescribeVpnConnections",
        list: "vpnConnectionSet",
        names: &["VpnConnectionId"],
        not_found: "InvalidVpnConnectionID.NotFound",
        message: "The vpnConnection ID '{}' does not exist",
        filters: &[
            "bgp-asn",
            "customer-gateway-configuration",
            "customer-gateway-id",
            "option.static-routes-only",
            "route.destination-cidr-block",
            "state",
            "transit-gateway-id",
            "type",
            "vpn-connection-id",
            "vpn-gateway-id",
        ],
    },
    Absent {
        action: "DescribeVpnGateways",
        list: "vpnGatewaySet",
        names: &["VpnGatewayId"],
        not_found: "InvalidVpnGatewayID.NotFound",
        message: "The vpnGateway ID '{}' does not exist",
        filters: &[
            "amazon-side-asn",
            "attachment.state",
            "attachment.vpc-id",
            "availability-zone",
            "state",
            "type",
            "vpn-gateway-id",
        ],
    },
];

/// The entry for an action.
pub(super) fn of(action: &str) -> Option<&'static Absent> {
    ABSENT.iter().find(|absent| absent.action == action)
}

impl Absent {
    /// An empty list, or an error if the call names a resource.
    pub(super) fn describe(&self, call: &Call) -> Result<Reply, Fault> {
        let params = call.params();
        Filters::of(&params, self.filters)?;
        Pager::of(&params, THOUSAND)?;
        let named: Vec<&str> = self.names.iter().flat_map(|name| params.list(name)).collect();
        if !named.is_empty() {
            return Err(Fault::new(self.not_found, self.message.replace("{}", &named.join(", "))));
        }
        Ok(document(call, |xml| {
            xml.element(self.list, |_| {});
        }))
    }
}

/// The names of the calls.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ABSENT.iter().map(|absent| absent.action)
}
