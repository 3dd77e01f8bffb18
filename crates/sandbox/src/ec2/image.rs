//! Machine images: Amazon's own and registered ones.

use std::borrow::Cow;

use super::{
    document,
    model::Image,
    select::{self, PageSize, Row, row_fields, shown, text},
    snapshot, tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    xml::Xml,
};

impl Row for Image {
    const PREFIX: &'static str = "ami-";
    const KIND: &'static str = "image";
    const NOUN: &'static str = "image id";
    const NOT_FOUND: &'static str = "InvalidAMIID.NotFound";
    const MALFORMED: &'static str = "InvalidAMIID.Malformed";
    const IDS: &'static str = "ImageId";
    const FILTERS: &'static [&'static str] = &[
        "image-id",
        "name",
        "architecture",
        "description",
        "owner-alias",
        "owner-id",
        "state",
        "is-public",
        "image-type",
        "root-device-name",
        "root-device-type",
        "virtualization-type",
        "hypervisor",
        "creation-date",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, _: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "name" => text(&self.name),
            "architecture" => text(&self.architecture),
            "description" => self.description.iter().map(Cow::from).collect(),
            "owner-alias" => self.owner_alias.iter().map(Cow::from).collect(),
            "owner-id" => text(&self.owner),
            "state" => text("available"),
            "is-public" => shown(self.owner_alias.is_some()),
            "image-type" => text("machine"),
            "root-device-name" => text(&self.root_device),
            "root-device-type" => text("ebs"),
            "virtualization-type" => text("hvm"),
            "hypervisor" => text("xen"),
            "creation-date" => shown(self.created.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")),
            _ => text(id),
        }
    }
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let owners = params.list("Owner");
    let size = PageSize { least: 1, most: 1000, default: None };
    let (page, next) = select::select(cloud, call, &cloud.ec2.images, size)?;
    let is_owned = |image: &Image| {
        let owns = |owner: &&str| match *owner {
            "self" => image.owner == cloud.account,
            owner => image.owner == owner || image.owner_alias.as_deref() == Some(owner),
        };
        owners.is_empty() || owners.iter().any(owns)
    };
    let page = page.into_iter().filter(|(_, image)| is_owned(image));
    Ok(document(call, |xml| {
        xml.list("imagesSet", "item", page, |xml, (id, image)| write(xml, id, image));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, id: &str, image: &Image) {
    xml.text("imageId", id)
        .text("imageLocation", format!("{}/{}", image.owner_alias.as_deref().unwrap_or(&image.owner), image.name))
        .text("imageState", "available")
        .text("imageOwnerId", &image.owner)
        .optional("imageOwnerAlias", image.owner_alias.as_ref())
        .moment("creationDate", image.created)
        .plain("isPublic", image.owner_alias.is_some())
        .text("architecture", &image.architecture)
        .text("imageType", "machine")
        .text("name", &image.name)
        .optional("description", image.description.as_ref())
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", &image.root_device)
        .list("blockDeviceMapping", "item", [&image.root_device], |xml, device| {
            xml.text("deviceName", device).element("ebs", |xml| {
                xml.text("snapshotId", &image.snapshot)
                    .plain("volumeSize", image.root_size_gib)
                    .plain("deleteOnTermination", true)
                    .text("volumeType", "gp3")
                    .plain("encrypted", false);
            });
        })
        .text("virtualizationType", "hvm")
        .text("hypervisor", "xen")
        .plain("enaSupport", true)
        .text("sriovNetSupport", "simple")
        .text("bootMode", "uefi-preferred")
        .text("imdsSupport", "v2.0")
        .text("platformDetails", "Linux/UNIX")
        .text("usageOperation", "RunInstances");
    tag::write(xml, &image.tags);
}

pub(super) fn register(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let name = params.require("Name")?;
    let is_taken = |image: &Image| image.name == name && image.region == call.region && image.owner == cloud.account;
    if let Some((id, _)) = cloud.ec2.images.iter().find(|(_, image)| is_taken(image)) {
        let message = format!("AMI name {name} is already in use by AMI {id}");
        return Err(Fault::new("InvalidAMIName.Duplicate", message));
    }
    let architecture = params.get("Architecture").unwrap_or("x86_64");
    if !matches!(architecture, "x86_64" | "arm64") {
        let message = format!("Value ({architecture}) for parameter architecture is invalid.");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    let root_device = params.require("RootDeviceName")?;
    let mappings = params.items("BlockDeviceMapping");
    let root = mappings.iter().find(|mapping| mapping.get("DeviceName") == Some(root_device)).ok_or_else(|| {
        let message = format!("No block device mapping found for the root device '{root_device}'");
        Fault::new("InvalidBlockDeviceMapping", message)
    })?;
    let snapshot = root.get("Ebs.SnapshotId");
    if let Some(snapshot) = snapshot {
        snapshot::check(cloud, call, snapshot)?;
    }
    let id = cloud.new_id(Image::PREFIX);
    let image = Image {
        region: call.region.clone(),
        created: call.now,
        name: name.to_owned(),
        description: params.get("Description").map(str::to_owned),
        architecture: architecture.to_owned(),
        owner_alias: None,
        owner: cloud.account.clone(),
        root_device: root_device.to_owned(),
        root_size_gib: root.number("Ebs.VolumeSize")?.unwrap_or(8),
        snapshot: snapshot.map_or_else(|| snapshot::of_image(&id), str::to_owned),
        tags: tag::of_created::<Image>(&params)?,
    };
    cloud.ec2.images.insert(id.clone(), image);
    Ok(document(call, |xml| {
        xml.text("imageId", &id);
    }))
}
