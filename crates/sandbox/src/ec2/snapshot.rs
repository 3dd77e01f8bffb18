//! Snapshots: those that were made with the account's own images. Others cannot be created here.

use super::{
    document,
    model::{Image, Tags},
    select::{Filters, PageSize, Pager, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::{Cloud, id_of},
    xml::Xml,
};

const SIZE: PageSize = PageSize { least: 5, most: 1000, default: None };

const FILTERS: &[&str] =
    &["description", "encrypted", "owner-id", "progress", "snapshot-id", "status", "storage-tier", "volume-size"];

/// The id of the snapshot that is made with an image.
pub(super) fn of_image(image: &str) -> String {
    id_of("snap-", image)
}

/// The account's snapshots in the region, each with its image.
fn own<'w>(cloud: &'w Cloud, call: &Call) -> impl Iterator<Item = (&'w str, &'w Image)> {
    let own = cloud.ec2.images.iter().filter(|(_, row)| row.region == call.region && row.owner == cloud.account);
    own.filter(|(id, row)| row.snapshot == of_image(id)).map(|(_, row)| (row.snapshot.as_str(), row))
}

/// Whether the account has a snapshot.
pub(super) fn check(cloud: &Cloud, call: &Call, id: &str) -> Result<(), Fault> {
    if own(cloud, call).any(|(known, _)| known == id) {
        return Ok(());
    }
    Err(Fault::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist.")))
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (filters, pager) = (Filters::of(&params, FILTERS)?, Pager::of(&params, SIZE)?);
    let mut all: Vec<(&str, &Image)> = own(cloud, call).collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    let ids = params.list("SnapshotId");
    for id in &ids {
        check(cloud, call, id)?;
    }
    let owners = params.list("Owner");
    let none = Tags::new();
    let passing = all.into_iter().filter(|(id, row)| {
        (ids.is_empty() || ids.contains(id))
            && (owners.is_empty() || owners.iter().any(|owner| *owner == "self" || *owner == cloud.account))
            && filters.accept(&none, |filter| match filter {
                "description" => Vec::new(),
                "encrypted" => shown(false),
                "owner-id" => text(&row.owner),
                "progress" => text("100%"),
                "status" => text("completed"),
                "storage-tier" => text("standard"),
                "volume-size" => shown(row.root_size_gib),
                _ => text(id),
            })
    });
    let (page, next) = pager.page(passing);
    Ok(document(call, |xml| {
        xml.list("snapshotSet", "item", page, |xml, (id, row)| write(xml, id, row));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, id: &str, image: &Image) {
    xml.text("snapshotId", id)
        .text("status", "completed")
        .moment("startTime", image.created)
        .text("progress", "100%")
        .text("ownerId", &image.owner)
        .plain("volumeSize", image.root_size_gib)
        // AWS gives this id to snapshots whose volume is not known.
        .text("volumeId", "vol-ffffffff")
        .text("description", "")
        .plain("encrypted", false)
        .text("storageTier", "standard");
    tag::write(xml, &Tags::new());
}
