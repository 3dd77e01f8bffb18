//! The condition keys of a request, from the captured call.
//!
//! A key that the reference lists for the action is set, known to be absent, or unknown; a policy that asks for an unknown
//! one gets an error and no verdict.

use super::{Asking, Need, reference::reference};
use crate::iam::policy::{Context, Values};

/// Keys of which nobody here knows when AWS sets them, or to what. A policy that asks for one gets no verdict.
pub(super) const UNKNOWN: &[&str] = &[
    // The documents do not say for which call it is the ARN of which resource.
    "iam:AssociatedResourceArn",
    // The ids of zones differ from account to account.
    "ec2:AvailabilityZoneId",
    // The documents do not say what these are before the resource exists or where nothing was asked for.
    "ec2:Attribute",
    "ec2:Attribute/",
    "ec2:CpuOptionsAmdSevSnp",
    "ec2:InstanceAutoRecovery",
    "ec2:InstanceBandwidthWeighting",
    "ec2:ProductCode",
    "ec2:SnapshotTime",
    "ec2:VolumeInitializationRate",
    "ecs:compute-compatibility",
    "ecs:privileged",
    "secretsmanager:Type",
    "secretsmanager:resource/Type",
    "s3:TlsVersion",
    "s3:signatureAge",
    "s3:x-amz-bucket-namespace",
];

/// Keys of features that nothing here uses or serves, so that no request has them.
#[cfg(test)]
pub(super) const NEVER_HERE: &[&str] = &[
    // Identity providers.
    "accounts.google.com:aud",
    "accounts.google.com:sub",
    "cognito-identity.amazonaws.com:amr",
    "cognito-identity.amazonaws.com:aud",
    "cognito-identity.amazonaws.com:sub",
    "graph.facebook.com:app_id",
    "graph.facebook.com:id",
    "saml:aud",
    "saml:namequalifier",
    "saml:sub",
    "saml:sub_type",
    "www.amazon.com:app_id",
    "www.amazon.com:user_id",
    "iam:RoleTemplateARN",
    "sts:TransitiveTagKeys",
    // Outposts, address pools, placement groups, managed resources, volumes copied from others.
    "ec2:AuthorizedService",
    "ec2:AuthorizedUser",
    "ec2:Ipv4IpamPoolId",
    "ec2:Ipv6IpamPoolId",
    "ec2:ManagedResourceOperator",
    "ec2:OutpostArn",
    "ec2:ParentVolume",
    "ec2:Permission",
    "ec2:PlacementGroup",
    "ec2:SourceOutpostArn",
    // Capacity providers, volumes and meshes of services.
    "ecs:capacity-provider",
    "ecs:enable-ebs-volumes",
    "ecs:enable-service-connect",
    "ecs:enable-vpc-lattice",
    "ecs:fargate-ephemeral-storage-kms-key",
    "ecs:namespace",
    // Access points and grants, ACLs by header, object lock, customer keys.
    "s3:AccessGrantsInstanceArn",
    "s3:AccessPointNetworkOrigin",
    "s3:AccessPointTag/",
    "s3:DataAccessPointAccount",
    "s3:DataAccessPointArn",
    "s3:object-lock-event-hold",
    "s3:object-lock-event-hold-duration-days",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
    "s3:object-lock-retain-until-date",
    "s3:x-amz-object-annotation-directive",
    // Replicas and keys of secrets, policies of parameters.
    "secretsmanager:AddReplicaRegions",
    "secretsmanager:ForceOverwriteReplicaSecret",
    "secretsmanager:KmsKeyArn",
    "secretsmanager:resource/AllowRotationLambdaArn",
    "ssm:Policies",
];

/// Keys that are set wherever the request or the resource has them.
#[cfg(test)]
pub(super) const COMPUTED: &[&str] = &[
    "ec2:AllocationId",
    "ec2:AssociatePublicIpAddress",
    "ec2:AvailabilityZone",
    "ec2:CreateAction",
    "ec2:DhcpOptionsID",
    "ec2:Domain",
    "ec2:EbsOptimized",
    "ec2:Encrypted",
    "ec2:ImageID",
    "ec2:ImageType",
    "ec2:InstanceID",
    "ec2:InstanceMarketType",
    "ec2:InstanceMetadataTags",
    "ec2:InstanceProfile",
    "ec2:InstanceType",
    "ec2:InternetGatewayID",
    "ec2:IsLaunchTemplateResource",
    "ec2:LaunchTemplate",
    "ec2:MetadataHttpEndpoint",
    "ec2:MetadataHttpPutResponseHopLimit",
    "ec2:MetadataHttpTokens",
    "ec2:NetworkInterfaceID",
    "ec2:Owner",
    "ec2:ParentSnapshot",
    "ec2:Public",
    "ec2:PublicIpAddress",
    "ec2:Region",
    "ec2:ResourceTag/",
    "ec2:RootDeviceType",
    "ec2:RouteTableID",
    "ec2:SecurityGroupID",
    "ec2:SnapshotID",
    "ec2:Subnet",
    "ec2:SubnetID",
    "ec2:Tenancy",
    "ec2:VolumeID",
    "ec2:VolumeIops",
    "ec2:VolumeSize",
    "ec2:VolumeThroughput",
    "ec2:VolumeType",
    "ec2:Vpc",
    "ec2:VpcID",
    "ecs:CreateAction",
    "ecs:ResourceTag/",
    "ecs:auto-assign-public-ip",
    "ecs:cluster",
    "ecs:enable-ecs-managed-tags",
    "ecs:enable-execute-command",
    "ecs:propagate-tags",
    "ecs:service",
    "ecs:subnet",
    "ecs:task-cpu",
    "ecs:task-definition",
    "ecs:task-memory",
    "iam:AWSServiceName",
    "iam:PassedToService",
    "iam:PermissionsBoundary",
    "iam:PolicyARN",
    "iam:ResourceTag/",
    "s3:ExistingObjectTag/",
    "s3:ObjectCreationOperation",
    "s3:RequestObjectTag/",
    "s3:RequestObjectTagKeys",
    "s3:ResourceAccount",
    "s3:authType",
    "s3:delimiter",
    "s3:if-match",
    "s3:if-none-match",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:prefix",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
    "secretsmanager:Description",
    "secretsmanager:ForceDeleteWithoutRecovery",
    "secretsmanager:KmsKeyId",
    "secretsmanager:Name",
    "secretsmanager:RecoveryWindowInDays",
    "secretsmanager:ResourceTag/",
    "secretsmanager:SecretId",
    "secretsmanager:SecretPrimaryRegion",
    "secretsmanager:VersionId",
    "secretsmanager:VersionStage",
    "servicequotas:service",
    "ssm:Overwrite",
    "sts:ExternalId",
    "sts:RoleSessionName",
    "sts:SourceIdentity",
];

