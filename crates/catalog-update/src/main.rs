//! `cargo xtask catalog`, a package of its own so that other chores do not compile the AWS SDKs: rewrites the tables of instance types and prices from AWS's APIs: `DescribeInstanceTypes`,
//! `DescribeSpotPriceHistory` and `GetProducts` of the Price List Query API. It changes nothing in AWS.
//!
//! Nothing is written before every answer is there. The calls go where the AWS CLI would send them, so that
//! `AWS_ENDPOINT_URL_EC2` and `AWS_ENDPOINT_URL_PRICING` can name other servers.

mod items;
mod products;
mod spot;
mod types;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use clap::{Parser, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::runtime::Runtime;
use trunnion_catalog::prices::Item;

use crate::products::{Priced, Query};

/// The error of the chore.
type Failure = Box<dyn Error>;

/// Rewrite the tables of instance types and prices from AWS's APIs; needs credentials, and changes nothing in AWS
#[derive(Debug, Parser)]
#[command(name = "cargo xtask catalog")]
struct Arguments {
    /// Only this table; every table without it
    #[arg(long, value_name = "TABLE")]
    only: Vec<Table>,
    /// Also price the types of this family, such as `c8gn`, which the table of prices does not have yet
    #[arg(long, value_name = "FAMILY")]
    family: Vec<String>,
    /// Ask for types and spot prices in this region alone; in each region that the account has enabled without it
    #[arg(long, value_name = "REGION")]
    region: Vec<String>,
    /// The folder of the tables; `crates/catalog/data` without it
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// A table of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Table {
    /// Interfaces, addresses, bandwidth, vCPUs and memory of instance types.
    Types,
    /// Prices of instance types on demand.
    OnDemand,
    /// Prices of spot instances.
    Spot,
    /// Prices of everything else.
    Other,
}

impl Table {
    const fn file(self) -> &'static str {
        match self {
            Self::Types => "instance-types.csv",
            Self::OnDemand => "on-demand-prices.csv",
            Self::Spot => "spot-prices.csv",
            Self::Other => "other-prices.csv",
        }
    }
}

/// The only region of the commercial partition's price list that every account can ask.
const PRICE_LIST: &str = "us-east-1";

/// How many questions are open at once.
const AT_ONCE: usize = 8;

