//! The top of the file: name, region, account, tags, state, and the sections.

use std::{collections::BTreeMap, marker::PhantomData, path::Path};

use serde_json::json;
use trunnion_catalog::{Partition, limits};

use super::{
    Around, Budget, ControlPlane, Described, Generator, Location, Network, Pool, Prices, Workload,
    key::{Kind, or, or_empty, required},
    kinds::{Boolean, Limit, Named, Nested, Readings, shaped},
    location,
    moved::Moves,
    places, protect,
    section::keys,
    tags::Tags,
};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::{Field, Map},
    forms,
    model::StateLocation,
    names,
    sources::shown_text,
    tree::{Node, ScalarKind, Value},
};

keys! {
    /// A Gatling load-testing platform on AWS: generator hosts, control plane and private locations.
    Top {
        /// The stack's name: prefix of every name in AWS.
        stack: String = required(Name, "loadtest").such_as(&["loadtest"]),
        /// AWS region.
        region: String = required(Region, "eu-west-3").such_as(&["eu-west-3"]),
        /// The AWS account, in quotes. Credentials of any other account are refused before the first change.
        account: String = required(Account, "\"123456789012\"").such_as(&["\"123456789012\""]),
        /// Tags of every resource, in addition to those of Trunnion. Their values are text, as they are spelled.
        tags: BTreeMap<String, String> = or_empty(Tags, "none").such_as(&["{ team: performance, cost-center: quality }"]),
        /// Whether plans that would delete or replace hosts or the control plane are refused. It holds for every pool and for the control
        /// plane, unless they have a `protect` of their own.
        protect: bool = or(Boolean, "false").such_as(&["true"]),
        /// Where the state is stored. It is only a cache: without it, the next plan finds all resources by their tags.
        state: StateLocation = or(State, StateLocation::FOLDER).such_as(&["s3://acme-trunnion/state"]),
        /// The network that the hosts are in. It is looked up and never changed.
        network: Network = or(Nested::new(), "{}"),
        /// The software and the settings of the generator hosts.
        generator: Generator = or(Nested::new(), "{}"),
        /// Pools of identical generator hosts, by name.
        pools: Readings<Pool> = required(POOLS, "{ heavy: { instance_type: c6in.32xlarge, zone: eu-west-3a } }"),
        /// Pools that have another name now. Their hosts and Elastic IPs stay: only their addresses, names and tags change, and the pool
        /// gets a launch template of the new name. An item whose pool has moved already does nothing.
        moved: BTreeMap<String, String> = or_empty(Moves, "none").such_as(&["[{ from: small, to: heavy }]"]),
        /// The Gatling control plane, an ECS service on Fargate.
        control_plane: ControlPlane = required(Nested::new(), "{ image: …, token: …, ssh: … }"),
        /// Gatling private locations by id, each backed by a pool of its own.
        locations: Readings<Location> = or_empty(LOCATIONS, "none"),
        /// What the virtual users of all tests do that run at once.
        workload: Workload = or(Nested::new(), "{}"),
        /// Prices of your own, in place of list prices.
        prices: Prices = or(Nested::new(), "{}"),
        /// The highest cost of the stack.
        budget: Budget = or(Nested::new(), "{}"),
    }
}

const POOLS: Named<Pool> = Named {
    placeholder: "<pool>",
    example: "heavy",
    names: &forms::POOL_NAME,
    otherwise: "is not a valid pool name",
    none: Some(("has no pool", "name one: `heavy: { instance_type: c6in.32xlarge, zone: eu-west-3a }`")),
    limit: at_most_100(|found, most| format!("has {found} pools, but at most {most} are allowed")),
    of: PhantomData,
};
/// Each location has its own pool.
const LOCATIONS: Named<Location> = Named {
    placeholder: "<location>",
    example: "prl_heavy_paris",
    names: &forms::LOCATION_ID,
    otherwise: "is not a valid private location id",
    none: None,
    limit: at_most_100(|found, most| format!("has {found} locations, but at most {most} are allowed")),
    of: PhantomData,
};

/// A limit of 100 items, because a plan with more cannot be reviewed.
const fn at_most_100(says: fn(usize, usize) -> String) -> Limit {
    Limit { most: 100, code: "stack::out_of_range", says, help: "split the stack into several" }
}

/// A [`crate::Stack`] without the places of its keys.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) former_name: Option<String>,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) state: StateLocation,
    pub(crate) network: Network,
    pub(crate) generator: Generator,
    pub(crate) pools: BTreeMap<String, Pool>,
    pub(crate) moved: BTreeMap<String, String>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) locations: BTreeMap<String, Location>,
    pub(crate) workload: Workload,
    pub(crate) prices: Prices,
    pub(crate) budget: Budget,
}

