//! From a profile, or a sandbox, to clients.

use std::{sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::tls::TlsContext;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};

use crate::{
    calls::Counter,
    credentials::{Explained, Source},
    environment::Environment,
    http::{Client, Peer, host_of},
    meter::Meter,
    pace::{MOST_ATTEMPTS, Patience, Turnstile},
    profiles::{Endpoints, Settings, check_url},
    proxy::Proxies,
    throttle::Buckets,
    trust::{self, Bundle},
};

/// Where to connect to, and how to behave there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Connection {
    /// The stack's name.
    pub stack: String,
    /// The stack's home: nothing of another one is adopted.
    pub home: String,
    /// The account that everything must happen in.
    pub account: String,
    /// The region.
    pub region: String,
    /// Whether a create waits until hosts run and the service is steady.
    pub wait: bool,
    /// Whether calls are paced.
    pub throttle: Throttle,
    /// The URL of what speaks AWS's protocols instead of AWS.
    pub endpoint: Option<String>,
    /// Credentials instead of those that the environment and its profile name. Together with an endpoint, nothing of the
    /// environment counts.
    pub credentials: Option<SharedCredentialsProvider>,
    /// The longest time between two looks at something that takes a while: [`Connection::AWS_PACE`], or
    /// [`Connection::SANDBOX_PACE`]. The first looks come sooner.
    pub pace: Duration,
    /// How long a retry goes on while AWS is slow to learn of something, or something is slow to let go; hosts and
    /// services get five times as long. [`Connection::AWS_PATIENCE`], or [`Connection::SANDBOX_PATIENCE`].
    pub patience: Duration,
}

impl Connection {
    /// The pace for AWS.
    pub const AWS_PACE: Duration = Duration::from_secs(3);
    /// The pace for a sandbox.
    pub const SANDBOX_PACE: Duration = Duration::from_millis(50);
    /// The patience with AWS.
    pub const AWS_PATIENCE: Duration = Duration::from_mins(2);
    /// The patience with a sandbox.
    pub const SANDBOX_PATIENCE: Duration = Duration::from_secs(20);

    /// To AWS, as the environment says.
    pub fn new(
        stack: impl Into<String>,
        home: impl Into<String>,
        account: impl Into<String>,
        region: impl Into<String>,
    ) -> Self {
        Self {
            stack: stack.into(),
            home: home.into(),
            account: account.into(),
            region: region.into(),
            wait: true,
            throttle: Throttle::Aws,
            endpoint: None,
            credentials: None,
            pace: Self::AWS_PACE,
            patience: Self::AWS_PATIENCE,
        }
    }

    /// The same to a sandbox, which knows this key.
    #[must_use]
    pub fn to_sandbox(self, url: impl Into<String>, access_key: &str, secret_key: &str) -> Self {
        let credentials = Credentials::new(access_key, secret_key, None, None, "sandbox");
        Self {
            throttle: Throttle::Off,
            endpoint: Some(url.into()),
            credentials: Some(SharedCredentialsProvider::new(credentials)),
            pace: Self::SANDBOX_PACE,
            patience: Self::SANDBOX_PATIENCE,
            ..self
        }
    }
}

/// Whether calls are paced on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// By AWS's token buckets.
    Aws,
    /// Not at all.
    Off,
}