#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
fn main() -> ExitCode {
    match update(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Asks AWS, and writes the tables that differ.
fn update(arguments: &Arguments) -> Result<(), Failure> {
    let of_the_repository = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../catalog/data");
    let folder = arguments.folder.clone().unwrap_or_else(of_the_repository);
    let now = DateTime::from(SystemTime::now());
    Runtime::new()?.block_on(rewrite(arguments, &folder, now))
}

async fn rewrite(arguments: &Arguments, folder: &Path, now: DateTime) -> Result<(), Failure> {
    let config = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(PRICE_LIST)).load().await;
    let is_asked = |table| arguments.only.is_empty() || arguments.only.contains(&table);
    let date = now.fmt(DateTimeFormat::DateTime)?.get(..10).unwrap_or_default().to_owned();
    let mut files = Vec::new();
    let regions =
        if is_asked(Table::Types) || is_asked(Table::Spot) { regions(arguments, &config).await? } else { Vec::new() };
    let types = if is_asked(Table::Types) {
        let found = all_types(&config, &regions).await?;
        let names = found.keys().cloned().collect();
        files.push((Table::Types, types_file(&date, &regions, &found)));
        names
    } else {
        rows(folder, Table::Types)?.into_iter().filter_map(|row| row.split(',').next().map(str::to_owned)).collect()
    };
    let priced = priced_types(folder, &arguments.family, &types)?;
    let pricing = aws_sdk_pricing::Client::new(&config);
    if is_asked(Table::OnDemand) {
        files.push((Table::OnDemand, on_demand_file(&date, &on_demand(&pricing, &priced).await?)));
    }
    if is_asked(Table::Spot) {
        files.push((Table::Spot, spot_file(&date, &all_spot(&config, &regions, &priced, now).await?)));
    }
    let mut unknown = Vec::new();
    if is_asked(Table::Other) {
        let (rows, missing) = others(folder, &pricing).await?;
        files.push((Table::Other, other_file(&rows)));
        unknown = missing;
    }
    if let Some((table, _)) = files.iter().find(|(_, text)| of_text(text).is_empty()) {
        return Err(format!("AWS's answers leave nothing for {}: nothing is written", table.file()).into());
    }
    for (table, text) in files {
        write(folder, table, &text)?;
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = unknown.into_iter().map(Item::as_str).collect();
    Err(format!(
        "AWS's price list has no product for {}: their lines stay as they are. Correct the query in `crates/catalog-update/src/items.rs`",
        names.join(", ")
    )
    .into())
}

/// The error of a call with all its causes.
fn said(error: impl Error) -> Failure {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said.into()
}

/// The regions that the account has enabled.
async fn regions(arguments: &Arguments, config: &SdkConfig) -> Result<Vec<String>, Failure> {
    if !arguments.region.is_empty() {
        return Ok(arguments.region.clone());
    }
    let answer = aws_sdk_ec2::Client::new(config).describe_regions().send().await.map_err(said)?;
    let mut regions: Vec<String> =
        answer.regions.into_iter().flatten().filter_map(|region| region.region_name).collect();
    regions.sort_unstable();
    Ok(regions)
}

fn ec2(config: &SdkConfig, region: &str) -> aws_sdk_ec2::Client {
    let config = aws_sdk_ec2::config::Builder::from(config).region(Region::new(region.to_owned())).build();
    aws_sdk_ec2::Client::from_conf(config)
}

/// A type has the same line in every region that offers it.
async fn all_types(config: &SdkConfig, regions: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let asked = stream::iter(regions).map(|region| async move { types::ask(&ec2(config, region)).await });
    let found: Vec<_> = asked.buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().rev().flatten().collect())
}

/// The types of the families that have prices, and of those that are to have some.
fn priced_types(folder: &Path, more: &[String], types: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
    let rows = rows(folder, Table::OnDemand)?;
    let mut families: BTreeSet<&str> = rows.iter().filter_map(|row| row.split('.').next()).collect();
    families.extend(more.iter().map(String::as_str));
    let family = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    for one in more {
        if !types.iter().any(|name| family(name) == *one) {
            return Err(format!("`{one}` is the family of no instance type").into());
        }
    }
    Ok(types.iter().filter(|name| families.contains(family(name).as_str())).cloned().collect())
}

/// The price of each type in each region.
async fn on_demand(
    pricing: &aws_sdk_pricing::Client,
    types: &BTreeSet<String>,
) -> Result<BTreeMap<(String, String), Priced>, Failure> {
    let asked = stream::iter(types).map(|name| async move {
        let (filters, usage) = (instance(name), format!("BoxUsage:{name}"));
        let query =
            Query { service: "AmazonEC2", filters: &filters, usage: &usage, region: "regionCode", units: &["Hrs"] };
        Ok::<_, Failure>((name, query.ask(pricing).await?))
    });
    let found: Vec<_> = asked.buffered(AT_ONCE).try_collect().await?;
    let of = |(name, prices): (&String, BTreeMap<String, Priced>)| {
        let name = name.clone();
        prices.into_iter().map(move |(region, priced)| ((name.clone(), region), priced))
    };
    Ok(found.into_iter().flat_map(of).collect())
}

/// Linux without other software, on shared hardware, neither reserved nor in a capacity block.
fn instance(name: &str) -> [(&'static str, &str); 7] {
    [
        ("productFamily", "Compute Instance"),
        ("instanceType", name),
        ("operatingSystem", "Linux"),
        ("tenancy", "Shared"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
        ("marketoption", "OnDemand"),
    ]
}

async fn all_spot(
    config: &SdkConfig,
    regions: &[String],
    types: &BTreeSet<String>,
    now: DateTime,
) -> Result<Vec<String>, Failure> {
    let asked = stream::iter(regions).map(|region| async move {
        let prices = spot::ask(&ec2(config, region), types, now).await?;
        Ok::<_, Failure>(prices.into_iter().map(move |(name, usd)| format!("{name},{region},{usd}")))
    });
    let found: Vec<_> = asked.buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The lines of everything else, and the items without a product, whose lines stay.
async fn others(folder: &Path, pricing: &aws_sdk_pricing::Client) -> Result<(Vec<String>, Vec<Item>), Failure> {
    let present = rows(folder, Table::Other)?;
    let (mut lines, mut missing) = (Vec::new(), Vec::new());
    for item in Item::ALL {
        let query = items::query(item);
        let prices = query.ask(pricing).await?;
        if prices.is_empty() {
            missing.push(item);
            let is_of_item = |row: &&String| row.split(',').next() == Some(item.as_str());
            lines.extend(present.iter().filter(is_of_item).cloned());
        }
        let source = format!("AWS price list {}", query.service);
        lines.extend(
            prices
                .into_iter()
                .map(|(region, Priced { usd, date, .. })| format!("{item},{region},{usd},{date},{source}")),
        );
    }
    Ok((lines, missing))
}

/// The lines of a table.
fn rows(folder: &Path, table: Table) -> Result<Vec<String>, Failure> {
    let path = folder.join(table.file());
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(of_text(&text))
}

fn of_text(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn file(header: &str, mut rows: Vec<String>) -> String {
    rows.sort_unstable();
    format!("{header}{}\n", rows.join("\n"))
}

fn types_file(date: &str, regions: &[String], types: &BTreeMap<String, String>) -> String {
    let header = format!(
        "# EC2 instance types, sorted by name. `cargo xtask catalog` writes them.\n\
         # Taken on {date} from DescribeInstanceTypes in {}.\n\
         # name,architecture,vcpu,memory_mib,baseline_mbps,peak_mbps,interfaces per card,ipv4 per interface\n",
        regions.join(" ")
    );
    file(&header, types.values().cloned().collect())
}

fn on_demand_file(date: &str, prices: &BTreeMap<(String, String), Priced>) -> String {
    let published = prices.values().map(|priced| priced.date.as_str()).max().unwrap_or(date);
    let header = format!(
        "# On-demand prices of EC2 instance types: Linux, shared tenancy, US dollars an hour, without tax and discounts.\n\
         # Sorted by type and region. A type or a region that is not here has no price.\n\
         # `cargo xtask catalog` writes them.\n\
         #\n\
         # source P: {published}: AWS's price list (AmazonEC2 by GetProducts)\n\
         #\n\
         # basis list: the price is in the source\n\
         # instance type,region,usd,basis,source\n"
    );
    let row = |((name, region), priced): (&(String, String), &Priced)| format!("{name},{region},{},list,P", priced.usd);
    file(&header, prices.iter().map(row).collect())
}

fn spot_file(date: &str, rows: &[String]) -> String {
    let header = format!(
        "# Spot prices of EC2 instance types: Linux, US dollars an hour. One moment, the median over the region's zones.\n\
         # Spot prices move: they are an order of magnitude. Sorted by type and region. `cargo xtask catalog` writes them.\n\
         # source: {date}: the spot market (DescribeSpotPriceHistory)\n\
         # instance type,region,usd\n"
    );
    file(&header, rows.to_vec())
}

fn other_file(rows: &[String]) -> String {
    let header = "\
# Prices of what a stack uses beside instances, in US dollars, without tax, discounts and free tiers.
# Sorted by item and region; `*` is each region of the commercial partition. What is not here has no price.
# The unit is the end of the item's name. Date and source are those of the figure. `cargo xtask catalog` writes them.
# item,region,usd,date,source
";
    file(header, rows.to_vec())
}

/// Writes a table, and says what it has now.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
#[expect(clippy::disallowed_methods, reason = "a table of the repository, which git has")]
fn write(folder: &Path, table: Table, text: &str) -> Result<(), Failure> {
    let key = |row: &String| {
        let fields: Vec<&str> = row.split(',').collect();
        fields.get(..if table == Table::Types { 1 } else { 2 }).unwrap_or(&fields).join(",")
    };
    let before: BTreeMap<String, String> = rows(folder, table)?.into_iter().map(|row| (key(&row), row)).collect();
    let now: BTreeMap<String, String> = of_text(text).into_iter().map(|row| (key(&row), row)).collect();
    let path = folder.join(table.file());
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    let new = now.keys().filter(|key| !before.contains_key(*key)).count();
    let gone: Vec<&str> = before.keys().filter(|key| !now.contains_key(*key)).map(String::as_str).collect();
    let other = now.iter().filter(|(key, row)| before.get(*key).is_some_and(|before| before != *row)).count();
    eprintln!("{}: {} lines, {new} new, {other} changed, {} gone", table.file(), now.len(), gone.len());
    for key in gone {
        eprintln!("  gone: {key}");
    }
    Ok(())
}
