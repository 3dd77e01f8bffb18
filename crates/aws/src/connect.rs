//! From a profile, or a sandbox, to clients.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use tokio_util::sync::CancellationToken;

use crate::{
    calls::Counter,
    http::{Client, Meter},
    throttle::Buckets,
};

/// Where to connect to, and how to behave there.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The stack's name.
    pub stack: String,
    /// The account that everything must happen in.
    pub account: String,
    /// The region.
    pub region: String,
    /// Whether a create waits until hosts run and the service is steady.
    pub wait: bool,
    /// Whether calls are paced.
    pub throttle: Throttle,
    /// A sandbox with its credentials; AWS, and the environment's configuration, without.
    pub endpoint: Option<Endpoint>,
    /// Time between two looks at something that takes a while: [`Connection::AWS_PACE`], or
    /// [`Connection::SANDBOX_PACE`].
    pub pace: Duration,
    /// How long a retry goes on while AWS is slow to learn of something, or something is slow to let go; hosts and
    /// services get five times as long. [`Connection::AWS_PATIENCE`], or [`Connection::SANDBOX_PATIENCE`].
    pub patience: Duration,
    /// Ends every wait when it is cancelled; what was created stays and is found again.
    pub interrupt: CancellationToken,
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
}

/// Whether calls are paced on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// By AWS's token buckets.
    Aws,
    /// Not at all.
    Off,
}

/// A service that speaks AWS's protocols.
#[derive(Clone)]
pub struct Endpoint {
    /// Its URL.
    pub url: String,
    /// The access key it knows.
    pub access_key: String,
    /// The secret that belongs to it.
    pub secret_key: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An endpoint that is no URL.
    #[error("`{0}` is no `http://` or `https://` address")]
    Endpoint(String),
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
    /// The URL of what answers instead of AWS.
    pub endpoint: Option<String>,
}

impl Clients {
    /// Clients for a connection; reads the environment's configuration unless an endpoint is given, calls nobody.
    pub async fn connect(connection: &Connection, counter: Arc<Counter>) -> Result<Self, ConnectError> {
        let buckets = (connection.throttle == Throttle::Aws).then(Buckets::default);
        let http = Client::new(buckets);
        let region = Region::new(connection.region.clone());
        // EC2's throttling needs more than the standard three attempts; a short first pause keeps the whole bearable
        // where nothing answers at all.
        let retry = RetryConfig::standard().with_max_attempts(9).with_initial_backoff(Duration::from_millis(150));
        let behavior = BehaviorVersion::v2026_01_12();
        let config = if let Some(endpoint) = &connection.endpoint {
            if !endpoint.url.starts_with("http://") && !endpoint.url.starts_with("https://") {
                return Err(ConnectError::Endpoint(endpoint.url.clone()));
            }
            let credentials = Credentials::new(&endpoint.access_key, &endpoint.secret_key, None, None, "sandbox");
            SdkConfig::builder()
                .behavior_version(behavior)
                .region(region)
                .retry_config(retry)
                .http_client(http)
                .endpoint_url(&endpoint.url)
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .build()
        } else {
            aws_config::defaults(behavior).region(region).retry_config(retry).http_client(http).load().await
        };
        Ok(Self::from_config(&config, &Meter { counter }))
    }

    fn from_config(config: &SdkConfig, meter: &Meter) -> Self {
        // Bucket names as host names do not resolve on an endpoint of one's own.
        let path_style = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(path_style).interceptor(meter.clone());
        macro_rules! client {
            ($sdk:ident) => {
                $sdk::Client::from_conf($sdk::config::Builder::from(config).interceptor(meter.clone()).build())
            };
        }
        Self {
            ec2: client!(aws_sdk_ec2),
            ecs: client!(aws_sdk_ecs),
            iam: client!(aws_sdk_iam),
            logs: client!(aws_sdk_cloudwatchlogs),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            secrets: client!(aws_sdk_secretsmanager),
            ssm: client!(aws_sdk_ssm),
            sts: client!(aws_sdk_sts),
            endpoint: crate::endpoint::custom(config),
        }
    }
}
