//! Creates the clients of AWS's services from a profile, or for a sandbox.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::tls::TlsContext;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use tokio::sync::Semaphore;

use crate::{
    calls::Subject,
    credentials::{Explained, Source},
    environment::Environment,
    http::{Client, Peer, host_of},
    meter::Meter,
    pace::{MOST_ATTEMPTS, PLACES, Patience, Turnstile},
    profiles::{Endpoints, Settings, check_url},
    proxy::Proxies,
    reads::Reads,
    throttle::Buckets,
    transcript::Transcript,
    trust::{self, Bundle},
};

/// The target of a connection, and how its calls behave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Connection {
    /// The stack's name.
    pub stack: String,
    /// The stack's home. Resources of another home are not adopted.
    pub home: String,
    /// The twelve digits of the account that all calls must use; other credentials are refused.
    pub account: String,
    /// Such as `eu-west-3`.
    pub region: String,
    /// Whether a create waits until hosts run and the service is steady.
    pub wait: bool,
    /// Whether calls are paced on the client side.
    pub throttle: Throttle,
    /// The URL of a service that speaks AWS's protocols instead of AWS, such as a sandbox.
    pub endpoint: Option<String>,
    /// Credentials that replace those of the environment and its profile. With an endpoint too, the environment is not
    /// read at all.
    pub credentials: Option<SharedCredentialsProvider>,
    /// The longest pause between two polls of a slow operation: [`Connection::AWS_PACE`] or
    /// [`Connection::SANDBOX_PACE`]. The first pauses are shorter.
    pub pace: Duration,
    /// How long a call is retried while AWS does not know a new resource yet, or a deleted one is still in use. Hosts
    /// and services get five times as long. [`Connection::AWS_PATIENCE`] or [`Connection::SANDBOX_PATIENCE`].
    pub patience: Duration,
    /// The longest time for which reads may not show what exists: [`Connection::AWS_LAG`] or [`Connection::SANDBOX_LAG`].
    pub lag: Duration,
    /// The file to which every call is written.
    pub transcript: Option<Transcript>,
    /// The answers that it shares with other connections; nothing for a connection that changes anything.
    pub reads: Option<Reads>,
}

impl Connection {
    /// The `pace` for AWS.
    pub const AWS_PACE: Duration = Duration::from_secs(3);
    /// The `pace` for a sandbox.
    pub const SANDBOX_PACE: Duration = Duration::from_millis(50);
    /// The `patience` for AWS.
    pub const AWS_PATIENCE: Duration = Duration::from_mins(2);
    /// The `lag` for AWS. AWS names no limit ("Eventual consistency", EC2 developer guide, read November 2026); seconds are
    /// commonly seen.
    pub const AWS_LAG: Duration = Duration::from_secs(45);
    /// The `lag` for a sandbox.
    pub const SANDBOX_LAG: Duration = Duration::from_secs(5);
    /// The `patience` for a sandbox.
    pub const SANDBOX_PATIENCE: Duration = Duration::from_secs(20);

    /// A connection to AWS with the credentials and settings of the environment.
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
            lag: Self::AWS_LAG,
            transcript: None,
            reads: None,
        }
    }

    /// The same connection to a sandbox, with a key that the sandbox accepts.
    #[must_use]
    pub fn to_sandbox(self, url: impl Into<String>, access_key: &str, secret_key: &str) -> Self {
        let credentials = Credentials::new(access_key, secret_key, None, None, "sandbox");
        Self {
            throttle: Throttle::Off,
            endpoint: Some(url.into()),
            credentials: Some(SharedCredentialsProvider::new(credentials)),
            pace: Self::SANDBOX_PACE,
            patience: Self::SANDBOX_PATIENCE,
            lag: Self::SANDBOX_LAG,
            ..self
        }
    }
}

/// Whether calls are paced on the client side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// With token buckets of the same size as AWS's.
    Aws,
    /// Not at all.
    Off,
}

