//! The typed stack: what a valid stack file says, after its environment was merged in.
//!
//! Everything here was checked; a value of these types needs no second look.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

use ipnet::{IpNet, Ipv4Net};
use trunnion_catalog::{Architecture, InstanceType};

/// One stack file, one environment.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The stack's name, with `-<environment>` behind it where one was chosen, or `--<environment>` where one of the two has
    /// a hyphen itself: prefix of every name in AWS.
    pub name: String,
    /// What earlier versions called it, where that is another name: resources may still have it.
    pub former_name: Option<String>,
    /// Whose the stack is: the S3 URL of its state, else its repository and the folder in it, else its folder. At most 200
    /// ASCII characters that every tag takes.
    pub home: String,
    /// The folder of the stack file.
    pub folder: PathBuf,
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
    /// Where the state lies.
    pub state: StateLocation,
    /// The network the hosts stand in.
    pub network: Network,
    /// What is baked into the boot template.
    pub generator: Generator,
    /// Pools by name.
    pub pools: BTreeMap<String, Pool>,
    /// The Gatling control plane.
    pub control_plane: ControlPlane,
    /// Private locations by id (`prl_…`).
    pub locations: BTreeMap<String, Location>,
    /// Where in the file everything stands, for messages about it.
    pub sources: crate::Sources,
}

/// Where the state document lies.
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

/// The network that is looked up and never changed.
#[derive(Debug, Clone)]
pub struct Network {
    /// Which VPC.
    pub vpc: Vpc,
    /// DNS servers that the VPC's DHCP options name instead of Amazon's own, which needs no permission.
    pub dns_servers: Vec<IpAddr>,
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

/// What turns a bare host into a generator.
#[derive(Debug, Clone)]
pub struct Generator {
    /// Where the generator binary of each architecture that a pool has is to lie. Only what a plan boots hosts with must be
    /// there, so none of these files need exist.
    pub binaries: BTreeMap<Architecture, PathBuf>,
    /// The SHA-256 of the generator binary, in hexadecimal, of each architecture for which the stack names it.
    pub sha256: BTreeMap<Architecture, String>,
    /// The Java version, 11 to 25.
    pub java: u8,
    /// A boot template of the user's own; the built-in one without.
    pub template: Option<PathBuf>,
    /// Handed to the boot template: scalars as text.
    pub variables: BTreeMap<String, String>,
    /// Who picks the source address of an outgoing connection.
    pub spread: Spread,
    /// Destinations that keep a host's normal source address.
    pub spread_except: Vec<Except>,
    /// The TCP port of `/health` and `/metrics` on the primary address of every host.
    pub metrics_port: u16,
    /// Who may reach that port.
    pub metrics_from: Vec<Ipv4Net>,
}

/// Who picks the source address of an outgoing connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// The kernel of the host, for every connection that binds no address itself.
    Kernel,
    /// The simulation, which names its local addresses.
    Simulation,
    /// Nobody: the primary address is the only source.
    Off,
}

/// Destinations that keep a host's normal source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Except {
    /// The subnets that the host's own interfaces stand in.
    OwnSubnets,
    /// This range, which has no bits behind its prefix.
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

/// Identical generator hosts.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The instance type's facts.
    pub instance_type: &'static InstanceType,
    /// How many hosts.
    pub count: u32,
    /// Where its hosts stand.
    pub placement: Placement,
    /// The machine image.
    pub image: Image,
    /// Network interfaces per host.
    pub interfaces: u32,
    /// Private IPv4 addresses per interface, the primary one included.
    pub addresses: u32,
    /// Size of the root volume in GiB.
    pub volume_gib: u32,
    /// How the hosts are paid.
    pub market: Market,
    /// Whether AWS tracks the connections of the load interfaces; a pool with one interface has none.
    pub tracking: Tracking,
    /// Whether each host has an Elastic IP on the primary address of its primary interface.
    pub public_ip: bool,
}

/// Whether AWS tracks the connections of the load interfaces, which are all but the primary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// It does, so that nothing reaches them unasked; its allowance for the instance caps their connections.
    Tracked,
    /// It does not, because everything may reach them.
    Untracked,
}

/// Where a pool's hosts stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// The VPC's subnet in this availability zone.
    Zone(String),
    /// This subnet.
    Subnet(String),
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
    /// By the second, until we stop them.
    OnDemand,
    /// At the spot price, until AWS takes them back.
    Spot,
}

/// The Gatling control plane, an ECS service on Fargate.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Its container image.
    pub image: String,
    /// The image of the container that writes its conf before it starts.
    pub init_image: String,
    /// The secret that holds its token.
    pub token: Secret,
    /// How it reaches the hosts.
    pub ssh: Ssh,
    /// Whether the task gets a public address of its own.
    pub public_ip: bool,
    /// Fargate CPU units (1024 is one vCPU).
    pub cpu: u32,
    /// Fargate memory in MiB; a size that Fargate has for this `cpu`.
    pub memory: u32,
    /// Availability zones of its subnets; where there is none, it stands in the subnets of the pools.
    pub zones: Vec<String>,
    /// How many days its log is kept; a period that CloudWatch Logs has.
    pub log_retention_days: u32,
}

impl ControlPlane {
    /// The first version that ECS can ask for its health: before, `/info` answers only where there is a repository for
    /// private packages (Gatling's release notes, "Upgrading to 2025.20.6").
    pub const FIRST_VERSION: [u32; 3] = [2025, 20, 6];
    /// The first version that knows `executable-dir`; before, it is `working-directory` (the same, "Upgrading to 2026.4.0").
    pub const FIRST_WITH_EXECUTABLE_DIR: [u32; 3] = [2026, 4, 0];

    /// Which version the image is, where its tag says so: a copy in another registry keeps Gatling's name at its end.
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
    /// What is taken of it, where that is not the whole current value: `<json key>:<version stage>:<version id>`.
    pub part: Option<String>,
}

impl Secret {
    /// Whether the ARN ends as Secrets Manager's own do: in a hyphen and six letters or digits.
    pub fn is_whole(&self) -> bool {
        self.arn
            .rsplit_once('-')
            .is_some_and(|(_, end)| end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    }
}

/// How the control plane reaches the hosts.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// The user it logs in as.
    pub user: String,
    /// The secret that holds its private key.
    pub private_key: Secret,
    /// The public key the hosts authorise, as one line of `authorized_keys`.
    pub public_key: String,
}

/// A Gatling private location, backed by one pool.
#[derive(Debug, Clone)]
pub struct Location {
    /// The pool's name.
    pub pool: String,
    /// What Gatling shows of it.
    pub description: String,
    /// What runs the simulations.
    pub engine: Engine,
    /// Options of the generators' JVM.
    pub jvm_options: Vec<String>,
    /// Java system properties of every run: scalars as text.
    pub system_properties: BTreeMap<String, String>,
}

/// What runs the simulations of a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Java, Kotlin and Scala.
    Classic,
    /// JavaScript and TypeScript, on `GraalVM`.
    JavaScript,
}
