//! The typed content of a valid stack file after its environment was merged in. All values are checked.
//!
//! The sections are structs in [`crate::language`], where each field is declared with its key. This module has the stack itself
//! and the enums.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use ipnet::IpNet;

use crate::files::Files;
pub use crate::language::{Budget, ControlPlane, Generator, Location, Network, Pool, Prices, Ssh, Targets, Workload};

/// One stack file, one environment.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The stack's name, with `-<environment>` if one was chosen, or with `--<environment>` if one of the two contains a
    /// hyphen. It is the prefix of every name in AWS.
    pub name: String,
    /// The name in earlier versions, if it differs. Resources may still have it.
    pub former_name: Option<String>,
    /// The owner of the stack: the S3 URL of its state, else its repository and folder, else its folder. At most 200 ASCII
    /// characters, all valid in tags of every service.
    pub home: String,
    /// The folder of the stack file.
    pub folder: PathBuf,
    /// The files that the stack may name.
    pub files: Files,
    /// The program that renders the stack's own boot template.
    pub template_program: Option<PathBuf>,
    /// The environment that was merged in.
    pub environment: Option<String>,
    /// Every environment of the file.
    pub environments: Vec<String>,
    /// AWS region, such as `eu-west-3`.
    pub region: String,
    /// The only AWS account (12 digits) in which this stack may change anything.
    pub account: String,
    /// The user's own tags, put on every resource.
    pub tags: BTreeMap<String, String>,
    /// Where the state is stored.
    pub state: StateLocation,
    /// The network that the hosts are in.
    pub network: Network,
    /// The settings of the generator on the hosts.
    pub generator: Generator,
    /// Pools by name.
    pub pools: BTreeMap<String, Pool>,
    /// Earlier names of pools, each with the name of the pool now.
    pub moved: BTreeMap<String, String>,
    /// The Gatling control plane.
    pub control_plane: ControlPlane,
    /// Private locations by id (`prl_…`).
    pub locations: BTreeMap<String, Location>,
    /// What the virtual users do.
    pub workload: Workload,
    /// The stack's own prices.
    pub prices: Prices,
    /// The highest cost.
    pub budget: Budget,
    /// The places of the keys in the file, for messages.
    pub sources: crate::Sources,
}

/// Where the state document is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateLocation {
    /// A file of this machine.
    File(PathBuf),
    /// An object of a bucket: `s3://bucket/key`, where the key ends in `<stack>.json`.
    S3 {
        /// The bucket, which exists already.
        bucket: String,
        /// The object's key.
        key: String,
    },
}

impl StateLocation {
    /// The folder beside the stack file that has the state of a stack that names no other place, and the sandbox's data.
    pub const FOLDER: &str = ".trunnion";

    /// The name of a stack's document, in a folder or under a prefix.
    pub(crate) fn document(stack: &str) -> String {
        format!("{stack}.json")
    }

    /// The document of a stack that names no other place.
    pub fn beside(stack: &Stack) -> PathBuf {
        stack.folder.join(Self::FOLDER).join(Self::document(&stack.name))
    }
}

/// How the VPC is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vpc {
    /// The region's default VPC.
    Default,
    /// This VPC.
    Id(String),
    /// The one VPC that carries this tag.
    Tag {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
    },
}

/// Who picks the source address of an outgoing connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// The kernel of the host, for every connection that binds no address itself.
    Kernel,
    /// The simulation, which names its local addresses.
    Simulation,
    /// The source is not chosen: every connection uses the primary address.
    Off,
}

/// Destinations that keep a host's normal source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Except {
    /// The subnets of the host's own interfaces.
    OwnSubnets,
    /// This range, without host bits.
    Range(IpNet),
}

impl Except {
    pub(crate) const OWN_SUBNETS: &str = "own-subnets";
}

impl fmt::Display for Except {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnSubnets => f.write_str(Self::OWN_SUBNETS),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// Whether AWS tracks the connections of the load interfaces, which are all but the primary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// AWS tracks them: only answers can reach these interfaces, and the allowance of the instance limits their
    /// connections.
    Tracked,
    /// AWS does not track them, because the security group allows all inbound TCP.
    Untracked,
}

/// Where a pool's hosts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// The VPC's subnet in this availability zone.
    Zone(String),
    /// This subnet.
    Subnet(String),
}

/// The size of a request and its response, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// Both together.
    Together(u32),
    /// Each by itself.
    Each {
        /// The request.
        sent: u32,
        /// The response.
        received: u32,
    },
}

/// Which machine image hosts boot from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Amazon Linux 2023 for the pool's architecture, as its public SSM parameter says.
    AmazonLinux2023,
    /// This image.
    Id(String),
    /// The image whose id this SSM parameter holds.
    Parameter(String),
}

/// How hosts are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Market {
    /// On-demand: billed by the second until they are terminated.
    OnDemand,
    /// Spot: cheaper, but AWS can terminate them at any time.
    Spot,
}

impl ControlPlane {
    /// The first version whose `/info` ECS can use as a health check. In earlier versions, `/info` answers only with a
    /// repository for private packages (Gatling's release notes, "Upgrading to 2025.20.6").
    pub const FIRST_VERSION: [u32; 3] = [2025, 20, 6];
    /// The first version that knows `executable-dir`. Earlier versions use `working-directory` (same source, "Upgrading to
    /// 2026.4.0").
    pub const FIRST_WITH_EXECUTABLE_DIR: [u32; 3] = [2026, 4, 0];

    /// The version of the image, if the image is named like Gatling's (in any registry) and its tag is a version.
    pub fn version(&self) -> Option<[u32; 3]> {
        Self::version_of(&self.image)
    }

    pub(crate) fn version_of(image: &str) -> Option<[u32; 3]> {
        let image = image.split('@').next()?;
        let (name, tag) = image.rsplit_once(':')?;
        let before = name.strip_suffix("gatlingcorp/control-plane")?;
        if !before.is_empty() && !before.ends_with('/') {
            return None;
        }
        let mut numbers = tag.split('-').next()?.split('.').map(|number| number.parse().ok());
        match (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()) {
            (Some(year), Some(week), Some(patch), None) => Some([year, week, patch]),
            _ => None,
        }
    }
}

/// A secret of Secrets Manager, as the stack names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The secret's ARN, which may lack the six characters that Secrets Manager appends to the name.
    pub arn: String,
    /// The used part of the secret, if it is not the whole current value: `<json key>:<version stage>:<version id>`.
    pub part: Option<String>,
}

impl Secret {
    /// Whether the ARN is complete: it ends in a hyphen and six letters or digits, which Secrets Manager appends.
    pub fn is_whole(&self) -> bool {
        self.arn
            .rsplit_once('-')
            .is_some_and(|(_, end)| end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    }
}

/// What runs the simulations of a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Java, Kotlin and Scala.
    Classic,
    /// JavaScript and TypeScript, on `GraalVM`.
    JavaScript,
}