/// Why a connection cannot be created. No call has been made yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// An endpoint that is not a URL.
    #[error("{named_by} is `{url}`, which is not an `http://` or `https://` address")]
    Endpoint {
        /// The configured text.
        url: String,
        /// The variable or setting that configures it.
        named_by: String,
    },
    /// A proxy that is not a URL. It may contain a password, so the value is not shown.
    #[error("`{variable}` is not the `http://` or `https://` URL of a proxy")]
    Proxy {
        /// The variable that configures it.
        variable: &'static str,
    },
    /// A file of certificate authorities that cannot be used.
    #[error("{} names `{}`, which cannot be used: {why}", .bundle.named_by, .bundle.path)]
    CaBundle {
        /// The file, and what configures it.
        bundle: Bundle,
        /// The reason, as the end of the sentence.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// A file of profiles that cannot be read.
    #[error("{place} cannot be read: {why}")]
    ConfigFile {
        /// Path of the file, with the line where it is known.
        place: String,
        /// The variable that can name another file.
        variable: &'static str,
        /// The reason, as the end of the sentence.
        why: String,
    },
    /// A profile that does not exist.
    #[error("`{variable}` names the profile `{name}`, which is not in {}", list(.files).replace(" and ", " and not in "))]
    UnknownProfile {
        /// Name of the profile.
        name: String,
        /// The variable that names it.
        variable: &'static str,
        /// The files that were searched.
        files: Vec<String>,
        /// The profiles in those files, sorted.
        known: Vec<String>,
    },
    /// A profile whose `source_profile` does not exist.
    #[error("`source_profile` of the profile `{profile}` is `{from}`, which does not exist")]
    UnknownSource {
        /// Name of the profile.
        profile: String,
        /// The value of its `source_profile`.
        from: String,
    },
    /// A profile without any setting for credentials.
    #[error("the profile `{name}` has no credentials in {}", list(.files))]
    EmptyProfile {
        /// Name of the profile.
        name: String,
        /// The files that were searched.
        files: Vec<String>,
    },
    /// A profile with only some of the settings that its kind of credentials needs.
    #[error("the profile `{profile}` {why}")]
    Incomplete {
        /// Name of the profile.
        profile: String,
        /// What is missing, as the end of the sentence.
        why: String,
    },
    /// A variable that has no effect without another one.
    #[error("`{set}` is set, but `{missing}` is not set or is empty")]
    HalfSet {
        /// The variable that is set.
        set: &'static str,
        /// The variable that is missing.
        missing: &'static str,
    },
    /// A token file that has no token.
    #[error("{named_by} names `{path}`, which holds no token: {why}")]
    TokenFile {
        /// The variable or setting that names the file.
        named_by: String,
        /// Path of the file.
        path: String,
        /// The reason, as the end of the sentence.
        why: String,
    },
    /// A path for container credentials that does not start with `/`.
    #[error("`{variable}` is `{value}`, which is not a path that begins with `/`")]
    RelativeUri {
        /// The variable that has the path.
        variable: &'static str,
        /// The configured text.
        value: String,
    },
    /// A choice among AWS's endpoints together with a custom endpoint.
    #[error("{named_by} selects AWS's own endpoints, but {endpoint} sets another one: only one of them can apply")]
    TwoEndpoints {
        /// The setting that selects AWS's own endpoints.
        named_by: String,
        /// The setting that configures the other endpoint.
        endpoint: String,
    },
    /// A profile whose role needs an MFA code, which only a person can type.
    #[error("the profile `{profile}` needs an MFA code (`mfa_serial` of `{asks}`), which only the AWS CLI can ask for")]
    Mfa {
        /// Name of the profile.
        profile: String,
        /// The profile with the setting `mfa_serial`.
        asks: String,
    },
    /// A profile that uses a session of `aws login`.
    #[error("the profile `{profile}` has a session of `aws login`, which only the AWS CLI can use")]
    LoginSession {
        /// Name of the profile.
        profile: String,
    },
}

fn list(files: &[String]) -> String {
    files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(" and ")
}

impl ConnectError {
    /// The next step, for the line `help:`.
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
                        format!("there are no profiles: run `aws configure --profile {name}`, or unset `{variable}`")
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
                format!("correct the profile `{profile}`: no other credentials are used instead")
            }
            Self::TokenFile { named_by, .. } => format!("write a token to that file, or correct or unset {named_by}"),
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
    pub quotas: aws_sdk_servicequotas::Client,
    pub s3: aws_sdk_s3::Client,
    pub secrets: aws_sdk_secretsmanager::Client,
    pub ssm: aws_sdk_ssm::Client,
    pub sts: aws_sdk_sts::Client,
}

fn peer(connection: &Connection, source: Arc<Source>, named_by: BTreeMap<String, String>) -> Peer {
    let Connection { stack, account, region, .. } = connection;
    let subject = Arc::new(Subject::somewhere(stack, account, region));
    Peer { region: region.clone(), subject, source, named_by: Arc::new(named_by) }
}

/// The longest time a credentials provider may take. A program that asks a person needs this long; a token service that
/// does not answer fails much earlier, by its own timeouts.
const CREDENTIALS: Duration = Duration::from_mins(2);

/// The configuration that the clients are built from.
pub(crate) struct Setup {
    config: SdkConfig,
    /// Endpoints other than AWS's own.
    pub endpoints: Endpoints,
    /// The token buckets, if calls are paced.
    pub buckets: Option<Arc<Buckets>>,
}

impl Setup {
    /// Uses the connection's settings, and the environment's or its profile's where the connection has none. Makes no
    /// call.
    pub async fn find(connection: &Connection, environment: &Environment) -> Result<Self, ConnectError> {
        let endpoints = match &connection.endpoint {
            Some(url) => {
                check_url(url, || "the endpoint".to_owned())?;
                Some(Endpoints::all(url))
            }
            None => None,
        };
        let mut setup = match &connection.credentials {
            Some(credentials) => Self::with_credentials(connection, environment, credentials)?,
            None => Self::of_environment(connection, environment).await?,
        };
        if let Some(endpoints) = endpoints {
            setup.endpoints = endpoints;
        }
        Ok(setup)
    }

