//! The secrets; their values are never read.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use trunnion_kinds::lookup::Secret;

use super::{Answers, Asked, Lookup, attributes};
use crate::{
    Aws,
    error::{Class, Failure, OfCall as _},
};

pub(crate) struct Secrets;

impl Lookup for Secrets {
    type Query = Secret;
    const KIND: &'static str = Secret::KIND;

    async fn read(&self, aws: &Aws, asked: &Asked<Secret>) -> Result<Answers, Failure> {
        let asked = asked.iter().map(|(address, query)| {
            Box::pin(async move {
                let call = aws.clients.secrets.describe_secret().secret_id(&query.arn);
                let answer = match call.send().await.of_call("secretsmanager:DescribeSecret") {
                    Ok(answer) if answer.deleted_date.is_some() => Err(Failure::own(
                        format!("the secret `{}` is being deleted", query.arn),
                        "restore it, or name another one".to_owned(),
                    )),
                    // Without a value, the secret has no current version.
                    Ok(answer) if !has_value(&answer) => Err(Failure::own(
                        format!("the secret `{}` has no value", query.arn),
                        "put one with `aws secretsmanager put-secret-value`".to_owned(),
                    )),
                    Ok(answer) => {
                        // The complete ARN, which policies need.
                        let arn = answer.arn.unwrap_or_else(|| query.arn.clone());
                        let mut found = attributes([("arn", arn.into())]);
                        // The default key `aws/secretsmanager` needs no permission, so it is left out.
                        if let Some(key) = answer.kms_key_id.filter(|key| !key.ends_with("alias/aws/secretsmanager")) {
                            found.insert("kms_key".to_owned(), key.into());
                        }
                        Ok(found)
                    }
                    Err(failure) if failure.class == Class::NotFound => Err(Failure {
                        help: Some("create it, or correct the ARN".to_owned()),
                        message: format!("the secret `{}` does not exist", query.arn),
                        ..failure
                    }),
                    Err(failure)
                        if matches!(
                            failure.class,
                            Class::Credentials | Class::ExpiredCredentials | Class::Unreachable
                        ) =>
                    {
                        return Err(failure);
                    }
                    Err(failure) => Err(failure),
                };
                Ok((address.clone(), answer))
            })
        });
        futures::future::try_join_all(asked).await
    }
}

fn has_value(secret: &DescribeSecretOutput) -> bool {
    let stages = secret.version_ids_to_stages.iter().flatten().flat_map(|(_, stages)| stages);
    stages.into_iter().any(|stage| stage == "AWSCURRENT")
}