/// Reads the merged tree. Every section is read, even if another one has a mistake.
pub(crate) fn read(root: &Node, around: &Around, findings: &mut Findings) -> Option<Decoded> {
    let Value::Map(entries) = &root.value else {
        let message = format!("the stack file is {}, but a stack is a map", root.type_in_words());
        let found = Diagnostic::new("stack::wrong_type", Some(root.span.clone()), message);
        findings.push(found.with_help("begin with `stack: <name>`"));
        return None;
    };
    // An error about a missing top-level key points at the first key of the file.
    let place = entries.first().map_or(0..0, |first| first.key_span.clone());
    let top = Map { path: String::new(), place, entries };

    let name = Top::stack(&top, around, findings).and_then(|name| joined(&top, name, around.environment, findings));
    let region = Top::region(&top, around, findings);
    let account = Top::account(&top, around, findings);
    let around = &Around {
        name: name.as_ref().map(|(name, _)| name.as_str()),
        region: region.as_deref(),
        account: account.as_deref(),
        ..*around
    };
    let fits = has_short_bucket(&top, around, findings);
    let tags = Top::tags(&top, around, findings);
    let state = Top::state(&top, around, findings);
    let network = Top::network(&top, around, findings);
    let protect = Top::protect(&top, around, findings);
    let around = &Around { protect, ..*around };
    let pools = Top::pools(&top, around, findings);
    let around = &Around { pools: pools.as_ref(), ..*around };
    let moved = Top::moved(&top, around, findings);
    let generator = Top::generator(&top, around, findings);
    let control_plane = Top::control_plane(&top, around, findings);
    let around = &Around { java: generator.as_ref().map(|generator| generator.java), ..*around };
    let locations = Top::locations(&top, around, findings);
    let fits = location::share_no_pool(&top, around, findings).and(fits);
    let workload = Top::workload(&top, around, findings);
    let prices = Top::prices(&top, around, findings);
    let budget = Top::budget(&top, around, findings);
    let zones = control_plane.as_ref().map(|control_plane| control_plane.zones.len());
    let fits = places::check(&top, around, zones, network.as_ref(), findings).and(fits);
    let is_protected = protect == Some(true) || control_plane.as_ref().is_some_and(|it| it.protect);
    let fits = protect::leaves_a_tag(&top, tags.as_ref(), is_protected, pools.as_ref(), findings).and(fits);
    let (name, former_name) = name?;
    fits?;
    protect?;
    Some(Decoded {
        name,
        former_name,
        region: region?,
        account: account?,
        tags: tags?,
        state: state?,
        network: network?,
        generator: generator?,
        moved: moved?,
        pools: pools?.all()?,
        control_plane: control_plane?,
        locations: locations?.all()?,
        workload: workload?,
        prices: prices?,
        budget: budget?,
    })
}

/// The stack's own name.
struct Name;

impl Kind for Name {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        let text = findings.text(field)?;
        if !forms::STACK_NAME.fits(text) {
            let says = format!("is `{}`, which is not a valid stack name", shown_text(text));
            let help = format!("use {}, such as `loadtest`", forms::STACK_NAME.words());
            findings.about(field, "stack::malformed", says, help);
            return None;
        }
        Some(text.to_owned())
    }

    fn describe(&self) -> Described {
        let mut described = shaped(&forms::STACK_NAME);
        let pair = names::LONGEST_PAIR;
        described.bounds.push(format!("at most {pair} characters together with the name of an environment"));
        described
    }
}

/// The stack's name with its environment, and its name in earlier versions, if that differs.
fn joined(
    top: &Map,
    name: String,
    environment: Option<&str>,
    findings: &mut Findings,
) -> Option<(String, Option<String>)> {
    let field = top.get("stack")?;
    let (name, former) = match environment {
        Some(environment) => names::joined(&name, environment),
        None => (name, None),
    };
    if environment.is_some() && !names::fits(&name) {
        let says = format!("becomes `{}` in this environment, which is not a valid stack name", shown_text(&name));
        let most = names::LONGEST_PAIR;
        let help = format!("use {most} characters at most for both together: lower-case letters, digits and hyphens");
        findings.about(&field, "stack::malformed", says, help);
        return None;
    }
    reserved(&field, &name, findings)?;
    Some((name, former))
}

/// Refuses stack names that give reserved names to resources. The bucket is `<stack>-<account>-<region>`, and the
/// security groups are `<stack>-<group>`.
fn reserved(field: &Field, name: &str, findings: &mut Findings) -> Option<()> {
    let start = format!("{name}-");
    let (what, reserved) = match limits::RESERVED_BUCKET_PREFIXES.iter().find(|reserved| start.starts_with(**reserved))
    {
        Some(reserved) => ("S3 reserves such bucket names", *reserved),
        None if start.starts_with(limits::RESERVED_GROUP_PREFIX) => {
            ("EC2 reserves such security group names", limits::RESERVED_GROUP_PREFIX)
        }
        None => return Some(()),
    };
    let says = format!("becomes `{start}…` in the names of its resources, but {what}: `{reserved}`");
    findings.about(field, "stack::reserved", says, "use another name");
    None
}