/// Why no connection came about. Nobody was called yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// An endpoint that is no URL.
    #[error("{named_by} is `{url}`, which is not an `http://` or `https://` address")]
    Endpoint {
        /// What it says.
        url: String,
        /// Who says it.
        named_by: String,
    },
    /// A proxy that is no URL. It may hold a password, so it is not told.
    #[error("`{variable}` names no proxy with an `http://` or `https://` address")]
    Proxy {
        /// The variable that names it.
        variable: &'static str,
    },
    /// A file of certificate authorities that cannot be used.
    #[error("{} names `{}`, which cannot be used: {why}", .bundle.named_by, .bundle.path)]
    CaBundle {
        /// The file.
        bundle: Bundle,
        /// What is wrong.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// A file of profiles that cannot be read.
    #[error("{place} cannot be read: {why}")]
    ConfigFile {
        /// The file, with the line where it is known.
        place: String,
        /// The variable that can name another one.
        variable: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A profile that is nowhere.
    #[error("`{variable}` names the profile `{name}`, which is not in {}", list(.files).replace(" and ", " and not in "))]
    UnknownProfile {
        /// Its name.
        name: String,
        /// The variable that names it.
        variable: &'static str,
        /// Where it was looked for.
        files: Vec<String>,
        /// The profiles that are there, in order.
        known: Vec<String>,
    },
    /// A profile that takes its credentials from one that is nowhere.
    #[error("the profile `{profile}` takes its credentials from `{from}`, and there is no such profile")]
    UnknownSource {
        /// The profile.
        profile: String,
        /// What its `source_profile` says.
        from: String,
    },
    /// A profile that says nothing about credentials.
    #[error("the profile `{name}` has no credentials in {}", list(.files))]
    EmptyProfile {
        /// Its name.
        name: String,
        /// Where it was looked for.
        files: Vec<String>,
    },
    /// A profile that says a part of what credentials take.
    #[error("the profile `{profile}` {why}")]
    Incomplete {
        /// Its name.
        profile: String,
        /// What is missing, after its name.
        why: String,
    },
    /// A variable that says nothing without another one.
    #[error("`{set}` is set, but `{missing}` is not set or is empty")]
    HalfSet {
        /// The one that is set.
        set: &'static str,
        /// The other one.
        missing: &'static str,
    },
    /// A file that is to hold a token and does not.
    #[error("{named_by} names `{path}`, which holds no token: {why}")]
    TokenFile {
        /// Who names it.
        named_by: String,
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A path at which a container has no credentials.
    #[error("`{variable}` is `{value}`, which is not a path that begins with `/`")]
    RelativeUri {
        /// The variable that names it.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// An endpoint of one's own and another one of AWS's.
    #[error("{named_by} chooses an endpoint of AWS's, and {endpoint} names one: only one of them can count")]
    TwoEndpoints {
        /// Who asks for AWS's.
        named_by: String,
        /// Who names the other one.
        endpoint: String,
    },
    /// A profile whose role wants a code that only a person can type.
    #[error("the profile `{profile}` asks for a code (`mfa_serial` of `{asks}`), which only the AWS CLI can ask for")]
    Mfa {
        /// The profile.
        profile: String,
        /// The profile that says `mfa_serial`.
        asks: String,
    },
    /// A profile with a session of `aws login`.
    #[error("the profile `{profile}` has a session of `aws login`, which only the AWS CLI can use")]
    LoginSession {
        /// The profile.
        profile: String,
    },
}

fn list(files: &[String]) -> String {
    files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(" and ")
}

impl ConnectError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Endpoint { named_by, .. } => format!("correct or unset {named_by}"),
            Self::Proxy { variable } => format!("write it as in `{variable}=http://proxy.example.com:3128`"),
            Self::CaBundle { .. } => "name a file with certificates in PEM form".to_owned(),
            Self::Tls(_) => return None,
            Self::ConfigFile { variable, .. } => format!("correct the file, or name another one in `{variable}`"),
            Self::UnknownProfile { name, known, variable, .. } => {
                let near = known
                    .iter()
                    .map(|other| (strsim::jaro_winkler(name, other), other))
                    .filter(|(similarity, _)| *similarity > 0.8)
                    .max_by(|(a, _), (b, _)| a.total_cmp(b));
                match near {
                    Some((_, near)) => format!("did you mean `{near}`? There {}", are(known)),
                    None if known.is_empty() => {
                        format!("there are no profiles: run `aws configure`, or unset `{variable}`")
                    }
                    None => format!("there {}", are(known)),
                }
            }
            Self::UnknownSource { profile, .. } => format!("correct `source_profile` of the profile `{profile}`"),
            Self::EmptyProfile { name, .. } => {
                format!(
                    "run `aws configure --profile {name}`, or unset `AWS_PROFILE` to use this machine's own identity"
                )
            }
            Self::Incomplete { profile, .. } => {
                format!("correct the profile `{profile}`: nothing else stands in for it")
            }
            Self::TokenFile { named_by, .. } => format!("have a token written there, or correct or unset {named_by}"),
            Self::RelativeUri { variable, .. } => format!("correct or unset `{variable}`"),
            Self::TwoEndpoints { named_by, endpoint } => format!("unset {named_by} or {endpoint}"),
            Self::HalfSet { set, missing } => format!("set `{missing}` as well, or unset `{set}`"),
            Self::Mfa { profile, .. } | Self::LoginSession { profile } => {
                format!("run `eval \"$(aws configure export-credentials --profile {profile} --format env)\"` first")
            }
        };
        Some(help)
    }
}

