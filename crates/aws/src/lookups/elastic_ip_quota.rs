//! How many Elastic IPs the region allows and how many it has.

use trunnion_engine::Value;
use trunnion_kinds::lookup::ElasticIpQuota;

use super::{Answers, Asked, Lookup, attributes};
use crate::{
    Aws,
    error::{Class, Failure, OfCall as _},
};

pub(crate) struct ElasticIpQuotas;

impl Lookup for ElasticIpQuotas {
    type Query = ElasticIpQuota;
    const KIND: &'static str = ElasticIpQuota::KIND;

    /// AWS's default counts if the identity may not read the quota.
    async fn read(&self, aws: &Aws, asked: &Asked<ElasticIpQuota>) -> Result<Answers, Failure> {
        let ec2 = &aws.clients.ec2;
        let most = async {
            match ec2.describe_account_attributes().send().await.of_call("ec2:DescribeAccountAttributes") {
                Ok(answer) => {
                    let named = answer.account_attributes.into_iter().flatten();
                    let quota = named.filter(|one| one.attribute_name.as_deref() == Some(MOST_ELASTIC_IPS));
                    let values = quota.filter_map(|one| one.attribute_values);
                    let mut numbers = values.flatten().filter_map(|one| one.attribute_value?.parse::<i64>().ok());
                    Ok(numbers.next().unwrap_or(ElasticIpQuota::DEFAULT))
                }
                Err(failure) if failure.class == Class::Denied => Ok(ElasticIpQuota::DEFAULT),
                Err(failure) => Err(failure),
            }
        };
        let used = async { ec2.describe_addresses().send().await.of_call("ec2:DescribeAddresses") };
        let (most, used) = futures::try_join!(Box::pin(most), Box::pin(used))?;
        let used = i64::try_from(used.addresses().len()).unwrap_or(i64::MAX);
        let found = || attributes([("most", Value::Number(most)), ("used", Value::Number(used))]);
        Ok(asked.iter().map(|(address, _)| (address.clone(), Ok(found()))).collect())
    }
}

/// The account attribute with the quota of Elastic IPs. Its name is not in the enum of names that a request may give, so
/// the request asks for all attributes.
const MOST_ELASTIC_IPS: &str = "vpc-max-elastic-ips";
