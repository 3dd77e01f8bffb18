//! The settings of a bucket: versioning, tags, encryption, public access, policy, ownership.

use std::net::IpAddr;

use ipnet::IpNet;
use s3s::{
    S3ErrorCode, S3Result,
    dto::{
        BucketVersioningStatus, DeleteBucketEncryptionInput, DeleteBucketEncryptionOutput,
        DeleteBucketOwnershipControlsInput, DeleteBucketOwnershipControlsOutput, DeleteBucketPolicyInput,
        DeleteBucketPolicyOutput, DeleteBucketTaggingInput, DeleteBucketTaggingOutput, DeletePublicAccessBlockInput,
        DeletePublicAccessBlockOutput, GetBucketEncryptionInput, GetBucketEncryptionOutput,
        GetBucketOwnershipControlsInput, GetBucketOwnershipControlsOutput, GetBucketPolicyInput, GetBucketPolicyOutput,
        GetBucketTaggingInput, GetBucketTaggingOutput, GetBucketVersioningInput, GetBucketVersioningOutput,
        GetPublicAccessBlockInput, GetPublicAccessBlockOutput, ObjectOwnership, OwnershipControls,
        OwnershipControlsRule, PublicAccessBlockConfiguration, PutBucketEncryptionInput, PutBucketEncryptionOutput,
        PutBucketOwnershipControlsInput, PutBucketOwnershipControlsOutput, PutBucketPolicyInput, PutBucketPolicyOutput,
        PutBucketTaggingInput, PutBucketTaggingOutput, PutBucketVersioningInput, PutBucketVersioningOutput,
        PutPublicAccessBlockInput, PutPublicAccessBlockOutput, ServerSideEncryption, ServerSideEncryptionByDefault,
        ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    },
};
use serde_json::Value;
use trunnion_catalog::limits;

use super::{
    Context,
    bucket::{Versioning, find, find_mut},
    custom, error, malformed_xml, object,
};
use crate::{
    call::arn_of,
    cloud::Cloud,
    iam::{self, policy::malformed_bucket_policy},
};

pub(super) fn put_versioning(
    cloud: &mut Cloud,
    context: &Context,
    input: PutBucketVersioningInput,
) -> S3Result<PutBucketVersioningOutput> {
    let bucket = find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    bucket.versioning = match input.versioning_configuration.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        _ => {
            return Err(error(
                S3ErrorCode::IllegalVersioningConfigurationException,
                "The Versioning element must be specified",
            ));
        }
    };
    Ok(PutBucketVersioningOutput {})
}

pub(super) fn versioning(
    cloud: &mut Cloud,
    context: &Context,
    input: GetBucketVersioningInput,
) -> S3Result<GetBucketVersioningOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let status = match bucket.versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
        Versioning::Suspended => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED)),
    };
    Ok(GetBucketVersioningOutput { mfa_delete: None, status })
}

pub(super) fn put_tagging(
    cloud: &mut Cloud,
    context: &Context,
    input: PutBucketTaggingInput,
) -> S3Result<PutBucketTaggingOutput> {
    let tags = object::checked_tags(object::pairs(input.tagging.tag_set), limits::MOST_TAGS)?;
    find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.tags = tags;
    Ok(PutBucketTaggingOutput {})
}

pub(super) fn tagging(
    cloud: &mut Cloud,
    context: &Context,
    input: GetBucketTaggingInput,
) -> S3Result<GetBucketTaggingOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    if bucket.tags.is_empty() {
        return Err(error(S3ErrorCode::NoSuchTagSet, "The TagSet does not exist"));
    }
    Ok(GetBucketTaggingOutput { tag_set: object::tag_set(&bucket.tags) })
}

pub(super) fn delete_tagging(
    cloud: &mut Cloud,
    context: &Context,
    input: DeleteBucketTaggingInput,
) -> S3Result<DeleteBucketTaggingOutput> {
    find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.tags.clear();
    Ok(DeleteBucketTaggingOutput {})
}