fn are(known: &[String]) -> String {
    const MOST: usize = 12;
    let shown = list(known.get(..MOST).unwrap_or(known)).replace(" and ", ", ");
    match known.len() {
        1 => format!("is {shown}"),
        2..=MOST => format!("are {shown}"),
        more => format!("are {shown} and {} more", more - MOST),
    }
}

/// One client per service.
#[derive(Debug)]
pub(crate) struct Clients {
    pub ec2: aws_sdk_ec2::Client,
    pub ecs: aws_sdk_ecs::Client,
    pub iam: aws_sdk_iam::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
    pub s3: aws_sdk_s3::Client,
    pub secrets: aws_sdk_secretsmanager::Client,
    pub ssm: aws_sdk_ssm::Client,
    pub sts: aws_sdk_sts::Client,
}

/// How long a provider of credentials may take: a program that asks a person has this long, and a token service that is
/// silent is given up long before.
const CREDENTIALS: Duration = Duration::from_mins(2);

/// What a connection is made of.
pub(crate) struct Ways {
    config: SdkConfig,
    /// Other endpoints than AWS's own.
    pub endpoints: Endpoints,
    /// The token buckets, where calls are paced.
    pub buckets: Option<Arc<Buckets>>,
}

impl Ways {
    /// As the connection says, and the environment and its profile where the connection does not. Calls nobody.
    pub async fn find(connection: &Connection, environment: &Environment) -> Result<Self, ConnectError> {
        let endpoints = match &connection.endpoint {
            Some(url) => {
                check_url(url, || "the endpoint".to_owned())?;
                Some(Endpoints::all(url))
            }
            None => None,
        };
        let mut ways = match &connection.credentials {
            Some(credentials) => Self::with_credentials(connection, environment, credentials)?,
            None => Self::of_environment(connection, environment).await?,
        };
        if let Some(endpoints) = endpoints {
            ways.endpoints = endpoints;
        }
        Ok(ways)
    }

