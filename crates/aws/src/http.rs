//! The way of every request: it is counted, waits for its token, and goes out over plain HTTP or TLS.
//!
//! An interceptor marks each request with its operation, for only there is it known; the connector, where waiting is
//! possible, takes the token. A signature is good for five minutes, far longer than a bucket makes anyone wait. TLS roots
//! are loaded with the first `https` request, never for a sandbox on loopback.

use std::{fmt, sync::Arc};

use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        interceptors::{
            Intercept,
            context::{BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut},
        },
        orchestrator::{HttpRequest, Metadata},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use tokio::time::Instant;

use crate::{calls::Counter, throttle::Buckets};

/// Which call a request belongs to, as in `ec2:RunInstances`.
#[derive(Debug, Clone)]
struct Operation(String);

/// Counts calls and marks requests.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub counter: Arc<Counter>,
}

fn operation(cfg: &ConfigBag) -> Option<String> {
    let metadata = cfg.load::<Metadata>()?;
    let service = match metadata.service() {
        "CloudWatch Logs" => "logs".to_owned(),
        other => other.to_ascii_lowercase().replace(' ', ""),
    };
    Some(format!("{service}:{}", metadata.name()))
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(operation) = operation(cfg) {
            self.counter.count(&operation);
        }
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(operation) = operation(cfg) {
            context.request_mut().add_extension(Operation(operation));
        }
        Ok(())
    }
}

/// The HTTP client that all SDK clients share.
#[derive(Clone)]
pub(crate) struct Client {
    plain: SharedHttpClient,
    secure: SharedHttpClient,
    buckets: Option<Arc<Buckets>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that takes tokens from `buckets`, where there are some.
    pub fn new(buckets: Option<Buckets>) -> Self {
        let secure = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        Self {
            plain: Builder::new().build_http(),
            secure: Builder::new().tls_provider(secure).build_https(),
            buckets: buckets.map(Arc::new),
        }
    }
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            client: self.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    client: Client,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = if request.uri().starts_with("http:") { &self.client.plain } else { &self.client.secure };
        let connector = client.http_connector(&self.settings, &self.components);
        let wait = match (&self.client.buckets, request.extension::<Operation>()) {
            (Some(buckets), Some(Operation(operation))) => buckets.take(operation, Instant::now()),
            _ => return connector.call(request),
        };
        if wait.is_zero() {
            return connector.call(request);
        }
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(wait).await;
            connector.call(request).await
        })
    }
}