pub(super) fn put_encryption(
    cloud: &mut Cloud,
    context: &Context,
    input: PutBucketEncryptionInput,
) -> S3Result<PutBucketEncryptionOutput> {
    let bucket = find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let rule = input.server_side_encryption_configuration.rules.into_iter().next();
    let Some((default, bucket_key)) =
        rule.and_then(|rule| Some((rule.apply_server_side_encryption_by_default?, rule.bucket_key_enabled)))
    else {
        return Err(malformed_xml());
    };
    let algorithm = default.sse_algorithm.as_str();
    if !matches!(algorithm, "AES256" | "aws:kms" | "aws:kms:dsse") {
        return Err(malformed_xml());
    }
    if algorithm == "AES256" && default.kms_master_key_id.is_some() {
        return Err(error(
            S3ErrorCode::InvalidArgument,
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms",
        ));
    }
    bucket.encryption = (algorithm.to_owned(), default.kms_master_key_id);
    bucket.keeps_kms_key = bucket_key.unwrap_or(false);
    Ok(PutBucketEncryptionOutput {})
}

/// Every bucket has an encryption; the default is `AES256`.
pub(super) fn encryption(
    cloud: &mut Cloud,
    context: &Context,
    input: GetBucketEncryptionInput,
) -> S3Result<GetBucketEncryptionOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let (algorithm, key) = bucket.encryption.clone();
    let default =
        ServerSideEncryptionByDefault { kms_master_key_id: key, sse_algorithm: ServerSideEncryption::from(algorithm) };
    let rule = ServerSideEncryptionRule {
        apply_server_side_encryption_by_default: Some(default),
        bucket_key_enabled: Some(bucket.keeps_kms_key),
    };
    let configuration = ServerSideEncryptionConfiguration { rules: vec![rule] };
    Ok(GetBucketEncryptionOutput { server_side_encryption_configuration: Some(configuration) })
}

pub(super) fn delete_encryption(
    cloud: &mut Cloud,
    context: &Context,
    input: DeleteBucketEncryptionInput,
) -> S3Result<DeleteBucketEncryptionOutput> {
    let bucket = find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    bucket.encryption = ("AES256".to_owned(), None);
    bucket.keeps_kms_key = false;
    Ok(DeleteBucketEncryptionOutput {})
}

pub(super) fn put_public_access_block(
    cloud: &mut Cloud,
    context: &Context,
    input: PutPublicAccessBlockInput,
) -> S3Result<PutPublicAccessBlockOutput> {
    let bucket = find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let asked = input.public_access_block_configuration;
    bucket.public_access_block = Some([
        asked.block_public_acls.unwrap_or(false),
        asked.ignore_public_acls.unwrap_or(false),
        asked.block_public_policy.unwrap_or(false),
        asked.restrict_public_buckets.unwrap_or(false),
    ]);
    Ok(PutPublicAccessBlockOutput {})
}

pub(super) fn public_access_block(
    cloud: &mut Cloud,
    context: &Context,
    input: GetPublicAccessBlockInput,
) -> S3Result<GetPublicAccessBlockOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let Some([acls, ignore, policy, restrict]) = bucket.public_access_block else {
        return Err(custom(
            "NoSuchPublicAccessBlockConfiguration",
            404,
            "The public access block configuration was not found",
        ));
    };
    let configuration = PublicAccessBlockConfiguration {
        block_public_acls: Some(acls),
        ignore_public_acls: Some(ignore),
        block_public_policy: Some(policy),
        restrict_public_buckets: Some(restrict),
    };
    Ok(GetPublicAccessBlockOutput { public_access_block_configuration: Some(configuration) })
}

pub(super) fn delete_public_access_block(
    cloud: &mut Cloud,
    context: &Context,
    input: DeletePublicAccessBlockInput,
) -> S3Result<DeletePublicAccessBlockOutput> {
    let bucket = find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    bucket.public_access_block = None;
    Ok(DeletePublicAccessBlockOutput {})
}

pub(super) fn put_policy(
    cloud: &mut Cloud,
    context: &Context,
    input: PutBucketPolicyInput,
) -> S3Result<PutBucketPolicyOutput> {
    let unknown = iam::unknown_principal(cloud, &input.policy, &context.region, context.now);
    let bucket = find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    if input.policy.len() > limits::BUCKET_POLICY {
        return Err(custom("PolicyTooLarge", 400, "Policy exceeds the maximum allowed document size."));
    }
    let public = check_policy(&input.bucket, &arn_of(&context.region), &input.policy)?;
    if unknown.is_some() {
        return Err(error(S3ErrorCode::MalformedPolicy, "Invalid principal in policy"));
    }
    if public && bucket.public_access_block.is_some_and(|[_, _, block_policy, _]| block_policy) {
        return Err(error(
            S3ErrorCode::AccessDenied,
            "User is not authorized to perform: s3:PutBucketPolicy because public policies are prevented by the \
             BlockPublicPolicy setting in S3 Block Public Access.",
        ));
    }
    bucket.policy = Some(input.policy);
    Ok(PutBucketPolicyOutput {})
}