    fn with_credentials(
        connection: &Connection,
        environment: &Environment,
        credentials: &SharedCredentialsProvider,
    ) -> Result<Self, ConnectError> {
        let peer = peer(connection, Arc::new(Source::given()), BTreeMap::new());
        let transcript = connection.transcript.clone();
        let proxies = match connection.endpoint {
            Some(_) => Proxies::default(),
            None => Proxies::of(environment)?,
        };
        let trust = || match connection.endpoint {
            Some(_) => Ok(TlsContext::default()),
            None => trust::context(None, environment),
        };
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(connection.region.clone()))
            .http_client(Client::new(proxies, None, trust, peer, transcript, connection.reads.clone())?)
            .credentials_provider(credentials.clone())
            .build();
        Ok(Self { config, endpoints: Endpoints::default(), buckets: buckets(connection) })
    }

    async fn of_environment(connection: &Connection, environment: &Environment) -> Result<Self, ConnectError> {
        let proxies = Proxies::of(environment)?;
        let settings = Settings::read(environment).await?;
        let bundle = settings.bundle.as_ref();
        let trust = || trust::context(bundle, environment);
        let source = Arc::new(settings.source);
        let mut named_by = settings.endpoints.named_by.clone();
        for variable in ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"] {
            if let Some(Ok(uri)) = environment.get(variable).map(str::parse) {
                named_by.entry(host_of(&uri)).or_insert_with(|| format!("`{variable}`"));
            }
        }
        let peer = peer(connection, Arc::clone(&source), named_by);
        let transcript = connection.transcript.clone();
        // Three tries of 15 seconds each: a token service that does not answer is reported within a minute.
        let timeouts =
            TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).read_timeout(Duration::from_secs(15));
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .env(environment.with("AWS_PROFILE", &settings.profile).for_the_sdk())
            .profile_name(&settings.profile)
            .region(Region::new(connection.region.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(timeouts.build())
            .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS).build())
            .http_client(Client::new(proxies, bundle, trust, peer, transcript, connection.reads.clone())?)
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
    /// Clients with this configuration.
    pub fn new(setup: &Setup, meter: &Meter) -> Self {
        let cache =
            setup.config.identity_cache().unwrap_or_else(|| IdentityCache::lazy().load_timeout(CREDENTIALS).build());
        let buckets = setup.buckets.clone();
        // Each service has its own places: the state and its lock in S3 never wait for calls of the steps, which make no
        // progress while a state is saved.
        let turnstile = || {
            let places = Arc::new(Semaphore::new(PLACES));
            Turnstile { cache: cache.clone(), buckets: buckets.clone(), places }
        };
        let patience = Patience { buckets: buckets.clone() };
        // `patience` limits the number of attempts in practice. A short first pause keeps the total time low when
        // nothing answers at all.
        let retry = RetryConfig::standard()
            .with_max_attempts(MOST_ATTEMPTS)
            .with_initial_backoff(Duration::from_millis(150))
            .with_max_backoff(Duration::from_secs(10));
        // The SDK's retry quota must not run out because of throttling.
        let quota = || TokenBucket::builder().throttling_retry_cost(0).build();
        let endpoint = |service: &str| setup.endpoints.of(service).map(str::to_owned);
        macro_rules! config {
            ($sdk:ident, $service:literal) => {{
                let mut builder = $sdk::config::Builder::from(&setup.config);
                builder.set_endpoint_url(endpoint($service));
                builder
                    .retry_config(retry.clone())
                    .retry_partition(RetryPartition::custom($service).token_bucket(quota()).build())
                    .retry_classifier(patience.clone())
                    .identity_cache(turnstile())
                    .interceptor(meter.clone())
            }};
        }
        macro_rules! client {
            ($sdk:ident, $service:literal) => {
                $sdk::Client::from_conf(config!($sdk, $service).build())
            };
        }
        // On a custom endpoint, bucket names cannot be part of the host name: it would not resolve.
        let s3 = config!(aws_sdk_s3, "S3").force_path_style(endpoint("S3").is_some());
        Self {
            ec2: client!(aws_sdk_ec2, "EC2"),
            ecs: client!(aws_sdk_ecs, "ECS"),
            iam: client!(aws_sdk_iam, "IAM"),
            logs: client!(aws_sdk_cloudwatchlogs, "CloudWatch Logs"),
            quotas: client!(aws_sdk_servicequotas, "Service Quotas"),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            secrets: client!(aws_sdk_secretsmanager, "Secrets Manager"),
            ssm: client!(aws_sdk_ssm, "SSM"),
            sts: client!(aws_sdk_sts, "STS"),
        }
    }
}