/// Refuses a region whose name makes the bucket's name, `<stack>-<account>-<region>`, too long.
fn has_short_bucket(top: &Map, around: &Around, findings: &mut Findings) -> Option<()> {
    let (Some(name), Some(region), Some(account)) = (around.name, around.region, around.account) else {
        return Some(());
    };
    let (_, longest) = limits::BUCKET_NAME;
    let found = format!("{name}-{account}-{region}").len();
    if found <= longest {
        return Some(());
    }
    let field = top.get("region")?;
    let says = format!("makes the name of the stack's bucket {found} characters long, but S3 allows {longest}");
    findings.about(&field, "stack::too_long", says, format!("shorten `stack` by {} characters", found - longest));
    None
}

struct Region;

impl Kind for Region {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        let text = findings.text(field)?;
        if forms::REGION.fits(text) {
            if Partition::of(text).is_isolated {
                let says = format!("is `{text}`, a region of an isolated AWS partition");
                let help = "use a region that can reach api.gatling.io: the control plane and the hosts cannot work without it";
                findings.about(field, "stack::isolated_region", says, help);
                return None;
            }
            return Some(text.to_owned());
        }
        let without_letter = text.trim_end_matches(|last: char| last.is_ascii_lowercase());
        let help = if forms::REGION.fits(without_letter) {
            format!("that is an availability zone; its region is `{without_letter}`")
        } else {
            "write it as AWS does, such as `eu-west-3`".to_owned()
        };
        findings.about(
            field,
            "stack::malformed",
            format!("is `{}`, which is not a valid region", shown_text(text)),
            help,
        );
        None
    }

    fn describe(&self) -> Described {
        let mut described = shaped(&forms::REGION);
        described.bounds.push("no region of an isolated partition".to_owned());
        described
    }
}

struct Account;

impl Kind for Account {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        if let Some(spelled) = field.spelled().filter(|_| field.kind() != Some(ScalarKind::Text)) {
            let is_digits = !spelled.is_empty() && spelled.bytes().all(|byte| byte.is_ascii_digit());
            let help = match spelled.len() {
                1..=12 if is_digits => format!("quote it, with its leading zeros: \"{spelled:0>12}\""),
                _ => "write twelve digits in quotes, such as \"123456789012\"".to_owned(),
            };
            findings.wrong_type(field, "text", help);
            return None;
        }
        let text = findings.text(field)?;
        if forms::ACCOUNT.fits(text) {
            return Some(text.to_owned());
        }
        let says = format!("is `{}`, which is not a valid AWS account", shown_text(text));
        findings.about(field, "stack::malformed", says, "write its twelve digits in quotes, without hyphens");
        None
    }

    fn describe(&self) -> Described {
        shaped(&forms::ACCOUNT)
    }
}

/// The longest prefix in a bucket, in bytes. The name of the file and those of its locks follow it in the key.
const LONGEST_PREFIX: usize = limits::OBJECT_KEY - 124;

struct State;

impl Kind for State {
    type Value = StateLocation;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<StateLocation> {
        // A placeholder: without a valid name there is no stack, but mistakes in this key are still found.
        let file = StateLocation::document(around.name.unwrap_or("stack"));
        let text = findings.text(field)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            if Path::new(text).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
                let help = format!("write the directory only; the file name in it is `{file}`");
                findings.about(field, "stack::state", "names a file, but must name a directory", help);
                return None;
            }
            // A colon is more likely one of `s3:/bucket`, `bucket:prefix` or an ARN; `C:` is a drive.
            let first = text.split(['/', '\\']).next().unwrap_or(text);
            if first.contains(':') && first.find(':') != Some(1) {
                let says = format!("is `{}`, which looks like a place in S3, but is none", shown_text(text));
                let help = "write `s3://bucket/prefix`, or a directory; one with a colon in its name begins with `./`";
                findings.about(field, "stack::state", says, help);
                return None;
            }
            return Some(StateLocation::File(around.directory.join(text).join(file)));
        };
        if scheme != "s3" {
            let says = format!("does not know `{}://`", shown_text(scheme));
            findings.about(field, "stack::state", says, "write `s3://bucket/prefix`, or a directory");
            return None;
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !forms::is_bucket(bucket) {
            let says = format!("names the bucket `{}`, which is not a valid bucket name", shown_text(bucket));
            findings.about(field, "stack::state", says, "write `s3://bucket/prefix`");
            return None;
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.len() > LONGEST_PREFIX
            || (!prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")))
        {
            let help = "write `s3://bucket/prefix`, with single slashes and no dots alone between them";
            findings.about(field, "stack::state", "has a prefix that is not safe in S3", help);
            return None;
        }
        let key = if prefix.is_empty() { file } else { format!("{prefix}/{file}") };
        Some(StateLocation::S3 { bucket: bucket.to_owned(), key })
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec![
                "a folder, relative to the stack file; one with a colon in its name begins with `./`".to_owned(),
                format!(
                    "`s3://bucket/prefix`: a bucket in any region, a prefix of at most {LONGEST_PREFIX} characters"
                ),
            ],
            forms: vec![json!({ "type": "string", "minLength": 1 })],
            ..Described::default()
        }
    }
}
