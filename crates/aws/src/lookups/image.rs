//! The images, by the ids in SSM parameters or in the stack.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_ec2::types::{Image as Ec2Image, ImageState};
use trunnion_catalog::limits::PARAMETERS_PER_CALL;
use trunnion_engine::{Address, Map, Value};
use trunnion_kinds::lookup::Image;

use super::{Answers, Asked, Known, Lookup, attributes};
use crate::{
    Aws,
    convert::attribute,
    error::{Failure, OfCall as _},
};

pub(crate) struct Images;

impl Lookup for Images {
    type Query = Image;
    const KIND: &'static str = Image::KIND;
    const HAS_SECOND: bool = true;

    /// Their ids.
    async fn read(&self, aws: &Aws, asked: &Asked<Image>) -> Result<Answers, Failure> {
        let parameters = parameters(aws, asked).await?;
        let answer = |query: &Image| {
            let id = match &query.parameter {
                Some(parameter) => parameters.get(parameter).cloned(),
                None => query.id.clone(),
            };
            id.map(|id| attributes([("id", id.into())])).ok_or_else(|| {
                let parameter = query.parameter.as_deref().unwrap_or_default();
                Failure::own(
                    format!("the SSM parameter `{parameter}` does not exist in {}", aws.connection.region),
                    "correct `image`".to_owned(),
                )
            })
        };
        Ok(asked.iter().map(|(address, query)| (address.clone(), answer(query))).collect())
    }

    async fn complete(&self, aws: &Aws, asked: &Asked<Image>, known: &Known) -> Result<Answers, Failure> {
        let asked: Vec<_> = asked
            .iter()
            .filter_map(|(address, query)| Some((address, query, attribute(known.get(address)?, "id").to_owned())))
            .collect();
        let ids: BTreeSet<String> = asked.iter().map(|(_, _, id)| id.clone()).collect();
        let found = images_by_id(aws, ids.into_iter().collect()).await?;
        let answer = |(address, query, id): (&Address, &Image, String)| {
            (address.clone(), image(query, &id, found.get(&id), &aws.connection.region))
        };
        Ok(asked.into_iter().map(answer).collect())
    }
}

/// The values of all SSM parameters that name images.
async fn parameters(aws: &Aws, asked: &Asked<Image>) -> Result<HashMap<String, String>, Failure> {
    let names: BTreeSet<String> = asked.iter().filter_map(|(_, image)| image.parameter.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let asked = names.chunks(PARAMETERS_PER_CALL).map(|names| {
        let call = aws.clients.ssm.get_parameters().set_names(Some(names.to_vec()));
        Box::pin(async { call.send().await.of_call("ssm:GetParameters") })
    });
    let answers = futures::future::try_join_all(asked).await?;
    let parameters = answers.into_iter().flat_map(|answer| answer.parameters.into_iter().flatten());
    Ok(parameters.filter_map(|parameter| Some((parameter.name?, parameter.value?))).collect())
}

fn image(query: &Image, id: &str, found: Option<&Ec2Image>, region: &str) -> Result<Map, Failure> {
    let Some(image) = found else {
        return Err(Failure::own(
            format!("the image `{id}` does not exist in {region}, or it is not shared with this account"),
            "correct `image`: ids differ from region to region".to_owned(),
        ));
    };
    let architecture = image.architecture.as_ref().map_or("", |architecture| architecture.as_str());
    if architecture != query.architecture {
        return Err(Failure::own(
            format!("the image `{id}` is for {architecture}, but the pool's hosts are {}", query.architecture),
            format!("name an image for {}", query.architecture),
        ));
    }
    // EC2 launches hosts only from an available image.
    if let Some(state) = image.state.as_ref().filter(|state| **state != ImageState::Available) {
        return Err(Failure::own(
            format!("the image `{id}` is in the state `{}`, not `available`", state.as_str()),
            "wait until it is available, or use another image".to_owned(),
        ));
    }
    let mut found = attributes([
        ("id", id.into()),
        ("name", image.name.clone().unwrap_or_default().into()),
        ("architecture", architecture.into()),
        ("root_device", image.root_device_name.clone().unwrap_or_default().into()),
    ]);
    let root = image.block_device_mappings().iter().find(|device| device.device_name == image.root_device_name);
    if let Some(size) = root.and_then(|device| device.ebs.as_ref()?.volume_size) {
        found.insert("root_size_gib".to_owned(), Value::Number(size.into()));
    }
    Ok(found)
}

async fn images_by_id(aws: &Aws, mut ids: Vec<String>) -> Result<HashMap<String, Ec2Image>, Failure> {
    while !ids.is_empty() {
        let call = aws.clients.ec2.describe_images().set_image_ids(Some(ids.clone()));
        match call.send().await.of_call("ec2:DescribeImages") {
            Ok(answer) => {
                let images = answer.images.into_iter().flatten();
                return Ok(images.filter_map(|image| Some((image.image_id.clone()?, image))).collect());
            }
            // EC2 names the ids it does not know, so the others are asked for again.
            Err(failure) if failure.code.starts_with("InvalidAMIID") => {
                let before = ids.len();
                ids.retain(|id| !failure.message.contains(id.as_str()));
                if ids.len() == before {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(HashMap::new())
}
