//! Which products of the price list the items of a stack are.
//!
//! The filters are those with which AWS's API returned one product for a region in September 2026 (notes of live queries in
//! public repositories), and the usage types those of the products in `recorded/`. No recorded product was found of NAT
//! gateways, CloudWatch Logs and data transfer.

use trunnion_catalog::prices::Item;

use crate::products::Query;

/// The query of an item.
pub(super) const fn query(item: Item) -> Query<'static> {
    match item {
        Item::Gp3GbMonth => Query {
            service: "AmazonEC2",
            filters: &[("productFamily", "Storage"), ("volumeApiName", "gp3")],
            usage: "EBS:VolumeUsage.gp3",
            region: "regionCode",
            units: &["GB-Mo", "GB-month"],
        },
        Item::PublicIpv4Hour => Query {
            service: "AmazonVPC",
            filters: &[("group", "VPCPublicIPv4Address")],
            usage: "PublicIPv4:InUseAddress",
            region: "regionCode",
            units: &["Hrs"],
        },
        Item::FargateVcpuHour => Query {
            service: "AmazonECS",
            filters: &[("productFamily", "Compute"), ("cputype", "perCPU")],
            usage: "Fargate-vCPU-Hours:perCPU",
            region: "regionCode",
            units: &["hours", "Hrs"],
        },
        Item::FargateGbHour => Query {
            service: "AmazonECS",
            filters: &[("productFamily", "Compute"), ("memorytype", "perGB")],
            usage: "Fargate-GB-Hours",
            region: "regionCode",
            units: &["hours", "Hrs", "GB-Hours"],
        },
        Item::LogsGb => Query {
            service: "AmazonCloudWatch",
            filters: &[("productFamily", "Data Payload"), ("group", "Ingested Logs"), ("operation", "PutLogEvents")],
            usage: "DataProcessing-Bytes",
            region: "regionCode",
            units: &["GB"],
        },
        Item::LogsGbMonth => Query {
            service: "AmazonCloudWatch",
            filters: &[("productFamily", "Storage Snapshot")],
            usage: "TimedStorage-ByteHrs",
            region: "regionCode",
            units: &["GB-Mo"],
        },
        Item::S3GbMonth => Query {
            service: "AmazonS3",
            filters: &[("productFamily", "Storage"), ("volumeType", "Standard")],
            usage: "TimedStorage-ByteHrs",
            region: "regionCode",
            units: &["GB-Mo"],
        },
        Item::NatGatewayHour => Query {
            service: "AmazonEC2",
            filters: &[("productFamily", "NAT Gateway"), ("groupDescription", "Hourly charge for NAT Gateways")],
            usage: "NatGateway-Hours",
            region: "regionCode",
            units: &["Hrs"],
        },
        Item::NatGatewayGb => Query {
            service: "AmazonEC2",
            filters: &[
                ("productFamily", "NAT Gateway"),
                ("groupDescription", "Charge for per GB data processed by NatGateways"),
            ],
            usage: "NatGateway-Bytes",
            region: "regionCode",
            units: &["GB"],
        },
        Item::ZoneTransferGb => Query {
            service: "AWSDataTransfer",
            filters: &[("productFamily", "Data Transfer"), ("transferType", "IntraRegion")],
            usage: "DataTransfer-Regional-Bytes",
            region: "fromRegionCode",
            units: &["GB"],
        },
        Item::InternetTransferGb => Query {
            service: "AWSDataTransfer",
            filters: &[
                ("productFamily", "Data Transfer"),
                ("transferType", "AWS Outbound"),
                ("toLocation", "External"),
            ],
            usage: "DataTransfer-Out-Bytes",
            region: "fromRegionCode",
            units: &["GB"],
        },
    }
}