pub(super) fn policy(
    cloud: &mut Cloud,
    context: &Context,
    input: GetBucketPolicyInput,
) -> S3Result<GetBucketPolicyOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    match &bucket.policy {
        Some(policy) => Ok(GetBucketPolicyOutput { policy: Some(policy.clone()) }),
        None => Err(error(S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist")),
    }
}

pub(super) fn delete_policy(
    cloud: &mut Cloud,
    context: &Context,
    input: DeleteBucketPolicyInput,
) -> S3Result<DeleteBucketPolicyOutput> {
    find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.policy = None;
    Ok(DeleteBucketPolicyOutput {})
}

pub(super) fn put_ownership(
    cloud: &mut Cloud,
    context: &Context,
    input: PutBucketOwnershipControlsInput,
) -> S3Result<PutBucketOwnershipControlsOutput> {
    let bucket = find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let rule = input.ownership_controls.rules.into_iter().next();
    let ownership = rule.map(|rule| rule.object_ownership.as_str().to_owned());
    if !matches!(ownership.as_deref(), Some("BucketOwnerEnforced" | "BucketOwnerPreferred" | "ObjectWriter")) {
        return Err(malformed_xml());
    }
    bucket.ownership = ownership;
    Ok(PutBucketOwnershipControlsOutput {})
}

pub(super) fn ownership(
    cloud: &mut Cloud,
    context: &Context,
    input: GetBucketOwnershipControlsInput,
) -> S3Result<GetBucketOwnershipControlsOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let Some(ownership) = bucket.ownership.clone() else {
        return Err(error(S3ErrorCode::OwnershipControlsNotFoundError, "The bucket ownership controls were not found"));
    };
    let rules = vec![OwnershipControlsRule { object_ownership: ObjectOwnership::from(ownership) }];
    Ok(GetBucketOwnershipControlsOutput { ownership_controls: Some(OwnershipControls { rules }) })
}