/// Global keys that no request here has: the account is in no organization, no endpoint of a VPC is used, and nobody
/// signs in with a second factor or through an identity provider.
pub(super) const NEVER: &[&str] = &[
    "aws:AssumedRoot",
    "aws:CalledVia",
    "aws:CalledViaFirst",
    "aws:CalledViaLast",
    "aws:ChatbotSourceArn",
    "aws:Ec2InstanceSourcePrivateIPv4",
    "aws:Ec2InstanceSourceVpc",
    "aws:FederatedProvider",
    "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceName",
    "aws:PrincipalServiceNamesList",
    "aws:PrincipalTag/",
    "aws:RequestTag/",
    "aws:ResourceOrgID",
    "aws:ResourceOrgPaths",
    "aws:ResourceTag/",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceIdentity",
    "aws:SourceOrgID",
    "aws:SourceOrgPaths",
    "aws:SourceVpc",
    "aws:SourceVpcArn",
    "aws:SourceVpce",
    "aws:TagKeys",
    "aws:TokenIssueTime",
    "aws:UserAgent",
    "aws:VpceAccount",
    "aws:VpceOrgID",
    "aws:VpceOrgPaths",
    "aws:VpcSourceIp",
    "aws:referer",
    "aws:userid",
    "aws:username",
];

/// The context of a request.
pub(super) fn of(asking: &Asking<'_>, need: &Need) -> Context {
    let mut context = globals(asking, need);
    let action = reference().actions.get(need.action);
    let listed = action.into_iter().flat_map(|action| {
        let of_kind = action.kinds.get(need.target.kind).into_iter().flatten();
        action.keys.iter().chain(of_kind)
    });
    let service = need.action.split(':').next().unwrap_or_default();
    let of_type = reference().types.get(&(service, need.target.kind)).into_iter().flatten();
    let listed: Vec<&str> = listed.chain(of_type).copied().collect();
    for key in &listed {
        if UNKNOWN.contains(key) { context.unknown(*key) } else { context.absent(*key) }
    }
    let service_keys = [("ec2:Region", asking.region), ("s3:ResourceAccount", asking.cloud.account.as_str())];
    let own = need.target.keys.iter().map(|(key, values)| (key.as_str(), values.clone()));
    for (key, values) in service_keys.map(|(key, value)| (key, Values::from(value))).into_iter().chain(own) {
        let is_listed = |listed: &&str| *listed == key || (listed.ends_with('/') && key.starts_with(*listed));
        // Services pass these for every action, as the documents of each say.
        if listed.iter().any(is_listed) || key.starts_with("aws:Source") {
            context.set(key, values);
        }
    }
    context
}

fn globals(asking: &Asking<'_>, need: &Need) -> Context {
    let mut context = Context::default();
    for key in NEVER {
        context.absent(*key);
    }
    let Asking { identity, origin, cloud, now, .. } = asking;
    context.set("aws:CurrentTime", now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    context.set("aws:EpochTime", now.as_second().to_string());
    context.set("aws:RequestedRegion", asking.region);
    context.set("aws:SecureTransport", origin.is_secure);
    context.set("aws:ViaAWSService", false);
    if need.target.arn == "*" {
        context.unknown("aws:ResourceAccount");
    } else {
        context.set("aws:ResourceAccount", cloud.account.as_str());
    }
    match origin.address {
        Some(address) => context.set("aws:SourceIp", address.to_canonical().to_string()),
        None => context.absent("aws:SourceIp"),
    }
    if let Some(agent) = &origin.agent {
        context.set("aws:UserAgent", agent.as_str());
    }
    for (key, values) in &identity.keys {
        context.set(key, values.clone());
    }
    context
}

/// The context in which a service acts for itself on behalf of a resource, such as ECS for a task.
pub(crate) fn in_service(account: &str, source: &str) -> Vec<(String, Values)> {
    vec![("aws:SourceAccount".to_owned(), account.into()), ("aws:SourceArn".to_owned(), source.into())]
}