    fn with_credentials(
        connection: &Connection,
        environment: &Environment,
        credentials: &SharedCredentialsProvider,
    ) -> Result<Self, ConnectError> {
        let peer =
            Peer { region: connection.region.clone(), source: Arc::new(Source::given()), named_by: Arc::default() };
        let (proxies, trust) = match connection.endpoint {
            Some(_) => (Proxies::default(), TlsContext::default()),
            None => (Proxies::of(environment)?, trust::context(None, environment)?),
        };
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(connection.region.clone()))
            .http_client(Client::new(proxies, &trust, peer)?)
            .credentials_provider(credentials.clone())
            .build();
        Ok(Self { config, endpoints: Endpoints::default(), buckets: buckets(connection) })
    }

    async fn of_environment(connection: &Connection, environment: &Environment) -> Result<Self, ConnectError> {
        let proxies = Proxies::of(environment)?;
        let settings = Settings::read(environment).await?;
        let trust = trust::context(settings.bundle.as_ref(), environment)?;
        let source = Arc::new(settings.source);
        let mut named_by = settings.endpoints.named_by.clone();
        for variable in ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"] {
            if let Some(Ok(uri)) = environment.get(variable).map(str::parse) {
                named_by.entry(host_of(&uri)).or_insert_with(|| format!("`{variable}`"));
            }
        }
        let peer =
            Peer { region: connection.region.clone(), source: Arc::clone(&source), named_by: Arc::new(named_by) };
        // Three tries of 15 seconds each: a silent token service is told about within a minute.
        let timeouts =
            TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).read_timeout(Duration::from_secs(15));
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .env(environment.with("AWS_PROFILE", &settings.profile).for_the_sdk())
            .profile_name(&settings.profile)
            .region(Region::new(connection.region.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(timeouts.build())
            .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS).build())
            .http_client(Client::new(proxies, &trust, peer)?)
            .load()
            .await;
        let credentials = config.credentials_provider();
        let explained = credentials.map(|inner| SharedCredentialsProvider::new(Explained::new(inner, source)));
        let mut builder = config.into_builder();
        builder.set_credentials_provider(explained);
        let config = builder.build();
        Ok(Self { config, endpoints: settings.endpoints, buckets: buckets(connection) })
    }
}

fn buckets(connection: &Connection) -> Option<Arc<Buckets>> {
    (connection.throttle == Throttle::Aws).then(Arc::default)
}

impl Clients {
    /// Clients that go these ways.
    pub fn new(ways: &Ways, counter: Arc<Counter>) -> Self {
        let meter = Meter { counter };
        let cache =
            ways.config.identity_cache().unwrap_or_else(|| IdentityCache::lazy().load_timeout(CREDENTIALS).build());
        let buckets = ways.buckets.clone();
        let turnstile = Turnstile { cache, buckets: buckets.clone() };
        let patience = Patience { buckets };
        // How many attempts there are in fact, patience says; a short first pause keeps them bearable where nothing
        // answers at all.
        let retry = RetryConfig::standard()
            .with_max_attempts(MOST_ATTEMPTS)
            .with_initial_backoff(Duration::from_millis(150))
            .with_max_backoff(Duration::from_secs(10));
        // Retries for rates are not what the quota is there for.
        let quota = || TokenBucket::builder().throttling_retry_cost(0).build();
        let endpoint = |service: &str| ways.endpoints.of(service).map(str::to_owned);
        macro_rules! config {
            ($sdk:ident, $service:literal) => {{
                let mut builder = $sdk::config::Builder::from(&ways.config);
                builder.set_endpoint_url(endpoint($service));
                builder
                    .retry_config(retry.clone())
                    .retry_partition(RetryPartition::custom($service).token_bucket(quota()).build())
                    .retry_classifier(patience.clone())
                    .identity_cache(turnstile.clone())
                    .interceptor(meter.clone())
            }};
        }
        macro_rules! client {
            ($sdk:ident, $service:literal) => {
                $sdk::Client::from_conf(config!($sdk, $service).build())
            };
        }
        // Bucket names as host names do not resolve on an endpoint of one's own.
        let s3 = config!(aws_sdk_s3, "S3").force_path_style(endpoint("S3").is_some());
        Self {
            ec2: client!(aws_sdk_ec2, "EC2"),
            ecs: client!(aws_sdk_ecs, "ECS"),
            iam: client!(aws_sdk_iam, "IAM"),
            logs: client!(aws_sdk_cloudwatchlogs, "CloudWatch Logs"),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            secrets: client!(aws_sdk_secretsmanager, "Secrets Manager"),
            ssm: client!(aws_sdk_ssm, "SSM"),
            sts: client!(aws_sdk_sts, "STS"),
        }
    }
}