pub(super) fn delete_ownership(
    cloud: &mut Cloud,
    context: &Context,
    input: DeleteBucketOwnershipControlsInput,
) -> S3Result<DeleteBucketOwnershipControlsOutput> {
    find_mut(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.ownership = None;
    Ok(DeleteBucketOwnershipControlsOutput {})
}

/// Refuses text that is not a policy of this bucket. Returns whether the policy makes the bucket public.
pub(super) fn check_policy(bucket: &str, arn: &str, policy: &str) -> S3Result<bool> {
    let malformed = |text: &str| Err(error(S3ErrorCode::MalformedPolicy, text.to_owned()));
    let Ok(document) = serde_json::from_str::<Value>(policy) else {
        return malformed("Policies must be valid JSON and the first byte must be '{'");
    };
    let statements = match &document["Statement"] {
        Value::Array(statements) => statements.clone(),
        statement @ Value::Object(_) => vec![statement.clone()],
        _ => return malformed("Missing required field Statement"),
    };
    if statements.is_empty() {
        return malformed("Could not parse the policy: Statement is empty!");
    }
    if let Some(reason) = malformed_bucket_policy(policy) {
        return malformed(&format!("Policy cannot be read: {reason}"));
    }
    let mut public = false;
    for statement in &statements {
        let effect = statement["Effect"].as_str().unwrap_or_default();
        if !matches!(effect, "Allow" | "Deny") {
            return malformed("Missing required field Effect");
        }
        if statement.get("Principal").is_none() && statement.get("NotPrincipal").is_none() {
            return malformed("Missing required field Principal");
        }
        let actions = texts(statement.get("Action").or_else(|| statement.get("NotAction")));
        if actions.is_empty() {
            return malformed("Missing required field Action");
        }
        if actions.iter().any(|action| action != "*" && !action.to_lowercase().starts_with("s3:")) {
            return malformed("Policy has invalid action");
        }
        let resources = texts(statement.get("Resource").or_else(|| statement.get("NotResource")));
        let own = format!("{arn}:s3:::{bucket}");
        let is_own = |resource: &String| *resource == own || resource.starts_with(&format!("{own}/"));
        if resources.is_empty() || !resources.iter().all(is_own) {
            return malformed("Policy has invalid resource");
        }
        let principal = &statement["Principal"];
        let everybody = principal == "*" || texts(principal.get("AWS")).iter().any(|one| one == "*");
        public |= effect == "Allow" && everybody && !statement.get("Condition").is_some_and(is_fixed);
    }
    Ok(public)
}

/// Whether a condition limits a statement for everybody to fixed values of one of these keys ("Blocking public access to your
/// Amazon S3 storage", section "The meaning of public", S3 user guide, and `PublicAccessBlockConfiguration`; read November
/// 2026).
fn is_fixed(condition: &Value) -> bool {
    const KEYS: [&str; 9] = [
        "aws:principalorgid",
        "aws:sourcearn",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:sourceowner",
        "aws:sourceaccount",
        "aws:userid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
    ];
    const OPERATORS: [&str; 5] = ["StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike"];
    let is_limit = |operator: &str, key: &str, values: &Value| {
        let (key, values) = (key.to_lowercase(), texts(Some(values)));
        let all = |is_one: fn(&String) -> bool| !values.is_empty() && values.iter().all(is_one);
        match operator {
            "IpAddress" if key == "aws:sourceip" => all(|value| is_narrow(value)),
            _ if OPERATORS.contains(&operator) && KEYS.contains(&key.as_str()) => {
                all(|value| !value.contains(['*', '?', '$']))
            }
            _ => false,
        }
    };
    let operators = condition.as_object().into_iter().flatten();
    let mut limits = operators.flat_map(|(operator, keys)| {
        keys.as_object().into_iter().flatten().map(move |(key, values)| (operator, key, values))
    });
    limits.any(|(operator, key, values)| is_limit(operator, key, values))
}

/// Wider ranges than these count as everybody.
fn is_narrow(range: &str) -> bool {
    match range.parse::<IpNet>() {
        Ok(IpNet::V4(net)) => net.prefix_len() >= 8,
        Ok(IpNet::V6(net)) => net.prefix_len() >= 32,
        Err(_) => range.parse::<IpAddr>().is_ok(),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::check_policy;

    fn policy(effect: &str, condition: &str) -> String {
        let statement = format!(r#""Effect":"{effect}","Principal":"*","Action":"s3:*"{condition}"#);
        format!(r#"{{"Statement":[{{{statement},"Resource":"arn:aws:s3:::b/*"}}]}}"#)
    }

    #[test]
    fn only_a_policy_for_everybody_is_public() {
        assert!(check_policy("b", "arn:aws", &policy("Allow", "")).unwrap());
        assert!(!check_policy("b", "arn:aws", &policy("Deny", "")).unwrap());
        for (condition, is_public) in [
            (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, true),
            (r#"{"StringEquals":{"aws:SourceVpce":"vpce-1"}}"#, false),
            (r#"{"StringLike":{"aws:sourcevpce":["vpce-1","vpce-*"]}}"#, true),
            (r#"{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}"#, true),
            (r#"{"StringEqualsIfExists":{"aws:SourceVpce":"vpce-1"}}"#, true),
            (r#"{"StringEquals":{"aws:PrincipalTag/a":"b"}}"#, true),
            (r#"{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","192.0.2.1"]}}"#, false),
            (r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/1"}}"#, true),
        ] {
            let policy = policy("Allow", &format!(r#","Condition":{condition}"#));
            assert_eq!(check_policy("b", "arn:aws", &policy).unwrap(), is_public, "{condition}");
        }
    }

    #[test]
    fn only_a_deny_names_whom_it_is_not_about() {
        let not = |effect| policy(effect, "").replace(r#""Principal":"*""#, r#""NotPrincipal":{"AWS":"123456789012"}"#);
        assert!(!check_policy("b", "arn:aws", &not("Deny")).unwrap());
        assert_eq!(check_policy("b", "arn:aws", &not("Allow")).unwrap_err().code().as_str(), "MalformedPolicy");
    }

    #[test]
    fn a_policy_of_another_bucket_is_refused() {
        for (bucket, arn) in [("c", "arn:aws"), ("b", "arn:aws-cn")] {
            let refused = check_policy(bucket, arn, &policy("Deny", "")).unwrap_err();
            assert_eq!(refused.message(), Some("Policy has invalid resource"));
        }
    }
}
